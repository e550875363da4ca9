//! How fast a backlog is drained.

use std::time::Duration;

use crate::contenders::{Contender, Destination, Output, PUBLICATION, Source};
use crate::fluvio::{Fluvio, new_topic};
use crate::measure::{Sample, SlotWatch, drain};
use crate::support::postgres::{Database, Postgres};
use crate::table::{Report, Table};
use crate::workloads::{Workload, Written};
use crate::{Arguments, Result, progress};

/// A position is of no use to the others before it is reported: often, so that the end is seen at
/// once.
pub const SETTINGS: &[(&str, &str)] = &[("status_interval", "10ms")];

/// The slot that the others are copied from.
const FIRST_SLOT: &str = "first";

/// The median run of a contender.
#[derive(Clone, Copy)]
struct Outcome {
    sample: Sample,
    slowest: f64,
    rows_per_s: f64,
    fastest: f64,
}

/// Runs the workloads and reports a row for each contender.
pub fn measure(
    arguments: &Arguments,
    postgres: &Postgres,
    fluvio: Option<&Fluvio>,
    report: &mut Report,
) -> Result<()> {
    let mut table = Table::new(&[
        "workload",
        "contender",
        "rows/s",
        "slowest to fastest run",
        "ratio",
        "reader CPU µs/row",
        "walsender CPU µs/row",
        "bytes/row",
        "peak RSS MB",
    ]);
    let starts = run(&Workload::start(), arguments, postgres, fluvio, report)?;
    let mut ratios: Vec<(Contender, f64)> = Vec::new();
    for workload in &arguments.workloads.0 {
        let workload = workload.clone().scaled(arguments.scale);
        progress(&format!(
            "{}: {} rows, {}",
            workload.name,
            workload.rows(),
            workload.what
        ));
        report.note(&format!(
            "{}: {} rows, {}.",
            workload.name,
            workload.rows(),
            workload.what
        ));
        let outcomes = run(&workload, arguments, postgres, fluvio, report)?;
        let (_, base) = outcomes.first().ok_or("nobody has run")?;
        for (contender, outcome) in &outcomes {
            let ratio = outcome.rows_per_s / base.rows_per_s;
            ratios.push((*contender, ratio));
            table.row(cells(&workload, *contender, outcome, ratio));
        }
        for note in beside_siblings(&workload, &outcomes) {
            report.note(&note);
        }
    }
    report.table(&table);
    let starts = starts.iter().map(|(contender, outcome)| {
        format!(
            "{} {} ms",
            contender.title(),
            outcome.sample.elapsed.as_millis()
        )
    });
    report.note(&format!(
        "Slots and topics are made before. Nothing is subtracted for the start and for seeing the end. \
         With one row to read: {}.",
        starts.collect::<Vec<_>>().join("; ")
    ));
    for contender in &arguments.contenders.0 {
        let of_it = ratios.iter().filter(|(one, _)| one == contender);
        let logarithms: Vec<f64> = of_it.map(|(_, ratio)| ratio.ln()).collect();
        let workloads = logarithms.len();
        if *contender != Contender::RecvLogical && workloads > 0 {
            let mean = (logarithms.iter().sum::<f64>() / workloads as f64).exp();
            report.note(&format!(
                "{}: {mean:.2} times pg_recvlogical raw, the geometric mean of the workloads.",
                contender.title()
            ));
        }
    }
    Ok(())
}

/// One workload: the contenders in turn, over and over.
fn run(
    workload: &Workload,
    arguments: &Arguments,
    postgres: &Postgres,
    fluvio: Option<&Fluvio>,
    report: &mut Report,
) -> Result<Vec<(Contender, Outcome)>> {
    let database = postgres.database("bench");
    database.execute(&format!("CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES"));
    workload.prepare(&database)?;
    let contenders = make_slots(&database, arguments, report)?;
    let written = workload.write(&database)?;
    let mut watch = SlotWatch::new(database.client())?;
    let mut samples: Vec<(Contender, Vec<Sample>)> = contenders
        .iter()
        .map(|contender| (*contender, Vec::new()))
        .collect();
    for run in 0..arguments.runs {
        for (contender, samples) in &mut samples {
            let source = Source {
                database: &database,
                slot: &slot_name(*contender, run),
                end: Some(written.end),
            };
            let sample = one_run(*contender, &source, fluvio, written, &mut watch)?;
            progress(&format!(
                "{} {}: {:.0} rows/s, CPU {} and {} µs/row",
                workload.name,
                contender.title(),
                rows_per_s(written.rows, &sample),
                us_per_row(sample.reader_cpu, written.rows),
                us_per_row(sample.walsender_cpu, written.rows),
            ));
            samples.push(sample);
        }
    }
    let outcome = |samples: Vec<Sample>| median(samples, written.rows);
    Ok(samples
        .into_iter()
        .map(|(contender, samples)| (contender, outcome(samples)))
        .collect())
}

