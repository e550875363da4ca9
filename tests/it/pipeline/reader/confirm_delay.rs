//! `confirm_delay`: the slot stays behind, so that a topic that loses its last seconds is filled
//! again.

use std::time::{Duration, Instant};

use crate::support::connector::ConfigFile;
use crate::support::outcome::assert_end;
use crate::support::pipeline::DEADLINE;
use crate::support::record::Record;
use crate::support::stopped::Stopped;
use crate::support::wait_until;

/// Longer than any of these tests.
const LONG: &str = "1h";

fn delayed(config: ConfigFile, delay: &str) -> ConfigFile {
    config.set("confirm_delay", delay)
}

/// The messages with a place of their own in the stream; descriptions are repeated by each session.
fn counted(records: &[Record]) -> Vec<String> {
    let kinds = ["relation", "type", "origin"];
    records
        .iter()
        .filter(|record| !kinds.contains(&record.kind()))
        .map(|record| record.message().to_string())
        .collect()
}

#[test]
fn the_slot_stays_that_far_behind() {
    const DELAY: Duration = Duration::from_secs(3);
    let stopped = Stopped::new("behind");
    let (database, slot) = (&stopped.pipeline.database, &stopped.pipeline.slot);
    let config = delayed(stopped.with_state(), "3s");
    let connector = stopped.start(&config);
    // A session that begins does not confirm at once what the topic has, either.
    for (id, commits) in [(4, 4), (5, 5)] {
        let begun = Instant::now();
        stopped.insert(id);
        let records = stopped.pipeline.wait_commits(commits);
        let end = records.last().expect("a commit").lsn("end_lsn");
        if id == 5 {
            let sessions = connector.log_count("streaming from");
            assert!(database.terminate_walsender(slot));
            connector.wait_log_count("streaming from", sessions + 1, DEADLINE);
        }
        database.wait_slot_confirmed(slot, end);
        let passed = begun.elapsed();
        assert!(passed >= DELAY, "row {id} was confirmed after {passed:?}");
    }
    connector.kill();
    stopped.wait_free();
    // The file knows what was confirmed, and not less.
    assert_eq!(stopped.goes_on(&config, 6), [1, 2, 3, 4, 5, 6]);
}

/// Rows 4 to 9 are in the topic and not confirmed.
fn unconfirmed(stopped: &Stopped, config: &ConfigFile) -> Vec<String> {
    let connector = stopped.start(config);
    (4..=9).for_each(|id| stopped.insert(id));
    let records = stopped.pipeline.wait_commits(9);
    connector.kill();
    stopped.wait_free();
    counted(&records)
}

#[track_caller]
fn assert_filled(stopped: &Stopped, expected: &[String]) {
    wait_until("what is missing is written again", DEADLINE, || {
        counted(&stopped.pipeline.records()).len() >= expected.len()
    });
    assert_eq!(counted(&stopped.pipeline.records()), expected);
    let outcome = stopped.run_verb("verify", &stopped.without_state(), &[]);
    assert_eq!(outcome.0, 0, "{outcome:?}");
}

#[test]
fn a_topic_that_was_cut_while_stopped_is_filled_again() {
    let stopped = Stopped::new("cut_stopped");
    let configs = [stopped.with_state(), stopped.without_state()];
    let configs = configs.map(|config| delayed(config, LONG));
    let expected = unconfirmed(&stopped, &configs[0]);
    let end = stopped.pipeline.end_offset();
    // Inside a transaction and between two, some records and all that are not confirmed.
    for (lost, config) in [1, 2, 3, 4, 8, 17].into_iter().zip(configs.iter().cycle()) {
        stopped.truncate(end - lost);
        let connector = stopped.start(config);
        assert_filled(&stopped, &expected);
        connector.kill();
        stopped.wait_free();
    }
}

#[test]
fn a_topic_that_is_cut_while_streaming_is_filled_again() {
    let stopped = Stopped::new("cut_streaming");
    // Without a state file, also what was there before the process started.
    for (config, lost) in [
        (stopped.with_state(), [1, 4, 20]),
        (stopped.without_state(), [20, 1, 4]),
    ] {
        let config = delayed(config, LONG);
        let connector = stopped.start(&config);
        let mut next = 1 + stopped.rows().len() as i64;
        for lost in lost {
            (next..next + 4).for_each(|id| stopped.insert(id));
            next += 4;
            let records = stopped.pipeline.wait_commits(next as usize - 1);
            let sessions = connector.log_count("streaming from");
            stopped.between_sessions(&connector, || {
                stopped.truncate(stopped.pipeline.end_offset() - lost);
            });
            connector.wait_log_count("streaming from", sessions + 1, DEADLINE);
            assert_filled(&stopped, &counted(&records));
        }
        connector.kill();
        stopped.wait_free();
    }
}

#[test]
fn what_is_gone_beyond_the_delay_is_a_gap() {
    let stopped = Stopped::new("beyond");
    let config = delayed(stopped.with_state(), "100ms");
    assert_eq!(stopped.goes_on(&config, 4), [1, 2, 3, 4]);
    stopped.truncate(stopped.pipeline.end_offset() - 1);
    stopped.refused(&config, &["its end is gone"]);
}

#[test]
fn what_is_gone_beyond_the_delay_is_a_gap_while_streaming_too() {
    let stopped = Stopped::new("beyond_streaming");
    let mut connector = stopped.start(&delayed(stopped.without_state(), "100ms"));
    stopped.insert(4);
    stopped.pipeline.wait_caught_up();
    let end = stopped.pipeline.end_offset() - 1;
    stopped.between_sessions(&connector, || stopped.truncate(end));
    let code = connector.wait_exit(DEADLINE);
    let outcome = (code, connector.log(), Vec::new());
    assert_end(outcome, 76, &["its end is gone", "accept-gap"]);
    assert_eq!(stopped.pipeline.end_offset(), end);
}
