//! One session: both sides opened (`opening`), the slot taken (`taking`), the ends of the lanes read (`settling`)
//! with what is known of them from the sessions before (`lane`), slot and lanes found to meet (`meeting`), and
//! the two threads between them; whom it may have to wait for (`peers`), and what `accept-gap` looks at
//! (`proof`).

mod lane;
mod meeting;
mod opening;
mod peers;
mod proof;
mod settling;
mod taking;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use self::lane::{LanePast, LanePasts};
use crate::base::error::{Error, Kind, Reason, Result};
use crate::base::lsn::Lsn;
use crate::base::signals::Signals;
use crate::change::Batch;
use crate::config::Config;
use crate::observe::metrics::Metrics;
use crate::observe::notify::Notify;
use crate::observe::peer::{Peer, Side};
use crate::observe::waiting::Onlookers;
use crate::pg::params::ConnectParams;
use crate::pg::replication::{ReplicationConnection, ReplicationStream};
use crate::pipeline::lane_map::{LaneMap, TableName};
use crate::pipeline::producer::{Form, Producer};
use crate::pipeline::progress::{Progress, Stored};
use crate::pipeline::reader::{Drained, Ending, Reader, ReaderParts};
use crate::pipeline::resume::continuity;
use crate::pipeline::resume::past::Past;
use crate::pipeline::resume::source::Source;
use crate::pipeline::resume::state::Memory;
use crate::pipeline::resume::state_file::{Accepted, Known, KnownLane, Sent};
use crate::pipeline::rows::Rows;
use crate::pipeline::summary::Summary;
use crate::sink::InDoubt;
use crate::sink::fluvio::{LanePlace, Leaders};
use crate::sink::lane::Lanes;
use crate::sink::lease::Lease;

/// Batches that may wait between the threads. One is being filled and one worked on besides.
const CHANNEL_BATCHES: usize = 2;

/// Where the records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The configured topic.
    Topic,
    /// Standard output.
    Stdout,
}

/// When a session ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Never.
    None,
    /// When everything is confirmed that the server had when the session began.
    Drained,
}

/// What lives longer than a session.
pub struct Program<'a> {
    config: &'a Config,
    output: Output,
    params: ConnectParams,
    /// What a reload has replaced, until the new one has proved to work.
    former_params: Option<ConnectParams>,
    notify: Notify,
    onlookers: Onlookers,
    memory: Memory,
    metrics: Arc<Metrics>,
    /// What is known of each lane.
    pasts: LanePasts,
    /// Tables that came while their lanes were not open.
    met_tables: BTreeSet<TableName>,
    /// Only the first session makes what is missing.
    is_set_up: bool,
}

/// Both sides, ready to stream.
pub struct Opened {
    lanes: Lanes,
    stream: ReplicationStream,
    lease: Lease,
    past: Past,
    /// What makes rows of events, if that is the format.
    rows: Option<Rows>,
    /// Where tables go.
    map: Arc<LaneMap>,
    /// The prefixes of the messages that are written.
    messages: Vec<String>,
    /// What the slot was confirmed at.
    confirmed: Lsn,
    /// What is stored already.
    stored: Stored,
    /// What will be, once all replicas have it.
    unsettled: Option<Stored>,
    status_interval: Duration,
    /// What could be decoded before the slot was taken.
    goal: Lsn,
    /// Who stores the records.
    peer: Peer,
}

impl<'a> Program<'a> {
    /// Checks what can be checked without connecting.
    pub fn new(config: &'a Config, output: Output, onlookers: Onlookers) -> Result<Self> {
        let params = config.params()?;
        // The file is about the topic; standard output has no end that could be known.
        let state_dir = config
            .state_dir
            .as_deref()
            .filter(|_| output == Output::Topic);
        let memory = Memory::load(state_dir, &config.slot)?;
        Ok(Program {
            config,
            output,
            params,
            former_params: None,
            notify: onlookers.notify.clone(),
            onlookers,
            memory,
            metrics: Arc::default(),
            pasts: LanePasts::default(),
            met_tables: BTreeSet::new(),
            is_set_up: false,
        })
    }

    /// One session; and whether it proved to work: it stored something, or lived for long.
    pub fn session(&mut self, goal: Goal, signals: &Signals) -> (Result<Ending>, bool) {
        let (ended, proved) = self.open_and_stream(goal, signals);
        let ended = ended.map_err(|error| {
            self.pasts.iter_mut().for_each(LanePast::failed);
            self.with_row_filters(error)
        });
        (self.remember(ended), proved)
    }