/// All slots begin at the same position: they are copies of one.
fn make_slots(
    database: &Database,
    arguments: &Arguments,
    report: &mut Report,
) -> Result<Vec<Contender>> {
    database.create_slot(FIRST_SLOT);
    let mut contenders = Vec::new();
    for contender in &arguments.contenders.0 {
        let copy = |run| {
            let slot = slot_name(*contender, run);
            database.try_execute(&format!(
                "SELECT pg_copy_logical_replication_slot('{FIRST_SLOT}', '{slot}', false, '{}')",
                contender.plugin()
            ))
        };
        match (0..arguments.runs).try_for_each(copy) {
            Ok(()) => contenders.push(*contender),
            Err(error) if *contender == Contender::Wal2json => {
                let why = error.as_db_error().map_or(error.to_string(), |db| {
                    format!("{} {}", db.message(), db.hint().unwrap_or_default())
                });
                let line = format!(
                    "wal2json is left out, the server refuses it: {}",
                    why.trim()
                );
                progress(&line);
                report.note_once(&line);
            }
            Err(error) => return Err(format!("no slot for {}: {error:?}", contender.name())),
        }
    }
    database.execute(&format!("SELECT pg_drop_replication_slot('{FIRST_SLOT}')"));
    Ok(contenders)
}

fn one_run(
    contender: Contender,
    source: &Source<'_>,
    fluvio: Option<&Fluvio>,
    written: Written,
    watch: &mut SlotWatch,
) -> Result<Sample> {
    let fluvio = fluvio.filter(|_| contender.is_into_topic());
    let topic = new_topic();
    if let Some(fluvio) = fluvio {
        // As the slot is there already.
        fluvio.create_topic(&topic, contender.partitions())?;
    }
    let destination = Destination {
        stdout: Output::Null,
        fluvio,
        topic: &topic,
        settings: SETTINGS,
    };
    let sample = drain(contender, source, &destination, watch)?;
    if let Some(fluvio) = fluvio {
        // Each transaction has a begin and a commit, and the table was described once.
        let expected = match contender.is_of_rows() {
            true => written.rows,
            false => written.rows + 2 * written.transactions + 1,
        };
        let found = fluvio.records(&topic)?;
        fluvio.done_with(&topic)?;
        if found != expected {
            return Err(format!(
                "the topic had {found} records, expected {expected}"
            ));
        }
    }
    Ok(sample)
}

fn slot_name(contender: Contender, run: usize) -> String {
    format!("{}_{run}", contender.name())
}

fn rows_per_s(rows: u64, sample: &Sample) -> f64 {
    rows as f64 / sample.elapsed.as_secs_f64()
}

fn us_per_row(cpu: Duration, rows: u64) -> String {
    format!("{:.2}", cpu.as_secs_f64() * 1e6 / rows as f64)
}

/// By speed; of an even number the slower one of the middle.
fn median(mut samples: Vec<Sample>, rows: u64) -> Outcome {
    samples.sort_by_key(|sample| sample.elapsed);
    let middle = samples[samples.len() / 2];
    let most = samples.iter().map(|sample| sample.peak_rss_kb).max();
    Outcome {
        sample: Sample {
            reader_cpu: middle_of(&samples, |sample| sample.reader_cpu),
            walsender_cpu: middle_of(&samples, |sample| sample.walsender_cpu),
            peak_rss_kb: most.unwrap_or_default(),
            ..middle
        },
        slowest: rows_per_s(rows, &samples[samples.len() - 1]),
        rows_per_s: rows_per_s(rows, &middle),
        fastest: rows_per_s(rows, &samples[0]),
    }
}

fn middle_of<T: Ord>(samples: &[Sample], value: impl Fn(&Sample) -> T) -> T {
    let mut values: Vec<T> = samples.iter().map(value).collect();
    values.sort();
    values.swap_remove(values.len() / 2)
}

fn cells(workload: &Workload, contender: Contender, outcome: &Outcome, ratio: f64) -> Vec<String> {
    vec![
        workload.name.to_owned(),
        contender.title().to_owned(),
        thousands(outcome.rows_per_s),
        format!(
            "{} to {}",
            thousands(outcome.slowest),
            thousands(outcome.fastest)
        ),
        format!("{ratio:.2}"),
        us_per_row(outcome.sample.reader_cpu, workload.rows()),
        us_per_row(outcome.sample.walsender_cpu, workload.rows()),
        match contender.is_into_topic() {
            true => String::new(),
            false => format!("{:.0}", bytes_per_row(workload, outcome)),
        },
        format!("{:.1}", outcome.sample.peak_rss_kb as f64 / 1024.0),
    ]
}

fn bytes_per_row(workload: &Workload, outcome: &Outcome) -> f64 {
    outcome.sample.written_bytes as f64 / workload.rows() as f64
}

/// What the row format changes, and what many lanes do.
fn beside_siblings(workload: &Workload, outcomes: &[(Contender, Outcome)]) -> Vec<String> {
    let of = |contender| outcomes.iter().find(|(one, _)| *one == contender);
    let note = |(contender, outcome): &(Contender, Outcome)| {
        let (sibling, other) = of(contender.sibling()?)?;
        let speed = outcome.rows_per_s / other.rows_per_s;
        let cpu = |outcome: &Outcome| outcome.sample.reader_cpu.as_secs_f64();
        let bytes = match contender.is_into_topic() {
            true => String::new(),
            false => format!(
                ", {:.3} times its bytes",
                bytes_per_row(workload, outcome) / bytes_per_row(workload, other)
            ),
        };
        Some(format!(
            "{}, {}: {speed:.3} times the speed of {}, {:.3} times its CPU{bytes}.",
            workload.name,
            contender.title(),
            sibling.title(),
            cpu(outcome) / cpu(other),
        ))
    };
    outcomes.iter().filter_map(note).collect()
}

fn thousands(rows_per_s: f64) -> String {
    format!("{:.1} k", rows_per_s / 1000.0)
}
