//! Statements that wait for others: it is told whom for, and a stop leaves nothing of them on the server.

use std::time::{Duration, Instant};

use postgres::Client;
use postgres_source::base::Error;
use postgres_source::pg::ConnectParams;
use postgres_source::pg::{Connection, Watch};

use crate::support::certificates::Authority;
use crate::support::check::check;
use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE};
use crate::support::manager::Manager;
use crate::support::outcome::FAIL_DEADLINE;
use crate::support::pair::Pair;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Database, Postgres};
use crate::support::stopped::{Stopped, run_verb};
use crate::support::wait_until;

/// Nobody else works here: whom it waits for is what the test has made.
fn own_server(settings: &[(&str, &str)]) -> Postgres {
    Postgres::start(settings)
}

/// Where people lose patience.
const AT_ONCE: Duration = Duration::from_secs(4);

/// The first major whose servers look whether their client is there.
const NOTICES: u32 = 14;

/// A session with an open transaction that has done this, and its process.
pub fn transaction(database: &Database, sql: &str) -> (Client, i32) {
    let mut client = database.client();
    client
        .batch_execute(&format!("BEGIN; {sql}"))
        .expect("nobody is in its way");
    let pid = client
        .query_one("SELECT pg_backend_pid()", &[])
        .expect("it answers")
        .get(0);
    (client, pid)
}

/// The processes of the server that are there for the program.
fn backends(database: &Database) -> Vec<Option<String>> {
    database.query_texts(
        "SELECT query FROM pg_stat_activity WHERE application_name LIKE 'postgres-source%'",
    )
}

/// Nothing of the program is on the server although who was waited for is still there.
#[track_caller]
fn assert_nothing_left(pipeline: &Pipeline) {
    let database = &pipeline.database;
    wait_until("no process is left on the server", DEADLINE, || {
        backends(database).is_empty()
    });
    assert!(!database.slot_exists(&pipeline.slot));
}

/// Signals end the program soon, with this code.
#[track_caller]
fn assert_stops(connector: &mut Connector, signals: &[&str], code: i32) {
    let since = Instant::now();
    for signal in signals {
        connector.signal(signal);
    }
    assert_eq!(connector.wait_exit(DEADLINE), code, "{}", connector.log());
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
}

fn run(pipeline: &Pipeline, config: &ConfigFile) -> Connector {
    Connector::spawn_config(config, &pipeline.database.url(), &["--stdout"])
}

#[test]
fn a_lock_on_a_table_is_told_by_everybody_and_a_stop_ends_the_wait() {
    let server = own_server(&[]);
    let pipeline = Pipeline::on(&server, "lock");
    let database = &pipeline.database;
    database.execute("CREATE TABLE t (id int PRIMARY KEY)");
    let (mut holder, pid) = transaction(database, "LOCK TABLE t IN SHARE MODE");
    let manager = Manager::new();
    let config = pipeline.config().parameter("tables", "[t]");
    let url = database.url();
    let variables = [(URL_VARIABLE, &*url), ("NOTIFY_SOCKET", &manager.socket)];
    let mut connector = Connector::spawn_with(&config.path(), &["--stdout"], &variables);

    let whom = format!(
        "PID {pid} (postgres, \"test-helper\", database {})",
        database.name()
    );
    let line = connector.wait_log(&format!("waiting for {whom}"), DEADLINE);
    assert!(
        line.contains("for ShareUpdateExclusiveLock on public.t"),
        "{line}"
    );
    assert_eq!(connector.log_count("making the publication"), 1);
    manager.wait(&format!("STATUS=waiting for {whom}"), 1, DEADLINE);
    connector.wait_log(&format!("waiting for 10 s for {whom}"), DEADLINE);

    let (code, log, stdout) = run_verb("status", &config, &url, &[]);
    let stdout = stdout.join("\n");
    assert!(
        stdout.contains(&format!("waiting:    for {whom}")),
        "{code} {stdout}\n{log}"
    );
    let checked = check(&config, &url);
    checked.assert_says("publication.locks", &whom);

    assert_stops(&mut connector, &["TERM"], 0);
    assert_nothing_left(&pipeline);
    holder.batch_execute("COMMIT").expect("it ends");
    let made = database.query_texts("SELECT pubname::text FROM pg_publication");
    assert_eq!(made, [], "nobody wants it any more");
}

