//! The torture: writers that keep a journal, the program, and fault after fault; and in the end the
//! topic equals the journal.
//!
//! A [`round`] has servers of its own. [`draw`] says what goes wrong and [`strike`] makes it
//! happen; [`plan`] draws what is written and [`writer`] writes it; [`follower`] reads the topic and
//! holds it against the [`journal`].
#![allow(dead_code)]

mod draw;
mod fault;
mod follower;
mod journal;
mod plan;
mod report;
mod stage;
mod strike;
mod writer;

pub use report::{Failure, Tally};

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use postgres::Client;

use super::random::Random;
use fault::{Fault, Reach};
use follower::Follower;
use journal::Journal;
use stage::{Settings, Stage};
use strike::{SPU_DOWN, SPU_UP, heal, strike};
use writer::Load;

const WRITERS: usize = 4;

/// After a fault a row that is written then is in the topic by now.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at the topic.
const LOOK: Duration = Duration::from_millis(20);
/// So much is written before the first fault.
const FIRST_TRANSACTIONS: i64 = 20;

/// One round.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Everything that is drawn comes from it.
    pub seed: u64,
    pub faults: usize,
    /// No fault begins after this.
    pub until: Option<Instant>,
    /// About how many changes are written in a second.
    pub rate: u64,
}

/// Tortures servers and a program that are started for it, and tells what was done.
pub fn round(round: Round) -> Result<Tally, Box<Failure>> {
    let settings = Settings::draw(&mut Random::part(round.seed, 0));
    println!("seed {}: {settings:?}", round.seed);
    let stage = Stage::new(round.seed, WRITERS, settings);
    let journal = Journal::new(WRITERS);
    let mut tally = Tally::default();
    // What the helpers wait for in vain is a panic, and is to be reported like the rest.
    let result = catch_unwind(AssertUnwindSafe(|| {
        torture(&stage, &journal, round, &mut tally)
    }));
    let result = result.unwrap_or_else(|panic| Err(words(&*panic)));
    (tally.transactions, tally.changes) = journal.committed_counts();
    match result {
        Ok(follower) => {
            tally.read_logs(&stage.logs(), |end| follower.is_inside(end));
            Ok(tally)
        }
        Err(what) => Err(Box::new(Failure::new(round.seed, what, tally, &stage))),
    }
}

/// Stops the writers also when a fault is not survived, because their scope waits for them.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn torture<'a>(
    stage: &'a Stage,
    journal: &'a Journal,
    round: Round,
    tally: &mut Tally,
) -> Result<Follower<'a>, String> {
    let stops = AtomicBool::new(false);
    let load = Load {
        database: &stage.database,
        major: stage.postgres.major(),
        journal,
        rate: (round.rate / WRITERS as u64).max(1),
        stops: &stops,
    };
    let mut follower = Follower::new(&stage.cluster, &stage.topic, journal);
    first_start(stage, &mut Random::part(round.seed, 1))?;
    thread::scope(|scope| {
        let stop = StopOnDrop(&stops);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let random = Random::part(round.seed, 2 + writer as u64);
                let load = &load;
                scope.spawn(move || writer::write(load, writer, random))
            })
            .collect();
        let mut watch = Watch {
            stage,
            client: None,
        };
        recover(&mut watch, &mut follower, FIRST_TRANSACTIONS)?;
        let mut is_alive = || watch_writers(&writers);
        let result = faults(
            &mut watch,
            &mut follower,
            journal,
            round,
            tally,
            &mut is_alive,
        );
        drop(stop);
        // What a writer has to say is the better explanation.
        for writer in writers {
            writer.join().map_err(|panic| words(&*panic))??;
        }
        result?;
        finish(&mut watch, &mut follower)
    })?;
    Ok(follower)
}

