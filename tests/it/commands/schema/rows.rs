//! The schema of the row format.

use std::collections::BTreeSet;

use postgres_source::record::{Int8, JsonStyle, RowStyle};
use serde_json::{Value, json};

use super::{assert_valid, mutations, replaced, schema, validator};
use crate::pipeline::setup::making::Place;
use crate::support::rows::RowDecoder;

const GOLDENS: [&str; 7] = [
    r#"{"op":"insert","schema":"public","table":"pets","key":{"id":1},"before":null,"after":{"id":1,"doc":{"a":[1]}},"lsn":23912640,"seq":0,"xid":735,"ts":"2026-11-30T03:50:00.123456Z"}"#,
    r#"{"op":"update","schema":"public","table":"pets","key":{"id":1},"before":null,"after":{"id":1},"unchanged":["doc"],"lsn":23912640,"seq":1,"xid":735,"ts":"2026-11-30T03:50:00.123456Z","last":true}"#,
    r#"{"op":"delete","schema":"public","table":"pets","key":{"id":2},"before":{"id":2},"after":null,"lsn":23914000,"seq":0,"xid":736,"ts":"2026-11-30T03:50:01.000001Z","moved":true,"last":true}"#,
    r#"{"op":"truncate","schema":"public","table":"pets","key":null,"before":null,"after":null,"cascade":true,"restart_identity":true,"lsn":1,"seq":0,"xid":736,"ts":"2026-11-30T03:50:01.000001Z"}"#,
    r#"{"op":"message","prefix":"p","content":"x","transactional":true,"at":1,"lsn":1,"seq":0,"xid":736,"ts":"2026-11-30T03:50:01.000001Z"}"#,
    r#"{"op":"message","prefix":"p","content":{"hex":"ff"},"transactional":false,"at":1,"lsn":1,"seq":0,"xid":null,"ts":null,"last":true}"#,
    r#"{"op":"insert","schema":"public","table":"log","key":null,"before":null,"after":{},"lsn":1,"seq":0,"xid":736,"ts":"+012026-11-30T03:50:01.000001Z"}"#,
];

/// What records may have and need not.
const OPTIONAL: [&str; 5] = ["unchanged", "moved", "last", "cascade", "restart_identity"];

/// Without what may be missing, and without rows, in which anything may be.
fn fixed_part(record: &Value) -> Option<Value> {
    let mut record = record.as_object()?.clone();
    let message = record.get("op") == Some(&json!("message"));
    record.retain(|name, _| {
        let is_row = !message && matches!(name.as_str(), "key" | "before" | "after");
        !is_row && !OPTIONAL.contains(&name.as_str())
    });
    Some(record.into())
}

#[test]
fn no_mutation_of_a_record_is_valid() {
    let validator = validator(&schema("rows"));
    let mut count = 0;
    for golden in GOLDENS {
        let record: Value = serde_json::from_str(golden).expect("a record is JSON");
        assert_valid(&validator, &record);
        for mutation in mutations(&record) {
            let is_fixed = fixed_part(&mutation) != fixed_part(&record);
            // Text may be bytes.
            if is_fixed && mutation["content"] != json!({"no_such_key": 1}) {
                assert!(!validator.is_valid(&mutation), "{mutation}\nof {record}");
                count += 1;
            }
        }
    }
    assert!(count > 200, "{count}");
}

#[test]
fn rows_stand_where_they_belong() {
    let validator = validator(&schema("rows"));
    let row = json!({"id": 1});
    for (golden, before, after) in [
        (GOLDENS[0], [false, true], [true, false]),
        (GOLDENS[1], [true, true], [true, false]),
        (GOLDENS[2], [true, false], [false, true]),
        (GOLDENS[3], [false, true], [false, true]),
    ] {
        let record: Value = serde_json::from_str(golden).expect("a record is JSON");
        for (place, is_valid) in [("/before", before), ("/after", after)] {
            let of_row = replaced(&record, place, row.clone());
            let of_null = replaced(&record, place, Value::Null);
            let found = [of_row, of_null].map(|record| validator.is_valid(&record));
            assert_eq!(found, is_valid, "{place} of {golden}");
        }
        for (place, wrong) in [
            ("/lsn", json!(-1)),
            ("/xid", json!(4_294_967_296_u64)),
            ("/ts", json!("2026-11-30 03:50:01.000001Z")),
            ("/ts", Value::Null),
        ] {
            assert!(!validator.is_valid(&replaced(&record, place, wrong)));
        }
    }
}

#[test]
fn rows_of_this_server_are_valid() {
    let validator = validator(&schema("rows"));
    let place = Place::new("schema_rows");
    let database = &place.database;
    database.execute(
        "CREATE TABLE t (id int8 PRIMARY KEY, b bool, f float8, large text, j jsonb);
         ALTER TABLE t ALTER large SET STORAGE EXTERNAL;
         CREATE TABLE whole (f float8); ALTER TABLE whole REPLICA IDENTITY FULL",
    );
    let create = format!("CREATE PUBLICATION {} FOR ALL TABLES", place.publication);
    database.execute(&create);
    let styles = [
        RowStyle::default(),
        RowStyle {
            int8: Int8::String,
            json: JsonStyle::Text,
        },
    ];
    for style in styles {
        database.create_slot(&place.slot);
        database.execute(
            "INSERT INTO t VALUES (9007199254740993, true, 'NaN', repeat('x', 5000), '{\"a\": [1.50]}');
             UPDATE t SET b = NULL; UPDATE t SET id = 2; DELETE FROM t;
             INSERT INTO whole VALUES (1e100); UPDATE whole SET f = -2.5; DELETE FROM whole",
        );
        let mut expected = vec!["delete", "insert", "update"];
        if database.major() >= 11 {
            database.execute("TRUNCATE t, whole RESTART IDENTITY CASCADE");
            expected.push("truncate");
        }
        if database.major() >= 14 {
            database.execute("SELECT pg_logical_emit_message(true, 'p', '\"')");
            database.execute("SELECT pg_logical_emit_message(false, 'p', '\\xff'::bytea)");
            expected.push("message");
        }
        let decoder = RowDecoder {
            database,
            publication: &place.publication,
            slot: &place.slot,
            keys: Default::default(),
            style,
        };
        let mut ops = BTreeSet::new();
        for line in decoder.take() {
            let record: Value = serde_json::from_str(&line.json).expect("a record is JSON");
            assert_valid(&validator, &record);
            ops.insert(record["op"].as_str().expect("a name").to_owned());
        }
        assert_eq!(ops, expected.into_iter().map(str::to_owned).collect());
        database.execute(&format!(
            "SELECT pg_drop_replication_slot('{}')",
            place.slot
        ));
    }
}
