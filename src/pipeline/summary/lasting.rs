//! What may take long: changes that come again, a large transaction, a backlog.

use std::time::{Duration, Instant};

use bytesize::ByteSize;
use humantime::format_duration;

use super::{Count, View};
use crate::base::clock::postgres_now_us;
use crate::base::lsn::Lsn;
use crate::observe::long_work::{INTERVAL, time_left};
use crate::pipeline::position::Position;

/// A topic that is so far behind has more to do than what is under way between its two ends: the
/// batches that wait hold less.
const BACKLOG_BYTES: u64 = 64 * 1024 * 1024;

/// What lasts, and since when.
#[derive(Debug, Default)]
pub struct Lasting {
    /// Something comes again that the topic has.
    resuming: Option<Instant>,
    /// The topic is far behind.
    behind: Option<Instant>,
    /// This transaction is open.
    open: Option<(u32, Instant)>,
}

/// What has changed since the last line.
pub struct SinceLastLine {
    /// How long ago the last line was.
    pub elapsed: Duration,
    /// Messages that came.
    pub events: u64,
    /// What was in the topic then.
    pub stored: Lsn,
    /// What came since the last commit.
    pub open: Count,
}

impl Lasting {
    /// Takes down what is so now; returns whether anything has been for long.
    pub fn follow(&mut self, view: View<'_>, now: Instant) -> bool {
        let since = |before: Option<Instant>, is_so: bool| is_so.then(|| before.unwrap_or(now));
        self.resuming = since(self.resuming, view.past.left().is_some());
        self.behind = since(self.behind, view.metrics.lag_bytes() >= BACKLOG_BYTES);
        let before = self.open;
        self.open = view.position.open_transaction().map(|xid| match before {
            Some((open, since)) if open == xid => (xid, since),
            _ => (xid, now),
        });
        let open = self.open.map(|(_, since)| since);
        let all = [self.resuming, self.behind, open];
        all.into_iter().any(|since| is_long(since, now))
    }

    /// What takes long, if anything does and moves: what is not new, what belongs together, or all.
    pub fn describe(&self, view: View<'_>, change: &SinceLastLine, now: Instant) -> Option<String> {
        let went = change.events > 0;
        if went
            && is_long(self.resuming, now)
            && let Some(left) = view.past.left()
        {
            let messages = view.past.dropped().messages;
            return Some(format!(
                "; resuming: {messages} messages that came again are in the topic, {left} left"
            ));
        }
        if went
            && let Some((xid, since)) = self.open
            && is_long(Some(since), now)
        {
            return Some(transaction(xid, change.open, view.position));
        }
        let stored = view.metrics.stored().bytes_since(change.stored);
        (is_long(self.behind, now) && (stored > 0 || went))
            .then(|| backlog(stored, view.metrics.lag_bytes(), change.elapsed))
    }
}

fn is_long(since: Option<Instant>, now: Instant) -> bool {
    since.is_some_and(|since| now.duration_since(since) >= INTERVAL)
}

fn transaction(xid: u32, so_far: Count, position: &Position) -> String {
    let (events, bytes) = (so_far.events, ByteSize(so_far.bytes));
    // Clocks differ.
    let age_us = postgres_now_us()
        .saturating_sub(position.committed_us())
        .max(0);
    let age = format_duration(Duration::from_secs(age_us.unsigned_abs() / 1_000_000));
    format!("; inside transaction {xid}: {events} events, {bytes} so far, committed {age} ago")
}

fn backlog(stored: u64, left: u64, elapsed: Duration) -> String {
    let rate = stored as f64 / elapsed.as_secs_f64();
    let time = time_left(left, rate).map(|time| format!(", {}", format_duration(time)));
    format!(
        "; catching up: {}/s of WAL, {} left{}",
        ByteSize(rate as u64),
        ByteSize(left),
        time.unwrap_or_default()
    )
}
