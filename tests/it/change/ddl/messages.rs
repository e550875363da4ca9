//! Truncate, type and origin messages, as text: their keys and the order belong to the format.

use super::{oid, stream};
use crate::support::connector::process::signal;
use crate::support::pipeline::Pipeline;
use crate::support::postgres::{Postgres, unique};
use crate::support::record::transactions;
use serde_json::{Value, json};

fn of_kind<'a>(messages: &'a [Value], kind: &str) -> Vec<&'a Value> {
    messages
        .iter()
        .filter(|message| message["type"] == kind)
        .collect()
}

#[test]
fn truncates() {
    let pipeline = Pipeline::new("ddl_truncate");
    let version = pipeline.database.query_one_text("SHOW server_version_num");
    if version.starts_with("10") {
        // Version 10 does not decode them.
        return;
    }
    let messages = stream(
        &pipeline,
        &[
            "CREATE TABLE parent (a int4 PRIMARY KEY);
             CREATE TABLE child (b int4 PRIMARY KEY REFERENCES parent);
             CREATE TABLE other (c serial PRIMARY KEY)",
            "TRUNCATE other",
            "TRUNCATE parent CASCADE",
            "TRUNCATE other RESTART IDENTITY",
            "TRUNCATE parent, other RESTART IDENTITY CASCADE",
            "BEGIN; INSERT INTO other VALUES (1); TRUNCATE other, parent, child; COMMIT",
        ],
    );
    let [parent, child, other] =
        ["parent", "child", "other"].map(|table| oid(&pipeline, "regclass", table));
    let truncates = of_kind(&messages, "truncate");
    let expected = [
        (0, vec![other]),
        (1, vec![parent, child]),
        (2, vec![other]),
        (3, vec![parent, other, child]),
        (0, vec![other, parent, child]),
    ];
    let text = |(options, rel_ids): &(i8, Vec<u32>)| {
        json!({"type": "truncate", "options": options, "rel_ids": rel_ids}).to_string()
    };
    let truncates: Vec<String> = truncates
        .iter()
        .map(|message| message.to_string())
        .collect();
    assert_eq!(truncates, expected.each_ref().map(text));
    // Each table was described before the first message that names it.
    let mut described = Vec::new();
    for message in &messages {
        if message["type"] == "relation" {
            described.push(&message["rel_id"]);
        }
        for rel_id in message["rel_ids"].as_array().into_iter().flatten() {
            assert!(described.contains(&rel_id), "{rel_id} in {messages:?}");
        }
    }
}

