//! `accept-gap`: the only way past a gap, and what it leaves on record.

mod lanes;

use std::fs;

use crate::pipeline::resume::continuity::{INVALIDATES, invalidate, with_little_wal};
use crate::support::connector::ConfigFile;
use crate::support::outcome::assert_end;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::unique;
use crate::support::record::{Record, inserted};
use crate::support::stopped::{Stopped, run_verb};
use crate::support::wait_until;

const REASON: [&str; 2] = ["--reason", "a test"];

#[test]
fn without_a_state_dir_there_is_nothing_to_write_it_into() {
    let stopped = Stopped::new("no_dir");
    stopped.drop_slot();
    let outcome = stopped.run_verb("accept-gap", &stopped.without_state(), &REASON);
    let says = [
        "there is no state_dir to write the decision into",
        "under \"state_dir\" in the config",
    ];
    assert_end(outcome, 78, &says);
    let slot = &stopped.pipeline.slot;
    assert!(!stopped.pipeline.database.slot_exists(slot));
}

#[test]
fn without_a_gap_nothing_changes() {
    let stopped = Stopped::new("no_gap");
    // Something to resume, so that it has to look into the stream.
    let connector = stopped.start(&stopped.with_state().set("confirm_delay", "1h"));
    stopped.insert(4);
    stopped.pipeline.wait_commits(4);
    connector.kill();
    stopped.wait_free();
    let slot = &stopped.pipeline.slot;
    let standing = || {
        let confirmed = stopped.pipeline.database.slot_confirmed_lsn(slot);
        (confirmed, stopped.pipeline.end_offset())
    };
    let (before, accepted) = (standing(), stopped.state()["accepted"].clone());
    let log = stopped.accept("nothing");
    assert!(log.contains("there is no gap to accept"), "{log}");
    assert_eq!(standing(), before);
    assert_eq!(stopped.state()["accepted"], accepted);
    assert!(accepted.is_null());
    let rows = stopped.goes_on(&stopped.with_state(), 5);
    assert_eq!(rows, [1, 2, 3, 4, 5]);
}

/// The gap is refused, accepted with a word about what is given up, and put on record; the next run
/// streams new changes, and no run asks again.
#[track_caller]
fn accepted(stopped: &Stopped, config: &ConfigFile, gap: &str) {
    let number = stopped.state()["accepted"].as_array().map_or(0, Vec::len);
    stopped.refused(config, &[gap]);
    let reason = format!("reason {number}");
    let outcome = stopped.run_verb("accept-gap", config, &["--reason", &reason]);
    let (code, log, _) = outcome;
    assert_eq!(code, 0, "{log}");
    for says in [
        "giving up what is missing: ",
        gap,
        &format!("reason: {reason}"),
        "accepted: the next run continues with the changes after ",
    ] {
        assert!(log.contains(says), "{says}: {log}");
    }
    let state = stopped.state();
    let record = &state["accepted"][number];
    assert_eq!(record["reason"], *reason);
    let text = |key: &str| record[key].as_str().unwrap_or_default();
    assert!(text("gap").contains(gap), "{record}");
    assert!(humantime(text("at")), "{record}");

    let before = stopped.state()["accepted"].clone();
    for _ in 0..2 {
        let connector = stopped.start(config);
        let next = 1 + stopped
            .pipeline
            .database
            .query_one_text("SELECT max(id) FROM t")
            .parse::<i64>()
            .expect("a number");
        stopped.insert(next);
        stopped.stop(connector);
    }
    assert_eq!(stopped.state()["accepted"], before, "it stays on record");
}

/// As in 2026-01-31T09:05:00Z.
fn humantime(text: &str) -> bool {
    let digits = |c: char| if c.is_ascii_digit() { '0' } else { c };
    text.chars().map(digits).collect::<String>() == "0000-00-00T00:00:00Z"
}

#[test]
fn what_happened_to_the_slot_is_accepted() {
    let stopped = Stopped::new("slots");
    let config = stopped.with_state();
    stopped.drop_slot();
    accepted(&stopped, &config, "does not exist any more");
    stopped.insert(50);
    stopped.advance_slot();
    accepted(&stopped, &config, "it was advanced, or dropped");
    stopped.drop_slot();
    stopped.insert(60);
    stopped.make_slot();
    accepted(&stopped, &config, "it was advanced, or dropped");
    let accepted = stopped.state()["accepted"].clone();
    assert_eq!(accepted.as_array().map(Vec::len), Some(3), "{accepted}");
    assert_eq!(stopped.rows(), [1, 2, 3, 4, 5, 51, 52, 61, 62]);
}

#[test]
fn an_invalidated_slot_is_made_anew() {
    let server = with_little_wal();
    let stopped = Stopped::on(Pipeline::on(&server, "invalidated").in_process());
    invalidate(&stopped);
    if server.major() < INVALIDATES {
        let log = stopped.accept("none");
        assert!(log.contains("there is no gap to accept"), "{log}");
        return;
    }

    // Not if nothing may be made.
    let config = stopped.with_state().parameter("skip_setup", "true");
    let outcome = stopped.run_verb("accept-gap", &config, &REASON);
    let says = [
        "has to be made anew, and skip_setup is true",
        "SELECT pg_drop_replication_slot(",
        "SELECT pg_catalog.pg_create_logical_replication_slot(",
    ];
    assert_end(outcome, 78, &says);
    assert!(stopped.state()["accepted"].is_null());

    accepted(
        &stopped,
        &stopped.with_state(),
        "was invalidated by the server",
    );
    assert_eq!(stopped.rows(), [1, 2, 3, 14, 15]);
}

