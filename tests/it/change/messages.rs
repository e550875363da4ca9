//! Messages of pg_logical_emit_message as events: which, where, and each of them once.

use serde_json::{Value, json};

use crate::pipeline::setup::making::Place;
use crate::support::connector::{ConfigFile, Connector};
use crate::support::outcome::assert_end;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Database, Postgres};
use crate::support::record::Record;
use crate::support::stopped::{Stopped, run_verb};
use crate::support::wait_until;

/// The first major that sends them.
const SINCE: u32 = 14;

/// Whether the server sends them. If not, the program says since when there is such a thing.
#[track_caller]
fn are_sent() -> bool {
    let major = Postgres::shared().major();
    if major >= SINCE {
        return true;
    }
    let place = Place::new("messages");
    let config = place.config().parameter("messages", "[p]");
    let says = format!("\"messages\" needs PostgreSQL 14, the server has version {major}.");
    place.assert_fails(&config, 78, &[&says]);
    assert!(!place.database.slot_exists(&place.slot));
    false
}

/// The kinds of all records in order, messages as they are; without empty transactions.
fn sequence(records: &[Record]) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    for record in records {
        let message = record.message();
        match record.kind() {
            "commit" if found.last() == Some(&json!("begin")) => drop(found.pop()),
            "message" => found.push(json!([
                message["flags"],
                message["prefix"],
                message["content"]
            ])),
            "insert" => found.push(message["tuple"][0].clone()),
            "relation" => {}
            kind => found.push(json!(kind)),
        }
    }
    found
}

fn emit(database: &Database, arguments: &str) {
    database.query_one_text(&format!("SELECT pg_logical_emit_message({arguments})"));
}

#[track_caller]
fn assert_verified(pipeline: &Pipeline, config: &ConfigFile) {
    let outcome = run_verb("verify", config, &pipeline.database.url(), &[]);
    assert_eq!(outcome.0, 0, "{outcome:?}");
}

