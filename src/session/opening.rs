//! Opening both sides, and finding that they meet.
//!
//! Fluvio is opened first, so that a dead one does not hold the slot. Then START_REPLICATION takes
//! the slot: from that moment nobody else can stream from it, and only then the topic's end is read.

use std::time::{Duration, Instant};

use super::{Opened, Output, Program};
use crate::config::Config;
use crate::continuity::{self, Source, Topic, gap};
use crate::error::{Context, Error, Result};
use crate::long_work::LongWork;
use crate::lsn::Lsn;
use crate::peer::{Peer, Side};
use crate::pg::pgoutput;
use crate::pg::replication::{Message, ReplicationConnection, ReplicationStream, Wanted};
use crate::progress::Stored;
use crate::relation::Catalog;
use crate::resume::{Resume, Tail};
use crate::setup;
use crate::sink::fluvio::Partition;
use crate::sink::stdout::Lines;
use crate::tail::TailReader;

/// How long a topic must be still, at the least, before its end counts: a former process may have
/// sent something that its server has not taken yet.
const SETTLE: Duration = Duration::from_millis(100);

/// The same when the process has just started: one before it may have been killed a moment ago, with
/// more on its way.
pub(super) const FIRST_SETTLE: Duration = Duration::from_secs(1);

/// A server that was so slow to answer may be just as slow to store what it was sent before.
const SETTLE_FACTOR: u32 = 10;

impl Opened {
    /// Reads until what the topic ends with has come again, writes and confirms nothing, and gives
    /// the slot back.
    pub fn prove(mut self) -> Result<()> {
        let (mut catalog, mut reported) = (Catalog::default(), Instant::now());
        let mut work = LongWork::begin("comparing what comes again with the topic");
        while self.resume.is_resuming() {
            if let Some(left) = self.resume.left() {
                work.tell(self.resume.dropped().messages, &left);
            }
            while let Some(message) = self.stream.message()? {
                match message {
                    Message::XLogData { envelope, data } => {
                        let message = pgoutput::Message::decode(data)?;
                        self.resume.judge(envelope, &message, &mut catalog)?;
                    }
                    Message::Keepalive { wal_end, .. } => self.resume.sent_up_to(wal_end)?,
                }
            }
            if reported.elapsed() >= SETTLE {
                self.stream.send_status(self.confirmed)?;
                reported = Instant::now();
            }
            self.stream.wait()?;
        }
        self.stream.end()
    }
}

impl<'a> Program<'a> {
    /// Opens both sides and finds that they meet.
    pub fn open(&mut self) -> Result<Opened> {
        match self.output {
            Output::Topic => self.open_topic(),
            Output::Stdout => self.open_stdout(),
        }
    }

