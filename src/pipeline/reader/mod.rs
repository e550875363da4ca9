//! The reader: replication stream → events → the channel, and the confirmed position back.
//!
//! It owns the socket, what the server described, the open transaction and the open batch. What the
//! topic has already is dropped here (`intake`). A batch leaves when it is full or when nothing more
//! has arrived; so batches grow by themselves while the producer is busy. While the channel is full
//! the reader waits, and goes on reporting, so that a slow sink costs neither memory nor the
//! connection.

mod confirmation;
mod intake;
mod pace;
mod silence;

use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError};

use self::confirmation::Confirmation;
use self::intake::Intake;
use self::pace::Pace;
use self::silence::Silence;
use crate::base::error::{Context, Result};
use crate::base::lsn::Lsn;
use crate::base::signals::Signals;
use crate::change::relation::Catalog;
use crate::change::{Batch, LARGE_BYTES};
use crate::observe::metrics::Metrics;
use crate::pg::replication::{Arrived, POLL, ReplicationStream, StreamMessage};
use crate::pipeline::position::{Delay, Position};
use crate::pipeline::progress::{Progress, Stored};
use crate::pipeline::resume::Resume;
use crate::pipeline::resume::state::Memory;
use crate::pipeline::summary::{Summary, View};
use crate::sink::lease::Lease;

/// How long a clean stop waits for the end of an open transaction and for room in the channel, and
/// after that for the producer. With the end of the stream itself it stays well under 10 s, where
/// service managers lose patience.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// How long a producer may take that is to give up what it waits for; it looks ten times a second.
const GIVE_UP_GRACE: Duration = Duration::from_millis(500);

/// Why reading ended without an error of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A signal asked for it.
    Stopped,
    /// A signal asked for a new session with what is configured then.
    Reload,
    /// Everything up to the goal is confirmed.
    CaughtUp,
    /// The producer ended; it knows why.
    ProducerEnded,
}

/// Whether the producer has ended with the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// The producer has ended: everything is stored, or it knows why not.
    Whole,
    /// It hangs; only a stop leaves it at that.
    InPart,
}

/// One session's reading side.
pub struct Reader<'a> {
    stream: ReplicationStream,
    lease: Lease,
    silence: Silence,
    batches: Option<Sender<Batch>>,
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
    stopping_since: Option<Instant>,
    /// Whether the service manager knows that reading is to end.
    announced: bool,
    pace: Pace,
    catalog: Catalog,
    resume: Resume,
    messages: &'a [String],
    batch: Batch,
    position: Position,
    delay: Delay,
    summary: Summary,
}

/// What a reader needs of its session.
pub struct Parts<'a> {
    /// The stream.
    pub stream: ReplicationStream,
    /// The right to write, which the producer has too.
    pub lease: Lease,
    /// Where batches go.
    pub batches: Sender<Batch>,
    /// Yields nothing; disconnected once the producer has ended.
    pub producer: Receiver<()>,
    /// What is stored.
    pub progress: &'a Progress,
    /// What is remembered of it.
    pub memory: &'a mut Memory,
    /// Where it is counted.
    pub metrics: &'a Metrics,
    /// What the topic has already.
    pub resume: Resume,
    /// The prefixes of the messages that are written.
    pub messages: &'a [String],
    /// What was confirmed before.
    pub confirmed: Stored,
    /// How often the confirmed position is reported.
    pub status_interval: Duration,
    /// How long it is held back.
    pub confirm_delay: Duration,
    /// Reading ends once so much is confirmed.
    pub goal: Option<Lsn>,
    /// Counts and tells what goes through.
    pub summary: Summary,
}

