//! What the slot confirms and keeps, and what the server sees of the program.

use std::time::{Duration, Instant};

use crate::support::connector::Connector;
use crate::support::load::{assert_same_rows, under_load};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Postgres, Stop};
use crate::support::record::{inserted, last_commit_end};
use crate::support::wait_until;

const TABLE: &str = "CREATE TABLE t (id int8, filler text)";

/// A few megabytes of WAL.
const MUCH_WAL: &str = "CREATE TABLE IF NOT EXISTS other (filler text); \
     INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 3000)";

/// Waits until a status came that was sent after all that is written now was received.
fn wait_reported(pipeline: &Pipeline) {
    let database = &pipeline.database;
    let written = database.query_one_text("SELECT pg_current_wal_lsn()");
    let reports =
        |condition: &str| database.walsender(&pipeline.slot, condition).as_deref() == Some("t");
    wait_until("the walsender has read the WAL", DEADLINE, || {
        reports(&format!("sent_lsn >= '{written}'"))
    });
    // The first of two may have been under way.
    for _ in 0..2 {
        let before = database.status_mark(&pipeline.slot);
        wait_until("a status comes", DEADLINE, || {
            database.status_mark(&pipeline.slot) != before
        });
    }
}

#[test]
fn wal_of_another_database_does_not_hold_it_back() {
    let pipeline = Pipeline::new("slot");
    let other = Postgres::shared().database("other");
    let _connector = pipeline.start();
    other.execute(MUCH_WAL);
    pipeline.wait_caught_up();
    assert_eq!(pipeline.end_offset(), 0);
}

#[test]
fn wal_of_unpublished_tables_does_not_hold_it_back() {
    let pipeline = Pipeline::new("slot");
    pipeline.database.execute(TABLE);
    let config = pipeline.config().parameter("tables", "[t]");
    let _connector = pipeline.start_with(&config);
    pipeline.database.execute("INSERT INTO t VALUES (1)");
    pipeline.wait_commits(1);
    pipeline.database.execute(MUCH_WAL);
    pipeline.wait_caught_up();
    assert_eq!(inserted(&pipeline.records()), [1]);
}

/// A transaction that is not in the topic yet holds the slot, whatever the server sends besides.
#[test]
fn a_keepalive_is_not_confirmed_past_what_is_not_stored() {
    let pipeline = Pipeline::new("slot").in_process();
    pipeline.database.execute(TABLE);
    let other = Postgres::shared().database("other");
    let _connector = pipeline.start();
    pipeline.database.execute("INSERT INTO t VALUES (1)");
    pipeline.wait_caught_up();

    pipeline.server().freeze();
    pipeline.database.execute("INSERT INTO t VALUES (2)");
    let committed = pipeline.database.current_wal_lsn();
    other.execute(MUCH_WAL);
    wait_reported(&pipeline);
    let confirmed = pipeline.database.slot_confirmed_lsn(&pipeline.slot);
    assert!(confirmed < Some(committed), "{confirmed:?} of {committed}");
    assert_eq!(inserted(&pipeline.records()), [1]);

    pipeline.server().thaw();
    pipeline.wait_caught_up();
    assert_eq!(inserted(&pipeline.records()), [1, 2]);
}

/// Nothing of an open transaction is sent before it commits, so what other transactions write
/// meanwhile may be confirmed; the rows come all the same, also after a stop.
#[test]
fn an_open_transaction_is_not_lost() {
    let pipeline = Pipeline::new("slot");
    pipeline.database.execute(TABLE);
    let mut connector = pipeline.start();
    let mut open = pipeline.database.client();
    open.batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .unwrap();
    pipeline.database.execute("INSERT INTO t VALUES (2)");
    pipeline.wait_caught_up();
    connector.signal("TERM");
    assert_eq!(connector.wait_exit(DEADLINE), 0);
    open.batch_execute("INSERT INTO t VALUES (3); COMMIT")
        .unwrap();
    let _connector = pipeline.start();
    pipeline.wait_caught_up();
    assert_eq!(inserted(&pipeline.records()), [2, 1, 3]);
}

