//! What the program counts of itself.
//!
//! Numbers that anybody may read at any time, and that the two threads write at most a few times a
//! batch or a transaction, never for a row. [`text`] is their form in Prometheus' text format.

mod health;
mod lanes;
mod number;
pub(crate) mod text;

pub use lanes::{LaneEnds, MOST_LANES};
pub use number::{BOUNDS_S, Histogram, Number};

use std::time::{Duration, Instant};

use crate::base::clock::{postgres_now_us, since_unix_epoch};
use crate::base::lsn::Lsn;
use crate::change::EventType;
use crate::observe::peer::{Side, Waits};

/// Why a session is opened anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// PostgreSQL was not there, or not any more.
    Postgres,
    /// Fluvio was not there, or not any more.
    Sink,
    /// Another process has the slot.
    SlotInUse,
}

impl Cause {
    /// All causes.
    pub const ALL: [Cause; 3] = [Cause::Postgres, Cause::Sink, Cause::SlotInUse];

    /// The name of the cause in a label.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Postgres => Side::Postgres.name(),
            Cause::Sink => Side::Sink.name(),
            Cause::SlotInUse => "slot_in_use",
        }
    }
}

/// The number of events of each type. A thread keeps one to itself until a batch is through.
#[derive(Debug, Default)]
pub struct Tally([u64; EventType::ALL.len()]);

impl Tally {
    /// Counts one event.
    pub fn count(&mut self, event_type: EventType) {
        self.0[event_type as usize] += 1;
    }
}

/// What the slot keeps, as the server said last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// The WAL that the slot keeps.
    pub retained_bytes: Option<u64>,
    /// The WAL that may still be written before the slot is lost, where there is a limit.
    pub safe_bytes: Option<u64>,
    /// Whether the slot has lost WAL that it needs.
    pub is_lost: Option<bool>,
}

/// All numbers that the program counts of itself.
#[derive(Debug, Default)]
pub struct Metrics {
    began: Began,
    events: [Number; EventType::ALL.len()],
    /// Transactions that are stored.
    pub transactions: Number,
    /// Bytes that came from PostgreSQL.
    pub received_bytes: Number,
    /// Records handed to the sink, in bytes of JSON.
    pub written_bytes: Number,
    /// Records that are stored.
    pub acknowledged: Number,
    /// Messages that came again and were in the topic.
    pub skipped: Number,
    retries: [Number; Cause::ALL.len()],
    /// The time of transactions from the commit to the acknowledgement.
    pub commit_to_topic: Histogram,
    /// Batches that the reader has handed over and the producer has not written.
    pub batches_in_flight: Number,
    /// The position that the slot is known to be confirmed at.
    pub confirmed: Number,
    /// The position before which everything was received.
    pub received: Number,
    /// The position before which everything is in the topic.
    stored: Number,
    /// The end of the server's WAL, as far as that is known.
    pub wal_end: Number,
    /// The time at which the last transaction that is stored was committed, in the server's microseconds.
    stored_commit_us: Number,
    /// The time at which the first transaction was committed that was read after everything had been
    /// stored, or the end of a session that had stored everything; 0 while everything is stored that was
    /// read.
    behind_since_us: Number,
    /// Where the lanes of the session end.
    pub lanes: LaneEnds,
    /// Whom the program waits for.
    pub waits: Waits,
    /// 1 while a session streams.
    streaming: Number,
    /// The time of the last turn of the reader's loop, in ms from the beginning.
    turned_ms: Number,
    /// The retained bytes and one more; 0 when they are not known.
    retained: Number,
    safe: Number,
    /// 2 when the slot is lost, 1 when it is not, 0 when that is not known.
    lost: Number,
}

/// The begin of the process, by two clocks.
#[derive(Debug)]
struct Began {
    at: Instant,
    since_unix_epoch: Duration,
}

impl Default for Began {
    fn default() -> Self {
        Began {
            at: Instant::now(),
            since_unix_epoch: since_unix_epoch(),
        }
    }
}

