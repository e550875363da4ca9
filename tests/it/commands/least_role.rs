//! A role with the fewest rights that a server streams to: it may log in, connect to the database and
//! replicate; publication and slot were made by others. Each verb works under it, or says what right is
//! missing and how to give it.

use tempfile::TempDir;

use crate::support::check::{check, healthy_server};
use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE, run_command, temp_dir};
use crate::support::outcome::{FAIL_DEADLINE, assert_end};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::record::inserted;
use crate::support::role::Role;
use crate::support::stopped::{Outcome, run_verb};

/// What of the catalog only a warning depends on.
const SEEN_BY_WARNINGS: [&str; 8] = [
    "SELECT ON pg_catalog.pg_publication_rel",
    "SELECT ON pg_catalog.pg_inherits",
    "SELECT ON pg_catalog.pg_class",
    "SELECT ON pg_catalog.pg_namespace",
    "EXECUTE ON FUNCTION pg_catalog.to_regclass(text)",
    "EXECUTE ON FUNCTION pg_catalog.parse_ident(text, boolean)",
    "EXECUTE ON FUNCTION pg_catalog.has_schema_privilege(oid, text)",
    "EXECUTE ON FUNCTION pg_catalog.pg_get_publication_tables",
];

/// Two published tables in schemas that are closed to everybody.
struct Place {
    pipeline: Pipeline,
    state: TempDir,
}

impl Place {
    fn new(name: &str) -> Place {
        let pipeline = Pipeline::on(healthy_server(), name).in_process();
        let (database, publication) = (&pipeline.database, &pipeline.publication);
        database.execute(&format!(
            "CREATE SCHEMA shop; CREATE TABLE shop.orders (id int8 PRIMARY KEY); \
             CREATE TABLE pets (id int8 PRIMARY KEY); CREATE TABLE shop.unpublished (id int8 PRIMARY KEY); \
             REVOKE ALL ON DATABASE {} FROM public; REVOKE ALL ON SCHEMA public FROM public; \
             CREATE PUBLICATION {publication} FOR TABLE shop.orders, pets",
            database.name()
        ));
        database.create_slot(&pipeline.slot);
        let state = temp_dir("state-");
        Place { pipeline, state }
    }

    fn role(&self) -> Role<'_> {
        let role = Role::new(&self.pipeline.database, "REPLICATION");
        self.pipeline.database.execute(&format!(
            "GRANT CONNECT ON DATABASE {} TO \"{}\"",
            self.pipeline.database.name(),
            role.name
        ));
        role
    }

    fn config(&self) -> ConfigFile {
        let state = self.state.path().to_str().expect("UTF-8");
        let config = self.pipeline.config().set("state_dir", state);
        config.parameter("tables", "[shop.orders, pets]")
    }

    fn insert(&self, id: i64) {
        let sql = format!("INSERT INTO shop.orders VALUES ({id})");
        self.pipeline.database.execute(&sql);
    }

    fn stop(&self, mut connector: Connector) {
        self.pipeline.wait_caught_up();
        connector.sigterm();
        assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
        let database = &self.pipeline.database;
        database.wait_slot_inactive(&self.pipeline.slot);
    }

    /// Streams a row, and stops.
    fn streams(&self, url: &str, id: i64) {
        let config = self.config();
        let connector = Connector::spawn_config(&config, url, &[]);
        connector.wait_log("streaming from", DEADLINE);
        self.insert(id);
        self.stop(connector);
        let rows = inserted(&self.pipeline.records());
        assert_eq!(rows.last(), Some(&id), "{rows:?}");
    }
}

#[track_caller]
fn works(outcome: Outcome) -> String {
    let (code, log, stdout) = outcome;
    assert_eq!(code, 0, "{log}{stdout:?}");
    stdout.join("\n")
}

#[test]
fn it_streams_and_every_other_verb_that_only_looks_works() {
    let place = Place::new("least");
    let role = place.role();
    let url = role.url();
    let more = place
        .config()
        .parameter("tables", "[shop.orders, pets, shop.unpublished, nowhere]");
    let connector = Connector::spawn_config(&more, &url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    place.insert(1);
    place.pipeline.wait_caught_up();
    // What it must not use it is told of as it is.
    let log = connector.log();
    for table in ["shop.unpublished", "nowhere"] {
        let says = format!("does not have the table {table}; ");
        assert!(log.contains(&says), "{log}");
    }
    assert_eq!(log.matches(" WARN ").count(), 2, "{log}");

    let config = place.config();
    let verb = |verb: &str, more: &[&str]| run_verb(verb, &config, &url, more);
    works(verb("status", &[]));
    check(&config, &url).assert_problems(&[], 0);
    works(verb("config", &[]));
    for args in [
        &["schema", "events"][..],
        &["completions", "bash"],
        &["man"],
        &["version"],
    ] {
        works(run_command(args, &[(URL_VARIABLE, &url)], FAIL_DEADLINE));
    }
    place.stop(connector);

    place.insert(2);
    check(&config, &url).assert_problems(&[], 0);
    works(verb("status", &[]));
    assert!(works(verb("peek", &[])).contains("{\"Int8\":2}"));
    works(verb("verify", &[]));
    assert_eq!(works(verb("setup", &[])), "-- there is nothing to do");
    let (code, log, _) = verb("accept-gap", &["--reason", "none"]);
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("there is no gap to accept"), "{log}");
    place.streams(&url, 3);
}

