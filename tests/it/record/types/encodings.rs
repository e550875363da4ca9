//! Databases in other encodings, in none, and bytes that mean nothing in theirs.

use crate::support::connector::Connector;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Database, Postgres, unique};
use crate::support::record::Record;
use postgres::error::SqlState;
use serde_json::{Value, json};

fn pipeline(encoding: &str) -> Pipeline {
    let mut pipeline = Pipeline::new("types_encoding");
    pipeline.database = Postgres::shared().database_in(encoding, "types_encoding");
    pipeline
}

fn raw(bytes: impl AsRef<[u8]>) -> Value {
    json!({"RawText": bytes.as_ref()})
}

fn of_kind(records: &[Record], kind: &str) -> Vec<Value> {
    let of_kind = records.iter().filter(|record| record.kind() == kind);
    of_kind.map(|record| record.message().clone()).collect()
}

/// The tuples that were inserted.
fn tuples(records: &[Record]) -> Vec<Value> {
    let inserts = of_kind(records, "insert");
    inserts
        .iter()
        .map(|insert| insert["tuple"].clone())
        .collect()
}

#[test]
fn names_and_values_are_converted() {
    for (encoding, text) in [
        ("LATIN1", "Müller é ÿ"),
        ("LATIN9", "20 € Œuvre"),
        ("WIN1251", "Привет ЖЯ"),
        ("EUC_JP", "日本語 テスト"),
        ("UTF8", "é 漢 😀"),
    ] {
        let pipeline = pipeline(encoding);
        let database = &pipeline.database;
        database.execute(&format!(
            "CREATE TYPE \"{text} m\" AS ENUM ('{text}');
             CREATE TABLE \"{text} t\" (id int4 PRIMARY KEY, \"{text} c\" text, m \"{text} m\",
                                        a text[], j json)"
        ));
        let _connector = pipeline.start();
        let insert = |id: i32| {
            database.execute(&format!(
                "INSERT INTO \"{text} t\"
                 VALUES ({id}, '{text}', '{text}', ARRAY['{text}'], '\"{text}\"')"
            ));
        };
        insert(1);
        // What it does not have is refused before it is stored, and nothing stops.
        let foreign = format!("INSERT INTO \"{text} t\" VALUES (2, '\u{10ffff}')");
        let refused = database.try_execute(&foreign).err();
        let code = refused.as_ref().and_then(|error| error.code().cloned());
        let expected = (encoding != "UTF8").then_some(SqlState::UNTRANSLATABLE_CHARACTER);
        assert_eq!(code, expected, "{encoding}");
        database.execute(&format!("DELETE FROM \"{text} t\" WHERE id = 2"));
        insert(3);

        let records = pipeline.settled();
        let relation = &of_kind(&records, "relation")[0];
        assert_eq!(relation["name"], format!("{text} t"));
        assert_eq!(relation["columns"][1]["name"], format!("{text} c"));
        assert_eq!(of_kind(&records, "type")[0]["name"], format!("{text} m"));
        let row = |id: i32| {
            let array =
                database.query_one_text(&format!("SELECT a FROM \"{text} t\" WHERE id = 1"));
            let json = format!("\"{text}\"");
            json!([{"Int4": id}, {"String": text}, raw(text), raw(array), raw(json)])
        };
        let mut tuples = tuples(&records);
        tuples.retain(|tuple| tuple[0] != json!({"Int4": 2}));
        assert_eq!(tuples, [row(1), row(3)], "{encoding}");
    }
}

#[test]
fn all_of_latin1() {
    let pipeline = pipeline("LATIN1");
    let create = "CREATE TABLE t (all_of_it text)";
    pipeline.database.execute(create);
    let _connector = pipeline.start();
    let all =
        "INSERT INTO t SELECT string_agg(chr(i), '' ORDER BY i) FROM generate_series(1, 255) i";
    pipeline.database.execute(all);
    let expected: String = ('\u{1}'..='\u{ff}').collect();
    assert_eq!(tuples(&pipeline.settled()), [json!([{"String": expected}])]);
}

/// A name of any bytes, as an expression in a database without an encoding.
fn bytes(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("convert_from(decode('{hex}', 'hex'), 'SQL_ASCII')")
}

/// Runs a statement with names that cannot be sent in UTF-8.
fn execute(database: &Database, format: &str, names: &[&[u8]]) {
    let names: Vec<String> = names.iter().map(|name| bytes(name)).collect();
    let names = names.join(", ");
    database.execute(&format!(
        "DO $do$ BEGIN EXECUTE format($f${format}$f$, {names}); END $do$"
    ));
}