impl<'a> Reader<'a> {
    /// A reader that has read nothing yet.
    pub fn new(parts: Parts<'a>) -> Self {
        let confirmation = Confirmation::of(parts.confirmed, parts.memory.is_shared());
        Reader {
            stream: parts.stream,
            silence: Silence::of(parts.summary.server().to_owned(), parts.lease.clone()),
            lease: parts.lease,
            batches: Some(parts.batches),
            producer: parts.producer,
            progress: parts.progress,
            memory: parts.memory,
            metrics: parts.metrics,
            counted_dropped: 0,
            status_interval: parts.status_interval,
            status_sent: Instant::now(),
            confirmation,
            goal: parts.goal,
            stopping_since: None,
            announced: false,
            pace: Pace::default(),
            catalog: Catalog::default(),
            resume: parts.resume,
            messages: parts.messages,
            batch: Batch::default(),
            position: Position::starting_at(parts.confirmed.lsn, parts.progress.stored().lsn),
            delay: Delay::new(parts.confirm_delay, parts.confirmed),
            summary: parts.summary,
        }
    }

    /// Reads until something ends it, waits for the producer to store what it has, confirms that and
    /// ends the stream, which gives the slot back at once.
    pub fn run(mut self, signals: &Signals) -> (Result<Ending>, Drained) {
        let mut read = self.read(signals);
        if read.is_err() {
            self.lease.end();
        }
        self.batches = None;
        let drained = self.drain(signals, &mut read);
        // From here on the slot may be somebody else's.
        self.lease.end();
        let ended = read.and_then(|ending| {
            self.report()?;
            self.stream.end()?;
            Ok(ending)
        });
        let confirmed = self.position.confirmed();
        match ended {
            Ok(Ending::Stopped) => told("stopped", confirmed),
            Ok(Ending::CaughtUp) => told("drained", confirmed),
            Ok(Ending::Reload) => told("reloading", confirmed),
            Ok(Ending::ProducerEnded) | Err(_) => {}
        }
        (ended, drained)
    }

