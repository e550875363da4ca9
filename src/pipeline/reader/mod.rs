//! The reader: replication stream → events → the channel, and the confirmed position back.
//!
//! It owns the socket, what the server described, the open transaction and the open batch. What the
//! topic has already is dropped here (`intake`). A batch leaves when it is full or when nothing more
//! has arrived; so batches grow by themselves while the producer is busy. While the channel is full
//! the reader waits, and goes on reporting, so that a slow sink costs neither memory nor the
//! connection.

mod confirmation;
mod ending;
mod intake;
mod pace;
mod silence;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, SendTimeoutError, Sender};

use self::confirmation::Confirmation;
use self::ending::State;
pub use self::ending::{Drained, Ending};
pub use self::intake::{Intake, Taken};
use self::pace::Pace;
use self::silence::Silence;
use crate::base::error::{Context, Result};
use crate::base::lsn::Lsn;
use crate::base::signals::Signals;
use crate::change::relation::Catalog;
use crate::change::{Batch, LARGE_BYTES};
use crate::observe::metrics::Metrics;
use crate::pg::replication::{Arrived, POLL, ReplicationStream, StreamMessage};
use crate::pipeline::lane_map::LaneMap;
use crate::pipeline::position::{Delay, Position};
use crate::pipeline::progress::{Progress, Stored};
use crate::pipeline::resume::past::Past;
use crate::pipeline::resume::state::Memory;
use crate::pipeline::summary::{Summary, View};
use crate::sink::lease::Lease;

/// The reading side of one session.
pub struct Reader<'a> {
    stream: ReplicationStream,
    lease: Lease,
    silence: Silence,
    /// Yields nothing; disconnected once the producer has ended.
    producer: Receiver<()>,
    progress: &'a Progress,
    memory: &'a mut Memory,
    metrics: &'a Metrics,
    /// How many of the dropped messages are counted there.
    counted_dropped: u64,
    status_interval: Duration,
    status_sent: Instant,
    confirmation: Confirmation,
    goal: Option<Lsn>,
    state: State,
    pace: Pace,
    catalog: Catalog,
    past: Past,
    lanes: Arc<LaneMap>,
    messages: &'a [String],
    batch: Batch,
    position: Position,
    delay: Delay,
    summary: Summary,
}

/// What a reader needs of its session.
pub struct ReaderParts<'a> {
    /// The stream.
    pub stream: ReplicationStream,
    /// The right to write, which the producer has too.
    pub lease: Lease,
    /// Yields nothing; disconnected once the producer has ended.
    pub producer: Receiver<()>,
    /// What is stored.
    pub progress: &'a Progress,
    /// What is remembered of slot and topic.
    pub memory: &'a mut Memory,
    /// Where everything is counted.
    pub metrics: &'a Metrics,
    /// What the lanes have already.
    pub past: Past,
    /// Where tables go.
    pub lanes: Arc<LaneMap>,
    /// The prefixes of the messages that are written.
    pub messages: &'a [String],
    /// The position that was confirmed before.
    pub confirmed: Stored,
    /// How often the confirmed position is reported at least.
    pub status_interval: Duration,
    /// How long the position is held back that could be confirmed.
    pub confirm_delay: Duration,
    /// The position that ends reading once it is confirmed.
    pub goal: Option<Lsn>,
    /// Counts and logs what goes through.
    pub summary: Summary,
}

impl<'a> Reader<'a> {
    /// A reader that has read nothing yet.
    pub fn new(parts: ReaderParts<'a>) -> Self {
        let confirmed = parts.confirmed.lsn;
        let confirmation = Confirmation::of(parts.confirmed.clone(), parts.memory.is_shared());
        Reader {
            stream: parts.stream,
            silence: Silence::of(parts.summary.server().to_owned(), parts.lease.clone()),
            lease: parts.lease,
            producer: parts.producer,
            progress: parts.progress,
            memory: parts.memory,
            metrics: parts.metrics,
            counted_dropped: 0,
            status_interval: parts.status_interval,
            status_sent: Instant::now(),
            confirmation,
            goal: parts.goal,
            state: State::Reading,
            pace: Pace::default(),
            catalog: Catalog::default(),
            past: parts.past,
            lanes: parts.lanes,
            messages: parts.messages,
            batch: Batch::default(),
            position: Position::starting_at(confirmed, parts.progress.stored().lsn),
            delay: Delay::new(parts.confirm_delay, parts.confirmed),
            summary: parts.summary,
        }
    }

