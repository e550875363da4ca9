//! While one batch is under way, the next is sent but for its last byte.

use std::time::Duration;

use fluvio_protocol::link::ErrorCode;

use crate::support::connector::ConfigFile;
use crate::support::fluvio::{Close, Fault, When};
use crate::support::load::assert_same_rows;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::ports::{has_unread, port};
use crate::support::record::inserted;
use crate::support::wait_until;

/// So many rows of a kilobyte are some twenty batches.
const ROWS: i64 = 300;

fn pipeline(name: &str) -> Pipeline {
    let pipeline = Pipeline::new(name).in_process();
    pipeline
        .database
        .execute("CREATE TABLE t (id int8 PRIMARY KEY, filler text)");
    pipeline
}

fn config(pipeline: &Pipeline) -> ConfigFile {
    pipeline.config().producer("batch-size", "16KB")
}

/// The topic has the rows up to this one, each once and in order.
#[track_caller]
fn assert_rows(pipeline: &Pipeline, last: i64) {
    let expected: Vec<i64> = (1..=last).collect();
    assert_same_rows(&inserted(&pipeline.records()), &expected);
}

/// One transaction.
fn insert(pipeline: &Pipeline, rows: std::ops::RangeInclusive<i64>) {
    let (first, last) = (rows.start(), rows.end());
    pipeline.database.execute(&format!(
        "INSERT INTO t SELECT id, repeat('x', 1000) FROM generate_series({first}, {last}) id"
    ));
}

#[test]
fn the_next_batch_is_on_its_way_before_one_is_acknowledged() {
    const DELAY: Duration = Duration::from_secs(20);
    let pipeline = pipeline("on_its_way");
    // A batch that is sent because nothing more has come yet is waited for.
    let _connector = pipeline.start_with(&config(&pipeline).producer("linger", "5s"));
    let server = pipeline.server();
    server.inject(Fault::AckDelay(DELAY), When::Nth(3));
    insert(&pipeline, 1..=ROWS);
    // The server answers one request after the other.
    let spu = port(&server.spu_addr());
    // A fault is met before the batch is stored, so both are waited for. With a fourth batch stored the
    // answer to the third has come, and this never holds.
    wait_until(
        "three batches are stored, and the next is there",
        DEADLINE,
        || {
            server.batches(&pipeline.topic, 0).len() == 3
                && server.armed_faults() == 0
                && has_unread(spu)
        },
    );
    server.drop_connections(Close::Reset);
    pipeline.wait_caught_up();
    assert_rows(&pipeline, ROWS);
}

/// A full batch does not wait for company, only the rest behind it.
#[test]
fn with_linger_only_what_is_not_full_waits() {
    let pipeline = pipeline("linger");
    let mut connector = pipeline.start_with(&config(&pipeline).producer("linger", "10min"));
    let server = pipeline.server();
    // Longer than it takes to read the rest.
    server.inject(Fault::AckDelay(Duration::from_secs(1)), When::Next);
    insert(&pipeline, 1..=30);
    wait_until("the second batch is stored", DEADLINE, || {
        server.batches(&pipeline.topic, 0).len() == 2
    });
    let stored = inserted(&pipeline.records());
    assert!((20..30).contains(&stored.len()), "{stored:?}");
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0);
    assert_rows(&pipeline, 30);
}

/// Whatever becomes of a batch, none that was sent after it is in the topic before it.
#[test]
fn a_batch_that_fails_takes_the_next_one_with_it() {
    let pipeline = pipeline("takes_with_it");
    let connector = pipeline.start_with(&config(&pipeline).fluvio("timeout", "1s"));
    let faults = [
        Fault::Error(ErrorCode::NotLeaderForPartition),
        Fault::Error(ErrorCode::StorageError),
        Fault::ErrorAfterApply(ErrorCode::NotLeaderForPartition),
        Fault::AckDelay(Duration::from_millis(1500)),
        Fault::CloseBefore(Close::Fin),
        Fault::CloseBefore(Close::Reset),
        Fault::CloseAfter(Close::Fin),
        Fault::CloseAfter(Close::Reset),
        Fault::CloseAfterBytes(8000, Close::Reset),
        Fault::SilenceBefore,
        Fault::SilenceAfter,
        Fault::SilenceAndApplyLate(Duration::from_millis(1500)),
    ];
    let mut rows = 0;
    for (round, fault) in faults.into_iter().enumerate() {
        pipeline.server().inject(fault, When::Nth(3 + round % 3));
        insert(&pipeline, rows + 1..=rows + ROWS);
        rows += ROWS;
        connector.wait_log_count("trying again in", round + 1, DEADLINE);
        pipeline.wait_caught_up();
        assert_eq!(pipeline.server().armed_faults(), 0);
    }
    assert_rows(&pipeline, rows);
}
