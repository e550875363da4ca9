//! One session: both sides opened (`opening`) and found to meet, and the two threads between
//! them.

mod opening;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::Config;
use crate::continuity::{self, Source};
use crate::error::{Error, Kind, Result};
use crate::event::Batch;
use crate::lsn::Lsn;
use crate::pg::replication::{ReplicationConnection, ReplicationStream};
use crate::pg::target::Target;
use crate::producer::Producer;
use crate::progress::{Progress, Stored};
use crate::reader::{Drained, Ending, Parts, Reader};
use crate::resume::Resume;
use crate::signals::Signals;
use crate::sink::{InDoubt, Sink};
use crate::state::{Accepted, Identity, Memory};

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

/// What lives longer than a session.
pub struct Program<'a> {
    config: &'a Config,
    output: Output,
    target: Target,
    memory: Memory,
    /// Records that the last session sent and that may be stored or not.
    in_doubt: Option<InDoubt>,
    /// How long the topic must be still although nothing of this process is in doubt.
    least_settle: Duration,
    /// Only the first session makes what is missing.
    is_set_up: bool,
}

/// Both sides, ready to stream.
pub struct Opened {
    sink: Box<dyn Sink>,
    stream: ReplicationStream,
    resume: Resume,
    /// What the slot was confirmed at.
    confirmed: Lsn,
    /// What is stored already.
    stored: Stored,
    status_interval: Duration,
}

impl<'a> Program<'a> {
    /// Checks what can be checked without connecting.
    pub fn new(config: &'a Config, output: Output) -> Result<Self> {
        let target = config.target()?;
        // The file is about the topic; standard output has no end that could be known.
        let state_dir = config
            .state_dir
            .as_deref()
            .filter(|_| output == Output::Topic);
        let memory = Memory::load(state_dir, &config.slot)?;
        Ok(Program {
            config,
            output,
            target,
            memory,
            in_doubt: None,
            least_settle: opening::FIRST_SETTLE,
            is_set_up: false,
        })
    }

    /// One session; and whether it proved to work: it stored something, or lived for long.
    pub fn session(&mut self, signals: &Signals) -> (Result<()>, bool) {
        let opened = match self.open() {
            Ok(opened) => opened,
            Err(error) => return (Err(error), false),
        };
        let _under_way = signals.under_way();
        self.announce(&opened);
        let (before, begun) = (opened.stored, Instant::now());
        let progress = Arc::new(Progress::starting_at(before));
        let result = self.stream(opened, &progress, signals);
        let proved = progress.stored() != before || begun.elapsed() > self.config.retry.max;
        (result, proved)
    }

    fn announce(&self, opened: &Opened) {
        let Config {
            publication, slot, ..
        } = self.config;
        let to = match self.output {
            Output::Topic => {
                let (topic, partition) = (&self.config.fluvio.topic, self.config.fluvio.partition);
                format!(
                    "topic {topic}, partition {partition}, offset {}",
                    opened.stored.offset
                )
            }
            Output::Stdout => "standard output".to_owned(),
        };
        log::info!(
            "streaming from {}, slot {slot}, publication {publication}, from {} to {to}",
            opened.stream.endpoint(),
            opened.confirmed,
        );
    }

    /// Whom this program connects to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A new connection in replication mode.
    pub fn connect_anew(&self) -> Result<ReplicationConnection> {
        ReplicationConnection::connect(&self.target)
    }

    /// Writes down that slot and topic meet at `stored` from now on.
    pub fn accept(
        &mut self,
        source: &Source,
        stored: Stored,
        first_offset: i64,
        accepted: Accepted,
    ) -> Result<()> {
        let identity = self.identity(source);
        self.memory.accept(identity, stored, first_offset, accepted)
    }

    /// Records of the topic before this offset do not matter.
    pub fn first_offset(&self) -> i64 {
        self.memory.first_offset()
    }

    fn identity(&self, source: &Source) -> Identity {
        Identity {
            system_identifier: source.system.identifier.clone(),
            timeline: source.system.timeline,
            is_standby: source.is_standby,
            publication_oid: source.publication_oid,
            slot: self.config.slot.clone(),
            topic: self.config.fluvio.topic.clone(),
            partition: self.config.fluvio.partition,
        }
    }

    /// Runs the two threads until one of them ends.
    fn stream(
        &mut self,
        opened: Opened,
        progress: &Arc<Progress>,
        signals: &Signals,
    ) -> Result<()> {
        let (batches, inbox) = bounded(CHANNEL_BATCHES);
        let (running, ended) = bounded(0);
        let producer = self.spawn_producer(opened.sink, Arc::clone(progress), inbox, running)?;
        let reader = Reader::new(Parts {
            stream: opened.stream,
            batches,
            producer: ended,
            progress,
            memory: &mut self.memory,
            resume: opened.resume,
            messages: &self.config.messages,
            confirmed: Stored {
                lsn: opened.confirmed,
                offset: 0,
            },
            status_interval: opened.status_interval,
            confirm_delay: self.config.confirm_delay,
        });
        let (read, drained) = reader.run(signals);
        let read = read.map_err(|error| {
            continuity::with_ways_out(error).at(format!("replication slot {}", self.config.slot))
        });
        // No session may begin before the producer has ended. What it still waits for after a stop
        // ends with the process.
        let stored = match drained {
            Drained::Whole => self.join(producer),
            Drained::InPart => Ok(()),
        };
        let result = outcome(read, stored);
        self.remember(result)
    }

    /// A gap that was found while streaming does not go away by starting again.
    fn remember(&mut self, result: Result<()>) -> Result<()> {
        if let Err(error) = &result
            && error.kind() == Kind::Gap
        {
            self.memory.note_gap(&error.message())?;
        }
        result
    }

    fn spawn_producer(
        &self,
        sink: Box<dyn Sink>,
        progress: Arc<Progress>,
        inbox: Receiver<Batch>,
        running: Sender<()>,
    ) -> Result<ProducerThread> {
        let (raw_text, linger) = (self.config.raw_text, self.config.linger);
        let producer = move || {
            let _running = running;
            Producer {
                sink,
                raw_text,
                linger,
                progress: &progress,
            }
            .run(&inbox)
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
                self.in_doubt = in_doubt;
                Err(error)
            }
            Err(_) => Err(Error::new(Kind::Bug, "the producer panicked")),
        }
    }
}

/// Of two errors, the one that trying again does not mend is the one that counts.
fn outcome(read: Result<Ending>, stored: Result<()>) -> Result<()> {
    let (error, also) = match (read, stored) {
        (Ok(Ending::Stopped), Ok(())) => return Ok(()),
        (Ok(Ending::ProducerEnded), Ok(())) => {
            return Err(Error::new(Kind::Bug, "the producer ended without an error"));
        }
        (Ok(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
        (Err(read), Err(stored)) if stored.kind().is_transient() => (read, stored),
        (Err(read), Err(stored)) => (stored, read),
    };
    log::warn!("{also}");
    Err(error)
}

type ProducerThread = JoinHandle<Result<(), (Error, Option<InDoubt>)>>;
