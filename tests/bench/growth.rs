//! What a row costs as what surrounds it grows: the backlog, the tables, the transactions and the
//! columns.

use std::time::Duration;

use crate::chart::{Curve, Panel, chart};
use crate::contenders::PUBLICATION;
use crate::load::{COLUMNS, Load};
use crate::measure::{SlotWatch, drain_to_null};
use crate::support::postgres::{Database, Postgres};
use crate::table::{Report, Table};
use crate::{Arguments, Result, progress};

/// As many columns as a table can have.
const MAX_COLUMNS: u64 = 1600;
/// Rows of a transaction where it is not they that grow.
const ROWS_PER_TRANSACTION: u64 = 100;

/// What grows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Axis {
    Backlog,
    Tables,
    Transaction,
    Columns,
}

/// What draining it took.
struct Point {
    x: u64,
    load: Load,
    /// Without that of the start, of the cheapest run.
    cpu: Duration,
    start: Duration,
    /// CPU a row in those of the reference, which was drained before each run.
    relative: f64,
    peak_rss_mb: f64,
}

/// A load that is drained over and over, so that a machine that becomes slower or faster meanwhile is
/// not taken for something that grows.
struct Reference {
    database: Database,
    load: Load,
    end: u64,
}

/// One run of a load.
struct Run {
    cpu: Duration,
    /// That of the reference, just before.
    reference: Duration,
    peak_rss_kb: u64,
}

/// Reports a row for each load, and the curves.
pub fn measure(arguments: &Arguments, postgres: &Postgres, report: &mut Report) -> Result<()> {
    let mut table = Table::new(&[
        "grows",
        "to",
        "rows",
        "rows a transaction",
        "tables",
        "CPU µs/row",
        "CPU µs/value",
        "CPU a row, reference = 1",
        "start CPU ms",
        "peak RSS MB",
    ]);
    let most = 10_u64.pow(arguments.most);
    let reference = Reference::write(most, postgres)?;
    let mut panels = Vec::new();
    for axis in Axis::ALL {
        let mut points = Vec::new();
        for (x, load) in axis.loads(most) {
            let point = point(x, load, arguments.runs, &reference, postgres)?;
            progress(&format!(
                "{} {x}: CPU {:.3} µs/row, {} {:.3}, {:.1} MB",
                axis.title(),
                point.us_per_row(),
                axis.unit(),
                axis.cost(&point),
                point.peak_rss_mb
            ));
            table.row(cells(axis, &point));
            points.push(point);
        }
        report.note(&spread(axis, &points));
        panels.push(panel(axis, &points));
    }
    report.table(&table);
    report.note(&format!(
        "CPU is that of the program to standard output, the cheapest run, since whatever else the \
         machine does only adds to it, without that of its start, which was measured in the same way \
         before each load with one row to read in the same database; a * marks what is less than \
         that, noise for the most part and no part of the ratios. The reference is {} rows of {COLUMNS} \
         columns in one table, {ROWS_PER_TRANSACTION} a transaction, drained before each run, and \
         the median of the runs counts. Peak RSS is the highest of the runs. A transaction brings two \
         records besides its rows.",
        reference.load.rows
    ));
    report.picture(chart(&panels));
    Ok(())
}

impl Axis {
    const ALL: [Axis; 4] = [
        Axis::Backlog,
        Axis::Tables,
        Axis::Transaction,
        Axis::Columns,
    ];

