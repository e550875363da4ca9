//! What updates and deletes carry of the old row, for each replica identity.
//!
//! Whole messages are compared as text: the keys and their order belong to the format.

use crate::support::pipeline::Pipeline;
use crate::support::record::transactions;
use postgres::error::SqlState;
use serde_json::{Value, json};

/// The name of the table in every test.
const TABLE: &str = "rows";

/// Runs each of `statements` as a transaction of its own, and returns for each the messages about
/// rows. `setup` makes the table.
fn changes(pipeline: &Pipeline, setup: &str, statements: &[&str]) -> Vec<Vec<Value>> {
    pipeline.database.execute(setup);
    let _connector = pipeline.start();
    for statement in statements {
        pipeline.database.execute(statement);
    }
    let mut transactions = transactions(&pipeline.settled());
    assert_eq!(transactions.len(), statements.len());
    for messages in &mut transactions {
        messages.retain(|message| message["type"] != "relation");
    }
    transactions
}

fn relation_oid(pipeline: &Pipeline) -> u32 {
    let sql = format!("SELECT '{TABLE}'::regclass::oid");
    pipeline.database.query_one_text(&sql).parse().unwrap()
}

/// The relation message's own word, and the columns that it marks as the key.
fn described(pipeline: &Pipeline) -> (String, Vec<String>) {
    let records = pipeline.records();
    let relation = records
        .iter()
        .rfind(|record| record.kind() == "relation")
        .unwrap()
        .message();
    let columns = relation["columns"].as_array().unwrap();
    let keys = columns.iter().filter(|column| column["flags"] == 1);
    (
        relation["replica_identity"].as_str().unwrap().to_owned(),
        keys.map(|column| column["name"].as_str().unwrap().to_owned())
            .collect(),
    )
}

#[track_caller]
fn assert_same(messages: &[Value], expected: &[Value]) {
    let text = |values: &[Value]| -> Vec<String> { values.iter().map(Value::to_string).collect() };
    assert_eq!(text(messages), text(expected));
}

#[test]
fn default_sends_the_key_when_it_changes() {
    let pipeline = Pipeline::new("identity_default");
    let changes = changes(
        &pipeline,
        "CREATE TABLE rows (id int4, part text, note text, PRIMARY KEY (id, part));
         INSERT INTO rows VALUES (1, 'a', 'x')",
        &[
            "UPDATE rows SET note = NULL",
            "UPDATE rows SET id = 2, note = 'y'",
            "DELETE FROM rows",
        ],
    );
    let rel_id = relation_oid(&pipeline);
    assert_same(
        &changes.concat(),
        &[
            json!({
                "type": "update", "rel_id": rel_id, "old_tuple": null, "key_tuple": null,
                "new_tuple": [{"Int4": 1}, {"String": "a"}, "Null"],
            }),
            json!({
                "type": "update", "rel_id": rel_id, "old_tuple": null,
                "key_tuple": [{"Int4": 1}, {"String": "a"}, "Null"],
                "new_tuple": [{"Int4": 2}, {"String": "a"}, {"String": "y"}],
            }),
            json!({
                "type": "delete", "rel_id": rel_id, "old_tuple": null,
                "key_tuple": [{"Int4": 2}, {"String": "a"}, "Null"],
            }),
        ],
    );
    let keys = vec!["id".to_owned(), "part".to_owned()];
    assert_eq!(described(&pipeline), ("Default".to_owned(), keys));
}

#[test]
fn full_sends_the_whole_old_row() {
    let pipeline = Pipeline::new("identity_full");
    let changes = changes(
        &pipeline,
        "CREATE TABLE rows (id int4 PRIMARY KEY, note text, at date);
         ALTER TABLE rows REPLICA IDENTITY FULL;
         INSERT INTO rows VALUES (1, 'x', NULL), (2, NULL, '2020-01-01')",
        &[
            "UPDATE rows SET note = 'y' WHERE id = 1",
            "UPDATE rows SET id = 3 WHERE id = 1",
            "DELETE FROM rows WHERE id = 2",
        ],
    );
    let rel_id = relation_oid(&pipeline);
    assert_same(
        &changes.concat(),
        &[
            json!({
                "type": "update", "rel_id": rel_id,
                "old_tuple": [{"Int4": 1}, {"String": "x"}, "Null"], "key_tuple": null,
                "new_tuple": [{"Int4": 1}, {"String": "y"}, "Null"],
            }),
            json!({
                "type": "update", "rel_id": rel_id,
                "old_tuple": [{"Int4": 1}, {"String": "y"}, "Null"], "key_tuple": null,
                "new_tuple": [{"Int4": 3}, {"String": "y"}, "Null"],
            }),
            json!({
                "type": "delete", "rel_id": rel_id,
                "old_tuple": [{"Int4": 2}, "Null", {"RawText": "2020-01-01".as_bytes()}],
                "key_tuple": null,
            }),
        ],
    );
    let (identity, keys) = described(&pipeline);
    assert_eq!(identity, "Full");
    // Every column identifies the row.
    assert_eq!(keys, ["id", "note", "at"]);
}

