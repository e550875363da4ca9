//! A database that is not the one that the topic was filled from: another cluster, a restored
//! backup, a standby that was promoted too early.

use crate::support::connector::{ConfigFile, Connector, run_to_end};
use crate::support::outcome::{FAIL_DEADLINE, assert_end};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Database, Postgres, Stop};
use crate::support::record::last_commit_end;
use crate::support::stopped::Stopped;
use crate::support::wait_until;

/// Writes WAL, and nothing that is published, until it goes past this position.
fn go_past(database: &Database, lsn: u64) {
    while database.current_wal_lsn() <= lsn {
        database.query_one_text("SELECT pg_logical_emit_message(false, 'test', 'filler')");
        database.query_one_text("SELECT pg_switch_wal()");
    }
}

/// Where what the topic has ends.
fn last_end(stopped: &Stopped) -> u64 {
    last_commit_end(&stopped.pipeline.records())
}

/// Starts the server that [`Postgres::promote_at_next_start`] prepared.
fn start_promoted(server: &Postgres, database: &Database) {
    server.start_again();
    wait_until("the recovery is over", DEADLINE, || {
        database.query_one_text("SELECT pg_is_in_recovery()") == "f"
    });
}

#[test]
fn another_cluster() {
    let stopped = Stopped::new("cluster");
    let server = Postgres::start(&[]);
    let other = server.database("cluster");
    let slot = &stopped.pipeline.slot;
    let publication = &stopped.pipeline.publication;
    let refused = |config: &ConfigFile, says: &str| {
        let before = (
            other.slot_confirmed_lsn(slot),
            stopped.pipeline.end_offset(),
        );
        let outcome = run_to_end(&config.path(), &other.url(), &[], FAIL_DEADLINE);
        assert_end(
            outcome,
            76,
            &[says, "accept-gap --config FILE --reason TEXT"],
        );
        let after = (
            other.slot_confirmed_lsn(slot),
            stopped.pipeline.end_offset(),
        );
        assert_eq!(after, before);
    };
    // It has no slot of this name, as after most moves. What the file is of is told first.
    let file = stopped.state_file().display().to_string();
    let of_another =
        format!("the state file {file} is of another cluster: its system identifier is ");
    refused(&stopped.with_state(), &of_another);
    refused(&stopped.without_state(), "does not exist any more");

    other.execute("CREATE TABLE t (id int8)");
    other.execute(&format!("CREATE PUBLICATION {publication} FOR ALL TABLES"));
    other.create_slot(slot);
    refused(&stopped.with_state(), &of_another);

    // Without a state file it is noticed when its WAL is shorter than what the topic has, or when
    // the slot has not confirmed the end of that.
    let topic_ends = last_end(&stopped);
    assert!(other.current_wal_lsn() < topic_ends, "a server as new");
    let says = "or this is another one";
    refused(&stopped.without_state(), says);
    go_past(&other, topic_ends);
    refused(&stopped.without_state(), "or is another one");

    // A slot that was made later looks as after a clean stop.
    other.wait_slot_inactive(slot);
    other.query_one_text(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    other.create_slot(slot);
    refused(&stopped.with_state(), &of_another);
    let config = stopped.without_state();
    let connector = Connector::spawn_config(&config, &other.url(), &[]);
    connector.wait_log("streaming from", DEADLINE);
    other.execute("INSERT INTO t VALUES (71)");
    wait_until("the row of the other cluster arrives", DEADLINE, || {
        stopped.rows() == [1, 2, 3, 71]
    });
}

/// The rows 1 to 3 are in the backup; 4 and 5 were written and streamed after it, some megabytes
/// further on.
fn restored(server: &Postgres, name: &str) -> Stopped {
    let stopped = Stopped::on(Pipeline::on(server, name).in_process());
    server.stop(Stop::Fast);
    server.save_data();
    server.start_again();
    let connector = stopped.start(&stopped.with_state());
    let filler = "SELECT pg_logical_emit_message(false, 'test', repeat('x', 20000000))";
    stopped.pipeline.database.query_one_text(filler);
    (4..=5).for_each(|id| stopped.insert(id));
    stopped.stop(connector);
    server.stop(Stop::Fast);
    server.restore_data();
    stopped
}

#[test]
fn the_database_was_restored_to_an_earlier_point() {
    let server = Postgres::start(&[]);
    let stopped = restored(&server, "restored");
    server.start_again();
    let says = "the database was restored to an earlier point, or this is another one";
    stopped.refused_always(&["the server's WAL ends at", says]);

    // What is written after that has positions of what was read before. It is long enough for
    // statuses to be sent before the end of it is reached.
    let database = &stopped.pipeline.database;
    database.execute("INSERT INTO t SELECT generate_series(1001, 41000)");
    stopped.insert(6);
    assert!(database.current_wal_lsn() < last_end(&stopped));
    go_past(database, last_end(&stopped));
    stopped.insert(7);
    let end = format!("replication slot {}", stopped.pipeline.slot);
    stopped.refused_always(&[
        &end,
        "the topic ends with the transaction at",
        "which the slot has not confirmed and does not send",
    ]);

    // It is accepted although it takes a stream to see it. The slot of the backup may be behind, so
    // what it has not confirmed may come twice; nothing new is left out.
    stopped.accept("a restored backup");
    let rows = stopped.goes_on(&stopped.with_state(), 8);
    assert!([1, 2, 3, 4, 5].iter().eq(&rows[..5]), "{rows:?}");
    assert!(rows.ends_with(&[6, 7, 8]), "{rows:?}");
}

/// An idle database gives itself away by how far its WAL goes.
#[test]
fn a_restored_database_that_nobody_writes_to() {
    let server = Postgres::start(&[]);
    let stopped = restored(&server, "idle");
    server.start_again();
    let database = server.database("elsewhere");
    go_past(&database, last_end(&stopped));
    stopped.refused_always(&["the topic ends with the transaction at"]);
}

#[test]
fn the_timeline_is_another() {
    let server = Postgres::start(&[]);
    let stopped = restored(&server, "timeline");
    let database = &stopped.pipeline.database;

    // A standby that had not received the last of it was promoted.
    server.promote_at_next_start();
    start_promoted(&server, database);
    go_past(database, last_end(&stopped));
    let with_state = stopped.with_state();
    let says = [
        "the cluster left timeline 1 at ",
        "what the topic has of it from there on never happened here",
    ];
    stopped.refused(&with_state, &says);
    stopped.refused(
        &stopped.without_state(),
        &["the topic ends with the transaction at"],
    );
    stopped.accept("the standby was behind");
    stopped.goes_on(&with_state, 6);
    assert_eq!(stopped.state()["timeline"], 2);

    // The server from before the failover comes back.
    server.stop(Stop::Fast);
    server.restore_data();
    server.start_again();
    go_past(database, last_end(&stopped));
    let says = "the cluster is on timeline 1, it was on 2: it is a copy from before a failover";
    stopped.refused(&with_state, &[says]);
    stopped.refused(
        &stopped.without_state(),
        &["the topic ends with the transaction at"],
    );

    // A third one comes from timeline 1 and was never on 2.
    server.stop(Stop::Fast);
    server.restore_data();
    server.reserve_timeline(2);
    server.promote_at_next_start();
    start_promoted(&server, database);
    go_past(database, last_end(&stopped));
    stopped.refused(&with_state, &["the cluster never was on timeline 2"]);
}

/// A standby that had everything continues the history: nothing is missing.
#[test]
fn a_failover_without_a_loss_goes_on() {
    let server = Postgres::start(&[]);
    let stopped = Stopped::on(Pipeline::on(&server, "failover").in_process());
    server.stop(Stop::Fast);
    server.promote_at_next_start();
    start_promoted(&server, &stopped.pipeline.database);
    assert_eq!(stopped.goes_on(&stopped.with_state(), 4), [1, 2, 3, 4]);
    assert_eq!(stopped.state()["timeline"], 2);
}
