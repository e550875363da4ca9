//! What anybody may put into a schema of the user's path: no statement of the program calls it, and
//! the names under `tables` still mean what they mean to the user.

use crate::support::connector::{ConfigFile, Connector, temp_dir};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::ports::free_port;
use crate::support::postgres::{PASSWORD, Postgres, unique};
use crate::support::record::inserted;
use crate::support::stopped::{Outcome, run_verb};
use crate::support::wait_until;
use postgres::{Client, NoTls};
use tempfile::TempDir;

/// What a planted function says; the server's log has it, too.
const CALLED: &str = "planted and called";

/// A better match for every function and operator of the server that such a function can stand for.
/// Where one takes `text`, one for `name` is better than it for a column of a catalog.
const PLANT: &str = r#"
CREATE FUNCTION pg_temp.plant(name text, args text, result text) RETURNS void LANGUAGE plpgsql AS $do$
BEGIN
  EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', name, args, result,
    format('BEGIN RAISE EXCEPTION %L; END', 'planted and called: ' || name));
EXCEPTION WHEN OTHERS THEN NULL; -- a function of this name and these arguments is there already
END $do$;
CREATE FUNCTION pg_temp.plant_operator(name text, l text, r text, fn text) RETURNS void
LANGUAGE plpgsql AS $do$
BEGIN
  EXECUTE format('CREATE OPERATOR public.%s (%s PROCEDURE = public.%I%s)', name,
    coalesce('LEFTARG = ' || l || ', ', ''), fn, coalesce(', RIGHTARG = ' || r, ''));
EXCEPTION WHEN OTHERS THEN NULL; -- so is an operator
END $do$;
SET check_function_bodies = off; SET search_path = pg_catalog;
SELECT count(pg_temp.plant(proname, args, result)) FROM (
  SELECT p.proname::text, v.args,
    CASE WHEN p.proretset THEN 'SETOF ' ELSE '' END ||
    CASE t.typtype WHEN 'p' THEN CASE WHEN t.typname LIKE 'any%' THEN format_type(t.oid, NULL)
      WHEN t.typname = 'record' THEN 'record' ELSE 'void' END
      ELSE format_type(t.oid, NULL) END AS result
  FROM pg_proc p JOIN pg_type t ON t.oid = p.prorettype,
    LATERAL (SELECT oidvectortypes(p.proargtypes) AS args
      UNION SELECT regexp_replace(oidvectortypes(p.proargtypes), '\mtext\M', 'name', 'g')) v
  WHERE p.pronamespace = 'pg_catalog'::regnamespace AND NOT (p.proname = 'count' AND p.pronargs = 0)) f;
SELECT count(pg_temp.plant(name, args, result)) FROM (VALUES
  ('format', 'text, name', 'text'), ('format', 'text, name, name', 'text'),
  ('json_agg', 'name', 'json'), ('json_agg', 'text', 'json'),
  ('row_to_json', 'record', 'json'), ('unnest', 'text[]', 'SETOF text'),
  ('unnest', 'oid[]', 'SETOF oid'), ('parse_ident', 'text', 'text[]'),
  ('step', 'bigint', 'bigint')) f(name, args, result);
CREATE AGGREGATE public.count(*) (SFUNC = public.step, STYPE = bigint, INITCOND = '0');
SELECT count(pg_temp.plant_operator(o.oprname::text, l.args, r.args, p.proname::text))
FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode,
  LATERAL (SELECT format_type(nullif(o.oprleft, 0), NULL) AS args
    UNION SELECT 'name' WHERE o.oprleft = 'text'::regtype) l,
  LATERAL (SELECT format_type(nullif(o.oprright, 0), NULL) AS args
    UNION SELECT 'name' WHERE o.oprright = 'text'::regtype) r
WHERE o.oprnamespace = 'pg_catalog'::regnamespace;
"#;

/// What the program's own statements are made of, without a schema, under the planted path.
const WELL_PLANTED: [&str; 9] = [
    "SELECT format('%I.%I', nspname, nspname) FROM pg_namespace",
    "SELECT 1 FROM pg_namespace WHERE nspname = 'p'",
    "SELECT 1 FROM pg_class WHERE relname !~ '^pg_toast'",
    "SELECT 1 FROM pg_class WHERE oid = 1::oid",
    "SELECT current_setting('port')",
    "SELECT count(*) FROM pg_class",
    "SELECT quote_ident(relname) FROM pg_class",
    "SELECT * FROM unnest(parse_ident('a.b'))",
    "SELECT 1 FROM pg_class WHERE relreplident = 'n'",
];

struct Place {
    pipeline: Pipeline,
    role: String,
    state: TempDir,
    server: Postgres,
}

