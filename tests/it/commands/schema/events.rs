//! The schema of records.

use std::collections::BTreeSet;

use postgres_source::change::EventType;
use serde_json::{Value, json};

use super::{assert_valid, mutations, places, replaced, schema, validator};
use crate::pg::decoder::fixture::fixture;
use crate::pipeline::setup::making::Place;
use crate::support::postgres::{Database, Postgres, unique};
use crate::support::stopped::run_verb;

/// What the recorded messages do not have.
const MESSAGE: &str = r#"{"wal_start":23912640,"wal_end":23912640,"timestamp":847908000000000,"message":{"type":"message","flags":1,"lsn":23912640,"prefix":"outbox","content":{"RawText":[123,125]}}}"#;

fn goldens() -> Vec<Value> {
    let goldens = fixture().iter().map(|golden| golden.json.as_str());
    let parse = |json| serde_json::from_str(json).expect("a record is JSON");
    goldens.chain([MESSAGE]).map(parse).collect()
}

/// The types of the records, and the forms of their values.
fn forms(records: &[Value]) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    for record in records {
        let kind = record["message"]["type"].as_str().expect("a type");
        forms.insert(kind.to_owned());
        for place in places(record) {
            let name = place.rsplit('/').next().unwrap_or_default();
            if name.starts_with(|c: char| c.is_ascii_uppercase()) {
                forms.insert(name.to_owned());
            } else if let Some(text) = record.pointer(&place).and_then(Value::as_str)
                && place.contains("tuple/")
            {
                forms.insert(text.to_owned());
            }
        }
    }
    forms
}

const VALUES: [&str; 12] = [
    "Bool",
    "Char",
    "Float4",
    "Float8",
    "Int2",
    "Int4",
    "Int8",
    "Null",
    "Oid",
    "RawText",
    "String",
    "UnchangedToast",
];

/// All types and all forms of values.
fn all_forms() -> BTreeSet<String> {
    let types = EventType::ALL.map(EventType::as_str);
    let all = VALUES.into_iter().chain(types);
    all.map(str::to_owned).collect()
}

#[test]
fn the_schema_has_every_type_once() {
    let schema = schema("events");
    let names = EventType::ALL.map(EventType::as_str);
    let types = &schema["properties"]["message"]["properties"]["type"]["enum"];
    assert_eq!(*types, json!(names));
    let forms = &schema["properties"]["message"]["oneOf"];
    let references = names.map(|name| json!({"$ref": format!("#/$defs/{name}")}));
    assert_eq!(*forms, json!(references));
    for name in names {
        let type_of = &schema["$defs"][name]["properties"]["type"];
        assert_eq!(*type_of, json!({ "const": name }));
    }
}

#[test]
fn recorded_messages_are_valid_and_no_mutation_of_them_is() {
    let validator = validator(&schema("events"));
    let goldens = goldens();
    assert_eq!(forms(&goldens), all_forms());
    let mut count = 0;
    for record in &goldens {
        assert_valid(&validator, record);
        for mutation in mutations(record) {
            assert!(!validator.is_valid(&mutation), "{mutation}\nof {record}");
            count += 1;
        }
    }
    assert!(count > 3000, "{count}");
}

#[test]
fn numbers_are_as_large_as_their_types() {
    let validator = validator(&schema("events"));
    let record = json!({"wal_start": u64::MAX, "wal_end": 0, "timestamp": i64::MIN, "message":
        {"type": "insert", "rel_id": u32::MAX, "tuple": [{"Int8": 1}]}});
    for (key, least, most) in [
        ("Char", i128::from(i8::MIN), i128::from(i8::MAX)),
        ("Int2", i16::MIN.into(), i16::MAX.into()),
        ("Int4", i32::MIN.into(), i32::MAX.into()),
        ("Int8", i64::MIN.into(), i64::MAX.into()),
        ("Oid", 0, u32::MAX.into()),
    ] {
        let is_valid = |number: i128| {
            let number: Value = serde_json::from_str(&number.to_string()).expect("a number");
            let value = replaced(&record, "/message/tuple/0", json!({ key: number }));
            validator.is_valid(&value)
        };
        assert!(is_valid(least) && is_valid(most), "{key}");
        // Beyond 64 bits a number has no exact form in the validator.
        if key != "Int8" {
            assert!(!is_valid(least - 1) && !is_valid(most + 1), "{key}");
        }
    }
}