    fn open_and_stream(&mut self, goal: Goal, signals: &Signals) -> (Result<Ending>, bool) {
        let opened = match self.open_as_reloaded() {
            Ok(opened) => opened,
            Err(error) => return (Err(error), false),
        };
        let progress = match Progress::starting_at(opened.stored.clone()) {
            Ok(progress) => Arc::new(progress),
            Err(error) => return (Err(error), false),
        };
        let _under_way = signals.under_way();
        self.announce(&opened);
        self.metrics
            .session_begins(opened.confirmed, opened.stored.lsn);
        if self.output == Output::Topic {
            let ends = &opened.stored.offsets;
            self.metrics.lanes.open(opened.map.names(), ends);
        }
        let (before, begun) = (opened.stored.clone(), Instant::now());
        let result = self.stream(opened, &progress, goal, signals);
        if let Ok(Ending::NewTable(table)) = &result {
            self.met_tables.insert(table.clone());
        }
        for (past, &offset) in self.pasts.iter_mut().zip(&*progress.stored().offsets) {
            past.left_at = past.left_at.max(offset);
        }
        self.metrics.session_ends();
        let proved = progress.stored() != before || begun.elapsed() > self.config.retry.max;
        (result, proved)
    }

    /// The next sessions connect as `fresh` says; of the rest of it nothing is taken, and what differs
    /// is named.
    pub fn reload(&mut self, fresh: &Config) -> Result<()> {
        let params = fresh.params()?;
        for key in self.config.only_at_a_start(fresh) {
            log::warn!("{key} has changed: that needs a restart");
        }
        let former = std::mem::replace(&mut self.params, params);
        self.former_params.get_or_insert(former);
        Ok(())
    }

    /// Opens both sides. What a reload brought must not cost the service what worked until then.
    fn open_as_reloaded(&mut self) -> Result<Opened> {
        let result = self.open();
        match (result, self.former_params.take()) {
            (Err(error), Some(former)) if !error.is_transient() => {
                log::error!("{error}; going on as before the reload");
                self.params = former;
                self.open()
            }
            (Err(error), former) => {
                self.former_params = former;
                Err(error)
            }
            (opened, _) => opened,
        }
    }

    fn announce(&self, opened: &Opened) {
        let Config {
            publication, slot, ..
        } = self.config;
        let to = match (self.output, opened.map.names()) {
            (Output::Stdout, _) => "standard output".to_owned(),
            (Output::Topic, [LanePlace { topic, partition }]) => format!(
                "topic {topic}, partition {partition}, offset {}",
                opened.stored.offset()
            ),
            (Output::Topic, lanes) => {
                let topics = opened.map.topics().len();
                format!("{} partitions of {topics} topics", lanes.len())
            }
        };
        log::info!(
            slot = slot.as_str(), confirmed_lsn:% = opened.confirmed, offset = opened.stored.offset();
            "streaming from {}, slot {slot}, publication {publication}, from {} to {to}",
            opened.stream.endpoint(),
            opened.confirmed,
        );
        let confirmed = opened.confirmed;
        self.notify
            .ready(&format!("streaming; confirmed {confirmed}"));
    }

    /// Whether the server has let this process in before.
    pub fn was_let_in(&self) -> bool {
        self.is_set_up
    }

    /// What it counts of itself.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whom this program connects to.
    pub fn params(&self) -> &ConnectParams {
        &self.params
    }

    /// A new connection in replication mode.
    pub fn connect_anew(&self) -> Result<ReplicationConnection> {
        let mut connection = ReplicationConnection::connect(&self.params)?;
        connection.lift_timeouts()?;
        Ok(connection)
    }

    /// The lanes as they are, with the offset before which records of each do not matter. Those that are missing
    /// are made.
    pub fn lanes_now(&self) -> Result<(Arc<LaneMap>, Vec<KnownLane>)> {
        let map = self.map_lanes()?;
        let leaders = Leaders::find(&self.config.fluvio, map.topics(), map.names())?;
        let lanes = map
            .names()
            .iter()
            .enumerate()
            .map(|(lane, name)| KnownLane {
                first_offset: self.first_offset(name),
                ..KnownLane::new(&*name.topic, name.partition, leaders.bounds(lane).end)
            });
        let lanes = lanes.collect();
        Ok((map, lanes))
    }

    /// Writes down that the slot, as it is, and these lanes meet from now on.
    pub fn accept(
        &mut self,
        source: &Source,
        map: &LaneMap,
        lanes: Vec<KnownLane>,
        accepted: Accepted,
    ) -> Result<()> {
        let first = self.first_known(source, map, lanes);
        self.memory.accept(first, accepted)
    }

    /// What is known when the slot, as it is, and these lanes meet, and nothing from before.
    fn first_known(&self, source: &Source, map: &LaneMap, lanes: Vec<KnownLane>) -> Known {
        Known::first(self.config, source, map.routing(), lanes)
    }

    /// What is known of a lane, if anything.
    fn known_lane(&self, place: &LanePlace) -> Option<&KnownLane> {
        self.memory.lane(&place.topic, place.partition)
    }

    /// The offset before which records of a lane do not matter.
    fn first_offset(&self, place: &LanePlace) -> i64 {
        self.known_lane(place).map_or(0, |lane| lane.first_offset)
    }

    /// What the last run ended with, if it could not read or deliver what the slot holds.
    pub fn stuck(&self) -> Option<String> {
        self.memory.known()?.stuck.clone()
    }

