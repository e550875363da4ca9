//! The records of "Which format" are what the program writes of the transaction that stands above them.

use serde_json::{Value, json};

use super::{block, readme};
use crate::support::connector::{ConfigFile, run_to_end};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::unique;

/// The formats, and how the block of each begins.
const FORMATS: [(&str, &str); 2] = [("events", "{\"wal_start\""), ("rows", "{\"op\"")];

#[test]
fn both_formats_are_shown_as_they_are_written() {
    let readme = readme();
    let pipeline = Pipeline::new("formats");
    let (_, table) = readme
        .split_once("on a table `")
        .expect("the README describes it");
    let (table, _) = table.split_once('`').expect("the description ends");
    pipeline.database.execute(&format!(
        "CREATE TABLE {table};
         ALTER TABLE pets ALTER photo SET STORAGE EXTERNAL;
         INSERT INTO pets VALUES (1, 'Polly', 10, repeat('x', 5000)::bytea), (2, 'Tom', 7, NULL)"
    ));
    let configs = FORMATS.map(|(format, _)| {
        let slot = unique(format);
        pipeline
            .config()
            .set("format", format)
            .parameter("slot", &slot)
    });
    for config in &configs {
        assert_eq!(drained(&pipeline, config), [""; 0]);
    }
    pipeline.database.execute(&block(&readme, "BEGIN;"));
    let written = configs.map(|config| drained(&pipeline, &config));
    let anew = written.concat().join("\n");
    for ((_, begin), written) in FORMATS.iter().zip(&written) {
        let shown = block(&readme, begin);
        let shown: Vec<&str> = shown.lines().collect();
        for line in &shown {
            assert_eq!(parsed(line).to_string(), **line, "compact JSON");
        }
        assert_eq!(
            lasting(shown.iter().copied()),
            lasting(written.iter().map(String::as_str)),
            "the README shows something else than\n{anew}"
        );
    }
    // It is one transaction that stands there.
    let begin = parsed(block(&readme, FORMATS[0].1).lines().next().expect("a line"));
    for line in block(&readme, FORMATS[1].1).lines() {
        let row = parsed(line);
        assert_eq!(row["lsn"], begin["message"]["final_lsn"]);
        assert_eq!(row["xid"], begin["message"]["xid"]);
    }
}

/// The records that are pending, which are taken off the slot.
fn drained(pipeline: &Pipeline, config: &ConfigFile) -> Vec<String> {
    let args = ["--stdout", "--once-drained"];
    let url = pipeline.database.url();
    let (code, log, lines) = run_to_end(&config.path(), &url, &args, DEADLINE);
    assert_eq!(code, 0, "{log}");
    lines
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The records without what is another in each run: positions, ids and times.
fn lasting<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let records = lines.map(|line| {
        let mut record = parsed(line);
        forget(&mut record);
        record.to_string()
    });
    records.collect()
}

fn forget(value: &mut Value) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    for (key, value) in object {
        match key.as_str() {
            "wal_start" | "wal_end" | "final_lsn" | "commit_lsn" | "end_lsn" | "lsn" | "xid"
            | "rel_id" | "timestamp" => {
                *value = json!(*value != 0);
            }
            "ts" => *value = json!(""),
            _ => forget(value),
        }
    }
}
