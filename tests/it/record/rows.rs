//! The row format of what a server sends under each replica identity.

use std::collections::HashMap;

use postgres_source::record::RowStyle;

use crate::support::postgres::{Database, Postgres, unique};
use crate::support::rows::{RowDecoder, RowLine, server_text};

/// Tables, and the statements on them, each a transaction.
fn records(setup: &str, keys: &[(&'static str, &str)], statements: &[&str]) -> Vec<RowLine> {
    let database = Postgres::shared().database("rows");
    records_in(&database, setup, keys, statements)
}

fn records_in(
    database: &Database,
    setup: &str,
    keys: &[(&'static str, &str)],
    statements: &[&str],
) -> Vec<RowLine> {
    let (publication, slot) = (unique("rows"), unique("rows"));
    database.execute(setup);
    database.execute(&format!("CREATE PUBLICATION {publication} FOR ALL TABLES"));
    database.create_slot(&slot);
    statements
        .iter()
        .for_each(|statement| database.execute(statement));
    let names = |names: &str| names.split(' ').map(str::to_owned).collect();
    let keys: HashMap<_, _> = keys
        .iter()
        .map(|(table, key)| (*table, names(key)))
        .collect();
    let decoder = RowDecoder {
        database,
        publication: &publication,
        slot: &slot,
        keys,
        style: RowStyle::default(),
    };
    decoder.take()
}

/// The records without their places, and their keys.
#[track_caller]
fn assert_rows(lines: &[RowLine], expected: &[(&str, Option<&str>)]) {
    let found: Vec<(String, Option<&str>)> = lines
        .iter()
        .map(|line| {
            let (change, place) = line.json.split_once(",\"lsn\":").expect("a place");
            let end = if place.contains("\"last\"") {
                ",last"
            } else {
                ""
            };
            (change.to_owned() + end, line.key.as_deref())
        })
        .collect();
    let expected: Vec<(String, Option<&str>)> = expected
        .iter()
        .map(|(change, key)| ((*change).to_owned(), *key))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn by_the_primary_key() {
    let lines = records(
        "CREATE TABLE pets (name text, id int4, kind int8, PRIMARY KEY (id, kind))",
        &[],
        &[
            "INSERT INTO pets VALUES ('Polly', 1, 9), (NULL, 2, 9)",
            "UPDATE pets SET name = 'P\"' WHERE id = 1; UPDATE pets SET id = 3 WHERE id = 2",
            "DELETE FROM pets WHERE id = 3",
        ],
    );
    let one = Some(r#"["public","pets",1,9]"#);
    let three = Some(r#"["public","pets",3,9]"#);
    assert_rows(
        &lines,
        &[
            (
                r#"{"op":"insert","schema":"public","table":"pets","key":{"id":1,"kind":9},"before":null,"after":{"name":"Polly","id":1,"kind":9}"#,
                one,
            ),
            (
                r#"{"op":"insert","schema":"public","table":"pets","key":{"id":2,"kind":9},"before":null,"after":{"name":null,"id":2,"kind":9},last"#,
                Some(r#"["public","pets",2,9]"#),
            ),
            (
                r#"{"op":"update","schema":"public","table":"pets","key":{"id":1,"kind":9},"before":null,"after":{"name":"P\"","id":1,"kind":9}"#,
                one,
            ),
            (
                r#"{"op":"update","schema":"public","table":"pets","key":{"id":3,"kind":9},"before":{"id":2,"kind":9},"after":{"name":null,"id":3,"kind":9},last"#,
                three,
            ),
            (
                r#"{"op":"delete","schema":"public","table":"pets","key":{"id":3,"kind":9},"before":{"id":3,"kind":9},"after":null,last"#,
                three,
            ),
        ],
    );
}

#[test]
fn by_an_index_by_everything_and_by_nothing() {
    let lines = records(
        "CREATE TABLE part (code text NOT NULL, id int4);
         CREATE UNIQUE INDEX part_code ON part (code);
         ALTER TABLE part REPLICA IDENTITY USING INDEX part_code;
         CREATE TABLE whole (id int4 PRIMARY KEY, t text);
         ALTER TABLE whole REPLICA IDENTITY FULL;
         CREATE TABLE named (LIKE whole INCLUDING ALL);
         ALTER TABLE named REPLICA IDENTITY FULL;
         CREATE TABLE log (id int4)",
        &[("named", "id"), ("log", "id")],
        &[
            "INSERT INTO part VALUES ('a', 1); UPDATE part SET code = 'b'; DELETE FROM part",
            "INSERT INTO whole VALUES (1); UPDATE whole SET id = 2; DELETE FROM whole",
            "INSERT INTO named VALUES (1); UPDATE named SET id = 2; DELETE FROM named",
            "INSERT INTO log VALUES (1)",
        ],
    );
    let changes = |table: &str, key: [&str; 3], rows: [&str; 4]| {
        let head =
            |op, key| format!(r#"{{"op":"{op}","schema":"public","table":"{table}","key":{key}"#);
        [
            head("insert", key[0]) + r#","before":null,"after":"# + rows[0],
            head("update", key[1]) + r#","before":"# + rows[1] + r#","after":"# + rows[2],
            head("delete", key[2]) + r#","before":"# + rows[3] + r#","after":null,last"#,
        ]
    };
    let part = changes(
        "part",
        [r#"{"code":"a"}"#, r#"{"code":"b"}"#, r#"{"code":"b"}"#],
        [
            r#"{"code":"a","id":1}"#,
            r#"{"code":"a"}"#,
            r#"{"code":"b","id":1}"#,
            r#"{"code":"b"}"#,
        ],
    );
    let (one, two) = (r#"{"id":1,"t":null}"#, r#"{"id":2,"t":null}"#);
    let whole = changes("whole", ["null"; 3], [one, one, two, two]);
    let ids = [r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":2}"#];
    let named = changes("named", ids, [one, one, two, two]);
    let log = r#"{"op":"insert","schema":"public","table":"log","key":{"id":1},"before":null,"after":{"id":1},last"#;
    let key = |table, value| format!(r#"["public","{table}",{value}]"#);
    let keys = [
        Some(key("part", "\"a\"")),
        Some(key("part", "\"b\"")),
        Some(key("part", "\"b\"")),
        None,
        None,
        None,
        Some(key("named", "1")),
        Some(key("named", "2")),
        Some(key("named", "2")),
        Some(key("log", "1")),
    ];
    let changes = part.iter().chain(&whole).chain(&named).map(String::as_str);
    let expected: Vec<_> = changes
        .chain([log])
        .zip(keys.iter().map(Option::as_deref))
        .collect();
    assert_rows(&lines, &expected);
}

/// A key that is kept apart from its row, and an update that leaves it there.
#[test]
fn a_large_key_is_sent_though_it_did_not_change() {
    let large = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 70) AS i)";
    let lines = records(
        "CREATE TABLE pets (id text PRIMARY KEY, n int4, doc text);
         ALTER TABLE pets ALTER id SET STORAGE EXTERNAL, ALTER doc SET STORAGE EXTERNAL",
        &[],
        &[
            &format!("INSERT INTO pets SELECT {large}, 1, repeat('x', 5000)"),
            "UPDATE pets SET n = 2",
        ],
    );
    let [insert, update] = &lines[..] else {
        panic!("{lines:?}");
    };
    let id = server_text("text", insert.after("id").unwrap()).unwrap();
    assert_eq!(id.len(), 70 * 32);
    let id = String::from_utf8(id).unwrap();
    let key = format!(r#"["public","pets","{id}"]"#);
    assert_eq!(
        (insert.key.as_ref(), update.key.as_ref()),
        (Some(&key), Some(&key))
    );
    let expected = format!(
        r#"{{"op":"update","schema":"public","table":"pets","key":{{"id":"{id}"}},"before":{{"id":"{id}"}},"after":{{"id":"{id}","n":2}},"unchanged":["doc"],"lsn":"#
    );
    assert!(update.json.starts_with(&expected), "{}", update.json);
}

#[test]
fn what_did_not_change_is_filled_in_from_the_whole_row() {
    let lines = records(
        "CREATE TABLE pets (id int4, doc text); ALTER TABLE pets REPLICA IDENTITY FULL;
         ALTER TABLE pets ALTER doc SET STORAGE EXTERNAL",
        &[],
        &[
            "INSERT INTO pets VALUES (1, repeat('x', 5000))",
            "UPDATE pets SET id = 2",
        ],
    );
    let doc = format!(r#""doc":"{}""#, "x".repeat(5000));
    let row = |id| format!(r#"{{"id":{id},{doc}}}"#);
    let update = format!(
        r#"{{"op":"update","schema":"public","table":"pets","key":null,"before":{},"after":{},"lsn":"#,
        row(1),
        row(2)
    );
    assert!(lines[1].json.starts_with(&update), "{}", lines[1].json);
}

#[test]
fn bytes_that_are_not_utf8() {
    let database = Postgres::shared().database_in("SQL_ASCII", "rows_ascii");
    let lines = records_in(
        &database,
        "CREATE TABLE pets (id text PRIMARY KEY, doc json)",
        &[],
        &[r#"INSERT INTO pets VALUES (E'\xc3', E'["\xe9"]'), ('é', '["é"]')"#],
    );
    assert_rows(
        &lines,
        &[
            (
                r#"{"op":"insert","schema":"public","table":"pets","key":{"id":{"hex":"c3"}},"before":null,"after":{"id":{"hex":"c3"},"doc":{"hex":"5b22e9225d"}}"#,
                Some(r#"["public","pets",{"hex":"c3"}]"#),
            ),
            (
                r#"{"op":"insert","schema":"public","table":"pets","key":{"id":"é"},"before":null,"after":{"id":"é","doc":["é"]},last"#,
                Some(r#"["public","pets","é"]"#),
            ),
        ],
    );
    let id = server_text("text", lines[0].after("id").unwrap());
    assert_eq!(id.as_deref(), Some(&b"\xC3"[..]));
}