#[test]
fn a_slot_that_is_not_wanted_any_more_is_not_made() {
    let server = own_server(&[]);
    let pipeline = Pipeline::on(&server, "unwanted");
    let elsewhere = server.database("elsewhere");
    elsewhere.execute("CREATE TABLE t (id int)");
    let (mut holder, pid) = transaction(&elsewhere, "INSERT INTO t VALUES (1)");
    let config = pipeline.config();
    for signals in [&["TERM"][..], &["TERM", "TERM"], &["INT", "TERM", "INT"]] {
        let mut connector = run(&pipeline, &config);
        let line = connector.wait_log(&format!("waiting for PID {pid} "), DEADLINE);
        assert!(line.contains(elsewhere.name()), "{line}");
        assert!(line.ends_with("to end"), "{line}");
        assert_stops(&mut connector, signals, 0);
        assert_nothing_left(&pipeline);
    }
    holder.batch_execute("COMMIT").expect("it ends");
    assert_nothing_left(&pipeline);
}

#[test]
fn a_prepared_transaction_is_named_though_it_has_no_process() {
    let server = own_server(&[]);
    let pipeline = Pipeline::on(&server, "prepared");
    let database = &pipeline.database;
    database.execute("CREATE TABLE t (id int)");
    database.execute("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'left'");
    let config = pipeline.config();
    let mut connector = run(&pipeline, &config);
    let says = "waiting for the prepared transaction \"left\" of postgres in ";
    connector.wait_log(says, DEADLINE);
    assert_stops(&mut connector, &["TERM"], 0);
    assert_nothing_left(&pipeline);

    // And with a lock on a table in hand.
    database.execute("ROLLBACK PREPARED 'left'");
    database.execute("BEGIN; LOCK TABLE t IN EXCLUSIVE MODE; PREPARE TRANSACTION 'locked'");
    let config = pipeline.config().parameter("tables", "[t]");
    database.execute(&format!("DROP PUBLICATION \"{}\"", pipeline.publication));
    let connector = run(&pipeline, &config);
    let line = connector.wait_log("waiting for the prepared transaction \"locked\"", DEADLINE);
    assert!(
        line.contains("for ShareUpdateExclusiveLock on public.t"),
        "{line}"
    );
    database.execute("ROLLBACK PREPARED 'locked'");
    connector.wait_log("streaming from", DEADLINE);
}

#[test]
fn over_tls_too() {
    let ca = Authority::new("the CA of the tests");
    let certificate = ca.server(&["127.0.0.1"]);
    let server = Postgres::start_with(
        &[("ssl", "on")],
        "hostssl all all 127.0.0.1/32 trust\n",
        &[
            ("server.crt", &certificate.cert),
            ("server.key", &certificate.key),
        ],
    );
    let pipeline = Pipeline::on(&server, "tls_wait");
    let database = &pipeline.database;
    let (_holder, pid) = transaction(database, "CREATE TABLE t (id int)");
    let url = format!("{}?sslmode=require", database.url());
    let config = pipeline.config();
    let mut connector = Connector::spawn_config(&config, &url, &["--stdout"]);
    connector.wait_log(&format!("waiting for PID {pid} "), DEADLINE);
    assert_stops(&mut connector, &["TERM"], 0);
    assert_nothing_left(&pipeline);
}

#[test]
fn a_slot_on_a_standby_waits_for_the_primary() {
    let pair = Pair::new("waits_for_primary");
    if !pair.decodes() {
        return;
    }
    pair.publish();
    let config = pair.without_state();
    let mut connector = Connector::spawn_config(&config, &pair.url(), &["--stdout"]);
    connector.wait_log("waiting for the primary, until it logs", DEADLINE);
    assert_stops(&mut connector, &["TERM"], 0);
    pair.wait_standby(
        "no process is left on the standby",
        "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity \
         WHERE application_name LIKE 'postgres-source%')",
    );
    assert_eq!(pair.slot("slot_name"), None);
}

