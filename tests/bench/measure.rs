//! One contender drains one slot, and what that takes.

use std::fs;
use std::time::{Duration, Instant};

use postgres::{Client, Statement};

use crate::Result;
use crate::contenders::{Contender, Destination, Output, Running, Source};
use crate::support::connector::process::signal;
use crate::support::postgres::Database;
use crate::throughput;

/// How often is looked at all processes and at the slot: often enough for a run of a second, rarely
/// enough to take nothing from it.
const POLL: Duration = Duration::from_millis(10);

/// Draining takes minutes where the machine is slow.
const DRAIN_DEADLINE: Duration = Duration::from_secs(1800);
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// What proc(5) calls a clock tick; Linux has a hundred a second towards programs, on every machine.
const TICK: Duration = Duration::from_millis(10);

/// What draining a slot took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// From the start of the process.
    pub elapsed: Duration,
    /// On a CPU, until its end.
    pub reader_cpu: Duration,
    /// The same of the server's side.
    pub walsender_cpu: Duration,
    pub peak_rss_kb: u64,
    /// By write(2): to standard output, and a little to standard error.
    pub written_bytes: u64,
}

/// Looks at a slot without making a session each time.
pub struct SlotWatch {
    client: Client,
    statement: Statement,
}

/// Who reads a slot, and what it has confirmed.
struct SlotState {
    walsender: Option<u32>,
    confirmed: u64,
}

impl SlotWatch {
    pub fn new(mut client: Client) -> Result<SlotWatch> {
        // A session that makes a slot is no walsender.
        let statement = client
            .prepare(
                "SELECT (SELECT pid FROM pg_stat_replication WHERE pid = active_pid), \
                 (confirmed_flush_lsn - '0/0')::int8 \
                 FROM pg_replication_slots WHERE slot_name = $1::text",
            )
            .map_err(|error| format!("{error:?}"))?;
        Ok(SlotWatch { client, statement })
    }

    /// Whether somebody streams from the slot.
    pub fn is_active(&mut self, slot: &str) -> Result<bool> {
        Ok(self.look(slot)?.walsender.is_some())
    }

    /// Whether a slot is confirmed up to a position.
    pub fn has_confirmed(&mut self, slot: &str, end: u64) -> Result<bool> {
        Ok(self.look(slot)?.confirmed >= end)
    }

    /// What a slot has confirmed.
    pub fn confirmed(&mut self, slot: &str) -> Result<u64> {
        Ok(self.look(slot)?.confirmed)
    }

    fn look(&mut self, slot: &str) -> Result<SlotState> {
        let row = self.client.query_one(&self.statement, &[&slot]);
        let row = row.map_err(|error| format!("slot {slot}: {error:?}"))?;
        Ok(SlotState {
            walsender: row.get::<_, Option<i32>>(0).map(i32::unsigned_abs),
            confirmed: row.get::<_, i64>(1).unsigned_abs(),
        })
    }
}

/// Runs a contender until it has read everything up to the end of `source`.
pub fn drain(
    contender: Contender,
    source: &Source<'_>,
    destination: &Destination<'_>,
    watch: &mut SlotWatch,
) -> Result<Sample> {
    let end = source.end.ok_or("nothing to drain")?;
    let started = Instant::now();
    let mut running = contender.start(source, destination)?;
    let pid = running.child.id();
    let (mut walsender, mut walsender_cpu) = (None, Duration::ZERO);
    let (mut peak_rss_kb, mut written_bytes) = (0, 0);
    let elapsed = loop {
        let slot = watch.look(source.slot)?;
        walsender = walsender.or(slot.walsender);
        // It is gone soon after its reader, and its last moment counts for little.
        walsender_cpu = walsender
            .and_then(Process::look)
            .map_or(walsender_cpu, |found| found.cpu.max(walsender_cpu));
        peak_rss_kb = self::peak_rss_kb(pid).unwrap_or(peak_rss_kb);
        written_bytes = self::written_bytes(pid).unwrap_or(written_bytes);
        let has_ended = Process::look(pid).is_none_or(|found| found.has_ended);
        if contender.is_ours() && slot.confirmed >= end || has_ended {
            break started.elapsed();
        }
        if started.elapsed() > DRAIN_DEADLINE {
            return Err(format!(
                "{} did not drain {} in {DRAIN_DEADLINE:?}: {}",
                contender.name(),
                source.slot,
                running.log()
            ));
        }
        std::thread::sleep(POLL);
    };
    let confirmed = watch.look(source.slot)?.confirmed;
    let reader_cpu = stop(contender, &mut running)?;
    if confirmed < end {
        return Err(format!(
            "{} ended before it had read everything: {}",
            contender.name(),
            running.log()
        ));
    }
    Ok(Sample {
        elapsed,
        reader_cpu,
        walsender_cpu,
        peak_rss_kb,
        written_bytes,
    })
}