    /// Reads into `batches` until something ends it, waits for the producer to store what it has, confirms
    /// that and ends the stream, which gives the slot back at once.
    pub fn run(mut self, batches: Sender<Batch>, signals: &Signals) -> (Result<Ending>, Drained) {
        let mut read = self.read(&batches, signals);
        if read.is_err() {
            self.lease.end();
        }
        // The producer ends once it has what is in there.
        drop(batches);
        let drained = self.drain(signals, &mut read);
        // From here on the slot may be somebody else's.
        self.lease.end();
        let ended = read.and_then(|ending| {
            self.report()?;
            self.stream.end()?;
            Ok(ending)
        });
        let confirmed = self.position.confirmed();
        match &ended {
            Ok(Ending::Stopped) => log_end("stopped", confirmed),
            Ok(Ending::CaughtUp) => log_end("drained", confirmed),
            Ok(Ending::Reload) => log_end("reloading", confirmed),
            Ok(Ending::NewTable((schema, table))) => {
                log_end(&format!("opening the topic of {schema}.{table}"), confirmed);
            }
            Ok(Ending::ProducerEnded) | Err(_) => {}
        }
        (ended, drained)
    }

    fn read(&mut self, batches: &Sender<Batch>, signals: &Signals) -> Result<Ending> {
        loop {
            let ending = self.take_what_arrived(batches, signals)?;
            if let Some(ending) = ending.or_else(|| self.producer_ended()) {
                return Ok(ending);
            }
            self.report_if_due()?;
            if let Some(ending) = self.may_end(signals) {
                return Ok(ending);
            }
            self.wait()?;
        }
    }

    /// Reads once. A quiet stream is waited for, so that what comes is read at once; the producer can
    /// end that wait, since what it has stored is confirmed then.
    fn wait(&mut self) -> Result<()> {
        let pause = self.pace.pause(Instant::now());
        if !pause.is_zero() {
            thread::sleep(pause);
        }
        let begun = Instant::now();
        let bytes = match self.until_confirmed() {
            None => self.stream.wait()?,
            Some(time) => match self.stream.wait_beside(self.progress.bell(), time)? {
                Arrived::Data => self.stream.wait()?,
                Arrived::Nothing => 0,
                Arrived::Bell => {
                    self.progress.clear_bell();
                    return Ok(());
                }
            },
        };
        self.pace.has_read(bytes, begun.elapsed());
        self.metrics.received_bytes.add(bytes as u64);
        self.metrics.reader_turns(begun);
        match self.silence.follow(bytes, self.metrics)? {
            true => self.report(),
            false => Ok(()),
        }
    }

    /// Works through what has been read, and hands it over.
    fn take_what_arrived(
        &mut self,
        batches: &Sender<Batch>,
        signals: &Signals,
    ) -> Result<Option<Ending>> {
        while let Some(message) = self.stream.message()? {
            match message {
                StreamMessage::XLogData { envelope, data } => {
                    self.silence.message(envelope.timestamp);
                    let kept;
                    let (data, large): (&[u8], _) = if data.len() < LARGE_BYTES {
                        (data, None)
                    } else {
                        let len = data.len();
                        let buffer = Bytes::from(self.stream.give_up());
                        kept = buffer.slice(buffer.len() - len..);
                        (&kept, Some(&kept))
                    };
                    let taken = Intake {
                        position: &mut self.position,
                        past: &mut self.past,
                        lanes: &self.lanes,
                        messages: self.messages,
                        catalog: &mut self.catalog,
                        batch: &mut self.batch,
                        large,
                    }
                    .take(envelope, data)
                    .at(|| format!("message at {}", envelope.wal_start))?;
                    if let Taken::NewTable(table) = taken {
                        return Ok(Some(Ending::NewTable(table)));
                    }
                    let committed = taken == Taken::Commit;
                    self.summary.count(data.len(), committed);
                    // What follows this commit is left to the next session.
                    if committed && self.wanted(signals).is_some() {
                        return self.hand_over(batches, signals);
                    }
                    if self.batch.is_full()
                        && let Some(ending) = self.hand_over(batches, signals)?
                    {
                        return Ok(Some(ending));
                    }
                }
                StreamMessage::Keepalive {
                    wal_end,
                    timestamp,
                    reply,
                } => {
                    self.silence.keepalive(timestamp, reply);
                    self.past.sent_up_to(wal_end)?;
                    self.position.sent_up_to(wal_end);
                    if reply {
                        self.report()?;
                    }
                }
            }
        }
        if self.batch.is_empty() {
            self.position.handed_over();
            return Ok(None);
        }
        self.hand_over(batches, signals)
    }