    fn title(self) -> &'static str {
        match self {
            Axis::Backlog => "rows of backlog",
            Axis::Tables => "tables",
            Axis::Transaction => "rows a transaction",
            Axis::Columns => "columns",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Axis::Columns => "a value, reference = 1",
            _ => "a row, reference = 1",
        }
    }

    /// CPU in its unit.
    fn cost(self, point: &Point) -> f64 {
        match self {
            Axis::Columns => point.relative * COLUMNS as f64 / point.load.columns() as f64,
            _ => point.relative,
        }
    }

    /// The loads, `most` rows at the most. All but those of the backlog have the same number of rows,
    /// or of values.
    fn loads(self, most: u64) -> Vec<(u64, Load)> {
        let load = Load {
            // The other curves need no more than a million, which takes a second or so.
            rows: most.min(1_000_000),
            rows_per_transaction: ROWS_PER_TRANSACTION,
            tables: 1,
            columns: None,
        };
        let powers = |first: u32| (first..).map(|power| 10_u64.pow(power));
        match self {
            Axis::Backlog => powers(4)
                .take_while(|rows| *rows <= most)
                .map(|rows| (rows, Load { rows, ..load }))
                .collect(),
            Axis::Tables => powers(0)
                .take_while(|tables| *tables <= load.rows.min(10_000))
                .map(|tables| {
                    let rows_per_transaction = ROWS_PER_TRANSACTION.min(load.rows / tables);
                    let load = Load {
                        tables,
                        rows_per_transaction,
                        ..load
                    };
                    (tables, load)
                })
                .collect(),
            Axis::Transaction => powers(0)
                .take_while(|rows| *rows <= load.rows)
                .map(|rows_per_transaction| {
                    let load = Load {
                        rows_per_transaction,
                        ..load
                    };
                    (rows_per_transaction, load)
                })
                .collect(),
            Axis::Columns => [1, 10, 100, 400, MAX_COLUMNS]
                .map(|columns| {
                    let rows_per_transaction = ROWS_PER_TRANSACTION.min(load.rows / columns);
                    let transactions = load.rows / columns / rows_per_transaction;
                    let load = Load {
                        rows: transactions * rows_per_transaction,
                        rows_per_transaction,
                        columns: Some(columns),
                        ..load
                    };
                    (columns, load)
                })
                .into(),
        }
    }
}

impl Point {
    fn us_per_row(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.load.rows as f64
    }

    fn us_per_value(&self) -> f64 {
        self.us_per_row() / self.load.columns() as f64
    }

    /// Whether there is more of it than of the start, whose noise would be taken for it.
    fn is_meaningful(&self) -> bool {
        self.cpu > self.start
    }

    fn mark(&self) -> &'static str {
        match self.is_meaningful() {
            true => "",
            false => " *",
        }
    }
}

impl Reference {
    const SLOT: &str = "reference";

    /// Not more rows than the others at their most, and few enough to be drained often.
    fn write(most: u64, postgres: &Postgres) -> Result<Reference> {
        let load = Load {
            rows: most.min(300_000),
            rows_per_transaction: ROWS_PER_TRANSACTION,
            tables: 1,
            columns: None,
        };
        let database = database(postgres);
        load.prepare(&database)?;
        database.create_slot(Reference::SLOT);
        let end = load.write(&database)?;
        Ok(Reference {
            database,
            load,
            end,
        })
    }

    /// The CPU of draining it once.
    fn drain(&self) -> Result<Duration> {
        let (database, slot) = (&self.database, "reference_copy");
        database.execute(&format!(
            "SELECT pg_copy_logical_replication_slot('{}', '{slot}')",
            Reference::SLOT
        ));
        let mut watch = SlotWatch::new(database.client())?;
        let sample = drain_to_null(database, slot, self.end, &mut watch)?;
        database.wait_slot_inactive(slot);
        database.execute(&format!("SELECT pg_drop_replication_slot('{slot}')"));
        Ok(sample.reader_cpu)
    }
}

fn database(postgres: &Postgres) -> Database {
    let database = postgres.database("growth");
    database.execute(&format!("CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES"));
    database
}