/// The right to replicate is all that a slot takes.
#[test]
fn it_accepts_a_gap_and_makes_the_slot_anew() {
    let place = Place::new("least_gap");
    let role = place.role();
    let url = role.url();
    place.streams(&url, 1);
    let (database, slot) = (&place.pipeline.database, &place.pipeline.slot);
    database.query_one_text(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    place.insert(2);
    for (verb, code) in [("run", 76), ("setup", 76)] {
        let outcome = run_verb(verb, &place.config(), &url, &[]);
        assert_end(outcome, code, &["does not exist any more", "accept-gap"]);
    }
    let outcome = run_verb("accept-gap", &place.config(), &url, &["--reason", "a test"]);
    works(outcome);
    place.streams(&url, 3);
    assert_eq!(inserted(&place.pipeline.records()), [1, 3]);
}

/// Who only wants it gone is told what else has to be done, before anything is.
#[test]
fn it_takes_down_what_is_its_own() {
    let place = Place::new("least_teardown");
    let role = place.role();
    let (url, config) = (role.url(), place.config());
    let (database, slot) = (&place.pipeline.database, &place.pipeline.slot);
    let drop = format!("DROP PUBLICATION \"{}\";", place.pipeline.publication);
    let says = [
        "only its owner, postgres, may drop it: nothing was removed",
        "\"teardown --yes --keep-publication\" leaves it",
        &drop,
    ];
    assert_end(run_verb("teardown", &config, &url, &["--yes"]), 77, &says);
    assert!(database.slot_exists(slot));

    let kept = ["--yes", "--keep-publication"];
    works(run_verb("teardown", &config, &url, &kept));
    assert!(!database.slot_exists(slot));
    database.execute(&drop);
    works(run_verb("teardown", &config, &url, &["--yes"]));
}

/// The SQL of a hint, for a superuser.
pub fn rights(log: &str) -> Vec<&str> {
    let (_, rest) = log
        .rsplit_once("a superuser gives what is missing: ")
        .unwrap_or_else(|| panic!("{log}"));
    let (rights, _) = rest
        .split_once(" or runs: ")
        .unwrap_or_else(|| panic!("{log}"));
    rights.split_inclusive(';').map(str::trim).collect()
}

#[test]
fn it_makes_the_publication_with_the_rights_that_are_named() {
    for verb in ["setup", "run"] {
        let place = Place::new("least_setup");
        let role = place.role();
        let (url, config, name) = (role.url(), place.config(), &role.name);
        let (database, slot) = (&place.pipeline.database, &place.pipeline.slot);
        let drop = format!("DROP PUBLICATION {}", place.pipeline.publication);
        database.execute(&drop);
        database.query_one_text(&format!("SELECT pg_drop_replication_slot('{slot}')"));

        // All tables are a superuser's to publish.
        let all = place.config().without("tables");
        let says = [
            "only a superuser can publish all tables",
            "under \"tables\"",
        ];
        assert_end(run_verb(verb, &all, &url, &[]), 77, &says);

        let checked = check(&config, &url);
        checked.assert_problems(&[("publication", "failure")], 77);
        let statement = checked.mends("publication", "sql").concat();
        let log = assert_end(run_verb(verb, &config, &url, &[]), 77, &[&statement]);
        assert_eq!(
            rights(&log),
            [
                &format!(
                    "GRANT CREATE ON DATABASE {} TO \"{name}\";",
                    database.name()
                ),
                &format!("GRANT USAGE ON SCHEMA public TO \"{name}\";"),
                &format!("GRANT USAGE ON SCHEMA shop TO \"{name}\";"),
                &format!("ALTER TABLE shop.orders OWNER TO \"{name}\";"),
                &format!("ALTER TABLE public.pets OWNER TO \"{name}\";"),
            ]
        );
        for right in rights(&log) {
            database.execute(right);
        }
        // A table in a closed schema is found all the same, and then the server tells what is closed.
        let usage = format!("USAGE ON SCHEMA public TO \"{name}\"");
        database.execute(&format!("REVOKE {}", usage.replace(" TO ", " FROM ")));
        let log = assert_end(
            run_verb(verb, &config, &url, &[]),
            77,
            &["permission denied for schema public"],
        );
        assert_eq!(rights(&log), [format!("GRANT {usage};")]);
        database.execute(&format!("GRANT {usage}"));
        check(&config, &url).assert_problems(&[], 0);
        place.streams(&url, 1);
        database.execute(&drop);

        // The other way that is told: somebody else runs the statement.
        database.execute(&statement);
        check(&config, &url).assert_status("publication", "ok");
    }
}

/// Not even what the catalog usually tells everybody.
#[test]
fn what_cannot_be_seen_is_a_warning() {
    let place = Place::new("least_catalog");
    let role = place.role();
    let url = role.url();
    for (id, right) in (1..).zip(SEEN_BY_WARNINGS) {
        // Its arguments differ between versions.
        let right = match right.strip_suffix("pg_get_publication_tables") {
            Some(_) => place.pipeline.database.query_one_text(
                "SELECT 'EXECUTE ON FUNCTION ' || oid::regprocedure FROM pg_proc \
                 WHERE proname = 'pg_get_publication_tables'",
            ),
            None => right.to_owned(),
        };
        place
            .pipeline
            .database
            .execute(&format!("REVOKE {right} FROM public"));
        let config = place.config();
        let connector = Connector::spawn_config(&config, &url, &[]);
        connector.wait_log("streaming from", DEADLINE);
        let line = connector.wait_log("cannot be seen", DEADLINE);
        assert!(
            line.contains(" WARN ") && line.contains("[SQLSTATE 42501]"),
            "{right}: {line}"
        );
        place.insert(id);
        place.stop(connector);
        let checked = check(&place.config(), &url);
        let is_failure = |(_, status): &(&str, &str)| *status == "failure";
        assert!(
            !checked.problems().iter().any(is_failure),
            "{right}: {:?}",
            checked.problems()
        );
        checked.assert_status("publication.tables", "warning");
        checked.assert_says("publication.tables", "cannot be seen: ");
        place
            .pipeline
            .database
            .execute(&format!("GRANT {right} TO public"));
    }
    let rows: Vec<i64> = (1..).take(SEEN_BY_WARNINGS.len()).collect();
    assert_eq!(inserted(&place.pipeline.records()), rows);
}

/// Nor whom a slot would wait for that is still to be made.
#[test]
fn what_nobody_waits_for_is_a_warning() {
    let place = Place::new("least_locks");
    let (role, database) = (place.role(), &place.pipeline.database);
    let slot = &place.pipeline.slot;
    database.query_one_text(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    for (view, condition) in [
        ("pg_locks", "transactions"),
        ("pg_prepared_xacts", "prepared_transactions"),
    ] {
        database.execute(&format!("REVOKE SELECT ON pg_catalog.{view} FROM public"));
        let checked = check(&place.config(), &role.url());
        checked.assert_problems(&[(condition, "warning")], 0);
        checked.assert_says(condition, "cannot be seen: ");
        database.execute(&format!("GRANT SELECT ON pg_catalog.{view} TO public"));
    }
    place.streams(&role.url(), 1);
}

/// A table that somebody keeps for himself, or is gone, does not keep the stream waiting.
#[test]
fn what_is_locked_or_gone_is_a_warning() {
    let place = Place::new("least_lock");
    let role = place.role();
    let (url, config) = (role.url(), place.config());
    let mut keeper = place.pipeline.database.client();
    keeper
        .batch_execute("BEGIN; LOCK TABLE pets IN ACCESS EXCLUSIVE MODE")
        .expect("nobody else has it");
    // The first major that looks into each table of a publication.
    let looks = healthy_server().major() >= 16;
    let connector = Connector::spawn_config(&config, &url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    let warned = connector.log().contains("cannot be seen");
    assert_eq!(warned, looks, "{}", connector.log());
    place.insert(1);
    place.stop(connector);
    let checked = check(&config, &url);
    assert_eq!(checked.code, 0, "{:?}", checked.problems());
    for condition in ["publication.tables", "publication.identity"] {
        checked.assert_status(condition, if looks { "warning" } else { "ok" });
    }
    keeper.batch_execute("ROLLBACK").expect("it is given back");

    place.pipeline.database.execute("DROP TABLE pets");
    let connector = Connector::spawn_config(&config, &url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    let says = "does not have the table pets";
    assert!(connector.log().contains(says), "{}", connector.log());
    place.stop(connector);
    // A name that is none is one more thing that is only warned of.
    let odd = place.config().parameter("tables", "['a b']");
    let connector = Connector::spawn_config(&odd, &url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    let line = connector.wait_log("cannot be seen", DEADLINE);
    assert!(line.contains("string is not a valid identifier"), "{line}");
    place.stop(connector);
}