/// The interval of the config does not count then: the server would not wait so long.
#[test]
fn a_blocked_sink_does_not_cost_the_connection() {
    const PATIENCE: Duration = Duration::from_secs(2);
    let postgres = Postgres::start(&[("wal_sender_timeout", "2s")]);
    let pipeline = Pipeline::on(&postgres, "slot").in_process();
    pipeline.database.execute(TABLE);
    // What is under way to Fluvio fits into a socket: bytes that it does not take for half of the timeout
    // would be given up.
    let config = pipeline.config().producer("batch-size", "16KB");
    let config = config.set("status_interval", "1m");
    let connector = pipeline.start_with(&config);
    let walsender = pipeline.database.slot_active_pid(&pipeline.slot);

    pipeline.server().freeze();
    let frozen = Instant::now();
    // More than the program takes and the system buffers.
    let rows = "SELECT id, repeat('x', 1000) FROM generate_series(1, 40000) id";
    pipeline.database.execute(&format!("INSERT INTO t {rows}"));
    wait_until("three timeouts have passed", DEADLINE, || {
        let now = pipeline.database.slot_active_pid(&pipeline.slot);
        assert_eq!(now, walsender, "{}\n{}", connector.log(), postgres.log());
        frozen.elapsed() > 3 * PATIENCE
    });

    pipeline.server().thaw();
    pipeline.wait_caught_up();
    let now = pipeline.database.slot_active_pid(&pipeline.slot);
    assert_eq!(now, walsender, "{}", connector.log());
    assert!(
        !postgres.log().contains("replication timeout"),
        "{}",
        postgres.log()
    );
    let expected: Vec<i64> = (1..=40_000).collect();
    assert_same_rows(&inserted(&pipeline.records()), &expected);
}

#[test]
fn the_server_shows_who_reads_and_how_far() {
    let pipeline = Pipeline::new("slot");
    pipeline.database.execute(TABLE);
    let _connector = pipeline.start();
    pipeline.database.execute("INSERT INTO t VALUES (1)");
    pipeline.wait_caught_up();
    let shown = |expression: &str| pipeline.database.walsender(&pipeline.slot, expression);
    assert_eq!(
        shown("application_name").as_deref(),
        Some("postgres-source/test")
    );
    assert_eq!(shown("state").as_deref(), Some("streaming"));
    let stored = last_commit_end(&pipeline.records());
    let flushed = shown("(flush_lsn - '0/0')::int8").expect("a position");
    assert!(
        flushed.parse::<u64>().expect("a number") >= stored,
        "{flushed} {stored}"
    );
    let same = shown("write_lsn = flush_lsn AND flush_lsn = replay_lsn");
    assert_eq!(same.as_deref(), Some("t"));
}

#[test]
fn after_a_clean_stop_it_goes_on_where_it_was_confirmed() {
    let pipeline = Pipeline::new("slot");
    pipeline.database.execute(TABLE);
    let mut connector = pipeline.start();
    pipeline.database.execute("INSERT INTO t VALUES (1)");
    pipeline.wait_commits(1);
    connector.signal("TERM");
    assert_eq!(connector.wait_exit(DEADLINE), 0);
    let stopped = lsn_after(&connector, "confirmed up to ");
    let confirmed = pipeline.database.query_one_text(&format!(
        "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{}'",
        pipeline.slot
    ));
    assert_eq!(stopped, confirmed);
    let connector = pipeline.start();
    assert_eq!(
        lsn_after(
            &connector,
            &format!("publication {}, from ", pipeline.publication)
        ),
        confirmed
    );
    pipeline.database.execute("INSERT INTO t VALUES (2)");
    pipeline.wait_caught_up();
    assert_eq!(inserted(&pipeline.records()), [1, 2]);
}

fn lsn_after(connector: &Connector, words: &str) -> String {
    let log = connector.log();
    let (_, rest) = log
        .rsplit_once(words)
        .unwrap_or_else(|| panic!("{words} in {log}"));
    rest.chars()
        .take_while(|c| c.is_ascii_hexdigit() || *c == '/')
        .collect()
}

/// It waits until its receivers have confirmed all of the WAL, the shutdown's own included, and
/// asks them to report.
#[test]
fn a_fast_shutdown_is_not_held_up_by_an_idle_program() {
    let postgres = Postgres::start(&[]);
    let pipeline = Pipeline::on(&postgres, "slot");
    // Nothing is reported by the clock during this test.
    let config = pipeline.config().set("status_interval", "1m");
    let _connector = pipeline.start_with(&config);
    assert_stops_soon(&postgres);
}

#[test]
fn a_fast_shutdown_is_not_held_up_by_a_busy_program() {
    let postgres = Postgres::start(&[]);
    let pipeline = Pipeline::on(&postgres, "slot");
    let config = pipeline.config().set("status_interval", "10ms");
    let connector = pipeline.start_with(&config);
    under_load(&pipeline, 12, |load| {
        load.wait_commits(100);
        assert_stops_soon(&postgres);
        postgres.start_again();
        connector.wait_log_count("streaming from", 2, DEADLINE);
    });
}

fn assert_stops_soon(postgres: &Postgres) {
    let since = Instant::now();
    postgres.stop(Stop::Fast);
    let took = since.elapsed();
    // Without an answer it would take the walsender's minute.
    assert!(
        took < Duration::from_secs(20),
        "{took:?}\n{}",
        postgres.log()
    );
}