impl Metrics {
    /// Counts the events of a batch that is through.
    pub fn count_events(&self, tally: &Tally) {
        for (number, count) in self.events.iter().zip(tally.0) {
            number.add(count);
        }
    }

    /// How many events there were of each type.
    pub fn events(&self) -> impl Iterator<Item = (EventType, u64)> {
        EventType::ALL
            .into_iter()
            .zip(self.events.iter().map(Number::value))
    }

    /// Counts a transaction that was committed at `committed_us` and is stored at `now_us`.
    pub fn transaction_stored(&self, committed_us: i64, now_us: i64) {
        self.transactions.add(1);
        self.stored_commit_us.raise(committed_us.max(0) as u64);
        // Clocks differ.
        let took_us = now_us.saturating_sub(committed_us).max(0) as u64;
        self.commit_to_topic.observe(Duration::from_micros(took_us));
    }

    /// Takes the reader's position: what it has read, of which the last transaction was committed at
    /// `committed_us`, and what of it is in the topic.
    pub fn at(&self, read: Lsn, stored: Lsn, committed_us: i64) {
        self.received.raise(read.0);
        self.stored.raise(stored.0);
        self.wal_end.raise(read.0);
        // Not the end of the server's WAL: what is not read yet need not be for us.
        if read <= stored {
            self.behind_since_us.set(0);
        } else if self.behind_since_us.value() == 0 {
            self.behind_since_us.set(committed_us.max(0) as u64);
        }
    }

    /// The position before which everything is in the topic.
    pub fn stored(&self) -> Lsn {
        Lsn(self.stored.value())
    }

    /// The WAL that the server is known to have and that is not in the topic, or is not known to be of
    /// no concern to it.
    pub fn lag_bytes(&self) -> u64 {
        self.wal_end.value().saturating_sub(self.stored.value())
    }

    /// The time since the oldest transaction was committed that was read and is not in the topic; when
    /// there is none, the time since none is read any more.
    pub fn lag(&self) -> Duration {
        let behind_since_us = self.behind_since_us.value();
        if behind_since_us == 0 {
            return Duration::ZERO;
        }
        let since_us = behind_since_us.max(self.stored_commit_us.value());
        Duration::from_micros(postgres_now_us().saturating_sub(since_us as i64).max(0) as u64)
    }

    /// Takes note that a session begins to stream, on a slot that was confirmed at `confirmed`.
    pub fn session_begins(&self, confirmed: Lsn, stored: Lsn) {
        self.confirmed.set(confirmed.0);
        self.received.set(stored.0);
        self.stored.set(stored.0);
        self.batches_in_flight.set(0);
        self.reader_turns(Instant::now());
        self.streaming.set(1);
    }

    /// Takes note that the session has ended: whatever is committed from now on is not in the topic.
    pub fn session_ends(&self) {
        self.streaming.set(0);
        if self.behind_since_us.value() == 0 {
            self.behind_since_us.set(postgres_now_us().max(0) as u64);
        }
    }

    /// Whether there has been a session.
    pub fn has_streamed(&self) -> bool {
        self.received.value() > 0
    }

    /// Whether a session streams.
    pub fn is_streaming(&self) -> bool {
        self.streaming.value() == 1
    }

    /// The cause of the failure of the last session.
    pub fn cause(&self, slot_in_use: Option<Cause>) -> Cause {
        slot_in_use.unwrap_or(match self.waits.of(Side::Sink) {
            Some(_) => Cause::Sink,
            None => Cause::Postgres,
        })
    }

    /// Counts a session that is opened anew.
    pub fn retry(&self, cause: Cause) {
        self.retries[cause as usize].add(1);
    }

    /// The number of times that a session was opened anew, for each cause.
    pub fn retries(&self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL
            .into_iter()
            .zip(self.retries.iter().map(Number::value))
    }

    /// Takes note that the reader's loop turns.
    pub fn reader_turns(&self, now: Instant) {
        self.turned_ms.set(self.ms(now));
    }

