//! The torture: writers that keep a journal, the program, and fault after fault; and in the end the
//! topic equals the journal.
//!
//! A [`round`] has servers of its own, in a network of their own. [`draw`] says what goes wrong and
//! [`strike`] makes it happen; [`plan`] draws what is written and [`writer`] writes it; [`follower`]
//! reads the [`lanes`], in either format ([`events`], [`rows`]), and holds them against the [`journal`]
//! and what they [`fold`] to against the tables. Some rounds end with a [`restore`].
#![allow(dead_code)]

mod draw;
mod events;
mod fault;
mod fold;
mod follower;
mod journal;
mod lanes;
mod piece;
mod plan;
mod program;
mod report;
mod restore;
mod rows;
mod source;
mod stage;
mod strike;
mod writer;

#[allow(unused_imports)]
pub use lanes::{Format, Wanted};
pub use report::{Failure, Tally};

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use postgres::Client;

use super::fluvio::Cluster;
use super::namespace::Namespace;
use super::pair;
use super::postgres::Postgres;
use super::random::Random;
use draw::Scope;
use fault::{Ends, Fault, Reach, Restore};
use follower::Follower;
use journal::Journal;
use stage::{Settings, Stage};
use strike::command::{SPU_DOWN, SPU_UP};
use strike::{heal, strike};
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
    /// Packets are lost, and a process is frozen while another one waits, for about so long at most.
    pub longest: Duration,
    /// What the program reads; drawn if nothing is said.
    pub reading: Option<Reading>,
    /// What it writes.
    pub wanted: Wanted,
}

/// The variable with the name of the network namespace that this process and a real cluster are in.
pub const NETNS: &str = "TORTURE_NETNS";

/// The variable with the port of a real cluster's SPU, which can be cut there.
pub const SPU_PORT: &str = "TORTURE_SPU_PORT";

/// What the program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Primary,
    Standby,
}

/// Whether the servers at hand decode on a standby.
pub fn decodes_on_standbys() -> bool {
    Postgres::installed_major() >= pair::DECODES
}

/// Tortures servers and a program that are started for it, and tells what was done.
///
/// All of them are in a network of their own, which can be cut; a real cluster is in the network of
/// whoever runs this, and so is everything then. [`NETNS`] may name that.
pub fn round(round: Round) -> Result<Tally, Box<Failure>> {
    if let Ok(name) = std::env::var(NETNS) {
        return round_in(round, Some(&Namespace::around_us(&name)));
    }
    if Cluster::is_named() || !Namespace::is_possible() {
        return round_in(round, None);
    }
    Namespace::within(|namespace| round_in(round, Some(namespace)))
}

fn round_in(round: Round, network: Option<&Namespace>) -> Result<Tally, Box<Failure>> {
    let mut random = Random::part(round.seed, 0);
    let settings = Settings::draw(&mut random, &round, decodes_on_standbys());
    println!("seed {}: {settings:?}", round.seed);
    let stage = Stage::new(&round, settings, network);
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
            tally.read_logs(&stage.program.logs(), |end| follower.is_inside(end));
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
    stage: &'a Stage<'_>,
    journal: &'a Journal,
    round: Round,
    tally: &mut Tally,
) -> Result<Follower<'a>, String> {
    let mut follower = Follower::new(stage, journal);
    let mut watch = Watch {
        stage,
        client: None,
    };
    let last = last_fault(stage, round);
    first_start(stage, &mut Random::part(round.seed, 1))?;
    under_load(
        &mut watch,
        &mut follower,
        journal,
        round,
        tally,
        last.is_some(),
    )?;
    settle(&mut watch, &mut follower)?;
    match last.filter(|_| !round.is_over()) {
        None => close(stage, &mut follower)?,
        Some(plan) => {
            tally.begin(round.faults - 1, &Fault::Restore(plan.clone()));
            let began = Instant::now();
            restore::restore(&mut watch, &mut follower, journal, &plan)?;
            tally.end(began.elapsed(), follower.end_offset());
        }
    }
    Ok(follower)
}

/// Writes and makes all faults but the last, if that one needs a server to itself.
fn under_load(
    watch: &mut Watch<'_>,
    follower: &mut Follower<'_>,
    journal: &Journal,
    round: Round,
    tally: &mut Tally,
    has_last: bool,
) -> Result<(), String> {
    let stage = watch.stage;
    let stops = AtomicBool::new(false);
    let load = Load {
        source: &stage.source,
        major: stage.source.postgres.major(),
        journal,
        rate: (round.rate / WRITERS as u64).max(1),
        stops: &stops,
    };
    thread::scope(|scope| {
        let stop = StopOnDrop(&stops);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let random = Random::part(round.seed, 2 + writer as u64);
                let load = &load;
                scope.spawn(move || writer::write(load, writer, random))
            })
            .collect();
        recover(watch, follower, FIRST_TRANSACTIONS, RECOVERY_DEADLINE)?;
        let mut is_alive = || watch_writers(&writers);
        let count = round.faults - usize::from(has_last);
        let result = faults(
            watch,
            follower,
            journal,
            (round, count),
            tally,
            &mut is_alive,
        );
        drop(stop);
        // What a writer has to say is the better explanation.
        for writer in writers {
            writer.join().map_err(|panic| words(&*panic))??;
        }
        result
    })
}