#[test]
fn what_happened_to_the_topic_is_accepted() {
    let stopped = Stopped::new("topics");
    let config = stopped.with_state();
    let topic = &stopped.pipeline.topic;
    stopped.truncate(stopped.pipeline.end_offset() - 1);
    accepted(&stopped, &config, "its end is gone");
    stopped
        .pipeline
        .cluster()
        .produce(topic, &[b"hello".to_vec()]);
    accepted(&stopped, &config, "was not written by this program");
    stopped.pipeline.server().delete_topic(topic);
    accepted(&stopped, &config, "it was deleted or emptied");
    assert_eq!(stopped.rows(), [8, 9]);
}

#[test]
fn another_topic_is_accepted() {
    let stopped = Stopped::new("renamed");
    let other = unique("renamed").replace('_', "-");
    let config = stopped.with_state().set("topic", &other);
    accepted(
        &stopped,
        &config,
        "has been streaming into partition 0 of the topic",
    );
    assert_eq!(stopped.rows(), [1, 2, 3]);
    let server = stopped.pipeline.server();
    let records = Record::parse_all(&server.records(&other, 0));
    assert_eq!(inserted(&records), [4, 5]);
    assert_eq!(stopped.state()["topic"], *other);
}

#[test]
fn a_slot_that_is_in_use_or_somebody_elses_is_left_alone() {
    let stopped = Stopped::new("others");
    let connector = stopped.start(&stopped.with_state());
    let outcome = stopped.run_verb("accept-gap", &stopped.with_state(), &REASON);
    assert_end(outcome, 75, &["is active for PID"]);
    stopped.stop(connector);

    stopped.drop_slot();
    stopped.on_slot("pg_create_logical_replication_slot", ", 'test_decoding'");
    let outcome = stopped.run_verb("accept-gap", &stopped.with_state(), &REASON);
    assert_end(
        outcome,
        76,
        &["is of the plugin test_decoding", "name another slot"],
    );
    let slot = &stopped.pipeline.slot;
    assert!(stopped.pipeline.database.slot_exists(slot));
    assert!(stopped.state()["accepted"].is_null());
}

#[test]
fn a_state_file_that_is_damaged_or_cannot_be_written() {
    let stopped = Stopped::new("damaged");
    let config = stopped.with_state();
    let good = fs::read(stopped.state_file()).expect("there is a state file");
    let url = stopped.pipeline.database.url();
    let refused = |says: &[&str]| {
        for (verb, more) in [("run", &[][..]), ("accept-gap", &REASON)] {
            let outcome = run_verb(verb, &config, &url, more);
            assert_end(outcome, 78, says);
        }
    };
    let name = stopped.state_file().display().to_string();
    for damaged in [&b""[..], b"{}", &good[..good.len() / 2], b"\0\0\0\0"] {
        fs::write(stopped.state_file(), damaged).expect("it can be written");
        refused(&["cannot read the state file", &name, "damaged"]);
        assert_eq!(fs::read(stopped.state_file()).unwrap(), damaged);
    }
    fs::write(stopped.state_file(), &good).expect("it can be written");

    // Rights would not hold the tests back when they run as root.
    let in_the_way = stopped.state_dir().join("file");
    fs::write(&in_the_way, "").expect("it can be written");
    let dir = in_the_way.join("state").display().to_string();
    let nowhere = stopped.without_state().set("state_dir", &dir);
    let outcome = run_verb("run", &nowhere, &url, &[]);
    assert_end(
        outcome,
        78,
        &["cannot make the directory of the state file", &dir],
    );

    // What a crash left behind does no harm.
    fs::write(
        stopped
            .state_dir()
            .join(format!("{}.json.new", stopped.pipeline.slot)),
        "{",
    )
    .expect("it can be written");
    assert_eq!(stopped.goes_on(&config, 4), [1, 2, 3, 4]);
}

/// Whoever reads it finds a whole file, at any time.
#[test]
fn the_state_file_is_replaced_in_one_step() {
    let stopped = Stopped::new("atomic");
    let config = stopped.with_state().set("status_interval", "10ms");
    let connector = stopped.start(&config);
    let (mut next, mut seen) = (4, std::collections::BTreeSet::new());
    wait_until("thirty versions of it were read", DEADLINE, || {
        stopped.insert(next);
        next += 1;
        for _ in 0..50 {
            seen.insert(stopped.state()["confirmed"].to_string());
        }
        seen.len() >= 30
    });
    stopped.stop(connector);
    let confirmed = stopped.pipeline.database.query_one_text(&format!(
        "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{}'",
        stopped.pipeline.slot
    ));
    let state = stopped.state();
    assert_eq!(state["confirmed"], *confirmed);
    assert_eq!(state["offset"], stopped.pipeline.end_offset());
}

#[test]
fn each_slot_has_one_file() {
    let stopped = Stopped::new("files");
    let other = unique("files");
    let topic = unique("files").replace('_', "-");
    let config = stopped.with_state().set("topic", &topic);
    let config = config.parameter("slot", &other);
    let mut connector = stopped.start(&config);
    stopped.insert(4);
    stopped
        .pipeline
        .cluster()
        .wait_records(&topic, DEADLINE, |records| records.len() >= 4);
    // A crash could leave a file half written, beside the one that it was to replace.
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    assert_eq!(stopped.goes_on(&stopped.with_state(), 5), [1, 2, 3, 4, 5]);
    let mut files: Vec<String> = fs::read_dir(stopped.state_dir())
        .expect("the directory can be read")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        // A program that is killed while it writes leaves behind what it writes first.
        .filter(|name| !name.ends_with(".json.new"))
        .collect();
    files.sort();
    let mut expected = [
        format!("{}.json", stopped.pipeline.slot),
        format!("{other}.json"),
    ];
    expected.sort();
    assert_eq!(files, expected);
}