#[test]
fn an_index_sends_its_columns() {
    let pipeline = Pipeline::new("identity_index");
    let changes = changes(
        &pipeline,
        "CREATE TABLE rows (id int4 PRIMARY KEY, code text NOT NULL, note text);
         CREATE UNIQUE INDEX rows_code ON rows (code);
         ALTER TABLE rows REPLICA IDENTITY USING INDEX rows_code;
         INSERT INTO rows VALUES (1, 'a', 'x')",
        &[
            "UPDATE rows SET id = 2",
            "UPDATE rows SET code = 'b'",
            "DELETE FROM rows",
        ],
    );
    let rel_id = relation_oid(&pipeline);
    assert_same(
        &changes.concat(),
        &[
            json!({
                "type": "update", "rel_id": rel_id, "old_tuple": null, "key_tuple": null,
                "new_tuple": [{"Int4": 2}, {"String": "a"}, {"String": "x"}],
            }),
            json!({
                "type": "update", "rel_id": rel_id, "old_tuple": null,
                "key_tuple": ["Null", {"String": "a"}, "Null"],
                "new_tuple": [{"Int4": 2}, {"String": "b"}, {"String": "x"}],
            }),
            json!({
                "type": "delete", "rel_id": rel_id, "old_tuple": null,
                "key_tuple": ["Null", {"String": "b"}, "Null"],
            }),
        ],
    );
    let keys = vec!["code".to_owned()];
    assert_eq!(described(&pipeline), ("Index".to_owned(), keys));
}

/// The server refuses what it could not describe, so nothing but inserts can arrive.
#[test]
fn nothing_has_only_inserts() {
    let pipeline = Pipeline::new("identity_nothing");
    let changes = changes(
        &pipeline,
        "CREATE TABLE rows (id int4 PRIMARY KEY);
         ALTER TABLE rows REPLICA IDENTITY NOTHING",
        &["INSERT INTO rows VALUES (1)"],
    );
    for statement in ["UPDATE rows SET id = 2", "DELETE FROM rows"] {
        let error = pipeline.database.try_execute(statement).unwrap_err();
        let code = SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;
        assert_eq!(error.code(), Some(&code), "{statement}");
    }
    let expected = json!({
        "type": "insert", "rel_id": relation_oid(&pipeline), "tuple": [{"Int4": 1}],
    });
    assert_same(&changes.concat(), &[expected]);
    assert_eq!(described(&pipeline), ("Nothing".to_owned(), Vec::new()));
}

/// With the key as identity, a large value that an update leaves alone is not in the WAL at all.
#[test]
fn a_large_value_that_does_not_change() {
    let pipeline = Pipeline::new("identity_toast");
    let changes = changes(
        &pipeline,
        "CREATE TABLE rows (id int4 PRIMARY KEY, large text, note text);
         ALTER TABLE rows ALTER large SET STORAGE EXTERNAL;
         INSERT INTO rows VALUES (1, repeat('x', 10000), 'a')",
        &[
            "UPDATE rows SET note = 'b'",
            "UPDATE rows SET large = repeat('y', 10000)",
            "UPDATE rows SET large = NULL",
        ],
    );
    let rel_id = relation_oid(&pipeline);
    let new = "y".repeat(10_000);
    let tuples = [
        json!([{"Int4": 1}, "UnchangedToast", {"String": "b"}]),
        json!([{"Int4": 1}, {"String": new}, {"String": "b"}]),
        json!([{"Int4": 1}, "Null", {"String": "b"}]),
    ];
    let expected = tuples.map(|tuple| {
        json!({
            "type": "update", "rel_id": rel_id, "old_tuple": null, "key_tuple": null,
            "new_tuple": tuple,
        })
    });
    assert_same(&changes.concat(), &expected);
}

/// With the whole row as identity, the old tuple has the value that the new one leaves out.
#[test]
fn a_large_value_under_full() {
    let pipeline = Pipeline::new("identity_toast_full");
    let changes = changes(
        &pipeline,
        "CREATE TABLE rows (id int4 PRIMARY KEY, large text, note text);
         ALTER TABLE rows ALTER large SET STORAGE EXTERNAL;
         ALTER TABLE rows REPLICA IDENTITY FULL;
         INSERT INTO rows VALUES (1, repeat('x', 10000), 'a')",
        &["UPDATE rows SET note = 'b'", "DELETE FROM rows"],
    );
    let rel_id = relation_oid(&pipeline);
    let large = json!({"String": "x".repeat(10_000)});
    assert_same(
        &changes.concat(),
        &[
            json!({
                "type": "update", "rel_id": rel_id,
                "old_tuple": [{"Int4": 1}, large, {"String": "a"}], "key_tuple": null,
                "new_tuple": [{"Int4": 1}, "UnchangedToast", {"String": "b"}],
            }),
            json!({
                "type": "delete", "rel_id": rel_id,
                "old_tuple": [{"Int4": 1}, large, {"String": "b"}], "key_tuple": null,
            }),
        ],
    );
}

/// An identity that changes while rows stream: each row has what was in force when it was written.
#[test]
fn the_identity_changes_while_streaming() {
    let pipeline = Pipeline::new("identity_change");
    pipeline.database.execute(
        "CREATE TABLE rows (id int4 PRIMARY KEY, note text); INSERT INTO rows VALUES (1, 'a')",
    );
    let _connector = pipeline.start();
    for statement in [
        "UPDATE rows SET note = 'b'",
        "ALTER TABLE rows REPLICA IDENTITY FULL",
        "UPDATE rows SET note = 'c'",
        "ALTER TABLE rows REPLICA IDENTITY DEFAULT",
        "DELETE FROM rows",
    ] {
        pipeline.database.execute(statement);
    }
    let seen: Vec<(Value, Value)> = transactions(&pipeline.settled())
        .concat()
        .into_iter()
        .map(|message| match message["type"].as_str() {
            Some("relation") => (message["replica_identity"].clone(), Value::Null),
            _ => (message["old_tuple"].clone(), message["key_tuple"].clone()),
        })
        .collect();
    assert_eq!(
        seen,
        [
            (json!("Default"), Value::Null),
            (Value::Null, Value::Null),
            (json!("Full"), Value::Null),
            (json!([{"Int4": 1}, {"String": "b"}]), Value::Null),
            (json!("Default"), Value::Null),
            (Value::Null, json!([{"Int4": 1}, "Null"])),
        ]
    );
}
