//! `run --once-drained`, as a timer starts it.

use crate::support::connector::{Connector, run_to_end};
use crate::support::load::{assert_same_rows, under_load};
use crate::support::outcome::assert_end;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::Postgres;
use crate::support::record::inserted;
use crate::support::role::Role;

const DRAIN: &str = "--once-drained";

/// Drains, and asserts that everything is confirmed that was written before.
#[track_caller]
fn drain(pipeline: &Pipeline) {
    let written = pipeline.database.current_wal_lsn();
    let (code, log, _) = run(pipeline, &pipeline.database.url());
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("drained; confirmed up to"), "{log}");
    let confirmed = pipeline.database.slot_confirmed_lsn(&pipeline.slot);
    assert!(confirmed >= Some(written), "{confirmed:?} of {written}");
}

fn run(pipeline: &Pipeline, url: &str) -> (i32, String, Vec<String>) {
    let outcome = run_to_end(&pipeline.config().path(), url, &[DRAIN], DEADLINE);
    pipeline.database.wait_slot_inactive(&pipeline.slot);
    outcome
}

#[test]
fn with_rows_and_without() {
    let pipeline = Pipeline::new("drained");
    let database = &pipeline.database;
    database.execute("CREATE TABLE t (id int8)");
    drain(&pipeline);
    assert_eq!(pipeline.end_offset(), 0, "the slot was made");
    database.execute("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2), (3)");
    drain(&pipeline);
    assert_eq!(inserted(&pipeline.records()), [1, 2, 3]);
    let end = pipeline.end_offset();
    drain(&pipeline);
    assert_eq!(pipeline.end_offset(), end, "nothing is new");
    // WAL that is not for us.
    Postgres::shared()
        .database("other")
        .execute("CREATE TABLE other (id int8)");
    drain(&pipeline);
    database.execute("INSERT INTO t SELECT generate_series(4, 20000)");
    drain(&pipeline);
    let expected: Vec<i64> = (1..=20_000).collect();
    assert_same_rows(&inserted(&pipeline.records()), &expected);
}

/// The goal does not move.
#[test]
fn it_ends_although_more_and_more_is_written() {
    let pipeline = Pipeline::new("drained");
    drain(&pipeline);
    let mut connector = None;
    let delivered = under_load(&pipeline, 31, |load| {
        for _ in 0..3 {
            load.wait_commits(30);
            drain(&pipeline);
        }
        connector = Some(pipeline.start());
    });
    assert_same_rows(&inserted(&delivered.records), &delivered.rows);
}

#[test]
fn another_process_that_holds_the_slot_ends_it_with_75() {
    let pipeline = Pipeline::new("drained");
    let _holder = pipeline.start();
    let url = pipeline.database.url();
    let outcome = run_to_end(&pipeline.config().path(), &url, &[DRAIN], DEADLINE);
    assert_end(outcome, 75, &[&pipeline.slot, "is active for PID"]);
}

#[test]
fn a_failure_ends_it_as_once_does() {
    let pipeline = Pipeline::new("drained");
    let url = pipeline.database.url_at(1);
    let outcome = run_to_end(&pipeline.config().path(), &url, &[DRAIN], DEADLINE);
    assert_end(outcome, 69, &["127.0.0.1:1", "Connection refused"]);
    let role = Role::new(&pipeline.database, "");
    let outcome = run_to_end(&pipeline.config().path(), &role.url(), &[DRAIN], DEADLINE);
    assert_end(outcome, 77, &["replication"]);
}

#[test]
fn to_standard_output() {
    let pipeline = Pipeline::new("drained");
    let database = &pipeline.database;
    database.execute("CREATE TABLE t (id int8)");
    drain(&pipeline);
    database.execute("INSERT INTO t VALUES (1)");
    let args = [DRAIN, "--stdout"];
    let config = pipeline.config();
    let mut connector = Connector::spawn_config(&config, &database.url(), &args);
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    let lines = connector.stdout_lines();
    let rows = lines.iter().filter(|line| line.contains("{\"Int8\":1}"));
    assert_eq!(rows.count(), 1, "{lines:?}");
}
