//! Opening both sides, and finding that they meet.
//!
//! Fluvio is opened first, so that a dead one does not hold the slot. Then START_REPLICATION takes
//! the slot (`taking`): from that moment nobody else can stream from it, and only then the topic's end
//! is read.

use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lane::SETTLE;
use super::taking::{Taken, give_back};
use super::{Opened, Output, Program};
use crate::base::error::{Context, Result};
use crate::base::lsn::Lsn;
use crate::change::relation::Catalog;
use crate::config::Config;
use crate::observe::long_work::LongWork;
use crate::observe::peer::{Peer, Side};
use crate::pg::replication::{ReplicationStream, StreamMessage};
use crate::pg::wire::pgoutput;
use crate::pipeline::progress::Stored;
use crate::pipeline::resume::continuity::{self, Topic};
use crate::pipeline::resume::source::Source;
use crate::pipeline::resume::state_file::Known;
use crate::pipeline::resume::topic_end::{self, TailReader};
use crate::pipeline::resume::{Resume, Tail};
use crate::sink::fluvio::{Leaders, WantedTopic};
use crate::sink::lane::Lanes;
use crate::sink::stdout::RecordLines;

impl Opened {
    /// Reads until what the topic ends with has come again, writes and confirms nothing, and gives
    /// the slot back.
    pub fn prove(mut self) -> Result<()> {
        let (mut catalog, mut reported) = (Catalog::default(), Instant::now());
        let mut work = LongWork::begin("comparing what comes again with the topic");
        while self.resume.is_resuming() {
            if let Some(left) = self.resume.left() {
                work.log_progress(self.resume.dropped().messages, &left);
            }
            while let Some(message) = self.stream.message()? {
                match message {
                    StreamMessage::XLogData { envelope, data } => {
                        let message = pgoutput::Message::decode(data)?;
                        self.resume.judge(envelope, &message, &mut catalog)?;
                    }
                    StreamMessage::Keepalive { wal_end, .. } => self.resume.sent_up_to(wal_end)?,
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
        let lines = RecordLines::on_stdout()?;
        self.metrics.waits.answered(Side::Sink);
        let Taken {
            stream,
            lease,
            status_interval,
            source,
        } = self.take_slot(false)?;
        self.metrics.wal_end.set(source.system.wal_flush.0);
        let confirmed = source.slot.confirmed();
        continuity::check_moved(self.memory.known(), &source).at(|| self.slot_place())?;
        let stored = Stored::in_one(confirmed, 0);
        let first = Known::first(self.config, &source, &stored);
        self.memory.begin(first)?;
        Ok(Opened {
            lanes: Lanes::new(Box::new(lines), &stored),
            stream,
            lease,
            resume: Resume::default(),
            confirmed,
            stored,
            unsettled: None,
            status_interval,
            goal: source.decodable,
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
        let mut leaders = self.find_leaders()?;
        self.metrics.waits.answered(Side::Sink);
        let end = leaders.bounds(0).end;
        self.lanes[0].end = Some(end);
        let has_history = end > self.memory.first_offset();
        let mut taken = self.take_slot(has_history)?;
        match self.meet(&mut leaders, &mut taken) {
            Ok(met) => Ok(Opened {
                lanes: met.lanes,
                stream: taken.stream,
                lease: taken.lease,
                resume: met.resume,
                confirmed: taken.source.slot.confirmed(),
                stored: met.stored,
                unsettled: met.unsettled,
                status_interval: taken.status_interval,
                goal: taken.source.decodable,
                peer: self.leader(&leaders),
            }),
            Err(error) => {
                give_back(&mut taken.stream);
                Err(error)
            }
        }
    }

    /// Finds the servers that lead the lanes, and creates what is missing.
    fn find_leaders(&self) -> Result<Leaders> {
        let Config { fluvio, place, .. } = self.config;
        let topic = WantedTopic {
            name: Arc::clone(&place.topic),
            partitions: 1,
        };
        Leaders::find(fluvio, &[topic], slice::from_ref(place))
    }

    /// Reads the topic's end, now that the slot is ours, and finds that it and the slot meet.
    fn meet(&mut self, leaders: &mut Leaders, taken: &mut Taken) -> Result<Met> {
        let Taken {
            stream,
            lease,
            source,
            ..
        } = taken;
        let confirmed = source.slot.confirmed();
        self.wait_for(&self.leader(leaders));
        let mut topic = self.reconcile(leaders, stream, confirmed)?;
        self.metrics.waits.answered(Side::Sink);
        let end = topic.bounds.end;
        self.follow_others(source, end)?;
        topic.tail = continuity::tail_to_resume(self.memory.known(), &topic)
            .at(|| format!("topic {}", topic.name))?;
        let is_headless = matches!(topic.tail, Tail::Headless { .. });
        if is_headless || topic.tail.reach() > source.system.wal_flush {
            // It was written while we connected, or it is not of this server.
            self.wait_for(&self.server());
            source.system.wal_flush = self.wal_flush(stream.endpoint())?;
            self.metrics.waits.answered(Side::Postgres);
        }
        self.metrics.wal_end.set(source.system.wal_flush.0);
        continuity::check_topic(self.memory.known(), source, &topic)
            .at(|| format!("topic {}", topic.name))?;
        let at = |lsn: Lsn| Stored::in_one(lsn.max(confirmed), end);
        // What not all replicas have may go missing still.
        let stored = topic.tail.stored().map_or(at(confirmed), at);
        let (stored, unsettled) = match topic.bounds.stable >= end {
            true => (stored, None),
            false => (at(confirmed), Some(stored)),
        };
        self.lanes[0].left_at = end;
        let kept = confirmed_in(confirmed, topic.tail, end);
        self.memory
            .begin(Known::first(self.config, source, &kept))?;
        let writer = leaders.writer(&[end], lease)?;
        Ok(Met {
            lanes: Lanes::new(Box::new(writer), &stored),
            resume: Resume::after(topic.tail, confirmed, source.system.wal_flush),
            stored,
            unsettled,
        })
    }

    /// Without a file, only the topic tells of another process that had the slot in between: if that has
    /// more records than we left there, they are of whoever moved the slot, and we go on as it would.
    fn follow_others(&mut self, source: &Source, end: i64) -> Result<()> {
        let moved = continuity::check_moved(self.memory.known(), source);
        if moved.is_err() && !self.memory.is_shared() && end > self.lanes[0].left_at {
            log::info!("another process had the slot in between: going on where it left the topic");
            self.memory.forget();
            return Ok(());
        }
        moved.at(|| self.slot_place())
    }

    /// Reads the topic's end, once it is still, and compares it with what was in doubt. The server
    /// is kept informed meanwhile.
    fn reconcile(
        &mut self,
        leaders: &mut Leaders,
        stream: &mut ReplicationStream,
        confirmed: Lsn,
    ) -> Result<Topic<'a>> {
        let noted = self.memory.known().and_then(|known| known.in_doubt);
        let timeout = self.config.fluvio.timeout;
        let past = &self.lanes[0];
        let (end, slowest) = (leaders.bounds(0).end, leaders.slowest(0));
        let rest = past.rest(end, slowest, noted, timeout);
        let in_doubt = past.in_doubt.as_ref();
        let mut reported = Instant::now();
        let (notify, patience) = (&self.notify, self.leader(leaders).patience);
        let mut meanwhile = || {
            notify.promise(patience);
            if reported.elapsed() >= SETTLE {
                stream.send_status(confirmed)?;
                reported = Instant::now();
            }
            Ok(())
        };
        topic_end::settle(leaders, &[rest], &mut meanwhile)?;
        let bounds = leaders.bounds(0);
        let mut tail = TailReader {
            reader: leaders.reader(0)?,
            meanwhile,
        };
        if let Some(in_doubt) = in_doubt {
            let sent = in_doubt.records.count();
            match tail.compare(bounds, in_doubt)? {
                Some(missing) => log::info!(
                    "{sent} records were sent and not acknowledged: {} of them are in the topic, {missing} \
                     are sent again",
                    sent - missing
                ),
                None => log::info!(
                    "{sent} records were sent and not acknowledged, and another process has written in \
                     their place: going on where it left the topic"
                ),
            }
        }
        let removed = in_doubt.and_then(|in_doubt| tail.of_removed(bounds, in_doubt));
        let found = match removed {
            Some(found) => found,
            None => tail.read(bounds, self.memory.first_offset())?,
        };
        self.lanes[0].settled();
        Ok(Topic {
            name: &self.config.place.topic,
            partition: self.config.place.partition,
            bounds,
            tail: found,
        })
    }
}

/// Slot and topic, which meet.
struct Met {
    lanes: Lanes,
    resume: Resume,
    stored: Stored,
    unsettled: Option<Stored>,
}

/// What the topic must keep of what is confirmed. What it has beyond that may go missing again
/// without a loss, and where that begins is not known.
fn confirmed_in(confirmed: Lsn, tail: Tail, end: i64) -> Stored {
    let offset = match tail {
        Tail::Empty | Tail::Removed { .. } => end,
        Tail::Complete { end_lsn, .. } if end_lsn <= confirmed => end,
        Tail::Complete { .. } | Tail::Open { .. } | Tail::Headless { .. } => 0,
    };
    Stored::in_one(confirmed, offset)
}
