//! How a session of the reader ends: what ends it, what is waited for, and for how long.

use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, TryRecvError};

use super::Reader;
use crate::base::error::Result;
use crate::base::signals::Signals;
use crate::pg::replication::POLL;
use crate::pipeline::lane_map::TableName;

/// How long a clean stop waits for the end of an open transaction and for room in the channel, and
/// after that for the producer. With the end of the stream itself it stays well under 10 s, where
/// service managers lose patience.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// How long a producer may take that is to give up what it waits for; it looks ten times a second.
const GIVE_UP_GRACE: Duration = Duration::from_millis(500);

/// Why reading ended without an error of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// A signal asked for it.
    Stopped,
    /// A signal asked for a new session with what is configured then.
    Reload,
    /// Everything up to the goal is confirmed.
    CaughtUp,
    /// The producer ended; it knows why.
    ProducerEnded,
    /// A table has come whose lanes are not open.
    NewTable(TableName),
}

/// Whether the producer has ended with the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// The producer has ended: everything is stored, or it knows why not.
    Whole,
    /// The producer hangs; only a stop leaves it at that.
    InPart,
}

/// What the reader does. The time is that at which a stop was asked for, if that is why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Reads, and hands over what it has read.
    Reading,
    /// Reads on to the end of the open transaction, because a stop, a reload or a drain is to end it.
    FinishingTransaction(Option<Instant>),
    /// Reads nothing any more, and waits for the producer to store what it has.
    Draining(Option<Instant>),
}

impl State {
    /// The time at which a stop was asked for, if it was.
    fn stop_since(self) -> Option<Instant> {
        match self {
            State::Reading => None,
            State::FinishingTransaction(since) | State::Draining(since) => since,
        }
    }

    fn announced(&mut self, ending: &Ending) {
        let since = (*ending == Ending::Stopped).then(Instant::now);
        *self = match self {
            State::Reading | State::FinishingTransaction(_) => State::FinishingTransaction(since),
            State::Draining(_) => State::Draining(since),
        };
    }

    /// The producer has as much time as the open transaction had.
    fn begin_draining(&mut self) {
        *self = State::Draining(self.stop_since().map(|_| Instant::now()));
    }
}

/// The part of the reader that ends it.
impl Reader<'_> {
    pub(super) fn producer_ended(&self) -> Option<Ending> {
        let ended = self.producer.try_recv() == Err(TryRecvError::Disconnected);
        ended.then_some(Ending::ProducerEnded)
    }

    /// Why reading is to end as soon as that is right, if it is to end.
    pub(super) fn wanted(&self, signals: &Signals) -> Option<Ending> {
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
    pub(super) fn may_end(&mut self, signals: &Signals) -> Option<Ending> {
        let ending = self.wanted(signals)?;
        self.announce(&ending);
        let Some(xid) = self.position.open_transaction() else {
            return Some(ending);
        };
        let grace = self.stop_grace(signals)?;
        if grace.is_zero() {
            log::warn!("stopping inside transaction {xid}: it will be sent again from its begin");
        }
        grace.is_zero().then_some(ending)
    }

    /// Tells the log and the service manager that an end is wanted: once, and again when a stop is wanted
    /// after all.
    fn announce(&mut self, ending: &Ending) {
        match (ending, self.state.stop_since()) {
            (Ending::Stopped, None) => {
                log::info!("stopping; a second signal ends at once");
                self.summary.notify().stopping("stopping");
            }
            (_, None) if self.state == State::Reading => match ending {
                Ending::Reload => self.summary.notify().reloading(),
                _ => self.summary.notify().stopping("stopping"),
            },
            _ => return,
        }
        self.state.announced(ending);
    }

    /// How long a stop that was asked for may still wait.
    pub(super) fn stop_grace(&mut self, signals: &Signals) -> Option<Duration> {
        if !signals.stop_requested() {
            return None;
        }
        self.announce(&Ending::Stopped);
        let since = self.state.stop_since();
        since.map(|since| STOP_GRACE.saturating_sub(since.elapsed()))
    }

    /// Waits for the producer to store what it has, reporting as long as the stream is there. After
    /// a stop it waits no longer than a grace of its own allows: what is not stored then is given up,
    /// not confirmed, and comes again.
    pub(super) fn drain(&mut self, signals: &Signals, read: &mut Result<Ending>) -> Drained {
        self.state.begin_draining();
        while !self.producer_ends_within(POLL) {
            self.log_progress();
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
