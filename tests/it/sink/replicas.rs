//! A topic whose last records are not on all of its replicas yet when a session opens, and nothing
//! new to write that would be acknowledged later.

use crate::support::connector::Connector;
use crate::support::fluvio::When;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::stopped::Stopped;
use crate::support::wait_until;

/// More records than a transaction of a row has.
const BEHIND: i64 = 8;

/// Row 4 is in the topic and not confirmed.
fn unconfirmed(name: &str, make_topic: fn(&Pipeline)) -> (Stopped, u64) {
    let pipeline = Pipeline::new(name).in_process();
    make_topic(&pipeline);
    let stopped = Stopped::on(pipeline);
    let config = stopped.with_state().set("confirm_delay", "1h");
    let connector = stopped.start(&config);
    stopped.insert(4);
    let records = stopped.pipeline.wait_commits(4);
    connector.kill();
    stopped.wait_free();
    let end = records.last().expect("a commit").lsn("end_lsn");
    (stopped, end)
}

fn with_a_follower(pipeline: &Pipeline) {
    pipeline
        .server()
        .create_topic_with_a_follower(&pipeline.topic);
}

fn without_one(pipeline: &Pipeline) {
    pipeline.server().create_topic(&pipeline.topic);
}

/// Waits until statuses have come that were sent after everything was received.
fn wait_statuses(stopped: &Stopped) {
    let (database, slot) = (&stopped.pipeline.database, &stopped.pipeline.slot);
    database.wait_slot_active(slot);
    let written = database.query_one_text("SELECT pg_current_wal_lsn()");
    let is_sent = format!("sent_lsn >= '{written}'");
    wait_until("everything is sent", DEADLINE, || {
        database.walsender(slot, &is_sent).as_deref() == Some("t")
    });
    for _ in 0..3 {
        let before = database.status_mark(slot);
        wait_until("a status comes", DEADLINE, || {
            database.status_mark(slot) != before
        });
    }
}

/// The slot is held back until the follower has everything; then it is confirmed, with nothing new
/// in the topic.
#[track_caller]
fn assert_confirmed_later(args: &[&str], end_by_itself: fn(&Stopped, Connector)) {
    let (stopped, end) = unconfirmed("follower", with_a_follower);
    let (database, slot) = (&stopped.pipeline.database, &stopped.pipeline.slot);
    let server = stopped.pipeline.server();
    server.inject_old_offsets(BEHIND, When::Every);
    let config = stopped.with_state();
    let connector = Connector::spawn_config(&config, &database.url(), args);
    wait_statuses(&stopped);
    assert!(database.slot_confirmed_lsn(slot) < Some(end));
    assert!(connector.is_running(), "{}", connector.log());

    server.clear_faults();
    wait_until("what all replicas have is confirmed", DEADLINE, || {
        database.slot_confirmed_lsn(slot) >= Some(end)
    });
    end_by_itself(&stopped, connector);
    let offset = stopped.state()["offset"].as_i64();
    assert_eq!(offset, Some(stopped.pipeline.end_offset()));
    assert_eq!(stopped.goes_on(&config, 5), [1, 2, 3, 4, 5]);
}

#[test]
fn what_a_follower_gets_later_is_confirmed() {
    assert_confirmed_later(&[], |stopped, connector| stopped.stop(connector));
}

#[test]
fn what_a_follower_gets_later_is_drained() {
    assert_confirmed_later(&["--once-drained"], |_, mut connector| {
        assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
        assert!(connector.log().contains("drained; confirmed up to"));
    });
}

/// Its only server was killed, and finds out later that it has all that it has.
#[test]
fn a_topic_with_one_replica_has_what_is_there() {
    let (stopped, end) = unconfirmed("alone", without_one);
    let (database, slot) = (&stopped.pipeline.database, &stopped.pipeline.slot);
    let server = stopped.pipeline.server();
    server.inject_old_offsets(BEHIND, When::Every);
    let config = stopped.with_state();
    let mut drained = Connector::spawn_config(&config, &database.url(), &["--once-drained"]);
    assert_eq!(drained.wait_exit(DEADLINE), 0, "{}", drained.log());
    assert!(database.slot_confirmed_lsn(slot) >= Some(end));
    assert_eq!(stopped.goes_on(&config, 5), [1, 2, 3, 4, 5]);
}

/// What is written by the session itself is acknowledged by all replicas, whatever was behind.
#[test]
fn a_new_row_is_confirmed_with_what_was_behind() {
    let (stopped, _) = unconfirmed("new", with_a_follower);
    let server = stopped.pipeline.server();
    server.inject_old_offsets(BEHIND, When::Every);
    let config = stopped.with_state();
    let connector = stopped.start(&config);
    stopped.insert(5);
    stopped.stop(connector);
    assert_eq!(stopped.rows(), [1, 2, 3, 4, 5]);
}