    /// Takes what the server said of the slot's position, and of the end of its WAL. What is confirmed is
    /// in the topic.
    pub fn slot_is_at(&self, confirmed: Lsn, wal_end: Lsn) {
        self.confirmed.raise(confirmed.0);
        self.stored.raise(confirmed.0);
        self.wal_end.raise(wal_end.0);
    }

    /// Takes what the server said of what the slot keeps, or that it said nothing.
    pub fn set_kept(&self, kept: Kept) {
        let stored = |value: Option<u64>| value.map_or(0, |value| value.saturating_add(1));
        self.retained.set(stored(kept.retained_bytes));
        self.safe.set(stored(kept.safe_bytes));
        self.lost.set(stored(kept.is_lost.map(u64::from)));
    }

    /// What the slot keeps, as the server said last.
    pub fn kept(&self) -> Kept {
        Kept {
            retained_bytes: self.retained.value().checked_sub(1),
            safe_bytes: self.safe.value().checked_sub(1),
            is_lost: self.lost.value().checked_sub(1).map(|lost| lost == 1),
        }
    }

    /// The time at which the process began, since 1970.
    pub fn began(&self) -> Duration {
        self.began.since_unix_epoch
    }

    fn ms(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.began.at).as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_begins_with_what_is_read_and_ends_when_it_is_stored() {
        let metrics = Metrics::default();
        let ago = |seconds: i64| postgres_now_us() - seconds * 1_000_000;
        metrics.session_begins(Lsn(100), Lsn(100));
        metrics.at(Lsn(100), Lsn(100), ago(1000));
        assert_eq!((metrics.lag_bytes(), metrics.lag().as_secs()), (0, 0));
        metrics.at(Lsn(150), Lsn(100), ago(20));
        assert_eq!((metrics.lag_bytes(), metrics.lag().as_secs()), (50, 20));
        metrics.at(Lsn(160), Lsn(100), ago(10));
        assert_eq!((metrics.lag_bytes(), metrics.lag().as_secs()), (60, 20));
        metrics.transaction_stored(ago(15), postgres_now_us());
        assert_eq!(metrics.lag().as_secs(), 15, "the next may be as old");
        metrics.at(Lsn(160), Lsn(160), ago(10));
        assert_eq!((metrics.lag_bytes(), metrics.lag().as_secs()), (0, 0));
    }

    #[test]
    fn wal_that_is_not_read_is_no_age_and_a_session_that_is_over_is() {
        let metrics = Metrics::default();
        let ago = |seconds: i64| postgres_now_us() - seconds * 1_000_000;
        metrics.session_begins(Lsn(100), Lsn(100));
        metrics.slot_is_at(Lsn(90), Lsn(170));
        metrics.at(Lsn(100), Lsn(100), ago(3600));
        assert_eq!((metrics.lag_bytes(), metrics.lag().as_secs()), (70, 0));
        metrics.session_ends();
        let ended = metrics.behind_since_us.value();
        assert!((ago(60)..=postgres_now_us()).contains(&(ended as i64)));
        metrics.session_ends();
        assert_eq!(metrics.behind_since_us.value(), ended);
    }

    #[test]
    fn before_the_first_session_the_slot_tells_how_far_the_topic_is() {
        let metrics = Metrics::default();
        metrics.slot_is_at(Lsn(90), Lsn(170));
        assert_eq!(metrics.lag_bytes(), 80);
        assert!(!metrics.has_streamed());
    }

    #[test]
    fn a_session_that_waited_for_the_sink_failed_because_of_it() {
        let metrics = Metrics::default();
        metrics.waits.begin(Side::Sink);
        assert_eq!(metrics.cause(None), Cause::Sink);
        metrics.waits.answered(Side::Sink);
        assert_eq!(metrics.cause(None), Cause::Postgres);
        let cause = metrics.cause(Some(Cause::SlotInUse));
        assert_eq!(cause, Cause::SlotInUse);
    }
}