#[test]
fn a_process_that_is_killed_leaves_no_slot_either() {
    let server = own_server(&[]);
    if server.major() < NOTICES {
        return;
    }
    let pipeline = Pipeline::on(&server, "killed");
    let (_holder, pid) = transaction(&pipeline.database, "CREATE TABLE t (id int)");
    let config = pipeline.config();
    let connector = run(&pipeline, &config);
    connector.wait_log(&format!("waiting for PID {pid} "), DEADLINE);
    connector.kill();
    assert_nothing_left(&pipeline);
}

#[test]
fn the_other_verbs_wait_in_the_same_way() {
    let server = own_server(&[]);
    let stopped = Stopped::on(Pipeline::on(&server, "verbs").in_process());
    let pipeline = &stopped.pipeline;
    let (database, config) = (&pipeline.database, stopped.with_state());
    let url = database.url();
    let spawn = |config: &ConfigFile, args: &[&str]| {
        let path = config.path();
        let config = ["--config", path.to_str().expect("UTF-8")];
        let args = [&args[..1], &config, &args[1..]].concat();
        Connector::spawn_command(&args, &[(URL_VARIABLE, &url)])
    };

    stopped.drop_slot();
    let (mut holder, pid) = transaction(database, "INSERT INTO t VALUES (4)");
    let mut accept = spawn(&config, &["accept-gap", "--reason", "a test"]);
    accept.wait_log(&format!("waiting for PID {pid} "), DEADLINE);
    assert_stops(&mut accept, &["TERM"], 69);
    assert_nothing_left(pipeline);
    holder.batch_execute("ROLLBACK").expect("it ends");

    let publication = &pipeline.publication;
    let comment = format!("COMMENT ON PUBLICATION \"{publication}\" IS 'in use'");
    let (mut holder, pid) = transaction(database, &comment);
    let mut teardown = spawn(&config, &["teardown", "--yes"]);
    teardown.wait_log(&format!("waiting for PID {pid} "), DEADLINE);
    assert_stops(&mut teardown, &["INT"], 69);
    assert_nothing_left(pipeline);
    holder.batch_execute("ROLLBACK").expect("it ends");
    let left = database.query_texts("SELECT pubname::text FROM pg_publication");
    assert_eq!(left, [Some(publication.clone())], "it is not dropped later");

    // What this topic has would be a gap without a slot; another has nothing yet.
    let other = Pipeline::on(&server, "setup").in_process();
    let (_holder, pid) = transaction(database, "INSERT INTO t VALUES (5)");
    let config = other.config();
    let mut setup = spawn(&config, &["setup"]);
    setup.wait_log(&format!("waiting for PID {pid} "), FAIL_DEADLINE);
    assert_stops(&mut setup, &["TERM"], 69);
    assert_nothing_left(&other);
}

/// Ends a wait once it has lasted for a moment.
struct Impatient;

impl Watch for Impatient {
    fn on_wait(&mut self, waited: Duration) -> Result<(), Error> {
        match waited > Duration::from_millis(200) {
            true => Err(Error::unreachable("it takes too long")),
            false => Ok(()),
        }
    }
}

#[test]
fn a_statement_ends_on_the_server_when_nobody_waits_for_it_any_more() {
    let database = Postgres::shared().database("impatient");
    let params = ConnectParams::parse(&database.url(), "impatient").expect("a URL");
    let mut connection = Connection::connect_for_sql(&params).expect("it is let in");
    connection.watch(Box::new(Impatient));
    let answer = connection.query("SELECT 1").expect("it takes no time");
    assert_eq!(answer, [[Some("1".to_owned())]]);
    let error = connection.query("SELECT pg_sleep(600)").expect_err("ended");
    assert!(error.message().contains("it takes too long"), "{error}");
    let active = "SELECT count(*) FROM pg_stat_activity \
                  WHERE application_name = 'impatient' AND state = 'active'";
    assert_eq!(database.query_one_text(active), "0");
}
