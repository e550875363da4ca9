//! Every type at its extremes: the JSON carries exactly what SQL reads under the pinned settings.

mod check;
mod columns;
mod encodings;
mod large;
mod names;
mod others;
mod rows;
mod samples;
mod settings;
mod users;

use crate::support::pipeline::Pipeline;
use crate::support::postgres::Database;
use crate::support::record::{Record, transactions};
use check::{RawForm, Tag, check};
use columns::Column;
use postgres::{Client, SimpleQueryMessage};
use serde_json::{Value, json};

/// A row as SQL reads it.
type Row = Vec<Option<String>>;

/// Neither a table nor its rows may become too large for a page.
const COLUMNS: usize = 120;

#[test]
fn every_type_is_what_sql_reads() {
    let pipeline = Pipeline::new("types");
    let tables = Tables::create(&pipeline);
    let connector = pipeline.start();
    let expected = tables.fill(&mut pipeline.database.client());
    tables.check(&pipeline.settled(), &expected, RawForm::Bytes);
    drop(connector);
}

#[test]
fn raw_text_as_strings() {
    let pipeline = Pipeline::new("types_string");
    let tables = Tables::create(&pipeline);
    let config = pipeline.config().set("raw_text", "string");
    let connector = pipeline.start_with(&config);
    let expected = tables.fill(&mut pipeline.database.client());
    tables.check(&pipeline.settled(), &expected, RawForm::String);
    drop(connector);
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

/// The tables of all columns. Row after row takes the next value of each column.
pub struct Tables(Vec<Table>);

struct Table {
    name: String,
    columns: Vec<Column>,
}

impl Tables {
    fn create(pipeline: &Pipeline) -> Tables {
        Tables::create_in(&pipeline.database)
    }

    fn create_in(database: &Database) -> Tables {
        let mut columns = columns::all(database);
        let mut tables = Vec::new();
        while !columns.is_empty() {
            let rest = columns.split_off(columns.len().min(COLUMNS));
            let name = format!("public.everything_{}", tables.len());
            tables.push(Table { name, columns });
            columns = rest;
        }
        for table in &tables {
            let columns = table.columns.iter().enumerate();
            let list: Vec<String> = columns
                .map(|(i, column)| format!("c{i} {}", column.sql_type))
                .collect();
            let sql = format!("CREATE TABLE {} ({})", table.name, list.join(", "));
            database.execute(&sql);
        }
        Tables(tables)
    }

    /// Inserts every value, and reads all of them back in the same transaction.
    fn fill(&self, client: &mut Client) -> Vec<Row> {
        client.batch_execute("BEGIN").unwrap();
        client.batch_execute(settings::INPUT).unwrap();
        for table in &self.0 {
            table.fill(client);
        }
        client.batch_execute(settings::PINNED).unwrap();
        let rows = self.read(client).unwrap();
        client.batch_execute("COMMIT").unwrap();
        rows
    }

    /// What SQL reads.
    fn read(&self, client: &mut Client) -> Result<Vec<Row>, postgres::Error> {
        let mut rows = Vec::new();
        for table in &self.0 {
            rows.extend(table.read(client)?);
        }
        Ok(rows)
    }

    fn check(&self, records: &[Record], expected: &[Row], raw: RawForm) {
        let messages = transactions(records).concat();
        let inserts: Vec<&Value> = messages
            .iter()
            .filter(|message| message["type"] == "insert")
            .collect();
        assert_eq!(inserts.len(), expected.len());
        let columns = self
            .0
            .iter()
            .flat_map(|table| (0..table.rows()).map(|_| &table.columns));
        for ((insert, texts), columns) in inserts.iter().zip(expected).zip(columns) {
            let tuple = insert["tuple"].as_array().unwrap();
            assert_eq!(tuple.len(), columns.len());
            for ((value, text), column) in tuple.iter().zip(texts).zip(columns) {
                check(column, value, text.as_deref(), raw);
            }
        }
    }
}

impl Table {
    fn rows(&self) -> usize {
        let values = self.columns.iter().map(|column| column.values.len());
        // One more, in which every column is null.
        values.max().unwrap_or(0) + 1
    }

    fn fill(&self, client: &mut Client) {
        for row in 0..self.rows() {
            let values: Vec<&str> = self
                .columns
                .iter()
                .map(|column| column.values.get(row).map_or("NULL", String::as_str))
                .collect();
            let sql = format!("INSERT INTO {} VALUES ({})", self.name, values.join(",\n"));
            client
                .batch_execute(&sql)
                .unwrap_or_else(|e| panic!("{}: {sql}", e.as_db_error().unwrap()));
        }
    }

    fn read(&self, client: &mut Client) -> Result<Vec<Row>, postgres::Error> {
        // Not `::text`: for bool, inet and bpchar that is another text than the type's output.
        let columns = self.columns.iter().enumerate();
        let list: Vec<String> = columns
            .map(|(i, column)| match column.tag {
                // A byte over 127 is not UTF-8 up to version 15.
                Tag::Char => format!("c{i}::int4"),
                _ => format!("c{i}"),
            })
            .collect();
        // In the order of insertion.
        let sql = format!(
            "SELECT {} FROM {} ORDER BY ctid",
            list.join(", "),
            self.name
        );
        let rows = client.simple_query(&sql)?;
        let rows = rows.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows
            .map(|row| {
                (0..row.len())
                    .map(|i| row.get(i).map(str::to_owned))
                    .collect()
            })
            .collect())
    }
}
