//! Every type at its extremes: the JSON carries exactly what SQL reads under the pinned settings.

mod check;
mod columns;

use crate::support::connector::Connector;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::record::{Record, transactions};
use check::{RawForm, Tag, check};
use columns::Column;
use postgres::{Client, SimpleQueryMessage};
use serde_json::{Value, json};

/// What the program asks the server for, so that a text never depends on who connects.
const PINNED: &str = "SET LOCAL client_encoding = 'UTF8'; SET LOCAL DateStyle = 'ISO';
    SET LOCAL IntervalStyle = 'postgres'; SET LOCAL TimeZone = 'UTC';
    SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex';
    SET LOCAL lc_monetary = 'C'; SET LOCAL quote_all_identifiers = off;";

/// Settings that change the text of nearly every type.
const HOSTILE: [(&str, &str); 8] = [
    ("DateStyle", "'SQL, DMY'"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "'Asia/Kathmandu'"),
    ("extra_float_digits", "-15"),
    ("bytea_output", "escape"),
    ("client_encoding", "LATIN1"),
    ("search_path", "public, pg_catalog"),
    ("quote_all_identifiers", "on"),
];

#[test]
fn every_type_is_what_sql_reads() {
    let pipeline = Pipeline::new("types");
    let table = Table::create(&pipeline);
    let connector = pipeline.start();
    let expected = table.fill(&mut pipeline.database.client());
    table.check(&pipeline.settled(), &expected, RawForm::Bytes);
    drop(connector);
}

#[test]
fn raw_text_as_strings() {
    let pipeline = Pipeline::new("types_string");
    let table = Table::create(&pipeline);
    let config = pipeline.config().set("raw_text", "string");
    let connector = pipeline.start_with(&config);
    let expected = table.fill(&mut pipeline.database.client());
    table.check(&pipeline.settled(), &expected, RawForm::String);
    drop(connector);
}

