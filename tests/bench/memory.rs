//! The most memory that one large transaction takes, and one large value.

use crate::contenders::PUBLICATION;
use crate::measure::{Sample, SlotWatch, drain_to_null};
use crate::support::postgres::{Database, Postgres};
use crate::table::{Report, Table};
use crate::workloads::{Workload, flushed, write};
use crate::{Arguments, Result, progress};

/// The small transaction that the large one is compared with.
const FEW_ROWS: u64 = 1000;
/// The large value, as the server stores it.
const VALUE_BYTES: f64 = 100e6;
/// A value may take twice its size and this.
const VALUE_REST_MB: f64 = 32.0;

const SLOT: &str = "memory";

/// A type of the large value.
struct Kind {
    name: &'static str,
    /// What makes it, of pieces of ten bytes.
    expression: &'static str,
    /// How long its text is beside what the server stores.
    text: f64,
    /// How long its record is: that of a bytea is `RawText`, three bytes or so for each digit.
    record: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "text",
        expression: "repeat('0123456789', {n})",
        text: 1.0,
        record: "a string, as long as the text",
    },
    Kind {
        name: "text",
        expression: r"repeat(E'\x01\x02\x03\x04\x05\x06\x07\x01\x02\x03', {n})",
        text: 1.0,
        record: "escapes, 6 times the text",
    },
    Kind {
        name: "bytea",
        expression: "decode(repeat('00112233445566778899', {n}), 'hex')",
        text: 2.0,
        record: "RawText bytes, 3 times the text",
    },
];

/// Reports both, to standard output.
pub fn measure(arguments: &Arguments, postgres: &Postgres, report: &mut Report) -> Result<()> {
    transactions(arguments, postgres, report)?;
    values(arguments, postgres, report)
}

fn transactions(arguments: &Arguments, postgres: &Postgres, report: &mut Report) -> Result<()> {
    let mut table = Table::new(&["one transaction of rows", "peak RSS MB", "s"]);
    let mut peaks = Vec::new();
    for rows in [FEW_ROWS, arguments.rows] {
        progress(&format!("one transaction of {rows} rows"));
        let workload = Workload::inserts(rows, rows);
        let sample = peak(postgres, |database| {
            workload.prepare(database)?;
            database.create_slot(SLOT);
            workload.write(database)?;
            Ok(())
        })?;
        peaks.push(megabytes(&sample));
        table.row(vec![
            rows.to_string(),
            format!("{:.1}", megabytes(&sample)),
            format!("{:.2}", sample.elapsed.as_secs_f64()),
        ]);
    }
    report.table(&table);
    report.note(&format!(
        "The large transaction takes {:+.1} MB beside the small one. In these databases \
         logical_decoding_work_mem is 64MB.",
        peaks[1] - peaks[0]
    ));
    Ok(())
}

fn values(arguments: &Arguments, postgres: &Postgres, report: &mut Report) -> Result<()> {
    let mut table = Table::new(&[
        "one value of type",
        "MB",
        "its text MB",
        "its record",
        "peak RSS MB",
        "of the value",
        "of the text",
        "allowed MB",
    ]);
    let pieces = (VALUE_BYTES * arguments.scale / 10.0) as u64;
    let value = pieces as f64 * 10.0 / 1e6;
    for kind in KINDS {
        progress(&format!("one {} of {value:.1} MB", kind.name));
        let expression = kind.expression.replace("{n}", &pieces.to_string());
        let sample = peak(postgres, |database| {
            // Stored as it is: were it compressed, little would be in the WAL.
            database.execute(&format!(
                "CREATE TABLE load (id int8, body {}); \
                 ALTER TABLE load ALTER body SET STORAGE EXTERNAL",
                kind.name
            ));
            database.create_slot(SLOT);
            write(
                database,
                &format!("INSERT INTO load SELECT 1, {expression}"),
            )
        })?;
        let peak = megabytes(&sample);
        table.row(vec![
            kind.name.to_owned(),
            format!("{value:.1}"),
            format!("{:.1}", value * kind.text),
            kind.record.to_owned(),
            format!("{peak:.1}"),
            format!("{:.2}", peak / value),
            format!("{:.2}", peak / (value * kind.text)),
            format!("{:.1}", 2.0 * value + VALUE_REST_MB),
        ]);
    }
    report.table(&table);
    report.note(&format!(
        "MB are millions of bytes. Allowed: twice the value and {VALUE_REST_MB} MB."
    ));
    Ok(())
}

/// Lets `load` make a slot and write behind it, and drains that.
fn peak(postgres: &Postgres, load: impl FnOnce(&Database) -> Result<()>) -> Result<Sample> {
    let database = postgres.database("memory");
    // The server needs not hold the large transaction in memory as well: it is not measured.
    database.execute(&format!(
        "ALTER DATABASE {} SET logical_decoding_work_mem = '64MB'",
        database.name()
    ));
    database.execute(&format!("CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES"));
    load(&database)?;
    let end = flushed(&database)?;
    let mut watch = SlotWatch::new(database.client())?;
    drain_to_null(&database, SLOT, end, &mut watch)
}

fn megabytes(sample: &Sample) -> f64 {
    sample.peak_rss_kb as f64 * 1024.0 / 1e6
}
