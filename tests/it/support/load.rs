//! Transactions that go on while a test breaks things, and what must hold afterwards.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use postgres::Client;

use super::pipeline::{DEADLINE, Pipeline};
use super::random::Random;
use super::record::{Record, first_appearances, inserted};
use super::wait_until;

/// Between two transactions, and between two looks at the slot. Without it the topic would grow
/// faster than a test can read it.
const PACE: Duration = Duration::from_millis(2);

/// So many positions of the slot are compared with the topic at least.
const ENOUGH_POSITIONS: usize = 10;

/// What a test of faults sees of the writer.
pub struct Load {
    commits: AtomicUsize,
    positions: AtomicUsize,
    writing: AtomicBool,
    watching: AtomicBool,
}

/// What was committed and where it went.
pub struct Delivered {
    pub records: Vec<Record>,
    /// The first column of every committed row, in commit order.
    pub rows: Vec<i64>,
}

/// What the slot had confirmed, and the end of the topic a moment later.
struct Sample {
    confirmed: u64,
    end: i64,
}

impl Load {
    /// Waits until the writer has committed so many more transactions.
    pub fn wait_commits(&self, count: usize) {
        let goal = self.commits.load(Ordering::SeqCst) + count;
        wait_until("the writer commits", DEADLINE, || {
            self.commits.load(Ordering::SeqCst) >= goal
        });
    }
}

/// Stops the threads also when the test fails, because their scope waits for them.
struct StopOnDrop<'a>(&'a Load);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.writing.store(false, Ordering::SeqCst);
        self.0.watching.store(false, Ordering::SeqCst);
    }
}

/// Commits transactions of random sizes while `faults` runs. The program has to stream before
/// that, so that there is a slot, and again when it returns.
///
/// Afterwards every committed row is in the topic, at first in commit order; and at no time had the
/// slot confirmed a transaction that was not in the topic.
pub fn under_load(pipeline: &Pipeline, seed: u64, faults: impl FnOnce(&Load)) -> Delivered {
    let database = &pipeline.database;
    database.execute("CREATE TABLE load (id int8 PRIMARY KEY, filler text)");
    let load = Load {
        commits: AtomicUsize::new(0),
        positions: AtomicUsize::new(0),
        writing: AtomicBool::new(true),
        watching: AtomicBool::new(true),
    };
    let samples = thread::scope(|scope| {
        let _stop = StopOnDrop(&load);
        let writer = scope.spawn(|| write(pipeline, seed, &load));
        let watcher = scope.spawn(|| watch(pipeline, &load));
        load.wait_commits(20);
        faults(&load);
        // It does while there is something to confirm. The first positions may be from before the
        // first transaction.
        wait_until("the slot was seen to move", DEADLINE, || {
            load.positions.load(Ordering::SeqCst) >= 2 * ENOUGH_POSITIONS
        });
        load.writing.store(false, Ordering::SeqCst);
        writer.join().expect("the writer does not fail");
        pipeline.wait_caught_up();
        load.watching.store(false, Ordering::SeqCst);
        watcher.join().expect("the watcher does not fail")
    });

    let rows: Vec<i64> = database
        .query_texts("SELECT id FROM load ORDER BY id")
        .into_iter()
        .map(|id| id.and_then(|id| id.parse().ok()).expect("a number"))
        .collect();
    let records = pipeline.records();
    assert_same_rows(&first_appearances(&records), &rows);
    assert_same_rows(&inserted(&records), &rows);
    assert_never_ahead(&samples, &records);
    Delivered { records, rows }
}

/// Says where two long lists differ instead of printing both.
#[track_caller]
pub fn assert_same_rows(found: &[i64], expected: &[i64]) {
    let same = found.iter().zip(expected).take_while(|(a, b)| a == b);
    let at = same.count();
    assert!(
        at == found.len() && at == expected.len(),
        "{} rows, expected {}; from row {at} on {:?}..., expected {:?}...",
        found.len(),
        expected.len(),
        &found[at..found.len().min(at + 5)],
        &expected[at..expected.len().min(at + 5)],
    );
}

/// The server never sends a transaction again whose commit record starts before what is confirmed:
/// at that time it must have been in the topic.
#[track_caller]
fn assert_never_ahead(samples: &[Sample], records: &[Record]) {
    let mut commits: Vec<(u64, i64)> = Vec::new();
    for (index, record) in records.iter().enumerate() {
        if record.kind() == "commit" {
            let lsn = record.lsn("commit_lsn");
            // A repeat is not the first appearance.
            if commits.last().is_none_or(|(last, _)| *last < lsn) {
                commits.push((lsn, i64::try_from(index).expect("a small number")));
            }
        }
    }
    let mut checked = 0;
    for Sample { confirmed, end } in samples {
        let before = commits.partition_point(|(lsn, _)| lsn < confirmed);
        let Some((lsn, index)) = before.checked_sub(1).map(|last| commits[last]) else {
            continue;
        };
        checked += 1;
        assert!(
            index < *end,
            "{confirmed} was confirmed when the commit at {lsn}, record {index}, was not in the \
             topic, which ended at {end}"
        );
    }
    assert!(checked >= ENOUGH_POSITIONS, "only {checked} positions");
}

/// One writer, so that the order of the numbers is the order of the commits. A number whose fate is
/// unknown is never used again: the table tells at the end.
fn write(pipeline: &Pipeline, seed: u64, load: &Load) {
    let mut random = Random::new(seed);
    let mut next = 1;
    while load.writing.load(Ordering::SeqCst) {
        let Ok(mut client) = pipeline.database.try_client() else {
            thread::sleep(PACE);
            continue;
        };
        while load.writing.load(Ordering::SeqCst)
            && transaction(&mut client, &mut random, &mut next).is_ok()
        {
            load.commits.fetch_add(1, Ordering::SeqCst);
            thread::sleep(PACE);
        }
    }
}

fn transaction(
    client: &mut Client,
    random: &mut Random,
    next: &mut i64,
) -> Result<(), postgres::Error> {
    let rows = match random.below(40) {
        0 => 500,
        _ => 1 + random.below(6),
    };
    let first = *next;
    *next += i64::try_from(rows).expect("a small number");
    let end = match random.below(10) {
        0 => "ROLLBACK",
        _ => "COMMIT",
    };
    client.batch_execute(&format!(
        "BEGIN; INSERT INTO load SELECT id, repeat('x', {}) FROM generate_series({first}, {}) id; \
         UPDATE load SET filler = 'y' WHERE id = {first}; {end}",
        random.below(300),
        *next - 1,
    ))
}

fn watch(pipeline: &Pipeline, load: &Load) -> Vec<Sample> {
    let sql = format!(
        "SELECT (confirmed_flush_lsn - '0/0')::int8 FROM pg_replication_slots \
         WHERE slot_name = '{}'",
        pipeline.slot
    );
    let mut samples: Vec<Sample> = Vec::new();
    while load.watching.load(Ordering::SeqCst) {
        let Ok(mut client) = pipeline.database.try_client() else {
            thread::sleep(PACE);
            continue;
        };
        while load.watching.load(Ordering::SeqCst)
            && let Ok(row) = client.query_one(&sql, &[])
        {
            let confirmed = row.get::<_, i64>(0).unsigned_abs();
            // The first look after a position has changed is the strictest.
            if samples
                .last()
                .is_none_or(|last| last.confirmed != confirmed)
            {
                let end = pipeline.end_offset();
                samples.push(Sample { confirmed, end });
                load.positions.store(samples.len(), Ordering::SeqCst);
            }
            thread::sleep(PACE);
        }
    }
    samples
}
