//! Clusters that are out of their mind: what they say fills no log, and what makes no sense is told.

use fluvio_protocol::link::ErrorCode;

use crate::support::connector::Connector;
use crate::support::fluvio::{Fault, When};
use crate::support::outcome::FAIL_DEADLINE;
use crate::support::pipeline::{DEADLINE, Pipeline};

/// A line has a few words of ours beside what is told of theirs.
const LONGEST_LINE: usize = 2 * 4096;

#[test]
fn a_cluster_that_says_very_much() {
    let pipeline = Pipeline::new("talkative").in_process();
    let words = format!("forged\n[2030-01-01] {}", "x".repeat(30_000));
    let fault = Fault::Error(ErrorCode::Other(words));
    pipeline
        .database
        .execute("CREATE TABLE t (id int8 PRIMARY KEY)");
    let config = pipeline.config();
    let connector = Connector::spawn_config(&config, &pipeline.database.url(), &[]);
    connector.wait_log("streaming from", DEADLINE);
    pipeline.server().inject(fault, When::Next);
    pipeline.database.execute("INSERT INTO t VALUES (1)");
    pipeline.wait_caught_up();
    let log = connector.log();
    assert!(
        log.contains(r"Other error: forged\n[2030-01-01] xxx"),
        "{log}"
    );
    let longest = log.lines().map(str::len).max();
    assert!(longest < Some(LONGEST_LINE), "{longest:?}");
}

#[test]
fn a_topic_that_ends_before_it_begins() {
    let pipeline = Pipeline::new("senseless").in_process();
    pipeline.server().inject_old_offsets(i64::MAX, When::Every);
    let config = pipeline.config();
    let mut connector = Connector::spawn_config(&config, &pipeline.database.url(), &["--once"]);
    assert_eq!(
        connector.wait_exit(FAIL_DEADLINE),
        65,
        "{}",
        connector.log()
    );
    let says = "the topic is said to begin at offset 0 and to end at -9223372036854775807";
    connector.wait_log(says, DEADLINE);
}
