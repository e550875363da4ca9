//! How long after its commit a transaction is confirmed, while one is committed every few milliseconds:
//! what a synchronous commit would wait for.
//!
//! The slot is asked over and over by a connection of its own, so a question is a part of each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::contenders::{Contender, Destination, Output, PUBLICATION, Source};
use crate::fluvio::{Fluvio, new_topic};
use crate::measure::{SlotWatch, stop};
use crate::support::connector::leash::temp_dir;
use crate::support::postgres::{Database, Postgres};
use crate::support::wait_until;
use crate::table::{Report, Table};
use crate::{Arguments, Result, progress};

/// A row is committed so often.
const INTERVAL: Duration = Duration::from_millis(10);

/// The slot is asked so often.
const POLL: Duration = Duration::from_micros(500);

/// How long the first row may take, and the last.
const DEADLINE: Duration = Duration::from_secs(60);

/// A transaction: when its commit was asked for, and where it ends.
struct Commit {
    begun: Instant,
    end: u64,
}

/// What the slot had confirmed at a time.
struct Seen {
    at: Instant,
    confirmed: u64,
}

/// Times the program without a state file and with one, and reports a row for each.
pub fn measure(
    arguments: &Arguments,
    postgres: &Postgres,
    fluvio: Option<&Fluvio>,
    report: &mut Report,
) -> Result<()> {
    let rows = u128::from(arguments.seconds) * 1000 / INTERVAL.as_millis();
    let state = temp_dir("state-");
    let directory = state.path().display().to_string();
    let mut table = Table::new(&["commit to confirmed", "rows", "p50 ms", "p99 ms", "max ms"]);
    let with_file = [("state_dir", directory.as_str())];
    for (contender, settings, what) in [
        (Contender::Stdout, &[][..], "standard output"),
        (Contender::Topic, &[], "the topic"),
        (Contender::Topic, &with_file, "the topic, with a state file"),
    ] {
        if !arguments.contenders.0.contains(&contender) {
            continue;
        }
        progress(&format!("confirmed: {what}"));
        let delays = time(contender, settings, rows as usize, postgres, fluvio)?;
        let at = |share: f64| {
            let index = ((delays.len() - 1) as f64 * share) as usize;
            format!("{:.3}", delays[index].as_secs_f64() * 1000.0)
        };
        let mut cells = vec![what.to_owned(), delays.len().to_string()];
        cells.extend([0.5, 0.99, 1.0].map(at));
        table.row(cells);
    }
    report.table(&table);
    report.note(&format!(
        "One row of its own transaction every {} ms for {} s; the slot is asked every {} ms.",
        INTERVAL.as_millis(),
        arguments.seconds,
        POLL.as_secs_f64() * 1000.0
    ));
    Ok(())
}

/// The delays in ascending order.
fn time(
    contender: Contender,
    settings: &[(&str, &str)],
    rows: usize,
    postgres: &Postgres,
    fluvio: Option<&Fluvio>,
) -> Result<Vec<Duration>> {
    let database = postgres.database("confirmed");
    database.execute(&format!(
        "CREATE TABLE t (id serial PRIMARY KEY, filler text); \
         CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES"
    ));
    let slot = "confirmed";
    database.create_slot(slot);
    let topic = new_topic();
    let fluvio = fluvio.filter(|_| contender.is_into_topic());
    if let Some(fluvio) = fluvio {
        fluvio.create_topic(&topic, contender.partitions())?;
    }
    let source = Source {
        database: &database,
        slot,
        end: None,
    };
    let destination = Destination {
        stdout: Output::Null,
        fluvio,
        topic: &topic,
        settings,
    };
    let mut running = contender.start(&source, &destination)?;
    let mut watch = SlotWatch::new(database.client())?;
    wait_until("the slot is read", DEADLINE, || {
        watch.is_active(slot).unwrap_or(false)
    });
    let delays = commit_and_watch(&database, rows, watch, slot);
    let delays = delays.map_err(|error| format!("{error}: {}", running.log()));
    stop(contender, &mut running)?;
    if let Some(fluvio) = fluvio {
        fluvio.done_with(&topic)?;
    }
    delays
}

fn commit_and_watch(
    database: &Database,
    rows: usize,
    mut watch: SlotWatch,
    slot: &'static str,
) -> Result<Vec<Duration>> {
    let is_over = Arc::new(AtomicBool::new(false));
    let watcher = thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let mut seen: Vec<Seen> = Vec::new();
            // It looks once more after the end.
            let mut goes_on = true;
            while goes_on {
                goes_on = !is_over.load(Ordering::Relaxed);
                let confirmed = watch.confirmed(slot)?;
                if seen.last().is_none_or(|last| confirmed > last.confirmed) {
                    let at = Instant::now();
                    seen.push(Seen { at, confirmed });
                }
                thread::sleep(POLL);
            }
            Ok::<_, String>(seen)
        }
    });
    let commits = commit(database, rows);
    if let Some(last) = commits.as_ref().ok().and_then(|commits| commits.last()) {
        let mut watch = SlotWatch::new(database.client())?;
        wait_until("everything is confirmed", DEADLINE, || {
            watch.has_confirmed(slot, last.end).unwrap_or(false)
        });
    }
    is_over.store(true, Ordering::Relaxed);
    let seen = watcher.join().map_err(|_| "the watcher panicked")??;
    delays(&commits?, &seen)
}

fn commit(database: &Database, rows: usize) -> Result<Vec<Commit>> {
    let mut client = database.client();
    let failed = |error: postgres::Error| format!("{error:?}");
    client
        .batch_execute("SET synchronous_commit = on")
        .map_err(failed)?;
    let insert = client.prepare("INSERT INTO t (filler) VALUES ('x')");
    let insert = insert.map_err(failed)?;
    let end = client.prepare("SELECT (pg_current_wal_lsn() - '0/0')::int8");
    let end = end.map_err(failed)?;
    let started = Instant::now();
    let mut commits = Vec::with_capacity(rows);
    for row in 0..rows {
        let due = INTERVAL * row as u32;
        thread::sleep(due.saturating_sub(started.elapsed()));
        let begun = Instant::now();
        client.execute(&insert, &[]).map_err(failed)?;
        let end = client.query_one(&end, &[]).map_err(failed)?;
        let end = end.get::<_, i64>(0).unsigned_abs();
        commits.push(Commit { begun, end });
    }
    Ok(commits)
}

fn delays(commits: &[Commit], seen: &[Seen]) -> Result<Vec<Duration>> {
    let delay = |commit: &Commit| {
        let after = seen.partition_point(|seen| seen.confirmed < commit.end);
        seen.get(after)
            .map(|seen| seen.at.saturating_duration_since(commit.begun))
    };
    let delays: Option<Vec<Duration>> = commits.iter().map(delay).collect();
    let mut delays = delays.ok_or("a commit was not seen to be confirmed")?;
    delays.sort_unstable();
    Ok(delays)
}
