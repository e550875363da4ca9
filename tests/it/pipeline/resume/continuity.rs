//! What was done to the slot or the publication while the program was stopped is noticed at the
//! next start. What only the state file, or the memory of a running process, can tell goes unseen
//! without them: each of these cases is pinned too.

use crate::support::connector::Connector;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::Postgres;
use crate::support::stopped::Stopped;

#[test]
fn the_slot_is_gone_while_the_topic_has_history() {
    let stopped = Stopped::new("gone");
    stopped.drop_slot();
    let slot = format!(
        "replication slot {}: does not exist any more: the changes since it was confirmed last are \
         lost to it",
        stopped.pipeline.slot
    );
    stopped.refused_always(&[&slot]);
    let database = &stopped.pipeline.database;
    assert!(!database.slot_exists(&stopped.pipeline.slot));
}

#[test]
fn the_slot_was_dropped_and_made_again() {
    let stopped = Stopped::new("remade");
    let remake = |id| {
        stopped.drop_slot();
        stopped.insert(id);
        stopped.make_slot();
    };
    remake(4);
    let says = "it was advanced, or dropped and made again, and what is in between is not sent";
    let slot = format!("replication slot {}: the slot was", stopped.pipeline.slot);
    stopped.refused(&stopped.with_state(), &[&slot, says]);

    // Slot and topic alone look as after a clean stop.
    assert_eq!(stopped.goes_on(&stopped.without_state(), 5), [1, 2, 3, 5]);
    stopped.noticed_between_sessions(|| remake(6), &[says]);
}

#[test]
fn the_slot_was_advanced() {
    let stopped = Stopped::new("advanced");
    stopped.insert(4);
    stopped.advance_slot();
    let says = "it was advanced, or dropped and made again, and what is in between is not sent";
    stopped.refused(&stopped.with_state(), &[says]);

    // Slot and topic alone look as after a clean stop.
    assert_eq!(stopped.goes_on(&stopped.without_state(), 5), [1, 2, 3, 5]);
    let change = || {
        stopped.insert(6);
        stopped.advance_slot();
    };
    stopped.noticed_between_sessions(change, &[says]);
}

/// An open transaction in the topic tells, without a state file too.
#[test]
fn the_slot_was_advanced_past_the_transaction_that_the_topic_ends_in() {
    let stopped = Stopped::new("past");
    let config = stopped.without_state().set("confirm_delay", "1h");
    let connector = stopped.start(&config);
    stopped.insert(4);
    stopped.pipeline.wait_commits(4);
    connector.kill();
    stopped.wait_free();
    stopped.truncate(stopped.pipeline.end_offset() - 1);
    stopped.advance_slot();
    stopped.refused(
        &stopped.without_state(),
        &[
            "it ends inside the transaction at",
            "the rest of it is not sent",
        ],
    );
}

#[test]
fn the_slot_was_invalidated() {
    let server = with_little_wal();
    let stopped = Stopped::on(Pipeline::on(&server, "invalidated").in_process());
    invalidate(&stopped);
    if server.major() < INVALIDATES {
        let rows = stopped.goes_on(&stopped.with_state(), 15);
        assert_eq!(rows, [1, 2, 3, 10, 11, 12, 13, 15]);
        return;
    }
    stopped.refused_always(&[
        "was invalidated by the server (",
        "it held back more WAL than max_slot_wal_keep_size allows",
        "are lost to it",
    ]);
}

/// The first major that takes WAL from a slot that holds back too much; before, it keeps all of it.
pub const INVALIDATES: u32 = 13;

/// A server where [`invalidate`] makes a slot useless, if its version can do that.
pub fn with_little_wal() -> Postgres {
    let sizes = [("max_wal_size", "32MB"), ("min_wal_size", "32MB")];
    let limit = ("max_slot_wal_keep_size", "1MB");
    match Postgres::shared().major() {
        ..INVALIDATES => Postgres::start(&sizes),
        _ => Postgres::start(&[&sizes[..], &[limit]].concat()),
    }
}

/// Writes more than the slot may hold back.
pub fn invalidate(stopped: &Stopped) {
    let database = &stopped.pipeline.database;
    for id in 10..14 {
        database.query_one_text("SELECT pg_switch_wal()");
        stopped.insert(id);
    }
    database.execute("CHECKPOINT");
}

#[test]
fn the_publication_was_dropped_and_made_again() {
    let stopped = Stopped::new("published");
    let (database, name) = (&stopped.pipeline.database, &stopped.pipeline.publication);
    let drop = format!("DROP PUBLICATION {name}");
    let make = format!("CREATE PUBLICATION {name} FOR ALL TABLES");
    let says = "the publication was dropped and made again: changes of the time without it are not \
                sent";
    database.execute(&drop);
    database.execute(&make);
    stopped.refused(&stopped.with_state(), &[says]);
    // Nothing was written in between, so nothing is missing.
    assert_eq!(stopped.goes_on(&stopped.without_state(), 4), [1, 2, 3, 4]);
    let change = || {
        database.execute(&drop);
        database.execute(&make);
    };
    stopped.noticed_between_sessions(change, &[says]);
}

/// What was written in between cannot be decoded, and the server says so.
#[test]
fn rows_were_written_while_there_was_no_publication() {
    let stopped = Stopped::new("unpublished");
    let (database, name) = (&stopped.pipeline.database, &stopped.pipeline.publication);
    database.execute(&format!("DROP PUBLICATION {name}"));
    stopped.insert(4);
    database.execute(&format!("CREATE PUBLICATION {name} FOR ALL TABLES"));
    stopped.refused(
        &stopped.with_state(),
        &["the publication was dropped and made again"],
    );
    let confirmed = database.slot_confirmed_lsn(&stopped.pipeline.slot);
    let config = stopped.without_state();
    let mut connector = Connector::spawn_config(&config, &database.url(), &[]);
    assert_eq!(connector.wait_exit(DEADLINE), 76, "{}", connector.log());
    // A newer one warns only, and leaves these rows out.
    let log = connector.log();
    for says in [
        &format!("publication \"{name}\""),
        "to make the publication now does not help",
    ] {
        assert!(log.contains(says), "{log}");
    }
    assert_eq!(stopped.rows(), [1, 2, 3]);
    assert_eq!(
        database.slot_confirmed_lsn(&stopped.pipeline.slot),
        confirmed
    );
}

/// While another process has the slot, what that one confirms is no gap.
#[test]
fn a_second_process_waits_and_takes_over() {
    let stopped = Stopped::new("waits");
    let config = stopped.with_state();
    let first = stopped.start(&config);
    let url = stopped.pipeline.database.url();
    let second = Connector::spawn_config(&config, &url, &[]);
    for id in 4..=6 {
        let tries = second.log_count("is active for PID");
        stopped.insert(id);
        stopped.pipeline.wait_caught_up();
        second.wait_log_count("is active for PID", tries + 1, DEADLINE);
    }
    first.kill();
    second.wait_log("streaming from", DEADLINE);
    stopped.insert(7);
    stopped.stop(second);
    assert_eq!(stopped.rows(), [1, 2, 3, 4, 5, 6, 7]);
}
