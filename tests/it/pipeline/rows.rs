//! The row format, in one lane and in many: each change once in its lane, in order, and what a reader makes of
//! the lanes is the tables, whatever died meanwhile.

mod lanes;
mod ways;

use serde_json::{Value, json};

use crate::support::pipeline::Pipeline;
use crate::support::row_lanes::{fold, lanes as read};

/// The first major that sends a truncate.
const TRUNCATES: u32 = 11;

/// The records of the only lane of a pipeline with the row format once everything is stored.
fn records(pipeline: &Pipeline) -> Vec<Value> {
    let lsn = pipeline.database.current_wal_lsn();
    pipeline.database.wait_slot_confirmed(&pipeline.slot, lsn);
    read(pipeline, &pipeline.topic, 1).remove(0)
}

/// A record without what differs from run to run.
fn without_place(record: &Value) -> Value {
    let mut record = record.clone();
    for key in ["lsn", "xid", "ts"] {
        assert!(record[key].take() != Value::Null, "{record}");
    }
    record
}

#[test]
fn a_record_explains_itself() {
    let pipeline = Pipeline::new("rows");
    pipeline.database.execute(
        "CREATE TABLE pets (id int PRIMARY KEY, name text, price numeric, born date, doc jsonb, n int8)",
    );
    let _connector = pipeline.start_with(&pipeline.config().set("format", "rows"));
    for sql in [
        "INSERT INTO pets VALUES (1, 'Polly', 12.50, '2020-01-01', '{\"a\": [1]}', 9007199254740993)",
        "UPDATE pets SET name = NULL",
        "UPDATE pets SET id = 2",
        "DELETE FROM pets",
        "TRUNCATE pets CASCADE",
    ] {
        pipeline.database.execute(sql);
    }
    let records = records(&pipeline);
    let row = |id: i32, name: Value| {
        json!({"id": id, "name": name, "price": "12.50", "born": "2020-01-01", "doc": {"a": [1]},
            "n": 9007199254740993_i64})
    };
    let record = |op: &str, key: Value, before: Value, after: Value| {
        json!({"op": op, "schema": "public", "table": "pets", "key": key, "before": before,
            "after": after, "lsn": null, "seq": 0, "xid": null, "ts": null, "last": true})
    };
    let mut truncate = record("truncate", Value::Null, Value::Null, Value::Null);
    truncate["cascade"] = json!(true);
    let mut expected = vec![
        record(
            "insert",
            json!({"id": 1}),
            Value::Null,
            row(1, json!("Polly")),
        ),
        record("update", json!({"id": 1}), Value::Null, row(1, Value::Null)),
        record(
            "update",
            json!({"id": 2}),
            json!({"id": 1}),
            row(2, Value::Null),
        ),
        record("delete", json!({"id": 2}), json!({"id": 2}), Value::Null),
    ];
    if pipeline.database.major() >= TRUNCATES {
        expected.push(truncate);
    }
    let found: Vec<Value> = records.iter().map(without_place).collect();
    assert_eq!(found, expected);
    assert!(fold(&[records]).is_empty());
}

#[test]
fn a_large_value_that_did_not_change_is_named_or_filled_in() {
    let pipeline = Pipeline::new("rows");
    pipeline.database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, big text, n int);
         ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         CREATE TABLE f (id int PRIMARY KEY, big text, n int);
         ALTER TABLE f ALTER big SET STORAGE EXTERNAL;
         ALTER TABLE f REPLICA IDENTITY FULL",
    );
    let config = pipeline
        .config()
        .set("format", "rows")
        .set("keys", "{ public.f: [id] }");
    let _connector = pipeline.start_with(&config);
    for table in ["t", "f"] {
        pipeline.database.execute(&format!(
            "INSERT INTO {table} VALUES (1, repeat('x', 20000), 1); UPDATE {table} SET n = 2"
        ));
    }
    let records = records(&pipeline);
    assert_eq!(records[1]["unchanged"], json!(["big"]));
    assert!(records[1]["after"].get("big").is_none());
    let full = &records[3];
    assert!(full.get("unchanged").is_none(), "{full}");
    assert_eq!(full["after"]["big"], "x".repeat(20_000));
    assert_eq!(
        (&full["before"]["n"], &full["after"]["n"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(full["key"], json!({"id": 1}));
    let folded = fold(&[records]);
    assert_eq!(folded.len(), 2);
    assert!(folded.values().all(|row| row["big"] == "x".repeat(20_000)));
}

#[test]
fn messages_are_records_and_are_not_counted() {
    let pipeline = Pipeline::new("rows");
    if pipeline.database.major() < 14 {
        return;
    }
    pipeline
        .database
        .execute("CREATE TABLE t (id int PRIMARY KEY)");
    let config = pipeline
        .config()
        .set("format", "rows")
        .parameter("messages", "[m]");
    let _connector = pipeline.start_with(&config);
    pipeline.database.execute(
        "BEGIN; INSERT INTO t VALUES (1); SELECT pg_logical_emit_message(true, 'm', 'in');
         SELECT pg_logical_emit_message(true, 'other', 'out'); INSERT INTO t VALUES (2); COMMIT",
    );
    pipeline
        .database
        .execute("SELECT pg_logical_emit_message(false, 'm', 'between')");
    // A message alone does not make the server write its WAL out.
    pipeline.database.execute("CREATE TABLE later ()");
    let records = records(&pipeline);
    let seen: Vec<(&str, u64)> = records
        .iter()
        .map(|record| {
            (
                record["op"].as_str().unwrap(),
                record["seq"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [("insert", 0), ("message", 1), ("insert", 1), ("message", 0)]
    );
    assert_eq!(records[1]["content"], "in");
    let between = &records[3];
    assert_eq!(
        (&between["content"], &between["xid"]),
        (&json!("between"), &Value::Null)
    );
    fold(&[records]);
}
