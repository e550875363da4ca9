//! A database that was restored from a backup of its files, where other transactions were written
//! since at the very positions of those that the topic has. Nothing but what they are tells them
//! apart.

use std::fs;

use crate::support::connector::ConfigFile;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Postgres, Stop};
use crate::support::record::{Record, last_commit_end};
use crate::support::stopped::Stopped;
use crate::support::wait_until;

/// How often a history is written anew that did not come to lie on the same positions.
const TRIES: usize = 5;

/// The first major that decodes messages of `pg_logical_emit_message`.
const MESSAGES: u32 = 14;

/// What every refusal says.
const SAYS: [&str; 2] = ["the topic ends with", "restored"];

/// A server that writes nothing by itself but what is asked of it.
fn quiet_server() -> Postgres {
    Postgres::start(&[
        ("checkpoint_timeout", "1d"),
        ("bgwriter_delay", "10s"),
        ("full_page_writes", "off"),
    ])
}

/// The rows 1 to 3 are in the backup. `first` was written after it and streamed, and not confirmed
/// to the server; then the backup was restored, and `second` was written where `first` was.
pub struct Restored {
    pub stopped: Stopped,
    _server: Postgres,
}

impl Restored {
    /// The topic is cut at `cut` of the records that came, and their number.
    pub fn new(name: &str, first: &str, second: &str, cut: fn(i64) -> i64) -> Restored {
        let server = quiet_server();
        let stopped = Stopped::on(Pipeline::on(&server, name).in_process());
        let before = stopped.pipeline.end_offset();
        server.stop(Stop::Fast);
        server.save_data();
        server.start_again();
        write(&stopped, first);
        let lsns = commits(&stopped);
        stream(&stopped);
        let all = stopped.pipeline.end_offset() - before;
        stopped.truncate(before + cut(all));

        let is_hit = (0..TRIES).any(|_| {
            server.stop(Stop::Immediate);
            server.restore_data();
            server.start_again();
            write(&stopped, second);
            commits(&stopped) == lsns
        });
        assert!(is_hit, "{lsns:?} are not hit again");
        // What is written later is not to be needed to see it, nor to hide it.
        stopped.insert(7);
        Restored {
            stopped,
            _server: server,
        }
    }

    /// With the state file and without it, nothing is written and nothing confirmed; and so it
    /// stays.
    fn assert_refused(&self) {
        let stopped = &self.stopped;
        let before = stopped.pipeline.records();
        let confirmed = stopped.state()["confirmed"].clone();
        for config in [stopped.without_state(), stopped.with_state()] {
            stopped.refused(&wanting_messages(stopped, config), &SAYS);
        }
        assert_eq!(stopped.pipeline.records(), before);
        assert_eq!(stopped.state()["confirmed"], confirmed);
    }

    /// What the topic ends with.
    fn last(&self) -> String {
        let records = self.stopped.pipeline.records();
        records.last().expect("a record").kind().to_owned()
    }
}

fn wanting_messages(stopped: &Stopped, config: ConfigFile) -> ConfigFile {
    match stopped.pipeline.database.major() {
        ..MESSAGES => config,
        _ => config.parameter("messages", "[p]"),
    }
}

fn write(stopped: &Stopped, sql: &str) {
    stopped.pipeline.database.execute(sql);
}

/// Streams what there is, and confirms nothing of it.
fn stream(stopped: &Stopped) {
    let config = wanting_messages(stopped, stopped.with_state().set("confirm_delay", "1h"));
    let before = stopped.pipeline.end_offset();
    let connector = stopped.start(&config);
    wait_until("the last of it arrives", DEADLINE, || {
        let records = stopped.pipeline.records();
        let ends = |record: &Record| ["commit", "message"].contains(&record.kind());
        records.len() as i64 > before && records.last().is_some_and(ends)
    });
    connector.kill();
    stopped.wait_free();
}

/// Where the slot has what comes, as the server decodes it: kind and position of each message.
fn commits(stopped: &Stopped) -> Vec<Option<String>> {
    let (slot, publication) = (&stopped.pipeline.slot, &stopped.pipeline.publication);
    let messages = match stopped.pipeline.database.major() {
        ..MESSAGES => "",
        _ => ", 'messages', 'true'",
    };
    stopped.pipeline.database.query_texts(&format!(
        "SELECT chr(get_byte(data, 0)) || ' ' || lsn FROM pg_logical_slot_peek_binary_changes( \
         '{slot}', NULL, NULL, 'proto_version', '1', 'publication_names', '{publication}'{messages}) \
         WHERE get_byte(data, 0) IN (ascii('B'), ascii('C'), ascii('I'), ascii('M'))"
    ))
}

#[test]
fn a_whole_transaction_at_the_end_was_another() {
    let restored = Restored::new(
        "whole",
        "INSERT INTO t VALUES (41)",
        "INSERT INTO t VALUES (42)",
        |all| all,
    );
    restored.assert_refused();
}

/// What was confirmed does not come again from a server that was not restored.
#[test]
fn a_whole_transaction_that_was_confirmed_was_another() {
    let restored = Restored::new(
        "confirmed",
        "INSERT INTO t VALUES (41)",
        "INSERT INTO t VALUES (42)",
        |all| all,
    );
    let stopped = &restored.stopped;
    let mut state = stopped.state();
    let records = stopped.pipeline.records();
    let end = last_commit_end(&records);
    state["confirmed"] = format!("{:X}/{:X}", end >> 32, end & 0xFFFF_FFFF).into();
    state["offset"] = records.len().into();
    fs::write(stopped.state_file(), state.to_string()).expect("it can be written");
    assert!(
        stopped
            .pipeline
            .database
            .slot_confirmed_lsn(&stopped.pipeline.slot)
            < Some(end)
    );
    restored.assert_refused();
}

#[test]
fn a_transaction_that_the_topic_has_a_part_of_was_another() {
    let restored = Restored::new(
        "part",
        "INSERT INTO t SELECT generate_series(101, 120)",
        "INSERT INTO t SELECT generate_series(201, 220)",
        |all| all - 8,
    );
    assert_eq!(restored.last(), "insert");
    restored.assert_refused();
}

/// A part without a row has nothing but its begin.
#[test]
fn a_transaction_that_the_topic_has_the_begin_of_was_another() {
    let restored = Restored::new(
        "begun",
        "INSERT INTO t VALUES (41)",
        "INSERT INTO t VALUES (42)",
        |_| 1,
    );
    assert_eq!(restored.last(), "begin");
    restored.assert_refused();
}

#[test]
fn a_message_at_the_end_was_another() {
    let emit = |content: &str| format!("SELECT pg_logical_emit_message(false, 'p', '{content}')");
    if Postgres::shared().major() < MESSAGES {
        // Older servers do not send them, so no topic can end with one.
        return;
    }
    let restored = Restored::new("message", &emit("first one"), &emit("other one"), |all| all);
    assert_eq!(restored.last(), "message");
    restored.assert_refused();
}