/// Drains a slot to standard output, which goes nowhere.
pub fn drain_to_null(
    database: &Database,
    slot: &str,
    end: u64,
    watch: &mut SlotWatch,
) -> Result<Sample> {
    let source = Source {
        database,
        slot,
        end: Some(end),
    };
    let destination = Destination {
        stdout: Output::Null,
        fluvio: None,
        topic: "bench",
        settings: throughput::SETTINGS,
    };
    drain(Contender::Stdout, &source, &destination, watch)
}

/// Ends a contender that has not ended by itself, in order; the CPU time of its whole life.
pub fn stop(contender: Contender, running: &mut Running) -> Result<Duration> {
    let pid = running.child.id();
    let end = Instant::now() + STOP_DEADLINE;
    let (mut is_told, mut cpu) = (false, Duration::ZERO);
    // An ended process can be looked at until somebody waits for it, in ticks: the last look before
    // may have seen more.
    loop {
        let found = Process::look(pid).ok_or("a child is not waited for elsewhere")?;
        cpu = cpu.max(found.cpu);
        if found.has_ended {
            break;
        }
        if !is_told {
            // Of older versions pg_recvlogical knows only this one.
            signal(pid, "INT");
            is_told = true;
        }
        if Instant::now() >= end {
            return Err(format!(
                "{} did not stop: {}",
                contender.name(),
                running.log()
            ));
        }
        std::thread::sleep(POLL);
    }
    let status = running.child.wait().map_err(|e| e.to_string())?;
    match status.success() {
        true => Ok(cpu),
        false => Err(format!("{}, {status}: {}", contender.name(), running.log())),
    }
}

/// What /proc/PID says.
struct Process {
    has_ended: bool,
    /// User and system: in ticks, or what its threads had to the nanosecond if that is more. Both
    /// lack something, the one the part of a tick, the other the threads that have ended.
    cpu: Duration,
}

impl Process {
    /// None when it is gone.
    fn look(pid: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name of the program, field 2, may contain anything; the last parenthesis ends it.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let state = fields.next()?;
        let user: u32 = fields.nth(10)?.parse().ok()?;
        let system: u32 = fields.next()?.parse().ok()?;
        Some(Process {
            has_ended: matches!(state, "Z" | "X"),
            cpu: (TICK * (user + system)).max(cpu_of_threads(pid)),
        })
    }
}

/// The time on a CPU of the threads that live, to the nanosecond; 0 where the kernel does not say.
pub fn cpu_of_threads(pid: u32) -> Duration {
    let nanoseconds = threads(pid, "schedstat").filter_map(|text| {
        let first = text.split_whitespace().next()?;
        first.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// A file of each thread that lives.
pub fn threads(pid: u32, file: &'static str) -> impl Iterator<Item = String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads
        .into_iter()
        .flatten()
        .filter_map(move |thread| fs::read_to_string(thread.ok()?.path().join(file)).ok())
}

/// None when the process has ended.
fn written_bytes(pid: u32) -> Option<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar:"))?;
    line.trim().parse().ok()
}

/// None when the process has ended.
pub fn peak_rss_kb(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