/// Types that are not built in are described before the table; a domain as what it is based on.
#[test]
fn types_of_users() {
    let pipeline = Pipeline::new("ddl_types");
    pipeline.database.execute(
        "CREATE SCHEMA \"my types\";
         CREATE TYPE \"my types\".\"Mood\" AS ENUM ('sad', 'fine');
         CREATE DOMAIN small AS int4 CHECK (VALUE < 100);
         CREATE DOMAIN smaller AS small;
         CREATE TYPE pair AS (a int4, b text);
         CREATE TABLE t (a int4 PRIMARY KEY, m \"my types\".\"Mood\", s small, r smaller, p pair,
                         ms \"my types\".\"Mood\"[], d date)",
    );
    let messages = stream(
        &pipeline,
        &["INSERT INTO t VALUES (1, 'fine', 2, 3, (4, 'x'), '{sad}', NULL)"],
    );
    let raw = |text: &str| json!({"RawText": text.as_bytes()});
    let described = |name: &str, namespace: &str, of: &str| {
        let id = oid(&pipeline, "regtype", name);
        json!({"type": "type", "id": id, "namespace": namespace, "name": of})
    };
    let expected = [
        described("\"my types\".\"Mood\"", "my types", "Mood"),
        described("small", "pg_catalog", "int4"),
        described("smaller", "pg_catalog", "int4"),
        described("pair", "public", "pair"),
        described("\"my types\".\"Mood\"[]", "my types", "_Mood"),
    ];
    let (types, rest) = messages.split_at(expected.len());
    let text = |values: &[Value]| -> Vec<String> { values.iter().map(Value::to_string).collect() };
    assert_eq!(text(types), text(&expected));
    let [relation, insert] = rest else {
        panic!("{rest:?}")
    };
    // The columns name the types by the same ids, as the 32 bits of a signed number.
    let columns = relation["columns"].as_array().unwrap();
    for (column, described) in columns[1..6].iter().zip(&expected) {
        assert_eq!(column["type_id"], described["id"]);
    }
    let tuple = json!([
        {"Int4": 1}, raw("fine"), raw("2"), raw("3"), raw("(4,x)"), raw("{sad}"), "Null"
    ]);
    assert_eq!(insert["tuple"], tuple);
}

/// citext is text wherever it was installed, also below a domain, which is described as citext;
/// and still after the column got another type.
#[test]
fn citext_is_text() {
    let pipeline = Pipeline::new("ddl_citext");
    pipeline.database.execute("CREATE SCHEMA extensions");
    if !pipeline.database.create_extension("citext", "extensions") {
        return;
    }
    let messages = stream(
        &pipeline,
        &[
            "CREATE DOMAIN email AS extensions.citext;
             CREATE TABLE t (a int4 PRIMARY KEY, c extensions.citext, e email, cs extensions.citext[])",
            "INSERT INTO t VALUES (1, 'MiXed', 'A@b.c', '{Ab}')",
            "ALTER TABLE t ALTER c TYPE date USING NULL",
            "INSERT INTO t VALUES (2, '2020-01-01', 'D', NULL)",
        ],
    );
    let types: Vec<&Value> = of_kind(&messages, "type");
    let names: Vec<&Value> = types.iter().map(|message| &message["name"]).collect();
    assert_eq!(names, ["citext", "citext", "_citext", "citext", "_citext"]);
    assert_eq!(types[0]["namespace"], "extensions");
    assert_eq!(types[1]["id"], oid(&pipeline, "regtype", "email"));
    let rows: Vec<&Value> = of_kind(&messages, "insert")
        .into_iter()
        .map(|message| &message["tuple"])
        .collect();
    let raw = |text: &str| json!({"RawText": text.as_bytes()});
    let expected = [
        json!([{"Int4": 1}, {"String": "MiXed"}, {"String": "A@b.c"}, raw("{Ab}")]),
        json!([{"Int4": 2}, raw("2020-01-01"), {"String": "D"}, "Null"]),
    ];
    assert_eq!(rows, expected.iter().collect::<Vec<_>>());
}

fn kinds_of(transactions: &[Vec<Value>]) -> Vec<Vec<&str>> {
    transactions
        .iter()
        .map(|messages| {
            let kinds = messages.iter().map(|message| message["type"].as_str());
            kinds.map(Option::unwrap).collect()
        })
        .collect()
}

/// A session that applies another server's changes says so, and the transaction carries it.
#[test]
fn a_transaction_from_elsewhere() {
    let pipeline = Pipeline::new("ddl_origin");
    pipeline
        .database
        .execute("CREATE TABLE t (a int4 PRIMARY KEY)");
    let _connector = pipeline.start();
    // Origins belong to the whole server. Up to version 13, the transaction that makes this one
    // and already names it is sent with an empty message in place of the origin.
    let name = format!("node \"é😀\" {}", unique("origin"));
    let mut client = pipeline.database.client();
    client
        .batch_execute(&format!(
            "SELECT pg_replication_origin_create('{name}');
             SELECT pg_replication_origin_session_setup('{name}')"
        ))
        .unwrap();
    client
        .batch_execute(
            "BEGIN;
             SELECT pg_replication_origin_xact_setup('16/B374D848', '2020-01-01 00:00:00+00');
             INSERT INTO t VALUES (1);
             COMMIT",
        )
        .unwrap();
    client
        .batch_execute("SELECT pg_replication_origin_session_reset(); INSERT INTO t VALUES (2)")
        .unwrap();
    let transactions = transactions(&pipeline.settled());
    // Not before: the server leaves out an origin that is not there any more when it decodes.
    client
        .batch_execute(&format!("SELECT pg_replication_origin_drop('{name}')"))
        .unwrap();
    assert_eq!(
        kinds_of(&transactions),
        [vec!["origin", "relation", "insert"], vec!["insert"]]
    );
    let commit_lsn = 0x16_B374_D848_u64;
    let expected = json!({"type": "origin", "commit_lsn": commit_lsn, "name": name});
    assert_eq!(transactions[0][0].to_string(), expected.to_string());
}

/// The first major that forgets what it has described when it has lost track of the catalog.
const FORGETS: u32 = 15;

/// A walsender that is behind with what other sessions change in the catalog forgets all that it knows,
/// and describes each table again.
#[test]
fn a_description_that_says_nothing_new() {
    let server = Postgres::start(&[]);
    let pipeline = Pipeline::on(&server, "ddl_again");
    pipeline
        .database
        .execute("CREATE DOMAIN small AS int4; CREATE TABLE t (a int4 PRIMARY KEY, s small)");
    let _connector = pipeline.start();
    pipeline.database.execute("INSERT INTO t VALUES (1)");
    pipeline.settled();
    let walsender = pipeline.database.wait_slot_active(&pipeline.slot);
    signal(walsender, "STOP");
    server.database("elsewhere").execute(
        "DO $$ BEGIN
             FOR i IN 1..1000 LOOP EXECUTE 'CREATE TABLE t' || i || ' (a int4)'; END LOOP;
         END $$",
    );
    signal(walsender, "CONT");
    pipeline.database.execute("INSERT INTO t VALUES (2)");
    let records = pipeline.settled();
    let described = records
        .iter()
        .filter(|record| record.kind() == "relation")
        .count();
    let times = match server.major() {
        ..FORGETS => 1,
        FORGETS.. => 2,
    };
    assert_eq!(described, times);
    assert_eq!(
        kinds_of(&transactions(&records)),
        [vec!["type", "relation", "insert"], vec!["insert"]]
    );
}