#[test]
fn an_old_row_is_a_key_or_whole() {
    let validator = validator(&schema("events"));
    for record in goldens() {
        let kind = record["message"]["type"].clone();
        if kind != "update" && kind != "delete" {
            continue;
        }
        let row = json!([{"Int4": 1}]);
        let both = replaced(&record, "/message/old_tuple", row.clone());
        let both = replaced(&both, "/message/key_tuple", row);
        assert!(!validator.is_valid(&both), "{both}");
        let neither = replaced(&record, "/message/old_tuple", json!(null));
        let neither = replaced(&neither, "/message/key_tuple", json!(null));
        assert_eq!(validator.is_valid(&neither), kind == "update", "{neither}");
    }
}

/// What every kind of record and value comes from.
fn everything(database: &Database, origin: &str) {
    let major = database.major();
    database.execute(
        "INSERT INTO t VALUES (1, true, 'c', -1, 9223372036854775807, 7, 0.1, 'NaN', 'x',
             repeat('x', 5000), '2020-01-01', 'fine');
         UPDATE t SET name = NULL; UPDATE t SET id = 2; DELETE FROM t;
         INSERT INTO whole VALUES (1.5); UPDATE whole SET f = -2.5; DELETE FROM whole",
    );
    if major >= 11 {
        database.execute("TRUNCATE t, whole");
    }
    if major >= 14 {
        database.execute("SELECT pg_logical_emit_message(true, 'p', '\"')");
    }
    let mut client = database.client();
    for statement in [
        format!("SELECT pg_replication_origin_session_setup('{origin}')"),
        "INSERT INTO whole VALUES (3)".to_owned(),
        "SELECT pg_replication_origin_session_reset()".to_owned(),
    ] {
        client.batch_execute(&statement).expect("origins are there");
    }
}

#[test]
fn records_of_this_server_are_valid() {
    let validator = validator(&schema("events"));
    let place = Place::new("schema");
    let (database, origin) = (&place.database, unique("schema_origin"));
    database.execute(
        "CREATE TYPE mood AS ENUM ('fine');
         CREATE TABLE t (id int4 PRIMARY KEY, b bool, c \"char\", i2 int2, i8 int8, o oid, f4 float4,
             f8 float8, name text, large text, d date, m mood);
         ALTER TABLE t ALTER large SET STORAGE EXTERNAL;
         CREATE TABLE whole (f float8);
         ALTER TABLE whole REPLICA IDENTITY FULL",
    );
    let create = format!("CREATE PUBLICATION {} FOR ALL TABLES", place.publication);
    database.execute(&create);
    database.create_slot(&place.slot);
    database.execute(&format!("SELECT pg_replication_origin_create('{origin}')"));
    everything(database, &origin);
    let major = Postgres::shared().major();
    let mut expected = all_forms();
    for (kind, since) in [("truncate", 11), ("message", 14)] {
        if major < since {
            expected.remove(kind);
        }
    }
    for raw_text in ["bytes", "string"] {
        let mut config = place.config().set("raw_text", raw_text);
        if major >= 14 {
            config = config.parameter("messages", "[p]");
        }
        let (code, log, lines) = run_verb("peek", &config, &database.url(), &["-n", "1000"]);
        assert_eq!(code, 0, "{log}");
        let parse = |line: &String| serde_json::from_str(line).expect("a record is JSON");
        let records: Vec<Value> = lines.iter().map(parse).collect();
        for record in &records {
            assert_valid(&validator, record);
        }
        let found = forms(&records);
        if raw_text == "string" {
            expected.remove("RawText");
        }
        assert_eq!(found, expected);
    }
    // Not before: the server leaves out an origin that is not there any more when it decodes.
    database.execute(&format!("SELECT pg_replication_origin_drop('{origin}')"));
}