/// Neither the database's and the role's settings nor the options in the URL.
#[test]
fn no_setting_from_elsewhere_changes_a_text() {
    let pipeline = Pipeline::new("types_hostile");
    let table = Table::create(&pipeline);
    let database = pipeline.database.name();
    // The role's settings for one database win over both the role's and the database's own.
    let places = [
        format!("ALTER DATABASE {database}"),
        format!("ALTER ROLE postgres IN DATABASE {database}"),
    ];
    // Another form of money needs a locale of the system, which few test machines have.
    let locale = pipeline.database.query_texts(
        "SELECT quote_literal(collcollate) FROM pg_collation
         WHERE collprovider = 'c' AND collcollate ~ '^[a-z]+_' ORDER BY 1 LIMIT 1",
    );
    let locale = locale.first().and_then(Option::as_deref);
    let money = locale.map(|locale| ("lc_monetary", locale));
    for place in &places {
        for (setting, value) in HOSTILE.into_iter().chain(money) {
            let sql = format!("{place} SET {setting} = {value}");
            pipeline.database.execute(&sql);
        }
    }
    assert_hostile(&mut pipeline.database.client());
    let options = "options=-c%20DateStyle%3DGerman%20-c%20TimeZone%3DAsia/Tokyo";
    let url = format!("{}?{options}", pipeline.database.url());
    let config = pipeline.config();
    let connector = Connector::spawn_config(&config, &url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    let expected = table.fill(&mut pipeline.database.client());
    table.check(&pipeline.settled(), &expected, RawForm::Bytes);
    drop(connector);
    for place in &places {
        pipeline.database.execute(&format!("{place} RESET ALL"));
    }
}

/// The one-byte type has a form for each of its values, and text in SQL for half of them only.
#[test]
fn every_char() {
    let pipeline = Pipeline::new("types_char");
    pipeline
        .database
        .execute("CREATE TABLE chars (n int4 PRIMARY KEY, c \"char\")");
    let _connector = pipeline.start();
    pipeline
        .database
        .execute("INSERT INTO chars SELECT n, n::\"char\" FROM generate_series(-128, 127) AS n");
    let rows: Vec<Value> = transactions(&pipeline.settled())
        .concat()
        .iter()
        .filter_map(|message| message.get("tuple").cloned())
        .collect();
    let expected: Vec<Value> = (-128..=127)
        .map(|n| json!([{"Int4": n}, {"Char": n}]))
        .collect();
    assert_eq!(rows, expected);
}

/// The table of all columns. Row after row takes the next value of each column.
struct Table {
    columns: Vec<Column>,
}

impl Table {
    fn create(pipeline: &Pipeline) -> Table {
        let columns = columns::all(&pipeline.database);
        let list: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(i, column)| format!("c{i} {}", column.sql_type))
            .collect();
        pipeline.database.execute(&format!(
            "CREATE TABLE public.everything ({})",
            list.join(", ")
        ));
        Table { columns }
    }

    fn rows(&self) -> usize {
        let values = self.columns.iter().map(|column| column.values.len());
        // One more, in which every column is null.
        values.max().unwrap_or(0) + 1
    }

    /// Inserts every value, and reads all of them back in the same transaction.
    fn fill(&self, client: &mut Client) -> Vec<Vec<Option<String>>> {
        client.batch_execute(&format!("BEGIN; {PINNED}")).unwrap();
        for row in 0..self.rows() {
            let values: Vec<&str> = self
                .columns
                .iter()
                .map(|column| column.values.get(row).map_or("NULL", String::as_str))
                .collect();
            client
                .batch_execute(&format!(
                    "INSERT INTO public.everything VALUES ({})",
                    values.join(",\n")
                ))
                .unwrap_or_else(|e| panic!("{}: row {row}: {values:#?}", e.as_db_error().unwrap()));
        }
        // The names of tables and types in values are qualified under this one only.
        client
            .batch_execute("SET LOCAL search_path = pg_catalog")
            .unwrap();
        // Not `::text`: for bool, inet and bpchar that is another text than the type's output.
        let list: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(i, column)| match column.tag {
                // A byte over 127 is not UTF-8 up to version 15.
                Tag::Char => format!("c{i}::int4"),
                _ => format!("c{i}"),
            })
            .collect();
        let sql = format!("SELECT {} FROM public.everything", list.join(", "));
        let rows = client.simple_query(&sql).unwrap();
        client.batch_execute("COMMIT").unwrap();
        rows.iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(
                    (0..row.len())
                        .map(|column| row.get(column).map(str::to_owned))
                        .collect(),
                ),
                _ => None,
            })
            .collect()
    }

    fn check(&self, records: &[Record], expected: &[Vec<Option<String>>], raw: RawForm) {
        assert_eq!(expected.len(), self.rows());
        let transactions = transactions(records);
        let [messages] = &transactions[..] else {
            panic!("{} transactions with changes", transactions.len())
        };
        let inserts: Vec<&Value> = messages
            .iter()
            .filter(|message| message["type"] == "insert")
            .collect();
        assert_eq!(inserts.len(), expected.len());
        for (insert, texts) in inserts.iter().zip(expected) {
            let tuple = insert["tuple"].as_array().unwrap();
            assert_eq!(tuple.len(), self.columns.len());
            for ((value, text), column) in tuple.iter().zip(texts).zip(&self.columns) {
                check(column, value, text.as_deref(), raw);
            }
        }
    }
}

/// The settings must really be in force for an ordinary session, or the test would show nothing.
fn assert_hostile(client: &mut Client) {
    let mut text = |sql: &str| -> String {
        let messages = client.simple_query(sql).unwrap();
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.unwrap().get(0).unwrap().to_owned()
    };
    assert_eq!(text("SELECT '2020-12-31'::date"), "31/12/2020");
    assert_eq!(text("SELECT '1 day'::interval"), "P1D");
    assert_eq!(
        text("SELECT '2020-01-01 00:00+00'::timestamptz"),
        "01/01/2020 05:45:00 +0545"
    );
    assert_eq!(text("SELECT 0.123::float4"), "0.1");
    assert_eq!(text("SELECT '\\xff'::bytea"), "\\377");
}
