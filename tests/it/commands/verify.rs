//! `verify`: a topic as this program writes it, and each thing that it would never write.

mod rows;

use serde_json::{Value, json};

use crate::support::connector::ConfigFile;
use crate::support::fluvio::FluvioServer;
use crate::support::outcome::assert_end;
use crate::support::postgres::unique;
use crate::support::spread::Spread;
use crate::support::stopped::{Outcome, Stopped, run_verb};

/// Nothing is read from there.
const URL: &str = "postgres://nobody@127.0.0.1:1/none";

/// A topic that a test fills by itself, with the ordinary client.
struct Topic {
    server: FluvioServer,
    name: String,
}

impl Topic {
    fn of(records: &[Value]) -> Topic {
        let topic = Topic {
            server: FluvioServer::start(),
            name: unique("verify").replace('_', "-"),
        };
        topic.server.create_topic(&topic.name);
        topic.produce(records);
        topic
    }

    fn produce(&self, records: &[Value]) {
        let values: Vec<Vec<u8>> = records
            .iter()
            .map(|record| record.to_string().into_bytes())
            .collect();
        if !values.is_empty() {
            self.server.produce(&self.name, &values);
        }
    }

    fn config(&self) -> ConfigFile {
        ConfigFile::new(&self.name, "p", "s")
            .fluvio("endpoint", &self.server.sc_addr())
            .fluvio("timeout", "5s")
    }

    fn verify(&self, more: &[&str]) -> Outcome {
        run_verb("verify", &self.config(), URL, more)
    }

    /// The report, and the exit code that goes with it.
    #[track_caller]
    fn report(&self, code: i32, more: &[&str]) -> Value {
        let (found, log, lines) = self.verify(&[&["--json"], more].concat());
        assert_eq!(found, code, "{log}{}", lines.join("\n"));
        serde_json::from_str(&lines.join("\n")).expect("the report is JSON")
    }
}

fn record(wal_start: u64, message: Value) -> Value {
    json!({"wal_start": wal_start, "wal_end": wal_start, "timestamp": 0, "message": message})
}

fn begin(lsn: u64) -> Value {
    record(
        lsn - 5,
        json!({"type": "begin", "final_lsn": lsn, "timestamp": 0, "xid": 7}),
    )
}

fn commit(lsn: u64) -> Value {
    let message = json!({"type": "commit", "flags": 0, "commit_lsn": lsn, "end_lsn": lsn + 1, "timestamp": 0});
    record(lsn, message)
}

fn relation(rel_id: u32) -> Value {
    let message = json!({"type": "relation", "rel_id": rel_id, "namespace": "public", "name": "t",
        "replica_identity": "Default", "columns": []});
    record(0, message)
}

fn insert(rel_id: u32, wal_start: u64) -> Value {
    record(
        wal_start,
        json!({"type": "insert", "rel_id": rel_id, "tuple": [{"Int4": 1}]}),
    )
}

