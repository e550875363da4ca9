//! One session: both sides opened and found to meet, and the two threads between them.
//!
//! Fluvio is opened first, so that a dead one does not hold the slot. Then START_REPLICATION takes
//! the slot: from that moment nobody else can stream from it, and only then the topic's end is read.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::Config;
use crate::continuity::{self, Source, Topic, gap};
use crate::error::{Context, Error, Kind, Result};
use crate::event::{Batch, Envelope};
use crate::lsn::Lsn;
use crate::pg::pgoutput;
use crate::pg::replication::{Message, ReplicationConnection, ReplicationStream, Reply};
use crate::pg::target::Target;
use crate::producer::Producer;
use crate::progress::{Progress, Stored};
use crate::reader::{Drained, Ending, Parts, Reader};
use crate::relation::Catalog;
use crate::resume::{Resume, Tail};
use crate::setup::{self, Plan};
use crate::signals::Signals;
use crate::sink::fluvio::Partition;
use crate::sink::stdout::Lines;
use crate::sink::{InDoubt, Sink};
use crate::state::{Accepted, Identity, Memory};
use crate::tail;

/// Batches that may wait between the threads. One is being filled and one worked on besides.
const CHANNEL_BATCHES: usize = 2;

/// How long a topic must be still, at the least, before its end counts: a former process may have
/// sent something that its server has not taken yet.
const SETTLE: Duration = Duration::from_millis(100);

/// A server that was so slow to answer may be just as slow to store what it was sent before.
const SETTLE_FACTOR: u32 = 10;

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

impl Opened {
    /// Reads until what the topic ends with has come again, writes and confirms nothing, and gives
    /// the slot back.
    pub fn prove(mut self) -> Result<()> {
        let (mut catalog, mut reported) = (Catalog::default(), Instant::now());
        while self.resume.is_resuming() {
            while let Some(message) = self.stream.message()? {
                match message {
                    Message::XLogData {
                        wal_start,
                        wal_end,
                        timestamp,
                        data,
                    } => {
                        let envelope = Envelope {
                            wal_start,
                            wal_end,
                            timestamp,
                        };
                        let message = pgoutput::Message::decode(data)?;
                        self.resume.judge(envelope, &message, &mut catalog)?;
                    }
                    Message::Keepalive { wal_end, .. } => self.resume.sent_up_to(wal_end)?,
                }
            }
            if reported.elapsed() >= SETTLE {
                self.stream.send_status(self.confirmed, Reply::NotNeeded)?;
                reported = Instant::now();
            }
            self.stream.wait()?;
        }
        self.stream.end()
    }
}

