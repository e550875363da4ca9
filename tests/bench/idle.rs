//! What the program costs while nothing happens.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::contenders::{Contender, Destination, Output, PUBLICATION, Source};
use crate::fluvio::{Fluvio, new_topic};
use crate::measure::{SlotWatch, cpu_of_threads, stop, threads};
use crate::support::connector::leash::temp_dir;
use crate::support::postgres::Postgres;
use crate::support::wait_until;
use crate::table::{Report, Table};
use crate::workloads::{Workload, Written};
use crate::{Arguments, Result, progress};

/// How long the first row may take.
const DEADLINE: Duration = Duration::from_secs(60);

const SLOT: &str = "idle";

/// What a process has used so far.
struct Usage {
    cpu: Duration,
    written_bytes: u64,
    context_switches: u64,
}

/// Watches both destinations, each without a state directory and with one.
pub fn measure(
    arguments: &Arguments,
    postgres: &Postgres,
    fluvio: Option<&Fluvio>,
    report: &mut Report,
) -> Result<()> {
    let mut table = Table::new(&[
        "idle",
        "state_dir",
        "CPU % of a core",
        "bytes written",
        "context switches/s",
    ]);
    let seconds = f64::from(arguments.seconds);
    for contender in [Contender::Stdout, Contender::Topic] {
        let dir = temp_dir("state-");
        let dir = dir.path().display().to_string();
        let with_state: &[(&str, &str)] = &[("state_dir", &dir)];
        for settings in [&[], with_state] {
            let has_state = if settings.is_empty() { "no" } else { "yes" };
            progress(&format!("{}, state_dir: {has_state}", contender.title()));
            let used = watch(contender, settings, arguments, postgres, fluvio)?;
            table.row(vec![
                contender.title().to_owned(),
                has_state.to_owned(),
                format!("{:.3}", used.cpu.as_secs_f64() / seconds * 100.0),
                used.written_bytes.to_string(),
                format!("{:.1}", used.context_switches as f64 / seconds),
            ]);
        }
    }
    report.table(&table);
    report.note(&format!(
        "{} s from the moment that the first row was confirmed, with the status_interval of a new \
         config. CPU is that of all threads, in nanoseconds of /proc/PID/task/*/schedstat; bytes \
         written are write_bytes of /proc/PID/io.",
        arguments.seconds
    ));
    Ok(())
}

/// What one program uses while nothing is written to its database.
fn watch(
    contender: Contender,
    settings: &[(&str, &str)],
    arguments: &Arguments,
    postgres: &Postgres,
    fluvio: Option<&Fluvio>,
) -> Result<Usage> {
    let database = postgres.database("idle");
    database.execute(&format!("CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES"));
    let row = Workload::start();
    row.prepare(&database)?;
    database.create_slot(SLOT);
    let Written { end, .. } = row.write(&database)?;
    let source = Source {
        database: &database,
        slot: SLOT,
        end: None,
    };
    let topic = new_topic();
    let fluvio = fluvio.filter(|_| contender.is_into_topic());
    let destination = Destination {
        stdout: Output::Null,
        fluvio,
        topic: &topic,
        settings,
    };
    let mut running = contender.start(&source, &destination)?;
    let pid = running.child.id();
    let mut watch = SlotWatch::new(database.client())?;
    wait_until("the first row is confirmed", DEADLINE, || {
        watch.has_confirmed(SLOT, end).unwrap_or(false)
    });
    let (before, begun) = (Usage::of(pid)?, Instant::now());
    let length = Duration::from_secs(arguments.seconds.into());
    thread::sleep(length.saturating_sub(begun.elapsed()));
    let after = Usage::of(pid)?;
    stop(contender, &mut running)?;
    if let Some(fluvio) = fluvio {
        fluvio.done_with(&topic)?;
    }
    Ok(after.since(&before))
}

impl Usage {
    fn of(pid: u32) -> Result<Usage> {
        let path = format!("/proc/{pid}/io");
        let io = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let status = threads(pid, "status").map(|status| number(&status, "ctxt_switches:"));
        Ok(Usage {
            cpu: cpu_of_threads(pid),
            // Another line, of what was never written after all, ends in the same name.
            written_bytes: number(&io, "\nwrite_bytes:"),
            context_switches: status.sum(),
        })
    }

    fn since(&self, before: &Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(before.cpu),
            written_bytes: self.written_bytes - before.written_bytes,
            context_switches: self
                .context_switches
                .saturating_sub(before.context_switches),
        }
    }
}

/// The sum of the numbers behind a name: context switches are counted on two lines.
fn number(text: &str, name: &str) -> u64 {
    let numbers = text.split(name).skip(1).filter_map(|rest| {
        let number = rest.split_whitespace().next()?;
        number.parse::<u64>().ok()
    });
    numbers.sum()
}
