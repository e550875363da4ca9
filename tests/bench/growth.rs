//! What a row costs as what surrounds it grows: the backlog, the tables, the transactions and the
//! columns.

use std::time::Duration;

use crate::chart::{Curve, Panel, chart};
use crate::contenders::PUBLICATION;
use crate::measure::{SlotWatch, drain_to_null};
use crate::support::postgres::{Database, Postgres};
use crate::table::{Report, Table};
use crate::workloads::{NARROW, NARROW_ROW, flushed, write};
use crate::{Arguments, Result, progress};

/// As many columns as a table can have.
const MAX_COLUMNS: u64 = 1600;
/// Rows of a transaction where it is not they that grow.
const ROWS_PER_TRANSACTION: u64 = 100;
/// Tables of a transaction that makes them: the server has room for the locks of so many.
const TABLES_PER_TRANSACTION: u64 = 200;

/// What grows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Axis {
    Backlog,
    Tables,
    Transaction,
    Columns,
}

/// One load.
#[derive(Clone, Copy)]
struct Load {
    rows: u64,
    rows_per_transaction: u64,
    tables: u64,
    /// None for the six of the throughput's workloads.
    columns: Option<u64>,
}

/// What draining it took.
struct Point {
    x: u64,
    load: Load,
    /// Without that of the start.
    cpu: Duration,
    start: Duration,
    peak_rss_mb: f64,
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
        "start CPU ms",
        "peak RSS MB",
    ]);
    let mut panels = Vec::new();
    for axis in Axis::ALL {
        let mut points = Vec::new();
        for (x, load) in axis.loads(10_u64.pow(arguments.most)) {
            let point = point(x, load, arguments.runs, postgres)?;
            progress(&format!(
                "{} {x}: CPU {:.3} {}, {:.1} MB",
                axis.title(),
                axis.cost(&point),
                axis.unit(),
                point.peak_rss_mb
            ));
            table.row(cells(axis, &point));
            points.push(point);
        }
        report.note(&spread(axis, &points));
        panels.push(panel(axis, &points));
    }
    report.table(&table);
    report.note(
        "CPU is that of the program to standard output, the cheapest run, since whatever else the \
         machine does only adds to it, without that of its start, which was measured in the same way \
         before each load with one row to read in the same database; a * marks \
         what is less than that, noise for the most part and no part of the ratios. Peak RSS is \
         the highest of the runs.",
    );
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
            Axis::Columns => "µs/value",
            _ => "µs/row",
        }
    }

    /// CPU in its unit.
    fn cost(self, point: &Point) -> f64 {
        match self {
            Axis::Columns => point.us_per_value(),
            _ => point.us_per_row(),
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

impl Load {
    fn columns(&self) -> u64 {
        self.columns.unwrap_or(6)
    }

    /// The definitions of the columns, and a row of them.
    fn definition(&self) -> (String, String) {
        match self.columns {
            // No key: an index would only take time to write.
            None => (NARROW.replace(" PRIMARY KEY", ""), NARROW_ROW.to_owned()),
            Some(columns) => (
                list(columns, |column| format!("c{column} int4")),
                list(columns, |column| format!("((i + {column}) % 100000)::int4")),
            ),
        }
    }

    /// Makes the tables.
    fn prepare(&self, database: &Database) -> Result<()> {
        let (columns, _) = self.definition();
        let tables = self.tables;
        write(
            database,
            &format!(
                "DO $do$ BEGIN FOR t IN 0..{tables} - 1 LOOP \
                 EXECUTE 'CREATE TABLE load_' || t || ' ({columns})'; \
                 IF t % {TABLES_PER_TRANSACTION} = 0 THEN COMMIT; END IF; END LOOP; END $do$"
            ),
        )
    }

    /// Writes the rows, to one table after the other.
    fn write(&self, database: &Database) -> Result<u64> {
        let (_, row) = self.definition();
        let n = self.rows_per_transaction;
        let transactions = self.rows / n;
        let range = format!("t * {n}::int8 + 1, (t + 1) * {n}::int8");
        // A statement that is planned anew each time takes longer than a row.
        let statement = match self.tables {
            1 => format!("INSERT INTO load_0 SELECT {row} FROM generate_series({range}) i"),
            tables => format!(
                "EXECUTE 'INSERT INTO load_' || t % {tables} || \
                 $row$ SELECT {row} FROM generate_series($1, $2) i $row$ USING {range}"
            ),
        };
        write(
            database,
            &format!(
                "DO $do$ BEGIN FOR t IN 0..{transactions} - 1 LOOP \
                 {statement}; COMMIT; END LOOP; END $do$"
            ),
        )?;
        flushed(database)
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

/// Drains one load as often as there are runs.
fn point(x: u64, load: Load, runs: usize, postgres: &Postgres) -> Result<Point> {
    let database = postgres.database("growth");
    database.execute(&format!("CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES"));
    load.prepare(&database)?;
    let one_row = Load {
        rows: 1,
        rows_per_transaction: 1,
        tables: 1,
        ..load
    };
    let (start, _) = drain_runs(one_row, "start", runs, &database)?;
    let (cpu, peak_rss_mb) = drain_runs(load, "growth", runs, &database)?;
    Ok(Point {
        x,
        load,
        cpu: cpu.saturating_sub(start),
        start,
        peak_rss_mb,
    })
}

/// Writes a load and drains it again and again: the lowest CPU and the highest memory.
fn drain_runs(load: Load, name: &str, runs: usize, database: &Database) -> Result<(Duration, f64)> {
    let slots: Vec<String> = (0..runs).map(|run| format!("{name}_{run}")).collect();
    for slot in &slots {
        database.create_slot(slot);
    }
    let end = load.write(database)?;
    let mut watch = SlotWatch::new(database.client())?;
    let (mut cpu, mut peak_rss_kb) = (Duration::MAX, 0);
    for slot in &slots {
        let sample = drain_to_null(database, slot, end, &mut watch)?;
        cpu = cpu.min(sample.reader_cpu);
        peak_rss_kb = peak_rss_kb.max(sample.peak_rss_kb);
    }
    Ok((cpu, peak_rss_kb as f64 / 1024.0))
}

fn list(columns: u64, each: impl Fn(u64) -> String) -> String {
    (1..=columns).map(each).collect::<Vec<_>>().join(", ")
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