impl<'a> Program<'a> {
    /// Checks what can be checked without connecting.
    pub fn new(config: &'a Config, output: Output) -> Result<Self> {
        let application = format!("postgres-source/{}", config.name);
        let target = Target::parse(config.database_url.expose(), &application)?;
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
            is_set_up: false,
        })
    }

    /// One session; and whether it stored anything.
    pub fn session(&mut self, signals: &Signals) -> (Result<()>, bool) {
        let opened = match self.open() {
            Ok(opened) => opened,
            Err(error) => return (Err(error), false),
        };
        let _under_way = signals.under_way();
        self.announce(&opened);
        let before = opened.stored;
        let progress = Arc::new(Progress::starting_at(before));
        let result = self.stream(opened, &progress, signals);
        (result, progress.stored() != before)
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

    /// Opens both sides and finds that they meet.
    pub fn open(&mut self) -> Result<Opened> {
        match self.output {
            Output::Topic => self.open_topic(),
            Output::Stdout => self.open_stdout(),
        }
    }

    fn open_stdout(&mut self) -> Result<Opened> {
        let sink = Box::new(Lines::on_stdout()?);
        let (connection, source) = self.connect(false)?;
        let confirmed = source.slot.confirmed();
        let (stream, status_interval) = self.start(connection)?;
        let stored = Stored {
            lsn: confirmed,
            offset: 0,
        };
        self.memory.begin(self.identity(&source), stored)?;
        Ok(Opened {
            sink,
            stream,
            resume: Resume::default(),
            confirmed,
            stored,
            status_interval,
        })
    }

    fn open_topic(&mut self) -> Result<Opened> {
        let partition = Partition::open(self.config.fluvio.clone())?;
        let has_history = partition.bounds().end > self.memory.first_offset();
        let (connection, mut source) = self.connect(has_history)?;
        let confirmed = source.slot.confirmed();
        let (mut stream, status_interval) = self.start(connection)?;
        let topic = self.reconcile(&partition, &mut stream, confirmed)?;
        if topic.tail.reach() > source.system.wal_flush {
            // It was written while we connected, or it is not of this server.
            source.system = self.connect_anew()?.identify_system()?;
        }
        continuity::check_topic(self.memory.known(), &source, &topic)
            .at(|| format!("topic {}", topic.name))?;
        let lsn = topic.tail.stored().unwrap_or_default().max(confirmed);
        let stored = Stored {
            lsn,
            offset: topic.bounds.end,
        };
        self.memory.begin(
            self.identity(&source),
            confirmed_in(confirmed, topic.tail, topic.bounds.end),
        )?;
        let sink = Box::new(partition.writer(topic.bounds.end)?);
        let resume = Resume::after(topic.tail, confirmed);
        Ok(Opened {
            sink,
            stream,
            resume,
            confirmed,
            stored,
            status_interval,
        })
    }

    /// Connects in replication mode and finds the slot, which is made if that is right: when there
    /// is none, nothing has been read before, and the config allows it.
    fn connect(&mut self, has_history: bool) -> Result<(ReplicationConnection, Source)> {
        let Config {
            publication, slot, ..
        } = self.config;
        let place = || format!("replication slot {slot}");
        // First of all, because this connection is needed in any case and its errors are exact.
        let mut connection = self.connect_anew()?;
        let exists = connection.slot(slot)?.is_some();
        if !exists && (has_history || self.is_set_up || self.memory.known().is_some()) {
            return Err(gap(
                "does not exist any more: the changes since it was confirmed last are lost to it",
            ))
            .at(place);
        }
        if !self.is_set_up {
            self.set_up(&connection)?;
            self.is_set_up = true;
        }
        let source = self.find(&mut connection)?;
        continuity::check_slot(&source.slot, self.target.database()).at(place)?;
        continuity::check_source(self.memory.known(), &source).at(place)?;
        log::debug!(
            "publication {publication} has the OID {}",
            source.publication_oid
        );
        Ok((connection, source))
    }

    /// Makes what is missing, as far as the config allows.
    pub fn set_up(&self, connection: &ReplicationConnection) -> Result<()> {
        let Config {
            publication,
            slot,
            tables,
            setup,
            ..
        } = self.config;
        let plan = Plan {
            publication,
            tables,
            slot,
            setup: *setup,
        };
        setup::ensure(&self.target, connection.endpoint(), &plan)
    }

    /// What there is on the side of PostgreSQL.
    pub fn find(&mut self, connection: &mut ReplicationConnection) -> Result<Source> {
        let Config {
            publication, slot, ..
        } = self.config;
        let missing = |what: &str| Error::config(format!("{what} does not exist"));
        let found = connection.slot(slot)?;
        // Another process that has the slot, or had it until now, writes down what it confirms
        // before it does.
        self.memory.refresh()?;
        let system = connection.identify_system()?;
        let publication_oid = connection.publication(publication)?;
        let left_timeline_at = match self.memory.known() {
            Some(known) if known.timeline < system.timeline => {
                let left = connection.left_timeline_at(known.timeline, system.timeline)?;
                Some(left.unwrap_or_default())
            }
            _ => None,
        };
        Ok(Source {
            slot: found.ok_or_else(|| missing(&format!("replication slot {slot}")))?,
            publication_oid: publication_oid
                .ok_or_else(|| missing(&format!("publication {publication}")))?,
            system,
            left_timeline_at,
        })
    }

    /// Takes the slot; and how often to report: as configured, but always well before the server
    /// would give us up.
    fn start(
        &self,
        mut connection: ReplicationConnection,
    ) -> Result<(ReplicationStream, Duration)> {
        let Config {
            publication, slot, ..
        } = self.config;
        let timeout = connection.wal_sender_timeout()?;
        let stream = connection.start(slot, publication);
        let limit = timeout.map_or(Duration::MAX, |timeout| timeout / 3);
        let stream = stream.at(|| format!("replication slot {slot}"))?;
        Ok((stream, self.config.status_interval.min(limit)))
    }

    /// Reads the topic's end, once it is still, and compares it with what was in doubt. The server
    /// is kept informed meanwhile.
    fn reconcile(
        &mut self,
        partition: &Partition,
        stream: &mut ReplicationStream,
        confirmed: Lsn,
    ) -> Result<Topic<'a>> {
        let in_doubt = self.in_doubt.as_ref();
        let patience = in_doubt.map_or(Duration::ZERO, |in_doubt| in_doubt.settle);
        let settle = (partition.slowest() * SETTLE_FACTOR)
            .max(patience)
            .clamp(SETTLE, self.config.fluvio.timeout.max(SETTLE));
        let mut reported = Instant::now();
        let mut report = || {
            if reported.elapsed() >= SETTLE {
                stream.send_status(confirmed, Reply::NotNeeded)?;
                reported = Instant::now();
            }
            Ok(())
        };
        let mut reader = partition.reader()?;
        let bounds = tail::settled(&mut reader, settle, &mut report)?;
        if let Some(in_doubt) = in_doubt {
            let missing = tail::compare(&mut reader, bounds, in_doubt)?;
            let sent = in_doubt.records.count();
            log::info!(
                "{sent} records were sent and not acknowledged: {} of them are in the topic, {missing} \
                 are sent again",
                sent - missing
            );
        }
        self.in_doubt = None;
        let tail = tail::read(&mut reader, bounds, self.memory.first_offset(), &mut report)?;
        Ok(Topic {
            name: &self.config.fluvio.topic,
            partition: self.config.fluvio.partition,
            bounds,
            tail,
        })
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
    pub fn accept(&mut self, source: &Source, stored: Stored, accepted: Accepted) -> Result<()> {
        self.memory.accept(self.identity(source), stored, accepted)
    }

    fn identity(&self, source: &Source) -> Identity {
        Identity {
            system_identifier: source.system.identifier.clone(),
            timeline: source.system.timeline,
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
        let mut reader = Reader::new(Parts {
            stream: opened.stream,
            batches,
            producer: ended,
            progress,
            memory: &mut self.memory,
            resume: opened.resume,
            confirmed: Stored {
                lsn: opened.confirmed,
                offset: 0,
            },
            status_interval: opened.status_interval,
            confirm_delay: self.config.confirm_delay,
        });
        match reader.run(signals) {
            Ok(Ending::Stopped) => match reader.finish()? {
                Drained::Whole => self.join(producer),
                // Whatever the producer still waits for ends with the process.
                Drained::InPart => Ok(()),
            },
            Ok(Ending::ProducerEnded) => {
                reader.abandon();
                self.join(producer)?;
                Err(Error::new(Kind::Bug, "the producer ended without an error"))
            }
            Err(error) => {
                let error = continuity::with_ways_out(error);
                let error = error.at(format!("replication slot {}", self.config.slot));
                // The producer stores what it has; no session may begin before it is done.
                drop(reader);
                if let Err(also) = self.join(producer) {
                    log::warn!("{also}");
                }
                Err(error)
            }
        }
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

type ProducerThread = JoinHandle<Result<(), (Error, Option<InDoubt>)>>;

/// What the topic must keep of what is confirmed. What it has beyond that may go missing again
/// without a loss, and where that begins is not known.
fn confirmed_in(confirmed: Lsn, tail: Tail, end: i64) -> Stored {
    let offset = match tail {
        Tail::Empty => end,
        Tail::Complete { end_lsn, .. } if end_lsn <= confirmed => end,
        Tail::Complete { .. } | Tail::Open { .. } => 0,
    };
    Stored {
        lsn: confirmed,
        offset,
    }
}