    fn open_stdout(&mut self) -> Result<Opened> {
        let sink = Box::new(Lines::on_stdout()?);
        self.metrics.waits.answered(Side::Sink);
        let (connection, source) = self.connect(false)?;
        let (confirmed, wal_end) = (source.slot.confirmed(), source.system.wal_flush);
        let (stream, status_interval) = self.start(connection)?;
        self.metrics.waits.answered(Side::Postgres);
        self.metrics.wal_end.set(source.system.wal_flush.0);
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
            wal_end,
            // Whoever reads it may take all the time in the world.
            peer: Peer {
                side: Side::Sink,
                name: "the reader of standard output".to_owned(),
                patience: Duration::MAX,
            },
        })
    }

    fn open_topic(&mut self) -> Result<Opened> {
        self.wait_for(&self.cluster());
        let partition = Partition::open(self.config.fluvio.clone())?;
        self.metrics.waits.answered(Side::Sink);
        let has_history = partition.bounds().end > self.memory.first_offset();
        let (connection, mut source) = self.connect(has_history)?;
        let (confirmed, wal_end) = (source.slot.confirmed(), source.system.wal_flush);
        let (mut stream, status_interval) = self.start(connection)?;
        self.metrics.waits.answered(Side::Postgres);
        let peer = self.leader(&partition);
        self.wait_for(&peer);
        let topic = self.reconcile(&partition, &mut stream, confirmed)?;
        self.metrics.waits.answered(Side::Sink);
        if topic.tail.reach() > source.system.wal_flush {
            // It was written while we connected, or it is not of this server.
            self.wait_for(&self.server());
            source.system = ReplicationConnection::connect(&self.target)?.identify_system()?;
            self.metrics.waits.answered(Side::Postgres);
        }
        self.metrics.wal_end.set(source.system.wal_flush.0);
        continuity::check_topic(self.memory.known(), &source, &topic)
            .at(|| format!("topic {}", topic.name))?;
        // What not all replicas have may go missing still: a later acknowledgement will cover it.
        let is_stable = topic.bounds.stable >= topic.bounds.end;
        let stored = topic.tail.stored().filter(|_| is_stable);
        let lsn = stored.unwrap_or_default().max(confirmed);
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
            wal_end,
            peer,
        })
    }

    /// Connects in replication mode and finds the slot, which is made if that is right: when there
    /// is none, nothing has been read before, and the config allows it.
    fn connect(&mut self, has_history: bool) -> Result<(ReplicationConnection, Source)> {
        let Config {
            publication, slot, ..
        } = self.config;
        let place = || format!("replication slot {slot}");
        self.wait_for(&self.server());
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
        if source.slot.active {
            return Err(self.in_use(connection));
        }
        continuity::check_source(self.memory.known(), &source).at(place)?;
        log::debug!(
            "publication {publication} has the OID {}",
            source.publication_oid
        );
        Ok((connection, source))
    }

    /// Makes what is missing, as far as the config allows.
    pub fn set_up(&self, connection: &ReplicationConnection) -> Result<()> {
        setup::ensure(&self.target, connection.endpoint(), self.config)
    }

    /// What there is on the side of PostgreSQL.
    pub fn find(&mut self, connection: &mut ReplicationConnection) -> Result<Source> {
        let Config {
            publication, slot, ..
        } = self.config;
        let missing = |what: &str| Error::config(format!("{what} does not exist"));
        let found = connection.slot(slot)?;
        // A process that had the slot until now has written down what it confirmed.
        self.memory.refresh()?;
        let system = connection.identify_system()?;
        let is_standby = connection.is_standby()?;
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
            is_standby,
            left_timeline_at,
        })
    }

    /// The server's own words for a slot that somebody else has. What that one confirms meanwhile
    /// must not be compared with anything.
    fn in_use(&self, connection: ReplicationConnection) -> Error {
        match self.start(connection) {
            Ok(_) => Error::unreachable(format!(
                "replication slot {}: it was in use until now",
                self.config.slot
            )),
            Err(error) => error,
        }
    }

    /// Takes the slot; and how often to report: as configured, but always well before the server
    /// would give us up.
    fn start(
        &self,
        mut connection: ReplicationConnection,
    ) -> Result<(ReplicationStream, Duration)> {
        let slot = &self.config.slot;
        let timeout = connection.wal_sender_timeout()?;
        let limit = timeout.map_or(Duration::MAX, |timeout| timeout / 3);
        let status_interval = self.config.status_interval.min(limit);
        let wanted = Wanted {
            messages: !self.config.messages.is_empty(),
            origins: self.config.origin,
            poll: status_interval,
            ..Wanted::of(&self.config.publication)
        };
        let stream = connection.start(slot, wanted);
        let stream = stream.at(|| format!("replication slot {slot}"))?;
        Ok((stream, status_interval))
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
        let least = if partition.bounds().end > 0 {
            self.least_settle
        } else {
            SETTLE
        };
        let patience = in_doubt.map_or(least, |in_doubt| in_doubt.settle);
        let longest = self.config.fluvio.timeout.max(SETTLE);
        let settle = (partition.slowest() * SETTLE_FACTOR)
            .max(patience)
            .clamp(SETTLE, longest);
        let all = in_doubt.map(|in_doubt| in_doubt.offset + in_doubt.records.count() as i64);
        let mut reported = Instant::now();
        let (notify, patience) = (&self.notify, self.leader(partition).patience);
        let meanwhile = || {
            notify.promise(patience);
            if reported.elapsed() >= SETTLE {
                stream.send_status(confirmed)?;
                reported = Instant::now();
            }
            Ok(())
        };
        let mut tail = TailReader {
            reader: partition.reader()?,
            meanwhile,
        };
        let bounds = tail.settled(settle, all)?;
        if let Some(in_doubt) = in_doubt {
            let missing = tail.compare(bounds, in_doubt)?;
            let sent = in_doubt.records.count();
            log::info!(
                "{sent} records were sent and not acknowledged: {} of them are in the topic, {missing} \
                 are sent again",
                sent - missing
            );
        }
        let found = tail.read(bounds, self.memory.first_offset())?;
        self.in_doubt = None;
        self.least_settle = SETTLE;
        Ok(Topic {
            name: &self.config.fluvio.topic,
            partition: self.config.fluvio.partition,
            bounds,
            tail: found,
        })
    }
}

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