/// The first start has its crashes too: they leave slot, publication and topic half made.
fn first_start(stage: &Stage<'_>, random: &mut Random) -> Result<(), String> {
    for _ in 0..random.below(4) {
        stage.program.start_all();
        thread::sleep(Duration::from_millis(random.magnitude(9)));
        stage.program.end_all(Ends::Killed)?;
    }
    stage.program.start_all();
    stage.program.wait_streaming(|| stage.source.help_slot())?;
    stage.source.protect_slot();
    Ok(())
}

/// Some rounds end with a server that is put back to a copy of its data.
fn last_fault(stage: &Stage<'_>, round: Round) -> Option<Restore> {
    let mut random = Random::part(round.seed, 999);
    let has_one = random.one_in(2) && round.faults > 1 && !stage.source.is_standby();
    has_one.then(|| Restore::draw(&mut random))
}

fn faults(
    watch: &mut Watch<'_>,
    follower: &mut Follower<'_>,
    journal: &Journal,
    (round, count): (Round, usize),
    tally: &mut Tally,
    is_alive: &mut dyn FnMut() -> Result<(), String>,
) -> Result<(), String> {
    let stage = watch.stage;
    for number in 0..count {
        if round.is_over() {
            break;
        }
        // Each fault is drawn by itself, so that what happened before does not change it.
        let mut random = Random::part(round.seed, 1000 + number as u64);
        thread::sleep(Duration::from_millis(random.magnitude(8)));
        stage.program.spare_holder(random.one_in(4));
        let fault = Fault::draw(&mut random, scope(stage, round));
        tally.begin(number, &fault);
        strike(stage, &fault)?;
        heal(stage);
        let healed = Instant::now();
        let deadline = RECOVERY_DEADLINE + 2 * fault.outage();
        recover(watch, follower, journal.next(), deadline)?;
        is_alive()?;
        tally.end(healed.elapsed(), follower.end_offset());
    }
    Ok(())
}

fn scope<'a>(stage: &'a Stage<'_>, round: Round) -> Scope<'a> {
    let has_command = |name: &&str| std::env::var_os(name).is_some();
    Scope {
        reach: match stage.server() {
            Some(_) => Reach::InProcess,
            None => Reach::Real {
                commands: [SPU_DOWN, SPU_UP].iter().all(has_command),
            },
        },
        settings: &stage.settings,
        can_be_unplugged: stage.lines.can_be_unplugged(),
        spus: stage.lines.spus.len(),
        longest: round.longest,
        is_standby: stage.source.is_standby(),
    }
}

/// A writer that has ended has something to say.
fn watch_writers(writers: &[ScopedJoinHandle<'_, Result<(), String>>]) -> Result<(), String> {
    match writers.iter().position(ScopedJoinHandle::is_finished) {
        None => Ok(()),
        Some(writer) => Err(format!("writer {writer} ended before its time")),
    }
}

/// Waits until the topic has transaction `goal`, or one that began after it.
fn recover(
    watch: &mut Watch<'_>,
    follower: &mut Follower<'_>,
    goal: i64,
    deadline: Duration,
) -> Result<(), String> {
    let until = Instant::now() + deadline;
    loop {
        let is_late = Instant::now() >= until;
        let confirmed = watch.confirmed();
        follower.advance_past(confirmed)?;
        watch.stage.program.check()?;
        if follower.newest() >= goal {
            return Ok(());
        }
        if is_late {
            return Err(format!(
                "nothing that was written after the fault is in the topic {deadline:?} later: the \
                 newest transaction is {}, waited for was {goal}",
                follower.newest()
            ));
        }
        thread::sleep(LOOK);
    }
}

/// Nothing is written any more: everything is confirmed, and in the topic.
fn settle(watch: &mut Watch<'_>, follower: &mut Follower<'_>) -> Result<(), String> {
    let stage = watch.stage;
    let (database, written) = (&stage.source.database, stage.source.written()?);
    database.wait_slot_confirmed(&stage.slot, written);
    follower.advance_past(watch.confirmed())?;
    follower.finish(stage.source.writable())
}

/// The program stops, and nothing follows what there was.
fn close(stage: &Stage<'_>, follower: &mut Follower<'_>) -> Result<(), String> {
    let end = follower.end_offset();
    stage.program.end_all(Ends::Stopped)?;
    follower.advance()?;
    if follower.end_offset() != end {
        return Err(format!(
            "records were written after {end}, where all was there"
        ));
    }
    stage.verify()
}

impl Round {
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// Looks at what the slot has confirmed.
struct Watch<'a> {
    stage: &'a Stage<'a>,
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
        let Some(mut client) = client.or_else(|| self.stage.source.database.try_client().ok())
        else {
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
