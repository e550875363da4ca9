//! Parameters that not every version has: each does what it says, or names the version that has it.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::pipeline::setup::making::Place;
use crate::support::connector::ConfigFile;
use crate::support::pipeline::Pipeline;
use crate::support::postgres::{Postgres, unique};
use crate::support::record::{Record, inserted, transactions};

fn major() -> u32 {
    Postgres::shared().major()
}

/// Whether the server has what `key` asks for. If not, the program says since when there is such a
/// thing, and makes nothing.
#[track_caller]
fn has(place: &Place, config: &ConfigFile, key: &str, since: u32) -> bool {
    if major() >= since {
        return true;
    }
    let says = format!(
        "\"{key}\" needs PostgreSQL {since}, the server has version {}.",
        major()
    );
    let hint = format!("take \"{key}\" out of the config");
    place.assert_fails(config, 78, &[&says, &hint]);
    assert!(!place.database.slot_exists(&place.slot));
    let made = place
        .database
        .query_texts("SELECT pubname FROM pg_publication");
    assert!(made.is_empty(), "{made:?}");
    false
}

/// An expression over the row of the publication.
fn column(place: &Place, expression: &str) -> String {
    place.database.query_one_text(&format!(
        "SELECT {expression} FROM pg_publication WHERE pubname = '{}'",
        place.publication
    ))
}

/// Each change as its kind, its table, and the values of its row by name. Which tables are described,
/// and how often, is a matter of the server.
fn changes(records: &[Record]) -> Vec<Value> {
    let mut relations = HashMap::new();
    let mut changes = Vec::new();
    for message in transactions(records).concat() {
        let rel_id = message["rel_id"].as_u64().expect("a table");
        if message["type"] == "relation" {
            relations.insert(rel_id, message);
            continue;
        }
        let relation = &relations[&rel_id];
        let row = ["tuple", "new_tuple", "key_tuple"];
        let row = row.iter().find_map(|key| message.get(key)?.as_array());
        let columns = relation["columns"].as_array().expect("columns");
        let names = columns.iter().map(|column| {
            let name = column["name"].as_str().expect("a name");
            name.to_owned()
        });
        let row: Map<String, Value> = names.zip(row.expect("a row").iter().cloned()).collect();
        changes.push(json!([message["type"], relation["name"], row]));
    }
    changes
}

#[test]
fn publish() {
    let pipeline = Pipeline::new("publish");
    pipeline
        .database
        .execute("CREATE TABLE t (id int8 PRIMARY KEY)");
    let config = pipeline.config().parameter("publish", "[delete, insert]");
    let connector = pipeline.start_with(&config);
    assert!(
        connector
            .log()
            .contains("FOR ALL TABLES WITH (publish = 'delete, insert')"),
        "{}",
        connector.log()
    );
    pipeline
        .database
        .execute("INSERT INTO t VALUES (1), (2); UPDATE t SET id = 3 WHERE id = 1");
    pipeline
        .database
        .execute("DELETE FROM t WHERE id = 2; TRUNCATE t");
    let expected = [
        json!(["insert", "t", {"id": {"Int8": 1}}]),
        json!(["insert", "t", {"id": {"Int8": 2}}]),
        json!(["delete", "t", {"id": {"Int8": 2}}]),
    ];
    assert_eq!(changes(&pipeline.settled()), expected);
}

#[test]
fn publish_of_what_a_version_does_not_decode() {
    let place = Place::new("publish_truncate");
    let config = place.config().parameter("publish", "[truncate]");
    if has(&place, &config, "publish: [truncate]", 11) {
        place.start(&config);
        assert_eq!(column(&place, "pubtruncate AND NOT pubinsert"), "t");
    }
}

/// A point has no JSON form of its own, in a partition as elsewhere.
const PARTITIONS: &str = "CREATE TABLE whole (a int4, p point) PARTITION BY RANGE (a);
     CREATE TABLE low PARTITION OF whole FOR VALUES FROM (0) TO (10);
     CREATE TABLE high (p point, a int4);
     ALTER TABLE whole ATTACH PARTITION high FOR VALUES FROM (10) TO (20)";

