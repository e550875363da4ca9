//! Definitions that change while rows stream, and the messages that only some definitions cause.

mod messages;
mod tables;

use crate::support::pipeline::Pipeline;
use crate::support::record::transactions;
use serde_json::{Value, json};

/// Runs each of `statements` as a transaction of its own while the program streams, and returns
/// all messages between a begin and its commit.
fn stream(pipeline: &Pipeline, statements: &[&str]) -> Vec<Value> {
    let _connector = pipeline.start();
    for statement in statements {
        pipeline.database.execute(statement);
    }
    transactions(&pipeline.settled()).concat()
}

/// The OID of a table or type as the server has it now.
fn oid(pipeline: &Pipeline, of: &str, name: &str) -> u32 {
    let name = name.replace('\'', "''");
    let sql = format!("SELECT '{name}'::{of}::oid");
    pipeline.database.query_one_text(&sql).parse().unwrap()
}

/// A relation message as its table's name and its columns, a row as its values; others as they are.
fn outline(message: &Value) -> Value {
    match message["type"].as_str() {
        Some("relation") => {
            let columns = message["columns"].as_array().unwrap();
            let columns: Vec<Value> = columns
                .iter()
                .map(|column| json!([column["name"], column["type_id"]]))
                .collect();
            json!([message["name"], columns])
        }
        Some("insert") => message["tuple"].clone(),
        _ => message.clone(),
    }
}

fn outlines(messages: &[Value]) -> Vec<Value> {
    messages.iter().map(outline).collect()
}

#[test]
fn columns_come_and_go() {
    let pipeline = Pipeline::new("ddl_columns");
    let messages = stream(
        &pipeline,
        &[
            "CREATE TABLE t (a int4 PRIMARY KEY)",
            "INSERT INTO t VALUES (1)",
            "ALTER TABLE t ADD b text DEFAULT 'old'",
            "INSERT INTO t VALUES (2, 'x')",
            "ALTER TABLE t DROP b, ADD c bool",
            "INSERT INTO t VALUES (3, true)",
            "ALTER TABLE t RENAME c TO \"ç\"",
            "INSERT INTO t VALUES (4, NULL)",
            "INSERT INTO t VALUES (5, false)",
        ],
    );
    let expected = [
        json!(["t", [["a", 23]]]),
        json!([{"Int4": 1}]),
        json!(["t", [["a", 23], ["b", 25]]]),
        json!([{"Int4": 2}, {"String": "x"}]),
        json!(["t", [["a", 23], ["c", 16]]]),
        json!([{"Int4": 3}, {"Bool": true}]),
        json!(["t", [["a", 23], ["ç", 16]]]),
        json!([{"Int4": 4}, "Null"]),
        json!([{"Int4": 5}, {"Bool": false}]),
    ];
    assert_eq!(outlines(&messages), expected);
}

/// The rows that the server writes anew belong to no event; the next row has the new form.
#[test]
fn a_column_changes_its_type() {
    let pipeline = Pipeline::new("ddl_type");
    let messages = stream(
        &pipeline,
        &[
            "CREATE TABLE t (a int4 PRIMARY KEY, b int4)",
            "INSERT INTO t VALUES (1, 10)",
            "ALTER TABLE t ALTER b TYPE int8",
            "INSERT INTO t VALUES (2, 20)",
            "ALTER TABLE t ALTER b TYPE text USING b::text || '!'",
            "INSERT INTO t VALUES (3, '30!')",
            "ALTER TABLE t ALTER b TYPE varchar(7)",
            "INSERT INTO t VALUES (4, 'x')",
            "UPDATE t SET b = 'y' WHERE a = 1",
        ],
    );
    let (last, rest) = messages.split_last().unwrap();
    let expected = [
        json!(["t", [["a", 23], ["b", 23]]]),
        json!([{"Int4": 1}, {"Int4": 10}]),
        json!(["t", [["a", 23], ["b", 20]]]),
        json!([{"Int4": 2}, {"Int8": 20}]),
        json!(["t", [["a", 23], ["b", 25]]]),
        json!([{"Int4": 3}, {"String": "30!"}]),
        json!(["t", [["a", 23], ["b", 1043]]]),
        json!([{"Int4": 4}, {"String": "x"}]),
    ];
    assert_eq!(outlines(rest), expected);
    assert_eq!(last["new_tuple"], json!([{"Int4": 1}, {"String": "y"}]));
    // varchar(7): the length and the four bytes of a header.
    let relation = rest
        .iter()
        .rfind(|message| message["type"] == "relation")
        .unwrap();
    assert_eq!(relation["columns"][1]["type_modifier"], 11);
}

