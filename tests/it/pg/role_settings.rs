//! Settings that a role or a database brings to each of its sessions: whatever they are, the whole
//! life of a connector goes as it would without them, on a primary and on a standby.

use postgres::{Client, NoTls};

use crate::support::check::check;
use crate::support::connector::{ConfigFile, Connector};
use crate::support::outcome::assert_end;
use crate::support::pair::Pair;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Database, Postgres, unique};
use crate::support::record::inserted;
use crate::support::stopped::run_verb;
use crate::support::wait_until;

const PASSWORD: &str = "hunter2";

/// Each at its most hostile value, from a version on. The place of tables is the user's to decide.
const HOSTILE: [(u32, &str, &str); 46] = [
    (10, "default_transaction_isolation", "serializable"),
    (10, "default_transaction_read_only", "on"),
    (10, "default_transaction_deferrable", "on"),
    (10, "statement_timeout", "'1ms'"),
    (10, "lock_timeout", "'1ms'"),
    (10, "idle_in_transaction_session_timeout", "'1ms'"),
    // A server takes no version's settings at the start that it may not know: these two are lifted
    // by the first statement, and what is over by then is named.
    (14, "idle_session_timeout", "'500ms'"),
    (17, "transaction_timeout", "'500ms'"),
    (10, "search_path", "own, public"),
    (10, "synchronous_commit", "remote_apply"),
    (10, "client_encoding", "LATIN1"),
    (10, "DateStyle", "'German, DMY'"),
    (10, "IntervalStyle", "iso_8601"),
    (10, "TimeZone", "'Asia/Kathmandu'"),
    (10, "extra_float_digits", "-15"),
    (10, "bytea_output", "escape"),
    (10, "lc_monetary", "'C.UTF-8'"),
    (10, "lc_numeric", "'C.UTF-8'"),
    (10, "lc_time", "'C.UTF-8'"),
    (10, "standard_conforming_strings", "off"),
    (10, "backslash_quote", "off"),
    (10, "escape_string_warning", "on"),
    (10, "xmloption", "document"),
    (10, "xmlbinary", "hex"),
    (10, "row_security", "off"),
    (10, "session_replication_role", "replica"),
    (10, "check_function_bodies", "off"),
    (10, "default_tablespace", "nowhere"),
    (10, "temp_tablespaces", "nowhere"),
    (17, "event_triggers", "off"),
    (10, "client_min_messages", "error"),
    (10, "quote_all_identifiers", "on"),
    (10, "array_nulls", "off"),
    (10, "transform_null_equals", "on"),
    (10, "application_name", "another"),
    (10, "work_mem", "'64kB'"),
    (10, "temp_file_limit", "0"),
    (10, "enable_hashjoin", "off"),
    (10, "enable_mergejoin", "off"),
    (10, "enable_nestloop", "off"),
    (10, "enable_sort", "off"),
    (10, "join_collapse_limit", "1"),
    (10, "geqo_threshold", "2"),
    (10, "deadlock_timeout", "'1h'"),
    (10, "default_text_search_config", "'pg_catalog.simple'"),
    (17, "restrict_nonsystem_relation_kind", "'view'"),
];

/// An ordinary role that may do what a connector needs, if its settings let it.
struct Harassed {
    name: String,
    /// One without any right, which its sessions begin as.
    other: String,
}

impl Harassed {
    fn new(database: &Database) -> Harassed {
        let (name, other) = (unique("harassed"), unique("powerless"));
        database.execute(&format!(
            "CREATE ROLE {other}; CREATE ROLE {name} LOGIN REPLICATION PASSWORD '{PASSWORD}' IN ROLE {other};
             GRANT CREATE ON DATABASE {} TO {name};
             CREATE SCHEMA own AUTHORIZATION {name}; CREATE TABLE own.t (id int8 PRIMARY KEY, f float8);
             ALTER TABLE own.t OWNER TO {name}",
            database.name()
        ));
        Harassed { name, other }
    }

    fn url(&self, url: &str) -> String {
        let (_, place) = url.rsplit_once('@').expect("a URL with a user");
        format!("postgres://{}:{PASSWORD}@{place}", self.name)
    }

    /// All of it in one round trip: the sessions that begin afterwards have it.
    fn harass(&self, database: &Database, places: &[String]) {
        let major = database.major();
        let mut statements = String::new();
        for place in places {
            for (_, setting, value) in HOSTILE.iter().filter(|(since, ..)| major >= *since) {
                statements += &format!("ALTER {place} SET {setting} = {value};\n");
            }
            statements += &format!("ALTER {place} SET role = {};\n", self.other);
        }
        database.execute(&statements);
    }

