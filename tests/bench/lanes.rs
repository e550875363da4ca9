//! What the program costs as its lanes grow: until it streams, for rows spread over all of them, and while
//! nothing happens.

use std::thread;
use std::time::{Duration, Instant};

use crate::contenders::{Contender, Destination, Output, PUBLICATION, Source};
use crate::fluvio::{Fluvio, new_topic};
use crate::measure::{SlotWatch, cpu_of_threads, peak_rss_kb, stop};
use crate::support::postgres::Postgres;
use crate::support::wait_until;
use crate::table::{Report, Table};
use crate::workloads::{Workload, Written};
use crate::{Arguments, Result, progress};

const LANES: [u32; 4] = [1, 10, 100, 1000];
/// Enough for a good number of batches in each lane.
const MOST_ROWS: u64 = 300_000;
const ROWS_PER_TRANSACTION: u64 = 100;

/// How long the start may take, and the rows.
const DEADLINE: Duration = Duration::from_secs(300);

const SLOT: &str = "lanes";

/// What a number of lanes costs.
struct Cost {
    start: Duration,
    peak_rss_kb: u64,
    idle: Duration,
}

/// Reports a row for each number of lanes.
pub fn measure(
    arguments: &Arguments,
    postgres: &Postgres,
    fluvio: Option<&Fluvio>,
    report: &mut Report,
) -> Result<()> {
    let fluvio = fluvio.ok_or("lanes need a cluster")?;
    let mut table = Table::new(&["lanes", "start ms", "peak RSS MB", "idle CPU % of a core"]);
    let rows = 10_u64.pow(arguments.most).min(MOST_ROWS);
    for lanes in LANES {
        let cost = cost(lanes, rows, arguments.seconds, postgres, fluvio)?;
        let cells = vec![
            lanes.to_string(),
            cost.start.as_millis().to_string(),
            format!("{:.1}", cost.peak_rss_kb as f64 / 1024.0),
            format!(
                "{:.3}",
                cost.idle.as_secs_f64() / f64::from(arguments.seconds) * 100.0
            ),
        ];
        progress(&format!("lanes: {}", cells.join(", ")));
        table.row(cells);
    }
    report.table(&table);
    report.note(&format!(
        "Lanes: rows by their keys over the partitions of one topic that is there; the start is from that \
         of the process until the server streams to it; {rows} rows, and then {} s of nothing.",
        arguments.seconds
    ));
    Ok(())
}

fn cost(lanes: u32, rows: u64, seconds: u32, postgres: &Postgres, fluvio: &Fluvio) -> Result<Cost> {
    let database = postgres.database("lanes");
    database.execute(&format!("CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES"));
    let workload = Workload::inserts(rows, ROWS_PER_TRANSACTION);
    workload.prepare(&database)?;
    database.create_slot(SLOT);
    let topic = new_topic();
    fluvio.create_topic(&topic, lanes)?;
    let partitions = lanes.to_string();
    let source = Source {
        database: &database,
        slot: SLOT,
        end: None,
    };
    let destination = Destination {
        stdout: Output::Null,
        fluvio: Some(fluvio),
        topic: &topic,
        settings: &[("partitions", &partitions)],
    };
    let mut watch = SlotWatch::new(database.client())?;
    let begun = Instant::now();
    let mut running = Contender::Lanes.start(&source, &destination)?;
    wait_until("the slot is read", DEADLINE, || {
        watch.is_active(SLOT).unwrap_or(false)
    });
    let start = begun.elapsed();
    let Written { end, .. } = workload.write(&database)?;
    wait_until("the rows are confirmed", DEADLINE, || {
        watch.has_confirmed(SLOT, end).unwrap_or(false)
    });
    let pid = running.child.id();
    let before = cpu_of_threads(pid);
    thread::sleep(Duration::from_secs(seconds.into()));
    let idle = cpu_of_threads(pid).saturating_sub(before);
    let peak_rss_kb = peak_rss_kb(pid).unwrap_or_default();
    stop(Contender::Lanes, &mut running)?;
    fluvio.done_with(&topic)?;
    Ok(Cost {
        start,
        peak_rss_kb,
        idle,
    })
}