const ROWS: &str = "INSERT INTO whole VALUES (1, '(1,2)'), (11, NULL)";

#[test]
fn publish_via_partition_root() {
    let place = Place::new("root");
    place.database.execute(PARTITIONS);
    let config = place.config();
    let config = config.parameter("publish_via_partition_root", "true");
    if !has(&place, &config, "publish_via_partition_root: true", 13) {
        return;
    }
    let pipeline = Pipeline::new("root");
    pipeline.database.execute(PARTITIONS);
    let config = pipeline.config();
    let config = config.parameter("publish-via-partition-root", "true");
    let _connector = pipeline.start_with(&config);
    pipeline.database.execute(ROWS);
    let point = json!({"RawText": "(1,2)".as_bytes()});
    let expected = [
        json!(["insert", "whole", {"a": {"Int4": 1}, "p": point}]),
        json!(["insert", "whole", {"a": {"Int4": 11}, "p": "Null"}]),
    ];
    assert_eq!(changes(&pipeline.settled()), expected);
}

/// That is how it is by itself, in every version.
#[test]
fn publish_via_the_partitions_themselves() {
    let pipeline = Pipeline::new("leaves");
    pipeline.database.execute(PARTITIONS);
    let config = pipeline.config();
    let config = config.parameter("publish_via_partition_root", "false");
    let _connector = pipeline.start_with(&config);
    pipeline.database.execute(ROWS);
    let point = json!({"RawText": "(1,2)".as_bytes()});
    let expected = [
        json!(["insert", "low", {"a": {"Int4": 1}, "p": point}]),
        json!(["insert", "high", {"p": "Null", "a": {"Int4": 11}}]),
    ];
    assert_eq!(changes(&pipeline.settled()), expected);
}

const GENERATED: &str = "CREATE TABLE t (a int4 PRIMARY KEY, \
     b int4 GENERATED ALWAYS AS (a * 2) STORED, c text)";

#[test]
fn generated_columns() {
    let place = Place::new("generated");
    let config = place.config().parameter("generated_columns", "stored");
    if !has(&place, &config, "generated_columns: stored", 18) {
        return;
    }
    for (which, row) in [
        (
            "stored",
            json!({"a": {"Int4": 7}, "b": {"Int4": 14}, "c": "Null"}),
        ),
        ("none", json!({"a": {"Int4": 7}, "c": "Null"})),
    ] {
        let pipeline = Pipeline::new("generated");
        pipeline.database.execute(GENERATED);
        let config = pipeline.config().parameter("generated_columns", which);
        let _connector = pipeline.start_with(&config);
        pipeline.database.execute("INSERT INTO t (a) VALUES (7)");
        let expected = [json!(["insert", "t", row])];
        assert_eq!(changes(&pipeline.settled()), expected);
    }
}

#[test]
fn failover() {
    let place = Place::new("failover");
    let config = place.config().parameter("failover", "true");
    if !has(&place, &config, "failover: true", 17) {
        // What older servers do anyway can be said to each.
        place.start(&place.config().parameter("failover", "false"));
        return;
    }
    let is_kept = |slot: &str| {
        place.database.query_one_text(&format!(
            "SELECT failover FROM pg_replication_slots WHERE slot_name = '{slot}'"
        ))
    };
    place.start(&config);
    assert_eq!(is_kept(&place.slot), "t");
    let other = unique("failover");
    place.start(&place.config().parameter("slot", &other));
    assert_eq!(is_kept(&other), "f");
    // It exists now, and is not changed.
    place.database.wait_slot_inactive(&other);
    let connector = place.start(&config.parameter("slot", &other));
    let says = format!("'ALTER_REPLICATION_SLOT \"{other}\" (FAILOVER true)'");
    assert!(connector.log().contains(&says), "{}", connector.log());
    assert_eq!(is_kept(&other), "f");
}