/// The first start has its crashes too: they leave slot, publication and topic half made.
fn first_start(stage: &Stage, random: &mut Random) -> Result<(), String> {
    for _ in 0..random.below(4) {
        stage.start();
        thread::sleep(Duration::from_millis(random.magnitude(9)));
        stage.kill()?;
    }
    stage.start();
    stage.wait_streaming();
    Ok(())
}

fn faults(
    watch: &mut Watch<'_>,
    follower: &mut Follower<'_>,
    journal: &Journal,
    round: Round,
    tally: &mut Tally,
    is_alive: &mut dyn FnMut() -> Result<(), String>,
) -> Result<(), String> {
    let stage = watch.stage;
    let reach = match stage.server() {
        Some(_) => Reach::InProcess,
        None => Reach::Real {
            commands: [SPU_DOWN, SPU_UP]
                .iter()
                .all(|name| std::env::var_os(name).is_some()),
        },
    };
    for number in 0..round.faults {
        if round.until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        // Each fault is drawn by itself, so that what happened before does not change it.
        let mut random = Random::part(round.seed, 1000 + number as u64);
        thread::sleep(Duration::from_millis(random.magnitude(8)));
        let fault = Fault::draw(&mut random, reach, &stage.settings);
        tally.begin(number, &fault);
        strike(stage, &fault)?;
        heal(stage);
        let healed = Instant::now();
        recover(watch, follower, journal.next())?;
        is_alive()?;
        tally.end(healed.elapsed(), follower.end_offset());
    }
    Ok(())
}

/// A writer that has ended has something to say.
fn watch_writers(writers: &[ScopedJoinHandle<'_, Result<(), String>>]) -> Result<(), String> {
    match writers.iter().position(ScopedJoinHandle::is_finished) {
        None => Ok(()),
        Some(writer) => Err(format!("writer {writer} ended before its time")),
    }
}

/// Waits until the topic has transaction `goal`, or one that began after it.
fn recover(watch: &mut Watch<'_>, follower: &mut Follower<'_>, goal: i64) -> Result<(), String> {
    let until = Instant::now() + RECOVERY_DEADLINE;
    loop {
        let is_late = Instant::now() >= until;
        let confirmed = watch.confirmed();
        follower.advance_past(confirmed)?;
        watch.stage.check()?;
        if follower.newest() >= goal {
            return Ok(());
        }
        if is_late {
            return Err(format!(
                "nothing that was written after the fault is in the topic {RECOVERY_DEADLINE:?} \
                 later: the newest transaction is {}, waited for was {goal}",
                follower.newest()
            ));
        }
        thread::sleep(LOOK);
    }
}

/// Nothing is written any more: everything is confirmed, and in the topic, and nothing follows.
fn finish(watch: &mut Watch<'_>, follower: &mut Follower<'_>) -> Result<(), String> {
    let stage = watch.stage;
    let written = stage.database.current_wal_lsn();
    stage.database.wait_slot_confirmed(&stage.slot, written);
    follower.advance_past(watch.confirmed())?;
    follower.finish()?;
    let end = follower.end_offset();
    stage.terminate()?;
    follower.advance()?;
    if follower.end_offset() != end {
        return Err(format!(
            "records were written after {end}, where all was there"
        ));
    }
    stage.verify()
}

/// Looks at what the slot has confirmed.
struct Watch<'a> {
    stage: &'a Stage,
    client: Option<Client>,
}

impl Watch<'_> {
    /// Nothing is confirmed as far as a server tells that is away.
    fn confirmed(&mut self) -> u64 {
        let sql = format!(
            "SELECT (confirmed_flush_lsn - '0/0')::int8 FROM pg_replication_slots \
             WHERE slot_name = '{}'",
            self.stage.slot
        );
        let client = self.client.take();
        let Some(mut client) = client.or_else(|| self.stage.database.try_client().ok()) else {
            return 0;
        };
        match client.query_one(&sql, &[]) {
            Ok(row) => {
                self.client = Some(client);
                row.get::<_, i64>(0).unsigned_abs()
            }
            Err(_) => 0,
        }
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}
