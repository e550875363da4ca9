//! What "Consuming rows" shows makes the tables of the source, of records that the program writes.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::{block, readme};
use crate::support::connector::{ConfigFile, run_to_end};
use crate::support::fluvio::TopicReader;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Database, Postgres};

/// How many partitions the rows of a table are spread over.
const PARTITIONS: u32 = 3;

const TABLES: &str = "
    CREATE TABLE pets (id int PRIMARY KEY, name text, price numeric, photo bytea);
    ALTER TABLE pets ALTER name SET STORAGE EXTERNAL, ALTER photo SET STORAGE EXTERNAL;
    CREATE TABLE orders (shop int, number text, note text, PRIMARY KEY (shop, number));
    ALTER TABLE orders ALTER note SET STORAGE EXTERNAL;
    CREATE TABLE notes (id int PRIMARY KEY, body text);
    ALTER TABLE notes REPLICA IDENTITY FULL, ALTER body SET STORAGE EXTERNAL;
";

/// What is done to them, a transaction each.
const CHANGES: [&str; 6] = [
    "INSERT INTO pets SELECT i, 'pet ' || i, i + 0.10, repeat(i::text, 5000)::bytea
         FROM generate_series(1, 9) AS i;
     INSERT INTO pets VALUES (10, E'a \"b\" \\\\ c\\n\\t ü €', 'NaN', NULL), (11, NULL, NULL, '');
     INSERT INTO orders VALUES (1, 'a', repeat('n', 5000)), (1, 'b', NULL), (2, 'a', '');
     INSERT INTO notes VALUES (1, repeat('x', 5000)), (2, NULL)",
    // Large values that stay, in rows that get another price and another key, twice.
    "UPDATE pets SET price = price + 1 WHERE id < 5;
     UPDATE pets SET name = repeat('long', 1000) WHERE id = 2;
     UPDATE pets SET price = 0 WHERE id = 2;
     UPDATE pets SET id = 21 WHERE id = 2;
     UPDATE pets SET id = 22, price = NULL WHERE id = 21;
     UPDATE orders SET number = 'c' WHERE shop = 1 AND number = 'a';
     UPDATE notes SET id = 3 WHERE id = 1",
    // A key that is free is taken by another row, which goes and comes back.
    "INSERT INTO pets VALUES (2, 'Rex', 1.00, 'new');
     UPDATE pets SET id = 1 - id WHERE id = 1;
     UPDATE pets SET id = 1, name = 'one' WHERE id = 3;
     DELETE FROM pets WHERE id = 2;
     INSERT INTO pets VALUES (2, 'Rex again', 2.00, NULL);
     DELETE FROM pets WHERE id IN (4, 11);
     DELETE FROM orders WHERE shop = 2;
     DELETE FROM notes WHERE id = 2",
    "UPDATE pets SET photo = NULL WHERE id = 5;
     UPDATE pets SET price = 5 WHERE id = 5;
     UPDATE pets SET photo = repeat('z', 4000)::bytea WHERE id = 5;
     UPDATE pets SET price = 6 WHERE id = 5;
     UPDATE orders SET note = 'short' WHERE shop = 1",
    "INSERT INTO pets VALUES (30, 'before', 1, NULL);
     TRUNCATE pets, orders;
     INSERT INTO pets VALUES (1, 'after', 1, repeat('y', 5000)::bytea), (30, 'too', 2, NULL)",
    "UPDATE pets SET id = 100 WHERE id = 1;
     UPDATE pets SET price = 3 WHERE id = 100",
];

#[test]
fn the_statements_make_a_copy_of_the_table() {
    let source = Source::new("statements");
    let copy = Copy::new();
    let mut all: Vec<String> = Vec::new();
    for changes in source.changes() {
        source.pipeline.database.execute(&changes);
        let batch = source.drained();
        assert!(!batch.is_empty());
        // It comes twice.
        copy.apply(&batch);
        copy.apply(&batch);
        assert_eq!(copy.pets(), source.pets(), "after {changes}");
        all.extend(batch);
    }
    // A large value that goes from one key to another is the hardest that there is.
    let is_hard = |line: &String| {
        let record = parsed(line);
        record["before"].is_object() && record["unchanged"].is_array()
    };
    assert!(all.iter().any(is_hard));
    // And all of it again.
    copy.apply(&all);
    assert_eq!(copy.pets(), source.pets());
    let anew = Copy::new();
    anew.apply(&all);
    assert_eq!(anew.pets(), source.pets());
}