    /// Sends the open batch, and waits, reporting, while the channel is full. A stop waits for
    /// room too, but not for ever.
    fn hand_over(&mut self, batches: &Sender<Batch>, signals: &Signals) -> Result<Option<Ending>> {
        let mut batch = self.batch.take();
        self.metrics.batches_in_flight.add(1);
        loop {
            match batches.send_timeout(batch, POLL) {
                Ok(()) => break,
                Err(SendTimeoutError::Disconnected(_)) => return Ok(Some(Ending::ProducerEnded)),
                Err(SendTimeoutError::Timeout(back)) => batch = back,
            }
            self.silence.pause();
            if self.stop_grace(signals).is_some_and(|left| left.is_zero()) {
                log::warn!("stopping with changes that wait for the sink: they will be sent again");
                return Ok(Some(Ending::Stopped));
            }
            self.report_if_due()?;
        }
        self.position.handed_over();
        Ok(None)
    }

    fn report_if_due(&mut self) -> Result<()> {
        let is_due = self.status_sent.elapsed() >= self.status_interval;
        let until_confirmed = self.until_confirmed();
        if is_due || until_confirmed == Some(Duration::ZERO) {
            self.report()?;
        } else if until_confirmed.is_some() && self.silence.must_prove() {
            self.stream.send_status_and_ask(self.position.confirmed())?;
        }
        self.log_progress();
        Ok(())
    }

    fn log_progress(&mut self) {
        self.summary.log_progress(View {
            position: &self.position,
            past: &self.past,
            metrics: self.metrics,
        });
    }

    /// How long what was read is waited for, until it is stored and may be confirmed; `None` when it
    /// is confirmed.
    fn until_confirmed(&mut self) -> Option<Duration> {
        let stored = self.progress.stored();
        if !self.position.is_idle(&stored) {
            return Some(POLL);
        }
        if self.past.is_awaiting() {
            return None;
        }
        let confirmable = self.position.confirmable(stored);
        let next = self.delay.pass(confirmable, Instant::now());
        (next.lsn > self.position.confirmed()).then(|| self.confirmation.due_in(&next))
    }

    fn report(&mut self) -> Result<()> {
        // What the topic holds counts only once the stream is known to be the one it holds.
        if !self.past.is_awaiting() {
            let confirmable = self.position.confirmable(self.progress.stored());
            self.count_position(confirmable.lsn);
            let now = Instant::now();
            let confirmed = self.delay.pass(confirmable, now);
            self.memory.confirm(&confirmed)?;
            self.position.confirm(confirmed.lsn);
            self.confirmation.made(confirmed, now);
        }
        let confirmed = self.position.confirmed();
        match self.silence.must_ask() {
            true => self.stream.send_status_and_ask(confirmed)?,
            false => self.stream.send_status(confirmed)?,
        }
        self.metrics.confirmed.set(confirmed.0);
        self.status_sent = Instant::now();
        Ok(())
    }

    /// Shows where the reader is, once in a while, so that it costs nothing.
    fn count_position(&mut self, stored: Lsn) {
        let (position, dropped) = (&self.position, self.past.dropped().messages);
        self.metrics
            .at(position.sent(), stored, position.committed_us());
        self.metrics.skipped.add(dropped - self.counted_dropped);
        self.counted_dropped = dropped;
    }
}

fn log_end(what: &str, confirmed: Lsn) {
    log::info!(confirmed_lsn:% = confirmed; "{what}; confirmed up to {confirmed}");
}