impl Place {
    fn new() -> Place {
        let server = Postgres::start(&[]);
        let pipeline = Pipeline::on(&server, "planted").in_process();
        let (database, role) = (&pipeline.database, unique("planted"));
        database.execute(&format!("BEGIN; {PLANT} COMMIT; RESET search_path"));
        let name = database.name();
        database.execute(&format!(
            "CREATE SCHEMA own; CREATE TABLE own.pets (id int8 PRIMARY KEY);
             CREATE TABLE public.pets (id int8 PRIMARY KEY); CREATE TABLE public.bare (id int8);
             CREATE TABLE own.\"Odd One\" (id int8 PRIMARY KEY);
             CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{PASSWORD}';
             ALTER ROLE {role} SET search_path = own, public, pg_catalog;
             ALTER ROLE {role} IN DATABASE {name} SET search_path = own, public, pg_catalog;
             ALTER DATABASE {name} SET search_path = public, pg_catalog",
        ));
        Place {
            role,
            state: temp_dir("state-"),
            server,
            pipeline,
        }
    }

    fn url(&self) -> String {
        let url = self.pipeline.database.url();
        url.replacen("//postgres:", &format!("//{}:", self.role), 1)
    }

    fn config(&self) -> ConfigFile {
        let state_dir = self.state.path().display().to_string();
        let metrics = format!("{{ listen: '127.0.0.1:{}' }}", free_port());
        self.pipeline
            .config()
            .set("state_dir", &state_dir)
            .set("metrics", &metrics)
            .fluvio("timeout", "5s")
    }

    /// Runs a verb, which ends well and calls nothing that was planted.
    #[track_caller]
    fn verb(&self, config: &ConfigFile, verb: &str, more: &[&str]) -> String {
        let (code, log, stdout): Outcome = run_verb(verb, config, &self.url(), more);
        let stdout = stdout.join("\n");
        assert_eq!(code, 0, "{verb} {more:?}: {log}{stdout}");
        self.assert_uncalled();
        stdout
    }

    #[track_caller]
    fn assert_uncalled(&self) {
        let log = self.server.log();
        let is_ours = |line: &&str| line.contains(CALLED) && line.contains("postgres-source");
        let called: Vec<&str> = log.lines().filter(is_ours).collect();
        assert!(called.is_empty(), "{called:#?}");
    }

    /// Each verb, before there is anything and after.
    #[track_caller]
    fn every_verb(&self, config: &ConfigFile) -> String {
        self.verb(config, "check", &[]);
        self.verb(config, "setup", &["--dry-run"]);
        let plan = self.verb(config, "setup", &[]);
        self.verb(config, "check", &["--sql"]);
        let connector = Connector::spawn_config(config, &self.url(), &[]);
        connector.wait_log("streaming from", DEADLINE);
        for id in 1..=2 {
            self.execute(&format!(
                "INSERT INTO own.pets VALUES ({id}); INSERT INTO public.pets VALUES (-{id})"
            ));
        }
        wait_until("the rows arrive", DEADLINE, || {
            let rows = inserted(&self.pipeline.records());
            rows.contains(&2) && rows.contains(&-1) == rows.contains(&-2)
        });
        connector.wait_log("streaming from", DEADLINE);
        self.verb(config, "status", &[]);
        self.verb(config, "check", &[]);
        if self.server.major() >= 12 {
            self.verb(config, "peek", &[]);
        }
        drop(connector);
        self.pipeline
            .database
            .wait_slot_inactive(&self.pipeline.slot);
        self.verb(config, "status", &[]);
        self.verb(config, "peek", &[]);
        self.verb(config, "verify", &[]);
        self.verb(config, "setup", &[]);
        let slot = &self.pipeline.slot;
        self.execute(&format!("SELECT pg_drop_replication_slot('{slot}')"));
        self.verb(config, "accept-gap", &["--reason", "a test"]);
        self.verb(config, "teardown", &["--yes"]);
        plan
    }

    /// In a session that looks for functions where it should.
    #[track_caller]
    fn execute(&self, sql: &str) {
        let url = self.pipeline.database.url();
        let url = format!("{url}?options=-c%20search_path%3Dpg_catalog");
        let mut client = Client::connect(&url, NoTls).expect("it is let in");
        client.batch_execute(sql).expect("it can be done");
    }

    /// Without that nothing would be shown.
    fn assert_well_planted(&self) {
        let mut client = Client::connect(&self.url(), NoTls).expect("it is let in");
        for statement in WELL_PLANTED {
            let error = client.simple_query(statement).map(drop);
            let error = error.expect_err(statement);
            let says = error.as_db_error().map_or("", |error| error.message());
            assert!(says.contains(CALLED), "{statement}: {error:?}");
        }
    }
}

/// The names of the config mean the first of their kind in the path of the user.
#[test]
fn nothing_in_the_path_is_called_but_tables_are_found_there() {
    let place = Place::new();
    place.assert_well_planted();
    let config = place
        .config()
        .parameter("tables", "[pets, bare, '\"Odd One\"']");
    let plan = place.every_verb(&config);
    let tables = "FOR TABLE own.pets, public.bare, own.\"Odd One\";";
    assert!(plan.contains(tables), "{plan}");
    assert_eq!(inserted(&place.pipeline.records()), [1, 2]);
}

#[test]
fn nothing_in_the_path_is_called_for_all_tables() {
    let place = Place::new();
    place.every_verb(&place.config());
    assert_eq!(inserted(&place.pipeline.records()), [1, -1, 2, -2]);
}
