//! Tables by name: renamed, made again, in parts, with names that need quotes.

use super::{oid, outlines, stream};
use crate::support::pipeline::Pipeline;
use serde_json::{Value, json};

#[test]
fn a_renamed_table_keeps_its_id() {
    let pipeline = Pipeline::new("ddl_rename");
    let messages = stream(
        &pipeline,
        &[
            "CREATE SCHEMA other; CREATE TABLE t (a int4 PRIMARY KEY)",
            "INSERT INTO t VALUES (1)",
            "ALTER TABLE t RENAME TO u",
            "INSERT INTO u VALUES (2)",
            "ALTER TABLE u SET SCHEMA other",
            "INSERT INTO other.u VALUES (3)",
        ],
    );
    let rel_id = oid(&pipeline, "regclass", "other.u");
    let seen: Vec<Value> = messages
        .iter()
        .map(|message| match message["type"].as_str() {
            Some("relation") => json!([message["rel_id"], message["namespace"], message["name"]]),
            _ => json!([message["rel_id"], message["tuple"][0]["Int4"]]),
        })
        .collect();
    let expected = [
        json!([rel_id, "public", "t"]),
        json!([rel_id, 1]),
        json!([rel_id, "public", "u"]),
        json!([rel_id, 2]),
        json!([rel_id, "other", "u"]),
        json!([rel_id, 3]),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_table_made_again_is_another() {
    let pipeline = Pipeline::new("ddl_again");
    pipeline
        .database
        .execute("CREATE TABLE t (a int4 PRIMARY KEY)");
    let before = oid(&pipeline, "regclass", "t");
    let messages = stream(
        &pipeline,
        &[
            "INSERT INTO t VALUES (1)",
            "DROP TABLE t",
            "CREATE TABLE t (a text PRIMARY KEY)",
            "INSERT INTO t VALUES ('x')",
        ],
    );
    let after = oid(&pipeline, "regclass", "t");
    assert_ne!(before, after);
    let rel_ids: Vec<&Value> = messages.iter().map(|message| &message["rel_id"]).collect();
    assert_eq!(rel_ids, [before, before, after, after]);
    let expected = [
        json!(["t", [["a", 23]]]),
        json!([{"Int4": 1}]),
        json!(["t", [["a", 25]]]),
        json!([{"String": "x"}]),
    ];
    assert_eq!(outlines(&messages), expected);
}

/// Rows arrive under the table that holds them, and one that moves leaves the one for the other.
#[test]
fn rows_of_partitions() {
    let pipeline = Pipeline::new("ddl_partitions");
    pipeline.database.execute(
        "CREATE TABLE whole (a int4, b text) PARTITION BY RANGE (a);
         CREATE TABLE low PARTITION OF whole FOR VALUES FROM (0) TO (10);
         -- A leaf may have its columns in an order of its own.
         CREATE TABLE high (b text, a int4 NOT NULL);
         ALTER TABLE whole ATTACH PARTITION high FOR VALUES FROM (10) TO (20);
         ALTER TABLE low ADD PRIMARY KEY (a);
         ALTER TABLE high ADD PRIMARY KEY (a)",
    );
    // A row moves by an update from version 11 on.
    let move_row = match pipeline.database.query_one_text("SHOW server_version_num") {
        version if version.starts_with("10") => {
            "BEGIN; DELETE FROM whole WHERE a = 1; INSERT INTO whole VALUES (12, 'x'); COMMIT"
        }
        _ => "UPDATE whole SET a = 12 WHERE a = 1",
    };
    let messages = stream(
        &pipeline,
        &[
            "INSERT INTO whole VALUES (1, 'x'), (11, 'y'), (2, 'z')",
            move_row,
        ],
    );
    let low = oid(&pipeline, "regclass", "low");
    let high = oid(&pipeline, "regclass", "high");
    let seen: Vec<Value> = messages
        .iter()
        .map(|message| match message["type"].as_str() {
            Some("relation") => json!([message["rel_id"], message["name"]]),
            Some("insert") => json!([message["rel_id"], message["tuple"]]),
            _ => json!([message["rel_id"], message["type"], message["key_tuple"]]),
        })
        .collect();
    let expected = [
        json!([low, "low"]),
        json!([low, [{"Int4": 1}, {"String": "x"}]]),
        json!([high, "high"]),
        json!([high, [{"String": "y"}, {"Int4": 11}]]),
        json!([low, [{"Int4": 2}, {"String": "z"}]]),
        json!([low, "delete", [{"Int4": 1}, "Null"]]),
        json!([high, [{"String": "x"}, {"Int4": 12}]]),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn one_name_in_several_schemas() {
    let pipeline = Pipeline::new("ddl_schemas");
    let messages = stream(
        &pipeline,
        &[
            "CREATE SCHEMA one; CREATE SCHEMA two;
             CREATE TABLE one.t (a int4 PRIMARY KEY); CREATE TABLE two.t (a text PRIMARY KEY)",
            "INSERT INTO one.t VALUES (1); INSERT INTO two.t VALUES ('x');
             INSERT INTO one.t VALUES (2)",
        ],
    );
    let one = oid(&pipeline, "regclass", "one.t");
    let two = oid(&pipeline, "regclass", "two.t");
    let seen: Vec<Value> = messages
        .iter()
        .map(|message| match message["type"].as_str() {
            Some("relation") => json!([message["rel_id"], message["namespace"], message["name"]]),
            _ => json!([message["rel_id"], message["tuple"]]),
        })
        .collect();
    let expected = [
        json!([one, "one", "t"]),
        json!([one, [{"Int4": 1}]]),
        json!([two, "two", "t"]),
        json!([two, [{"String": "x"}]]),
        json!([one, [{"Int4": 2}]]),
    ];
    assert_eq!(seen, expected);
}

/// Names of every kind, of 63 bytes, the longest that the server takes: the whole message as text.
#[test]
fn names_that_need_quotes() {
    let pipeline = Pipeline::new("ddl_names");
    let schema = format!("\"s\\{}", "é".repeat(30));
    let table = format!("t'{}\n", "😀".repeat(15));
    let column = format!("{}end", "c\"\t ".repeat(15));
    assert_eq!([schema.len(), table.len(), column.len()], [63; 3]);
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let path = format!("{}.{}", quoted(&schema), quoted(&table));
    let setup = format!(
        "CREATE SCHEMA {}; CREATE TABLE {path} ({} int4 PRIMARY KEY)",
        quoted(&schema),
        quoted(&column)
    );
    let messages = stream(
        &pipeline,
        &[&setup, &format!("INSERT INTO {path} VALUES (1)")],
    );
    let rel_id = oid(&pipeline, "regclass", &path);
    let expected = json!({
        "type": "relation", "rel_id": rel_id, "namespace": schema, "name": table,
        "replica_identity": "Default",
        "columns": [{"flags": 1, "name": column, "type_id": 23, "type_modifier": -1}],
    });
    assert_eq!(messages[0].to_string(), expected.to_string());
    assert_eq!(messages[1]["rel_id"], rel_id);
}

/// What is not published or not stored in the WAL leaves no trace, nor do generated columns.
#[test]
fn what_is_not_sent() {
    let pipeline = Pipeline::new("ddl_unsent");
    let version = pipeline.database.query_one_text("SHOW server_version_num");
    let generated = match version.parse::<u32>().unwrap() {
        ..120_000 => "",
        _ => ", b int4 GENERATED ALWAYS AS (a * 2) STORED",
    };
    let messages = stream(
        &pipeline,
        &[
            &format!(
                "CREATE UNLOGGED TABLE unlogged (a int4); CREATE TABLE t (a int4 PRIMARY KEY{generated});
                 CREATE MATERIALIZED VIEW view AS SELECT * FROM t"
            ),
            "INSERT INTO unlogged VALUES (1)",
            "CREATE TEMPORARY TABLE temporary AS SELECT 1 AS a",
            "INSERT INTO t (a) VALUES (7)",
            "REFRESH MATERIALIZED VIEW view",
        ],
    );
    let expected = [json!(["t", [["a", 23]]]), json!([{"Int4": 7}])];
    assert_eq!(outlines(&messages), expected);
}