    fn verb(&self, config: &ConfigFile, url: &str, verb: &str, more: &[&str]) {
        let (code, log, stdout) = run_verb(verb, config, url, more);
        assert_eq!(code, 0, "{verb}: {log}{}", stdout.join("\n"));
    }
}

/// The settings must be in force, or the test would show nothing.
fn assert_in_force(url: &str) {
    let mut client = Client::connect(url, NoTls).expect("it is let in");
    let error = client.batch_execute("SELECT pg_sleep(1)").map(drop);
    assert!(error.is_err(), "no limit ends it");
}

/// A synchronous standby that is not there, until this is dropped.
struct Synchronous<'a>(&'a Postgres);

impl Synchronous<'_> {
    fn new(server: &Postgres) -> Synchronous<'_> {
        server.add_settings(&[("synchronous_standby_names", "nobody")]);
        server.reload();
        Synchronous(server)
    }
}

impl Drop for Synchronous<'_> {
    fn drop(&mut self) {
        self.0.add_settings(&[("synchronous_standby_names", "")]);
        self.0.reload();
    }
}

#[test]
fn on_a_primary() {
    let server = Postgres::start(&[]);
    for place in 0..3 {
        let pipeline = Pipeline::on(&server, "harassed").in_process();
        let database = &pipeline.database;
        let harassed = Harassed::new(database);
        let (name, own) = (database.name(), &harassed.name);
        let places = [
            format!("ROLE {own}"),
            format!("DATABASE {name}"),
            format!("ROLE {own} IN DATABASE {name}"),
        ];
        harassed.harass(database, &places[place..=place]);
        let url = harassed.url(&database.url());
        assert_in_force(&url);
        let _synchronous = Synchronous::new(&server);
        whole_life(&pipeline, &harassed, &url);
    }
}

fn whole_life(pipeline: &Pipeline, harassed: &Harassed, url: &str) {
    let database = &pipeline.database;
    let config = pipeline.config().parameter("tables", "[t]");
    let checked = check(&config, url);
    checked.assert_status("publication", "ok");
    checked.assert_status("slot", "ok");
    assert_eq!(checked.code, 0, "{}", checked.log);
    harassed.verb(&config, url, "setup", &[]);
    check(&config, url).assert_status("publication.tables", "ok");
    let connector = Connector::spawn_config(&config, url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    database
        .execute("SET synchronous_commit = local; INSERT INTO own.t VALUES (1, 0.1 + 0.2::float8)");
    wait_until("the row arrives", DEADLINE, || {
        inserted(&pipeline.records()) == [1]
    });
    harassed.verb(&config, url, "status", &[]);
    assert_eq!(
        connector.log_count("trying again"),
        0,
        "{}",
        connector.log()
    );
    drop(connector);
    database.wait_slot_inactive(&pipeline.slot);
    harassed.verb(&config, url, "peek", &[]);
    assert_eq!(check(&config, url).code, 0);
    harassed.verb(&config, url, "teardown", &["--yes"]);
}

#[test]
fn a_limit_that_cannot_be_lifted_is_named() {
    let pipeline = Pipeline::new("hurried");
    let database = &pipeline.database;
    if database.major() < 14 {
        return;
    }
    let harassed = Harassed::new(database);
    let name = &harassed.name;
    database.execute(&format!(
        "ALTER ROLE {name} SET idle_session_timeout = '1ms'"
    ));
    let config = pipeline.config();
    let url = harassed.url(&database.url());
    let outcome = run_verb("setup", &config, &url, &[]);
    // A server that was fast enough has lifted it.
    if outcome.0 != 77 {
        let says = [
            "[SQLSTATE 57P05]",
            "idle_session_timeout of the role, the database or the server is over before it can be \
             lifted",
        ];
        assert_end(outcome, 69, &says);
    }
}

/// A serializable transaction, for one, is none that a standby has.
#[test]
fn on_a_standby() {
    let pair = Pair::new("harassed");
    if !pair.decodes() {
        return;
    }
    let database = &pair.pipeline.database;
    let harassed = Harassed::new(database);
    harassed.harass(database, &[format!("ROLE {}", harassed.name)]);
    pair.publish();
    let url = harassed.url(&pair.url());
    let config = pair.with_state();
    assert_eq!(check(&config, &url).code, 0);
    let connector = Connector::spawn_config(&config, &url, &[]);
    connector.wait_log("making the replication slot", DEADLINE);
    wait_until("it streams", DEADLINE, || {
        database.execute("SELECT pg_log_standby_snapshot()");
        connector.log().contains("streaming from")
    });
    database.execute("INSERT INTO own.t VALUES (1)");
    pair.wait_rows_of(&connector, &[1]);
    harassed.verb(&config, &url, "status", &[]);
    assert_eq!(check(&config, &url).code, 0);
    assert_eq!(
        connector.log_count("trying again"),
        0,
        "{}",
        connector.log()
    );
}
