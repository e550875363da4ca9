//! Names with everything that a name can have.

use crate::support::pipeline::Pipeline;
use crate::support::record::transactions;
use serde_json::Value;

/// Two of them are as long as a name can be: 63 bytes.
const NAMES: [&str; 8] = [
    "a\"b'c",
    "back\\slash \\n \\u0041 \\x41 \\x",
    " ",
    "line\nline\r\t\x01\x7f",
    "é 漢 😀 👩‍👩‍👧 \u{2028}",
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀é+",
    "SELECT",
];

#[test]
fn names_are_what_they_are() {
    let pipeline = Pipeline::new("types_names");
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    for name in NAMES {
        let (id, label) = (quoted(name), name.replace('\'', "''"));
        let table = quoted(&table(name));
        pipeline.database.execute(&format!(
            "CREATE SCHEMA {id}; CREATE TYPE {id}.{id} AS ENUM ('{label}');
             CREATE TABLE {id}.{table} ({id} {id}.{id})"
        ));
    }
    let _connector = pipeline.start();
    for name in NAMES {
        let (id, label) = (quoted(name), name.replace('\'', "''"));
        let table = quoted(&table(name));
        pipeline
            .database
            .execute(&format!("INSERT INTO {id}.{table} VALUES ('{label}')"));
    }
    let transactions = transactions(&pipeline.settled());
    assert_eq!(transactions.len(), NAMES.len());
    for (messages, name) in transactions.iter().zip(NAMES) {
        let of_kind = |kind: &str| {
            messages
                .iter()
                .find(|message| message["type"] == kind)
                .unwrap()
        };
        let described: &Value = of_kind("type");
        assert_eq!([&described["namespace"], &described["name"]], [name; 2]);
        let relation = of_kind("relation");
        assert_eq!(relation["namespace"], name);
        assert_eq!(relation["name"], table(name));
        assert_eq!(relation["columns"][0]["name"], name);
        let value = &of_kind("insert")["tuple"][0]["RawText"];
        assert_eq!(*value, serde_json::json!(name.as_bytes()));
    }
}

/// A table has a type of its name, so that it cannot have that of a type.
fn table(name: &str) -> String {
    let mut name = name.to_owned();
    name.pop();
    name.push('_');
    name
}