/// Drains one load as often as there are runs.
fn point(
    x: u64,
    load: Load,
    runs: usize,
    reference: &Reference,
    postgres: &Postgres,
) -> Result<Point> {
    let database = database(postgres);
    load.prepare(&database)?;
    let one_row = Load {
        rows: 1,
        rows_per_transaction: 1,
        tables: 1,
        ..load
    };
    let starts = drain_runs(one_row, "start", runs, &database, || Ok(Duration::ZERO))?;
    let drained = drain_runs(load, "growth", runs, &database, || reference.drain())?;
    let start = lowest(&starts);
    let us_per_row = |cpu: Duration, load: &Load| {
        cpu.saturating_sub(start).as_secs_f64() * 1e6 / load.rows as f64
    };
    let mut relative: Vec<f64> = drained
        .iter()
        .map(|run| us_per_row(run.cpu, &load) / us_per_row(run.reference, &reference.load))
        .collect();
    relative.sort_by(f64::total_cmp);
    let peak_rss_kb = drained.iter().map(|run| run.peak_rss_kb).max();
    Ok(Point {
        x,
        load,
        cpu: lowest(&drained).saturating_sub(start),
        start,
        relative: relative[runs / 2],
        peak_rss_mb: peak_rss_kb.unwrap_or_default() as f64 / 1024.0,
    })
}

/// Writes a load and drains it again and again, each time after something else.
fn drain_runs(
    load: Load,
    name: &str,
    runs: usize,
    database: &Database,
    before: impl Fn() -> Result<Duration>,
) -> Result<Vec<Run>> {
    let slots: Vec<String> = (0..runs).map(|run| format!("{name}_{run}")).collect();
    for slot in &slots {
        database.create_slot(slot);
    }
    let end = load.write(database)?;
    let mut watch = SlotWatch::new(database.client())?;
    let run = |slot: &String| {
        let reference = before()?;
        let sample = drain_to_null(database, slot, end, &mut watch)?;
        Ok(Run {
            cpu: sample.reader_cpu,
            reference,
            peak_rss_kb: sample.peak_rss_kb,
        })
    };
    slots.iter().map(run).collect()
}

fn lowest(runs: &[Run]) -> Duration {
    runs.iter().map(|run| run.cpu).min().unwrap_or_default()
}

fn cells(axis: Axis, point: &Point) -> Vec<String> {
    vec![
        axis.title().to_owned(),
        point.x.to_string(),
        point.load.rows.to_string(),
        point.load.rows_per_transaction.to_string(),
        point.load.tables.to_string(),
        format!("{:.3}{}", point.us_per_row(), point.mark()),
        format!("{:.4}{}", point.us_per_value(), point.mark()),
        format!("{:.2}{}", point.relative, point.mark()),
        format!("{:.1}", point.start.as_secs_f64() * 1000.0),
        format!("{:.1}", point.peak_rss_mb),
    ]
}

/// How flat the curves of an axis are.
fn spread(axis: Axis, points: &[Point]) -> String {
    let ratio = |values: Vec<f64>| {
        let most = values.iter().copied().fold(f64::MIN, f64::max);
        most / values.into_iter().fold(f64::MAX, f64::min)
    };
    let meaningful = points.iter().filter(|point| point.is_meaningful());
    let costs: Vec<f64> = meaningful.map(|point| axis.cost(point)).collect();
    let cpu = match costs.is_empty() {
        true => "unknown".to_owned(),
        false => format!("{:.2}", ratio(costs)),
    };
    format!(
        "{}: the highest over the lowest is {cpu} for CPU {}, {:.2} for peak RSS.",
        axis.title(),
        axis.unit(),
        ratio(points.iter().map(|point| point.peak_rss_mb).collect()),
    )
}

fn panel(axis: Axis, points: &[Point]) -> Panel {
    let curve = |title: String, value: &dyn Fn(&Point) -> f64| Curve {
        title,
        points: points
            .iter()
            .map(|point| (point.x as f64, value(point)))
            .collect(),
    };
    Panel {
        title: axis.title(),
        curves: [
            curve(format!("CPU {}", axis.unit()), &|point| axis.cost(point)),
            curve("peak RSS MB".to_owned(), &|point| point.peak_rss_mb),
        ],
    }
}