    fn read(&mut self, signals: &Signals) -> Result<Ending> {
        loop {
            let ending = self.take_what_arrived(signals)?;
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
                    self.progress.hear();
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
    fn take_what_arrived(&mut self, signals: &Signals) -> Result<Option<Ending>> {
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
                    let committed = Intake {
                        position: &mut self.position,
                        resume: &mut self.resume,
                        messages: self.messages,
                        catalog: &mut self.catalog,
                        batch: &mut self.batch,
                        large,
                    }
                    .take(envelope, data)
                    .at(|| format!("message at {}", envelope.wal_start))?;
                    self.summary.count(data.len(), committed);
                    // What follows this commit is left to the next session.
                    if committed && self.wanted(signals).is_some() {
                        return self.hand_over(signals);
                    }
                    if self.batch.is_full()
                        && let Some(ending) = self.hand_over(signals)?
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
                    self.resume.sent_up_to(wal_end)?;
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
        self.hand_over(signals)
    }

    /// Sends the open batch, and waits, reporting, while the channel is full. A stop waits for
    /// room too, but not for ever.
    fn hand_over(&mut self, signals: &Signals) -> Result<Option<Ending>> {
        let mut batch = self.batch.take();
        self.metrics.batches_in_flight.add(1);
        loop {
            let Some(batches) = &self.batches else {
                return Ok(Some(Ending::ProducerEnded));
            };
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

    fn producer_ended(&self) -> Option<Ending> {
        let ended = self.producer.try_recv() == Err(TryRecvError::Disconnected);
        ended.then_some(Ending::ProducerEnded)
    }

    /// Why reading is to end as soon as that is right, if it is to end.
    fn wanted(&self, signals: &Signals) -> Option<Ending> {
        let drained = |goal| self.position.confirmed() >= goal;
        if signals.stop_requested() {
            Some(Ending::Stopped)
        } else if self.goal.is_some_and(drained) {
            Some(Ending::CaughtUp)
        } else {
            signals.reload_requested().then_some(Ending::Reload)
        }
    }

    /// Between transactions an end leaves nothing to be sent again. A large one is waited for; but
    /// a stop does not wait for ever.
    fn may_end(&mut self, signals: &Signals) -> Option<Ending> {
        let ending = self.wanted(signals)?;
        self.announce(ending);
        let Some(xid) = self.position.open_transaction() else {
            return Some(ending);
        };
        let grace = self.stop_grace(signals)?;
        if grace.is_zero() {
            log::warn!("stopping inside transaction {xid}: it will be sent again from its begin");
        }
        grace.is_zero().then_some(ending)
    }

    fn announce(&mut self, ending: Ending) {
        if std::mem::replace(&mut self.announced, true) {
            return;
        }
        if ending == Ending::Reload {
            return self.summary.notify().reloading();
        }
        if ending == Ending::Stopped {
            log::info!("stopping; a second signal ends at once");
        }
        self.summary.notify().stopping("stopping");
    }

    /// Once a stop is asked for: how long it may still wait.
    fn stop_grace(&mut self, signals: &Signals) -> Option<Duration> {
        if !signals.stop_requested() {
            return None;
        }
        self.announce(Ending::Stopped);
        let since = self.stopping_since.get_or_insert_with(Instant::now);
        Some(STOP_GRACE.saturating_sub(since.elapsed()))
    }

    fn report_if_due(&mut self) -> Result<()> {
        let is_due = self.status_sent.elapsed() >= self.status_interval;
        if is_due || self.until_confirmed() == Some(Duration::ZERO) {
            self.report()?;
        }
        self.tell();
        Ok(())
    }

    fn tell(&mut self) {
        self.summary.tell(View {
            position: &self.position,
            resume: &self.resume,
            metrics: self.metrics,
        });
    }

    /// How long what was read is waited for, until it is stored and may be confirmed; `None` when it
    /// is confirmed.
    fn until_confirmed(&mut self) -> Option<Duration> {
        let stored = self.progress.stored();
        if !self.position.is_idle(stored) {
            return Some(POLL);
        }
        if self.resume.is_awaiting() {
            return None;
        }
        let confirmable = self.position.confirmable(stored);
        let next = self.delay.pass(confirmable, Instant::now());
        (next.lsn > self.position.confirmed()).then(|| self.confirmation.due_in(next))
    }

    fn report(&mut self) -> Result<()> {
        // What the topic holds counts only once the stream is known to be the one it holds.
        if !self.resume.is_awaiting() {
            let confirmable = self.position.confirmable(self.progress.stored());
            self.show(confirmable.lsn);
            let now = Instant::now();
            let confirmed = self.delay.pass(confirmable, now);
            self.memory.confirm(confirmed)?;
            self.position.confirm(confirmed.lsn);
            self.confirmation.made(confirmed, now);
        }
        let confirmed = self.position.confirmed();
        match self.silence.asks() {
            true => self.stream.send_status_and_ask(confirmed)?,
            false => self.stream.send_status(confirmed)?,
        }
        self.metrics.confirmed.set(confirmed.0);
        self.status_sent = Instant::now();
        Ok(())
    }

    /// Shows where the reader is, once in a while, so that it costs nothing.
    fn show(&mut self, stored: Lsn) {
        let (position, dropped) = (&self.position, self.resume.dropped().messages);
        self.metrics
            .at(position.sent(), stored, position.committed_us());
        self.metrics.skipped.add(dropped - self.counted_dropped);
        self.counted_dropped = dropped;
    }

    /// Waits for the producer to store what it has, reporting as long as the stream is there. After
    /// a stop it waits no longer than a grace of its own allows: what is not stored then is given up,
    /// not confirmed, and comes again.
    fn drain(&mut self, signals: &Signals, read: &mut Result<Ending>) -> Drained {
        self.stopping_since = None;
        while !self.producer_ends_within(POLL) {
            self.tell();
            if read.is_ok()
                && let Err(error) = self.report_if_due()
            {
                self.lease.end();
                *read = Err(error);
            }
            if self.stop_grace(signals).is_some_and(|left| left.is_zero()) {
                log::warn!(
                    "stopping although the sink has not stored everything: the rest will be sent again"
                );
                self.lease.end();
                return match self.producer_ends_within(GIVE_UP_GRACE) {
                    true => Drained::Whole,
                    false => Drained::InPart,
                };
            }
        }
        Drained::Whole
    }

    fn producer_ends_within(&self, time: Duration) -> bool {
        self.producer.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }
}

fn told(what: &str, confirmed: Lsn) {
    log::info!(confirmed_lsn:% = confirmed; "{what}; confirmed up to {confirmed}");
}