#[test]
fn the_script_makes_the_tables() {
    let source = Source::new("script");
    let mut records = Vec::new();
    for changes in source.changes() {
        source.pipeline.database.execute(&changes);
        let transaction = source.drained();
        records.extend_from_slice(&transaction);
        // As if it had not been confirmed, and came again.
        let tables = run_the_script(&[&records[..], &transaction].concat());
        assert_eq!(tables, source.tables(), "after {changes}");
    }
}

/// Partitions of one topic, which come by themselves and again, all into one table.
#[test]
fn the_statements_make_a_copy_of_many_partitions() {
    let source = Source::new("partitions");
    let database = &source.pipeline.database;
    // What an update leaves as it is must be known in the partition that its row comes to.
    database.execute("ALTER TABLE pets REPLICA IDENTITY FULL");
    let config = source
        .pipeline
        .config()
        .set("format", "rows")
        .set("keys", "{ public.pets: [id], public.notes: [id] }")
        .set("partitions", &PARTITIONS.to_string())
        .set("partition", "key");
    let copy = Copy::new();
    let mut records = Vec::new();
    for changes in source.changes() {
        database.execute(&changes);
        let (code, log, _) = run_to_end(
            &config.path(),
            &database.url(),
            &["--once-drained"],
            DEADLINE,
        );
        assert_eq!(code, 0, "{log}");
        records = (0..PARTITIONS).rev().map(|n| source.records(n)).collect();
        for batch in &records {
            copy.apply(batch);
        }
        assert_eq!(copy.pets(), source.pets(), "after {changes}");
    }
    assert!(records.iter().all(|partition| !partition.is_empty()));
    let is_moved = |line: &String| parsed(line)["moved"] == true;
    assert!(records.iter().flatten().any(is_moved));
}

/// Each path of the mapping leads to a value of a row that is there.
#[test]
fn the_mapping_finds_its_columns() {
    let source = Source::new("mapping");
    let insert = "INSERT INTO pets VALUES (7, 'Rex', 1.50, NULL)";
    source.pipeline.database.execute(insert);
    let [record] = &source.drained()[..] else {
        panic!("one record of {insert}");
    };
    let record: Value = serde_json::from_str(record).expect("JSON");
    let mapping = block(&readme(), "transforms:");
    let mapping: Value = yaml_serde::from_str(&mapping).expect("YAML");
    let mapping = &mapping["transforms"][0]["with"]["mapping"]["map-columns"];
    let found = |column: &str| {
        let path = mapping[column]["json-key"].as_str();
        let path = path.unwrap_or_else(|| panic!("{column} is in {mapping}"));
        let pointer = match path {
            "$" => String::new(),
            path => format!("/{}", path.replace('.', "/")),
        };
        record.pointer(&pointer)
    };
    assert_eq!(found("id"), Some(&7.into()));
    assert_eq!(found("name"), Some(&"Rex".into()));
    assert_eq!(found("op"), Some(&"insert".into()));
    assert_eq!(found("record"), Some(&record));
    assert!(["lsn", "seq"].iter().all(|column| found(column).is_some()));
    assert_eq!(mapping.as_object().map(|columns| columns.len()), Some(6));
}

/// Tables, and a connector that writes what happens to them to standard output.
struct Source {
    pipeline: Pipeline,
    config: ConfigFile,
}

impl Source {
    fn new(name: &str) -> Source {
        let pipeline = Pipeline::new(name);
        pipeline.database.execute(TABLES);
        let config = pipeline
            .config()
            .set("format", "rows")
            .set("keys", "{ public.notes: [id] }");
        let source = Source { pipeline, config };
        assert_eq!(source.drained(), [""; 0]);
        source
    }

    /// Version 10 does not decode TRUNCATE.
    fn changes(&self) -> impl Iterator<Item = String> {
        let truncates = self.pipeline.database.major() >= 11;
        CHANGES.iter().map(move |changes| match truncates {
            true => (*changes).to_owned(),
            false => changes.replace(
                "TRUNCATE pets, orders",
                "DELETE FROM pets; DELETE FROM orders",
            ),
        })
    }

