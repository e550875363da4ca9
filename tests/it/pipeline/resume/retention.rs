//! A topic whose oldest records were removed by its retention, when what the program needs to go on
//! is among them.

use std::io::Write as _;

use crate::support::connector::{ConfigFile, Connector};
use crate::support::fluvio::{Accepting, Close, Fault, Side, When};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Postgres, Stop};
use crate::support::record::Record;
use crate::support::stopped::Stopped;
use crate::support::wait_until;

fn evict(stopped: &Stopped, start: i64) {
    let topic = &stopped.pipeline.topic;
    stopped.pipeline.server().evict(topic, 0, start);
}

/// Nothing is left, and the slot of a server that crashed sends again what was confirmed.
#[test]
fn nothing_is_left_and_what_was_confirmed_comes_again() {
    let server = Postgres::start(&[("checkpoint_timeout", "1h")]);
    let stopped = Stopped::on(Pipeline::on(&server, "empty").in_process());
    let (database, slot) = (&stopped.pipeline.database, &stopped.pipeline.slot);
    let confirmed = database.slot_confirmed_lsn(slot);
    server.restart(Stop::Immediate);
    let sent_from = database.slot_confirmed_lsn(slot);
    assert!(sent_from < confirmed, "the crash is to be felt");
    let end = stopped.pipeline.end_offset();
    evict(&stopped, end);
    assert_eq!(stopped.goes_on(&stopped.with_state(), 4), [4]);
    // It begins where the last one ended.
    assert!(stopped.pipeline.end_offset() > end);
}

/// What nobody has confirmed, and nobody can look at any more.
#[test]
fn nothing_is_left_of_what_was_not_confirmed() {
    let (stopped, records) = unconfirmed("unconfirmed", inserts);
    let known = stopped.state()["offset"].as_u64();
    assert!(known < Some(records.len() as u64), "{known:?}");
    evict(&stopped, stopped.pipeline.end_offset());
    stopped.refused_always(&["retention"]);
}

/// What a transaction writes into `t` while the program runs.
type Rows = fn(&Stopped);

fn inserts(stopped: &Stopped) {
    let insert = "INSERT INTO t SELECT generate_series(101, 120)";
    stopped.pipeline.database.execute(insert);
}

/// The rows from 104 on have one position.
fn copy_after_inserts(stopped: &Stopped) {
    copied(
        stopped,
        "INSERT INTO t SELECT generate_series(101, 103)",
        104,
    );
}

/// All of its rows have one position.
fn copy(stopped: &Stopped) {
    copied(stopped, "SELECT", 101);
}

fn copied(stopped: &Stopped, before: &str, first: i64) {
    let mut client = stopped.pipeline.database.client();
    let mut transaction = client.transaction().expect("a transaction begins");
    transaction.batch_execute(before).expect("it runs");
    let mut copy = transaction.copy_in("COPY t FROM STDIN").expect("COPY");
    for id in first..=120 {
        writeln!(copy, "{id}").expect("rows");
    }
    copy.finish().expect("the COPY ends");
    transaction.commit().expect("it commits");
}

/// A transaction that is in the topic and not confirmed.
fn unconfirmed(name: &str, rows: Rows) -> (Stopped, Vec<Record>) {
    let stopped = Stopped::new(name);
    let config = stopped.with_state().set("confirm_delay", "1h");
    let connector = stopped.start(&config);
    rows(&stopped);
    let records = stopped.pipeline.wait_commits(4);
    connector.kill();
    stopped.wait_free();
    (stopped, records)
}

/// The topic ends with row `last` of a transaction, and begins with row `first` of it.
fn without_begin(name: &str, rows: Rows, first: i64, last: i64) -> Stopped {
    let (stopped, records) = unconfirmed(name, rows);
    let offset_of = |id: i64| {
        let is_row = |record: &Record| record.kind() == "insert" && record.int(0) == id;
        records.iter().position(is_row).expect("it is there") as i64
    };
    stopped.truncate(offset_of(last) + 1);
    evict(&stopped, offset_of(first));
    assert_eq!(stopped.rows(), (first..=last).collect::<Vec<_>>());
    stopped
}