/// Rows before and after a change in one transaction: each under its own definition.
#[test]
fn a_definition_changes_inside_a_transaction() {
    let pipeline = Pipeline::new("ddl_inside");
    let messages = stream(
        &pipeline,
        &[
            "CREATE TABLE t (a int4 PRIMARY KEY)",
            "BEGIN;
             INSERT INTO t VALUES (1);
             ALTER TABLE t ADD b oid;
             INSERT INTO t VALUES (2, 4294967295);
             ALTER TABLE t RENAME TO u;
             INSERT INTO u VALUES (3, 0);
             COMMIT",
        ],
    );
    let expected = [
        json!(["t", [["a", 23]]]),
        json!([{"Int4": 1}]),
        json!(["t", [["a", 23], ["b", 26]]]),
        json!([{"Int4": 2}, {"Oid": 4_294_967_295_u32}]),
        json!(["u", [["a", 23], ["b", 26]]]),
        json!([{"Int4": 3}, {"Oid": 0}]),
    ];
    assert_eq!(outlines(&messages), expected);
}

/// What was rolled back to a savepoint is no event; the rest stays in the order of the statements.
#[test]
fn savepoints() {
    let pipeline = Pipeline::new("ddl_savepoints");
    let messages = stream(
        &pipeline,
        &[
            "CREATE TABLE t (a int4 PRIMARY KEY)",
            "BEGIN;
             INSERT INTO t VALUES (1);
             SAVEPOINT one; INSERT INTO t VALUES (2);
             SAVEPOINT two; INSERT INTO t VALUES (3); ALTER TABLE t ADD b text;
             INSERT INTO t VALUES (4, 'x');
             ROLLBACK TO two; INSERT INTO t VALUES (5);
             RELEASE one; INSERT INTO t VALUES (6);
             SAVEPOINT three; INSERT INTO t VALUES (7); ROLLBACK TO three;
             INSERT INTO t VALUES (8);
             COMMIT",
            "BEGIN; INSERT INTO t VALUES (9); ROLLBACK",
        ],
    );
    let rows: Vec<&Value> = messages
        .iter()
        .filter(|message| message["type"] != "relation")
        .map(|message| &message["tuple"])
        .collect();
    let expected = [1, 2, 5, 6, 8].map(|a| json!([{"Int4": a}]));
    assert_eq!(rows, expected.iter().collect::<Vec<_>>());
}

/// COPY writes many rows with one WAL record, so they share a position and only their order tells
/// them apart.
#[test]
fn rows_of_a_copy() {
    const ROWS: i64 = 3000;
    let pipeline = Pipeline::new("ddl_copy");
    pipeline
        .database
        .execute("CREATE TABLE t (a int4 PRIMARY KEY, b text)");
    let _connector = pipeline.start();
    let mut client = pipeline.database.client();
    let mut copy = client.copy_in("COPY t FROM STDIN").unwrap();
    for a in 0..ROWS {
        std::io::Write::write_all(&mut copy, format!("{a}\tx\\n{a}\\\\\n").as_bytes()).unwrap();
    }
    assert_eq!(copy.finish().unwrap(), ROWS as u64);
    let records = pipeline.settled();
    let rows = transactions(&records).concat();
    let expected: Vec<Value> = std::iter::once(json!(["t", [["a", 23], ["b", 25]]]))
        .chain((0..ROWS).map(|a| json!([{"Int4": a}, {"String": format!("x\n{a}\\")}])))
        .collect();
    assert_eq!(outlines(&rows), expected);
    let inserts = records.iter().filter(|record| record.kind() == "insert");
    let mut positions: Vec<u64> = inserts
        .map(|record| record.0["wal_start"].as_u64().unwrap())
        .collect();
    assert!(positions.is_sorted());
    positions.dedup();
    assert!(positions.len() < ROWS as usize / 2, "{}", positions.len());
}

/// The first major that describes a table anew when its schema gets another name.
const TELLS_OF_SCHEMAS: u32 = 16;

/// Of a type no server tells that it has another name.
#[test]
fn a_schema_and_a_type_get_other_names() {
    let pipeline = Pipeline::new("ddl_schema");
    let messages = stream(
        &pipeline,
        &[
            "CREATE SCHEMA before",
            "CREATE TYPE before.mood AS ENUM ('x')",
            "CREATE TABLE before.t (m before.mood)",
            "INSERT INTO before.t VALUES ('x')",
            "ALTER SCHEMA before RENAME TO after",
            "INSERT INTO after.t VALUES ('x')",
            "ALTER TYPE after.mood RENAME TO temper",
            "INSERT INTO after.t VALUES ('x')",
        ],
    );
    let names = |kind: &str| -> Vec<String> {
        let of_kind = messages.iter().filter(|message| message["type"] == kind);
        of_kind
            .map(|message| format!("{}.{}", message["namespace"], message["name"]))
            .map(|name| name.replace('"', ""))
            .collect()
    };
    let (tables, types) = match pipeline.database.major() {
        ..TELLS_OF_SCHEMAS => (vec!["before.t"], vec!["before.mood"]),
        _ => (
            vec!["before.t", "after.t"],
            vec!["before.mood", "after.mood"],
        ),
    };
    assert_eq!(names("relation"), tables);
    assert_eq!(names("type"), types);
}