#[test]
fn what_the_program_wrote_is_right() {
    let stopped = Stopped::new("right");
    let database = &stopped.pipeline.database;
    let connector = stopped.start(&stopped.with_state());
    database.execute(
        "CREATE TYPE mood AS ENUM ('calm');
         CREATE TABLE other (id int8 PRIMARY KEY, mood mood DEFAULT 'calm');
         INSERT INTO other SELECT generate_series(1, 500);
         UPDATE other SET id = -id WHERE id <= 100; DELETE FROM other WHERE id < 0;
         TRUNCATE other, t; INSERT INTO t VALUES (4)",
    );
    stopped.stop(connector);
    let records = stopped.pipeline.records();
    let commits: Vec<u64> = records
        .iter()
        .filter(|record| record.kind() == "commit")
        .map(|record| record.lsn("commit_lsn"))
        .collect();
    let lsn = |lsn: u64| format!("{:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF);
    let (first, last) = (lsn(commits[0]), lsn(commits[commits.len() - 1]));

    let config = stopped.without_state();
    let (code, log, lines) = stopped.run_verb("verify", &config, &[]);
    assert_eq!(code, 0, "{log}");
    let topic = &stopped.pipeline.topic;
    assert_eq!(
        lines,
        [
            format!("topic:         {topic}, offsets 0 to {}", records.len()),
            format!("records:       {}", records.len()),
            format!("transactions:  {}", commits.len()),
            format!("first commit:  {first}"),
            format!("last commit:   {last}"),
            "violations:    0".to_owned(),
        ]
    );
    let (code, log, lines) = stopped.run_verb("verify", &config, &["--json"]);
    assert_eq!(code, 0, "{log}");
    let report: Value = serde_json::from_str(&lines.join("\n")).expect("it is JSON");
    let expected = json!({
        "topic": topic,
        "first_offset": 0,
        "end_offset": records.len(),
        "records": records.len(),
        "transactions": commits.len(),
        "first_lsn": first,
        "last_lsn": last,
        "open_transaction": null,
        "violation_count": 0,
        "violations": [],
    });
    assert_eq!(report, expected);

    // The end of the topic inside a transaction is where the next run goes on, and not wrong.
    stopped.truncate(stopped.pipeline.end_offset() - 1);
    let (code, log, lines) = stopped.run_verb("verify", &config, &[]);
    assert_eq!(code, 0, "{log}");
    assert!(
        lines.contains(&format!("ends inside:   transaction {last}")),
        "{lines:?}"
    );
}

/// Each partition has whole transactions, of the tables that go there.
#[test]
fn events_over_many_partitions_are_right() {
    let spread = Spread::new("verify_events");
    let config = spread.without_state();
    let config = config.set("format", "events").set("partition", "table");
    let config = config.set("topic", "\"events-{table}\"");
    spread.drain_with(&config);
    spread.fill();
    spread.drain_with(&config);
    let (code, report) = spread.report("verify", &config, &[]);
    assert_eq!(
        (code, &report["violation_count"]),
        (0, &0.into()),
        "{report:#}"
    );
    let partitions = report["partitions"].as_array().expect("a list");
    let is_filled = |found: &&Value| found["transactions"].as_u64() > Some(0);
    let filled = partitions.iter().filter(is_filled).count();
    assert_eq!(filled, spread.topics().len(), "{report:#}");
}

#[test]
fn each_violation_is_reported_at_its_offset() {
    let whole = |lsn| vec![begin(lsn), relation(1), insert(1, lsn - 3), commit(lsn)];
    let more = |records: &[Value]| [whole(100), records.to_vec()].concat();
    for (records, offset, what) in [
        (
            more(&[begin(200), begin(300)]),
            5,
            "a begin inside the transaction at 0/C8",
        ),
        (
            more(&[begin(200), commit(201)]),
            5,
            "a commit at 0/C9 in the transaction at 0/C8",
        ),
        (
            more(&[commit(200)]),
            4,
            "a commit at 0/C8 without its begin",
        ),
        (
            more(&whole(100)),
            4,
            "the transaction at 0/64 after the transaction at 0/64",
        ),
        (
            more(&whole(99)),
            4,
            "the transaction at 0/63 after the transaction at 0/64",
        ),
        (
            more(&[insert(1, 150)]),
            4,
            "a change outside any transaction",
        ),
        (
            more(&[relation(1)]),
            4,
            "a relation outside any transaction",
        ),
        (
            more(&[
                begin(200),
                insert(1, 160),
                insert(1, 170),
                insert(1, 160),
                commit(200),
            ]),
            7,
            "a change at 0/A0 after one at 0/AA: repeated",
        ),
        (
            more(&[begin(200), insert(2, 160), commit(200)]),
            5,
            "a row of relation 2, which was never described",
        ),
        (more(&[json!("hello")]), 4, "not a record of this program"),
        (
            more(&[json!({"payload": begin(200)})]),
            4,
            "not a record of this program",
        ),
    ] {
        let topic = Topic::of(&records);
        let report = topic.report(65, &[]);
        assert_eq!(
            report["violations"],
            json!([{"offset": offset, "what": what}]),
            "{records:?}"
        );
        assert_eq!(report["violation_count"], 1);
        assert_eq!(report["records"], records.len());

        let outcome = topic.verify(&[]);
        let lines = outcome.2.join("\n");
        assert!(lines.contains("violations:    1"), "{lines}");
        assert!(
            lines.contains(&format!("  offset {offset}: {what}")),
            "{lines}"
        );
        assert_end(
            outcome,
            65,
            &[&format!("topic {}: 1 violations", topic.name)],
        );
    }
}

/// Two writers on one topic leave their transactions twice.
#[test]
fn a_topic_with_two_writers() {
    let stopped = Stopped::new("two");
    let values = stopped.pipeline.cluster().records(&stopped.pipeline.topic);
    let again = values[values.len() - 3..].to_vec();
    stopped
        .pipeline
        .cluster()
        .produce(&stopped.pipeline.topic, &again);
    let (code, _, lines) = stopped.run_verb("verify", &stopped.without_state(), &[]);
    assert_eq!(code, 65, "{lines:?}");
    let says = format!("  offset {}: the transaction at ", values.len());
    assert!(
        lines.iter().any(|line| line.starts_with(&says)),
        "{lines:?}"
    );
}

#[test]
fn a_great_many_violations_are_counted() {
    let foreign: Vec<Value> = (0..250).map(|i| json!({ "i": i })).collect();
    let topic = Topic::of(&foreign);
    let report = topic.report(65, &[]);
    assert_eq!(report["violation_count"], 250);
    assert_eq!(report["violations"].as_array().map(Vec::len), Some(100));
    let lines = topic.verify(&[]).2;
    assert_eq!(lines.last().map(String::as_str), Some("  and 150 more"));
}

#[test]
fn reading_may_begin_anywhere() {
    let good = |lsn| {
        vec![
            begin(lsn),
            relation(1),
            insert(1, lsn - 3),
            insert(1, lsn - 2),
            commit(lsn),
        ]
    };
    let records = [vec![json!("hello")], good(100), good(200)].concat();
    let topic = Topic::of(&records);
    assert_eq!(topic.report(65, &[])["violations"][0]["offset"], 0);
    // From the first transaction, from inside it, from the second, and from the end.
    for (from, transactions) in [(1, 2), (2, 1), (4, 1), (5, 1), (6, 1), (7, 0), (11, 0)] {
        let report = topic.report(0, &["--from", &from.to_string()]);
        assert_eq!(report["first_offset"], from);
        assert_eq!(report["records"], 11 - from);
        assert_eq!(report["transactions"], transactions, "from {from}");
    }
    // What is wrong after that is seen all the same.
    topic.produce(&good(150));
    let report = topic.report(65, &["--from", "4"]);
    assert_eq!(report["violations"][0]["offset"], 11);
}

#[test]
fn a_topic_without_records_and_one_that_does_not_exist() {
    let topic = Topic::of(&[]);
    let report = topic.report(0, &[]);
    assert_eq!(report["records"], 0);
    assert_eq!(report["first_lsn"], Value::Null);
    let lines = topic.verify(&[]).2;
    assert!(
        lines.contains(&"first commit:  none".to_owned()),
        "{lines:?}"
    );

    topic.server.delete_topic(&topic.name);
    for _ in 0..2 {
        let outcome = topic.verify(&[]);
        assert!(outcome.2.is_empty(), "{:?}", outcome.2);
        assert_end(outcome, 78, &[&topic.name, "does not exist"]);
    }
}

/// Whoever wrote them chose the compression, whatever our config says.
#[test]
fn batches_of_every_compression_are_read() {
    use fluvio_sc_schema::topic::CompressionAlgorithm::*;
    for algorithm in [None, Gzip, Snappy, Lz4, Zstd] {
        let topic = Topic::of(&[]);
        topic.server.delete_topic(&topic.name);
        let name = algorithm.to_string();
        topic
            .server
            .create_topic_with_compression(&topic.name, algorithm);
        let rows = (0..200).map(|i| insert(1, 20 + i));
        let records = [begin(900), relation(1)].into_iter().chain(rows);
        topic.produce(&records.chain([commit(900)]).collect::<Vec<_>>());
        let batches = topic.server.batches(&topic.name, 0);
        assert!(
            batches
                .iter()
                .all(|batch| batch.compression.to_string() == name),
            "{name}: {batches:?}"
        );
        assert_eq!(topic.report(0, &[])["records"], 203, "{name}");
        // The config may ask for another one.
        let config = topic.config().producer("compression", "gzip");
        let outcome = run_verb("verify", &config, URL, &[]);
        assert_eq!(outcome.0, 0, "{name}: {outcome:?}");
    }
}