#[test]
fn they_come_where_they_were_written() {
    if !are_sent() {
        return;
    }
    let pipeline = Pipeline::new("messages");
    let database = &pipeline.database;
    database.execute("CREATE TABLE t (id int8 PRIMARY KEY)");
    let config = pipeline.config().parameter("messages", r#"[one, "", "ü"]"#);
    let _connector = pipeline.start_with(&config);
    database.execute(
        "INSERT INTO t VALUES (1);
         SELECT pg_logical_emit_message(true, 'one', 'in it');
         SELECT pg_logical_emit_message(true, 'other', 'not wanted');
         INSERT INTO t VALUES (2);
         SELECT pg_logical_emit_message(true, '', '')",
    );
    emit(database, "false, 'one', '\\x00ff22'::bytea");
    emit(database, "false, 'other', 'not wanted'");
    let rolled_back = "BEGIN; SELECT pg_logical_emit_message(true, 'one', 'not committed');
         SELECT pg_logical_emit_message(false, 'ü', 'stays'); ROLLBACK";
    database.execute(rolled_back);
    // Only with a commit is all of that on the disk for certain, and sent.
    database.execute("INSERT INTO t VALUES (3)");
    let records = pipeline.settled();
    let raw = |content: &[u8]| json!({"RawText": content});
    let expected = [
        json!("begin"),
        json!({"Int8": 1}),
        json!([1, "one", raw(b"in it")]),
        json!({"Int8": 2}),
        json!([1, "", raw(b"")]),
        json!("commit"),
        json!([0, "one", raw(b"\0\xFF\"")]),
        json!([0, "ü", raw(b"stays")]),
        json!("begin"),
        json!({"Int8": 3}),
        json!("commit"),
    ];
    assert_eq!(sequence(&records), expected);
    let message = records.iter().find(|record| record.kind() == "message");
    let message = message.expect("there are some");
    let lsn = message.lsn("lsn");
    let text = format!(
        r#"{{"type":"message","flags":1,"lsn":{lsn},"prefix":"one","content":{{"RawText":[105,110,32,105,116]}}}}"#
    );
    assert_eq!(message.message().to_string(), text);
    assert_eq!(message.0["wal_start"], lsn);
    assert_verified(&pipeline, &config);
}

#[test]
fn content_is_a_string_when_that_is_asked_for_and_can_be() {
    if !are_sent() {
        return;
    }
    let pipeline = Pipeline::new("messages");
    let config = pipeline.config().parameter("messages", "[one]");
    let _connector = pipeline.start_with(&config.set("raw_text", "string"));
    for content in ["'{\"a\": \"ü\n\"}'", "''", "'\\xff'::bytea"] {
        emit(&pipeline.database, &format!("true, 'one', {content}"));
    }
    let records = pipeline.settled();
    let messages = records.iter().filter(|record| record.kind() == "message");
    let contents: Vec<&Value> = messages
        .map(|record| &record.message()["content"])
        .collect();
    let expected = [
        json!({"String": "{\"a\": \"ü\n\"}"}),
        json!({"String": ""}),
        json!({"RawText": [255]}),
    ];
    assert_eq!(contents, expected.iter().collect::<Vec<_>>());
}

/// They do not hold the slot back, and neither do those that nobody wants.
#[test]
fn they_are_confirmed() {
    if !are_sent() {
        return;
    }
    let pipeline = Pipeline::new("messages");
    let config = pipeline.config().parameter("messages", "[one]");
    let _connector = pipeline.start_with(&config);
    for prefix in ["one", "other", "one", "other"] {
        emit(&pipeline.database, &format!("false, '{prefix}', 'x'"));
        // A checkpoint's record brings the WAL before it to the disk.
        pipeline.database.execute("CHECKPOINT");
        pipeline.wait_caught_up();
    }
    assert_eq!(sequence(&pipeline.records()).len(), 2);
}

/// Messages between and in transactions, none of them confirmed; `t` exists.
fn unconfirmed(stopped: &Stopped, config: &ConfigFile) -> Vec<Record> {
    let database = &stopped.pipeline.database;
    let connector = stopped.start(config);
    emit(database, "false, 'one', 'before'");
    database.execute(
        "SELECT pg_logical_emit_message(true, 'one', 'first');
         INSERT INTO t VALUES (10);
         SELECT pg_logical_emit_message(true, 'two', 'second');
         SELECT pg_logical_emit_message(true, 'one', 'third');
         INSERT INTO t VALUES (11);
         SELECT pg_logical_emit_message(true, 'one', 'last')",
    );
    emit(database, "false, 'one', 'between'");
    database.execute("SELECT pg_logical_emit_message(true, 'one', 'alone')");
    emit(database, "false, 'two', 'after'");
    database.execute("CHECKPOINT");
    let log = stopped.pipeline.cluster();
    let records = log.wait_records(&stopped.pipeline.topic, DEADLINE, |records| {
        let is_last = |record: &Vec<u8>| {
            let record = Record::parse(record);
            record.kind() == "message" && record.message()["prefix"] == "two"
        };
        records.last().is_some_and(is_last)
    });
    connector.kill();
    stopped.wait_free();
    Record::parse_all(&records)
}

#[test]
fn each_is_there_once_wherever_the_topic_ends() {
    if !are_sent() {
        return;
    }
    let stopped = Stopped::new("messages");
    let config = || {
        let config = stopped.without_state().set("confirm_delay", "1h");
        config.parameter("messages", "[one, two]")
    };
    let whole = unconfirmed(&stopped, &config());
    let expected = sequence(&whole);
    assert!(expected.len() > 12, "{expected:?}");
    let end = i64::try_from(whole.len()).expect("a few");
    let first = whole
        .iter()
        .position(|record| record.kind() == "message")
        .and_then(|first| i64::try_from(first).ok())
        .expect("there are some");
    // Nothing is cut; the last messages; within the transaction; before everything.
    for cut in [
        end,
        end - 1,
        end - 4,
        end - 6,
        end - 8,
        first + 4,
        first + 1,
    ] {
        stopped.truncate(cut);
        let connector = stopped.start(&config());
        wait_until("all of it is there", DEADLINE, || {
            sequence(&stopped.pipeline.records()).len() >= expected.len()
        });
        connector.kill();
        stopped.wait_free();
        let found = sequence(&stopped.pipeline.records());
        assert_eq!(found, expected, "cut at {cut} of {end}");
        assert_verified(&stopped.pipeline, &config());
    }
}

/// A topic that ends with what is not asked for any more cannot be proved to be of this stream.
#[test]
fn the_last_of_them_is_missed_when_they_are_not_asked_for() {
    if !are_sent() {
        return;
    }
    let stopped = Stopped::new("messages");
    let config = stopped.without_state().set("confirm_delay", "1h");
    unconfirmed(&stopped, &config.parameter("messages", "[one, two]"));
    let without = stopped.pipeline.config();
    let url = stopped.pipeline.database.url();
    let says = [
        "the topic ends with the message at",
        "\"messages\" or \"origin\" were changed since",
    ];
    let mut connector = Connector::spawn_config(&without, &url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    stopped.insert(50);
    let code = connector.wait_exit(DEADLINE);
    assert_end((code, connector.log(), Vec::new()), 76, &says);

    // With another prefix asked for they come, and are known.
    let other = stopped.pipeline.config().parameter("messages", "[three]");
    let connector = stopped.start(&other);
    stopped.stop(connector);
    assert_eq!(stopped.rows(), [1, 2, 3, 10, 11, 50]);
}