    /// Runs the two threads until one of them ends.
    fn stream(
        &mut self,
        opened: Opened,
        progress: &Arc<Progress>,
        goal: Goal,
        signals: &Signals,
    ) -> Result<Ending> {
        let (batches, inbox) = bounded(CHANNEL_BATCHES);
        let (running, ended) = bounded(0);
        let work = ProducerWork {
            lanes: opened.lanes,
            rows: opened.rows,
            unsettled: opened.unsettled,
            progress: Arc::clone(progress),
            inbox,
        };
        let producer = self.spawn_producer(work, running)?;
        let metrics = Arc::clone(&self.metrics);
        let reader = Reader::new(ReaderParts {
            summary: Summary::new(
                self.notify.clone(),
                opened.peer,
                format!("PostgreSQL at {}", opened.stream.endpoint()),
            ),
            stream: opened.stream,
            lease: opened.lease,
            producer: ended,
            progress,
            memory: &mut self.memory,
            metrics: &metrics,
            past: opened.past,
            lanes: opened.map,
            messages: &self.config.messages,
            confirmed: Stored {
                lsn: opened.confirmed,
                ..Stored::default()
            },
            status_interval: opened.status_interval,
            confirm_delay: self.config.confirm_delay,
            goal: (goal == Goal::Drained).then_some(opened.goal),
        });
        let (read, drained) = reader.run(batches, signals);
        let read = read.map_err(|error| {
            continuity::with_ways_out(error).at(format!("replication slot {}", self.config.slot))
        });
        // No session may begin before the producer has ended. What it still waits for after a stop
        // ends with the process.
        let stored = match drained {
            Drained::Whole => self.join(producer),
            Drained::InPart => Ok(()),
        };
        for (side, failed) in [
            (Side::Postgres, read.is_err()),
            (Side::Sink, stored.is_err()),
        ] {
            if failed {
                metrics.waits.begin(side);
            }
        }
        self.remember_gap(outcome(read, stored))
    }

    /// A gap that was found while streaming does not go away by starting again, unless it is the slot
    /// that is gone.
    fn remember_gap(&mut self, result: Result<Ending>) -> Result<Ending> {
        if let Err(error) = &result
            && error.kind() == Kind::Gap
            && error.reason() != Some(Reason::SlotUseless)
        {
            self.memory.note_gap(&error.message())?;
        }
        result
    }

    /// What cannot be read or delivered may be the next time, but whoever looks meanwhile is to know.
    fn remember(&mut self, result: Result<Ending>) -> Result<Ending> {
        if let Err(error) = &result
            && (error.kind() == Kind::Undeliverable || error.reason() == Some(Reason::SlotUseless))
        {
            self.memory.note_stuck(&error.message())?;
        }
        result
    }

    fn spawn_producer(&self, work: ProducerWork, running: Sender<()>) -> Result<ProducerThread> {
        let (raw_text, linger) = (self.config.raw_text, self.config.linger);
        let metrics = Arc::clone(&self.metrics);
        let producer = move || {
            let _running = running;
            Producer {
                lanes: work.lanes,
                form: (work.rows).map_or(Form::Events(raw_text), |rows| Form::Rows(Box::new(rows))),
                linger,
                progress: &work.progress,
                unsettled: work.unsettled.map(Into::into),
                metrics: &metrics,
            }
            .run(&work.inbox)
        };
        let thread = thread::Builder::new().name("producer".to_owned());
        thread
            .spawn(producer)
            .map_err(|e| Error::unreachable("cannot start a thread").with_source(e))
    }

    fn join(&mut self, producer: ProducerThread) -> Result<()> {
        match producer.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err((error, in_doubt))) => {
                self.pasts.iter_mut().for_each(|past| past.in_doubt = None);
                let sent = in_doubt.iter().map(|in_doubt| {
                    let (offset, records) = (in_doubt.offset, in_doubt.records.count());
                    (in_doubt.lane, Sent { offset, records })
                });
                if !in_doubt.is_empty() {
                    self.memory.note_in_doubt(sent)?;
                }
                for in_doubt in in_doubt {
                    let lane = in_doubt.lane;
                    self.pasts[lane].in_doubt = Some(in_doubt);
                }
                Err(error)
            }
            Err(_) => Err(Error::new(Kind::Bug, "the producer panicked")),
        }
    }
}

/// What the producer works with.
struct ProducerWork {
    lanes: Lanes,
    rows: Option<Rows>,
    unsettled: Option<Stored>,
    progress: Arc<Progress>,
    inbox: Receiver<Batch>,
}

/// Of two errors, the one that trying again does not mend is the one that counts.
fn outcome(read: Result<Ending>, stored: Result<()>) -> Result<Ending> {
    let (error, also) = match (read, stored) {
        (Ok(Ending::ProducerEnded), Ok(())) => {
            return Err(Error::new(Kind::Bug, "the producer ended without an error"));
        }
        (Ok(ending), Ok(())) => return Ok(ending),
        (Ok(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
        (Err(read), Err(stored)) if stored.is_transient() => (read, stored),
        (Err(read), Err(stored)) => (stored, read),
    };
    log::warn!("{also}");
    Err(error)
}

type ProducerThread = JoinHandle<Result<(), (Error, Vec<InDoubt>)>>;