/// Such a database has bytes that no server can convert: they stay what they are.
#[test]
fn bytes_without_an_encoding() {
    let pipeline = pipeline("SQL_ASCII");
    let database = &pipeline.database;
    execute(database, "CREATE SCHEMA %I", &[b"s\xE9"]);
    execute(
        database,
        "CREATE TYPE %I.%I AS ENUM (%L)",
        &[b"s\xE9", b"m\xE9", b"x\xFF"],
    );
    // Under an escape that is not exact, these two would have one name.
    let tables: [&[u8]; 2] = [b"t\xE9", b"t\\xe9"];
    for table in tables {
        let columns =
            "CREATE TABLE %I.%I (id int4, %I text, j json, n name, a text[], m %1$I.%4$I)";
        execute(database, columns, &[b"s\xE9", table, b"c\xE9", b"m\xE9"]);
    }
    let connector = pipeline.start();
    // It can be made for tables whose name is no text, and names them.
    assert!(connector.log().contains("t\\351"), "{}", connector.log());
    let insert = "INSERT INTO %I.%I VALUES (1, %L, %L, %L, ARRAY[%L], %L)";
    for table in tables {
        let values: [&[u8]; 5] = [b"a\xFF\"", b"\"\xC3\"", b"n\xE9", b"\xFF\xFE", b"x\xFF"];
        execute(
            database,
            insert,
            &[&[b"s\xE9", table], &values[..]].concat(),
        );
    }
    // Another session describes everything again.
    pipeline.settled();
    drop(connector);
    let _connector = pipeline.start();
    let text = "é 漢 😀".as_bytes();
    let values: [&[u8]; 5] = [text, b"\"\"", text, text, b"x\xFF"];
    execute(
        database,
        insert,
        &[&[&b"s\xE9"[..], tables[0]], &values[..]].concat(),
    );

    let records = pipeline.settled();
    let relations = of_kind(&records, "relation");
    let names: Vec<&Value> = relations.iter().map(|relation| &relation["name"]).collect();
    assert_eq!(names, ["t\\xe9", "t\\x5cxe9", "t\\xe9"]);
    for relation in &relations {
        assert_eq!(relation["namespace"], "s\\xe9");
        assert_eq!(relation["columns"][1]["name"], "c\\xe9");
    }
    let described = &of_kind(&records, "type")[0];
    assert_eq!(
        [&described["namespace"], &described["name"]],
        ["s\\xe9", "m\\xe9"]
    );
    let broken = json!([
        {"Int4": 1}, raw(b"a\xFF\""), raw(b"\"\xC3\""), raw(b"n\xE9"), raw(b"{\xFF\xFE}"),
        raw(b"x\xFF")
    ]);
    let whole = json!([
        {"Int4": 1}, {"String": "é 漢 😀"}, raw("\"\""), {"String": "é 漢 😀"},
        raw("{\"é 漢 😀\"}"), raw(b"x\xFF")
    ]);
    assert_eq!(tuples(&records), [broken.clone(), broken, whole]);
}

/// All databases of a cluster have the same origins, whatever the encoding of their names.
#[test]
fn an_origin_from_a_database_in_another_encoding() {
    let (without, pipeline) = (pipeline("SQL_ASCII"), pipeline("UTF8"));
    pipeline.database.execute("CREATE TABLE t (id int4)");
    let _connector = pipeline.start();
    let ascii = unique("types_origin");
    let name = [ascii.as_bytes(), b"\xE9"].concat();
    let create = format!("SELECT pg_replication_origin_create({})", bytes(&name));
    let id = without.database.query_one_text(&create);
    let of_it = format!("(roname) FROM pg_replication_origin WHERE roident = {id}");
    pipeline.database.execute(&format!(
        "SELECT pg_replication_origin_session_setup{of_it};
         BEGIN; SELECT pg_replication_origin_xact_setup('0/AB', now()); INSERT INTO t VALUES (1); COMMIT;
         SELECT pg_replication_origin_session_reset();
         SELECT pg_replication_origin_drop{of_it}"
    ));
    let records = pipeline.settled();
    assert_eq!(tuples(&records), [json!([{"Int4": 1}])]);
    let origins = of_kind(&records, "origin");
    let names: Vec<&Value> = origins.iter().map(|origin| &origin["name"]).collect();
    assert_eq!(names, [&json!(format!("{ascii}\\xe9"))]);
}

/// The server takes such a byte from a client of the same encoding, and can send it to no other.
#[test]
fn a_byte_without_a_meaning_stops_the_program() {
    let pipeline = pipeline("WIN1251");
    pipeline
        .database
        .execute("CREATE TABLE t (id int4, v text)");
    let config = pipeline.config();
    let mut connector = pipeline.start_with(&config);
    pipeline.database.execute("INSERT INTO t VALUES (1, 'ж')");
    let first = pipeline.settled();
    pipeline
        .database
        .execute("INSERT INTO t VALUES (2, chr(152))");
    for _ in 0..2 {
        assert_eq!(connector.wait_exit(DEADLINE), 65, "{}", connector.log());
        let log = connector.log();
        for part in [
            "cannot convert a value",
            "SQLSTATE 22P05",
            "of the change at 0/",
            "accept-gap",
        ] {
            assert!(log.contains(part), "{part} in {log}");
        }
        assert!(!log.contains("0x98"), "{log}");
        connector = Connector::spawn_config(&config, &pipeline.database.url(), &[]);
    }
    drop(connector);
    assert_eq!(tuples(&first), [json!([{"Int4": 1}, {"String": "ж"}])]);
    assert_eq!(tuples(&pipeline.records()), tuples(&first));
}