/// It goes on after the last row that is there, by the position of that row.
#[track_caller]
fn assert_goes_on(stopped: &Stopped, config: &ConfigFile, first: i64) {
    let rows = stopped.goes_on(config, 200);
    let expected: Vec<i64> = (first..=120).chain([200]).collect();
    assert_eq!(rows, expected);
    let records = stopped.pipeline.records();
    let is_commit = |record: &&Record| record.kind() == "commit";
    assert_eq!(records.iter().filter(is_commit).count(), 2);
}

#[test]
fn the_begin_of_the_open_transaction_is_gone() {
    let stopped = without_begin("begin", inserts, 105, 114);
    assert_goes_on(&stopped, &stopped.with_state(), 105);
    let stopped = without_begin("begin", inserts, 105, 114);
    assert_goes_on(&stopped, &stopped.without_state(), 105);
}

#[test]
fn the_begin_of_the_open_transaction_is_gone_and_one_row_is_left() {
    let stopped = without_begin("one_row", inserts, 110, 110);
    assert_goes_on(&stopped, &stopped.with_state(), 110);
}

/// The rows of one position are counted where the first of them is known to be the first.
#[test]
fn the_begin_is_gone_and_the_last_rows_have_one_position() {
    let stopped = without_begin("copied", copy_after_inserts, 102, 112);
    assert_goes_on(&stopped, &stopped.without_state(), 102);
}

/// How many rows of their position come before those that are left, nobody knows.
#[test]
fn the_begin_is_gone_and_all_rows_that_are_left_have_one_position() {
    let stopped = without_begin("all_copied", copy, 105, 112);
    stopped.refused_always(&["begin"]);
}

/// A table is described before its first row.
#[test]
fn the_begin_is_gone_and_no_row_is_left() {
    let (stopped, records) = unconfirmed("no_row", inserts);
    let is_description = |record: &Record| record.kind() == "relation";
    let description = records.iter().rposition(is_description);
    let description = description.expect("it is there") as i64;
    stopped.truncate(description + 1);
    evict(&stopped, description);
    stopped.refused_always(&["begin"]);
}

/// A batch is stored, its acknowledgement is lost, and some of its records are removed before the
/// program looks.
fn in_doubt(stopped: &Stopped, gone: fn(records: i64) -> i64) -> Connector {
    let server = stopped.pipeline.server();
    // All of it goes in one batch.
    let config = stopped.without_state().producer("linger", "500ms");
    let connector = stopped.start(&config);
    let before = stopped.pipeline.end_offset();
    server.set_accepting(Side::Sc, Accepting::ThenClose(Close::Fin));
    server.inject(Fault::CloseAfter(Close::Fin), When::Next);
    inserts(stopped);
    connector.wait_log("trying again in", DEADLINE);
    let records = stopped.pipeline.end_offset() - before;
    assert!(records > 20, "{records}");
    evict(stopped, before + gone(records));
    server.set_accepting(Side::Sc, Accepting::Serve);
    connector
}

#[track_caller]
fn assert_not_sent_again(stopped: &Stopped, connector: Connector, last: usize) {
    wait_until("it streams again, or ends", DEADLINE, || {
        connector.log_count("streaming from") == 2 || !connector.is_running()
    });
    assert!(connector.is_running(), "{}", connector.log());
    stopped.insert(200);
    stopped.stop(connector);
    let rows: Vec<i64> = (101..=120).collect();
    let expected = [&rows[rows.len() - last..], &[200]].concat();
    assert_eq!(stopped.rows(), expected);
    let config = stopped.without_state();
    assert_eq!(
        stopped.goes_on(&config, 201),
        [&expected[..], &[201]].concat()
    );
}

#[test]
fn a_batch_in_doubt_lies_partly_before_the_start() {
    let stopped = Stopped::new("partly");
    // The commit, and five rows before it, are left.
    let connector = in_doubt(&stopped, |records| records - 6);
    assert_not_sent_again(&stopped, connector, 5);
}

#[test]
fn a_batch_in_doubt_lies_before_the_start() {
    let stopped = Stopped::new("wholly");
    let connector = in_doubt(&stopped, |records| records);
    assert_not_sent_again(&stopped, connector, 0);
}