    /// The records that are pending, which are taken off the slot.
    fn drained(&self) -> Vec<String> {
        let args = ["--stdout", "--once-drained"];
        let url = self.pipeline.database.url();
        let (code, log, lines) = run_to_end(&self.config.path(), &url, &args, DEADLINE);
        assert_eq!(code, 0, "{log}");
        lines
    }

    /// What a partition of the topic has.
    fn records(&self, partition: u32) -> Vec<String> {
        let cluster = self.pipeline.cluster().sc_addr();
        let mut reader = TopicReader::new(&cluster, &self.pipeline.topic).partition(partition);
        reader.read(usize::MAX).expect("the partition can be read");
        let records = reader.into_values().into_iter();
        let text = |record| String::from_utf8(record).expect("UTF-8");
        records.map(text).collect()
    }

    fn pets(&self) -> Vec<Option<String>> {
        pets(&self.pipeline.database, "true")
    }

    /// The rows of each table as records have them, by their keys.
    fn tables(&self) -> Tables {
        let rows = [
            ("pets", "id, name, price::text, photo::text"),
            ("orders", "shop, number, note"),
            ("notes", "id, body"),
        ];
        let of_table = |(table, columns)| {
            let sql = format!("SELECT row_to_json(t) FROM (SELECT {columns} FROM {table}) AS t");
            let rows = self.pipeline.database.query_texts(&sql);
            let rows = rows.into_iter().flatten().map(|row| parsed(&row));
            (format!("public.{table}"), by_key(rows))
        };
        rows.into_iter().map(of_table).collect()
    }
}

/// The README's table in another database.
struct Copy(Database);

impl Copy {
    fn new() -> Copy {
        let readme = readme();
        let database = Postgres::shared().database("copy");
        database.execute(&block(&readme, "CREATE TABLE pets"));
        let statement = block(&readme, "SELECT apply");
        database.execute(&format!("PREPARE batch AS {statement}"));
        Copy(database)
    }

    fn apply(&self, batch: &[String]) {
        let array = format!("[{}]", batch.join(",")).replace('\'', "''");
        self.0.execute(&format!("EXECUTE batch('{array}')"));
    }

    fn pets(&self) -> Vec<Option<String>> {
        pets(&self.0, "NOT gone")
    }
}

fn pets(database: &Database, which: &str) -> Vec<Option<String>> {
    database.query_texts(&format!(
        "SELECT (id, name, price, photo)::text FROM pets WHERE {which} ORDER BY id"
    ))
}

/// The rows of tables, by their keys.
type Tables = BTreeMap<String, BTreeMap<String, Value>>;

fn by_key(rows: impl Iterator<Item = Value>) -> BTreeMap<String, Value> {
    let keyed = rows.map(|row| {
        let key = [&row["id"], &row["shop"], &row["number"]];
        (format!("{key:?}"), row)
    });
    keyed.collect()
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

/// Runs the script as the README does, beside a `fluvio` that prints these records.
fn run_the_script(records: &[String]) -> Tables {
    let readme = readme();
    let dir = TempDir::new().expect("a temporary directory can be made");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    };
    write("records", &(records.join("\n") + "\n"));
    write("tables.py", &block(&readme, "import json"));
    let fluvio = write(
        "fluvio",
        "#!/bin/sh\ntest \"$1\" = consume && exec cat records\n",
    );
    fs::set_permissions(fluvio, Permissions::from_mode(0o755)).expect("it is ours");
    let command = block(&readme, "fluvio consume pets -B -d -p 0 |");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-ec", &command])
        .current_dir(dir.path())
        .env("PATH", format!("{}:{path}", dir.path().display()))
        .output()
        .expect("a shell can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let Value::Object(tables) = parsed(&printed) else {
        panic!("{printed}");
    };
    let of_table = |(table, rows): (String, Value)| {
        let rows = rows.as_array().cloned().unwrap_or_default();
        (table, by_key(rows.into_iter()))
    };
    tables.into_iter().map(of_table).collect()
}