/// What exists is left alone; the warning has the statement that changes it, and that one works.
#[test]
fn a_publication_that_differs() {
    let place = Place::new("differs");
    place.database.execute(&format!(
        "CREATE PUBLICATION {} FOR ALL TABLES",
        place.publication
    ));
    let mut config = place.config().parameter("publish", "[insert]");
    let mut says = vec!["publish = 'insert'"];
    if major() >= 13 {
        config = config.parameter("publish_via_partition_root", "true");
        says.push("publish_via_partition_root = true");
    }
    if major() >= 18 {
        config = config.parameter("generated_columns", "stored");
        says.push("publish_generated_columns = stored");
    }
    let statement = format!(
        "ALTER PUBLICATION \"{}\" SET ({})",
        place.publication,
        says.join(", ")
    );
    let connector = place.start(&config);
    let log = connector.log();
    assert!(log.contains("exists and differs from the config"), "{log}");
    assert!(log.contains(&statement), "{statement} in {log}");
    assert_eq!(column(&place, "pubupdate"), "t");
    connector.kill();

    place.database.execute(&statement);
    place.database.wait_slot_inactive(&place.slot);
    let log = place.start(&config).log();
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn origin() {
    let place = Place::new("origin");
    let config = place.config().parameter("origin", "none");
    if !has(&place, &config, "origin: none", 16) {
        return;
    }
    let pipeline = Pipeline::new("origin");
    let database = &pipeline.database;
    database.execute("CREATE TABLE t (id int8 PRIMARY KEY)");
    let _none = pipeline.start_with(&pipeline.config().parameter("origin", "none"));
    let origin = unique("elsewhere");
    let mut elsewhere = database.client();
    let setup = format!(
        "SELECT pg_replication_origin_create('{origin}');
         SELECT pg_replication_origin_session_setup('{origin}')"
    );
    for sql in [
        &setup,
        "INSERT INTO t VALUES (1)",
        "SELECT pg_replication_origin_session_reset()",
    ] {
        elsewhere.batch_execute(sql).expect("it is replicated");
    }
    database.execute("INSERT INTO t VALUES (2)");
    assert_eq!(inserted(&pipeline.settled()), [2]);
    drop(elsewhere);
    database.query_one_text(&format!(
        "SELECT pg_replication_origin_drop('{origin}') IS NULL"
    ));
}

/// What a publication leaves out is in no record.
#[test]
fn row_filters_and_column_lists() {
    let pipeline = Pipeline::new("filters");
    let database = &pipeline.database;
    database.execute("CREATE TABLE t (id int8 PRIMARY KEY, secret text, name text)");
    let publication = format!(
        "CREATE PUBLICATION {} FOR TABLE t (id, name) WHERE (id > 10)",
        pipeline.publication
    );
    if major() < 15 {
        let refused = database.try_execute(&publication);
        assert!(refused.is_err(), "only from 15 on");
        return;
    }
    database.execute(&publication);
    let _connector = pipeline.start();
    database.execute("INSERT INTO t VALUES (1, 'hidden', 'a'), (11, 'hidden', 'b')");
    // A row that begins to match arrives, one that does not match any more leaves.
    database.execute("UPDATE t SET id = 12 WHERE id = 1");
    database.execute("UPDATE t SET name = 'c' WHERE id = 11");
    database.execute("UPDATE t SET id = 2 WHERE id = 11");
    let text = |text: &str| json!({"String": text});
    let expected = [
        json!(["insert", "t", {"id": {"Int8": 11}, "name": text("b")}]),
        json!(["insert", "t", {"id": {"Int8": 12}, "name": text("a")}]),
        json!(["update", "t", {"id": {"Int8": 11}, "name": text("c")}]),
        json!(["delete", "t", {"id": {"Int8": 11}, "name": "Null"}]),
    ];
    assert_eq!(changes(&pipeline.settled()), expected);
}
