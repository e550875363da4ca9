//! The line that says, every half minute while there is traffic, what went through; and what the
//! service manager hears of it.

use std::time::{Duration, Instant};

use bytesize::ByteSize;

use crate::long_work::time_left;
use crate::lsn::Lsn;
use crate::notify::Notify;
use crate::peer::Peer;
use crate::position::Position;

/// How often it is logged.
const INTERVAL: Duration = Duration::from_secs(30);

/// A sink that is waited for longer than this is worth a word.
const NOTICEABLE: Duration = Duration::from_secs(2);

/// An open transaction with more events than this is worth a word.
const LARGE_TRANSACTION: u64 = 100_000;

/// What went through since the last line.
#[derive(Debug)]
pub struct Summary {
    notify: Notify,
    sink: Peer,
    /// Whether the status says that the sink is waited for.
    waiting: bool,
    since: Instant,
    events: u64,
    transactions: u64,
    bytes: u64,
    /// Events since the last commit.
    open_events: u64,
    /// What was received up to the last line.
    received: Lsn,
    /// How far the server's WAL went at the start: before it lies what is to be caught up with.
    backlog_end: Lsn,
}

impl Summary {
    /// Nothing went through to `sink` yet; `confirmed` is where the stream begins, and the server's WAL
    /// goes on up to `backlog_end`.
    pub fn new(notify: Notify, sink: Peer, confirmed: Lsn, backlog_end: Lsn) -> Self {
        Summary {
            notify,
            sink,
            waiting: false,
            since: Instant::now(),
            events: 0,
            transactions: 0,
            bytes: 0,
            open_events: 0,
            received: confirmed,
            backlog_end,
        }
    }

    /// One message of so many bytes.
    pub fn count(&mut self, bytes: usize, committed: bool) {
        self.events += 1;
        self.transactions += u64::from(committed);
        self.bytes += bytes as u64;
        self.open_events = if committed { 0 } else { self.open_events + 1 };
    }

    /// Gives a sign of life, unless the sink has been waited for (`waits`) for longer than it may
    /// take; and says how far we are when it is time, or when the wait for the sink begins or ends.
    pub fn tell(&mut self, position: &Position, waits: Option<Duration>) {
        if waits.is_none_or(|waits| waits < self.sink.patience) {
            self.notify.alive();
        }
        let waiting = waits.is_some_and(|waits| waits > NOTICEABLE);
        let due = self.log_if_due(position);
        if due || waiting != self.waiting {
            self.waiting = waiting;
            self.notify.status(&self.status(position));
        }
    }

    /// What the service manager shows.
    pub fn status(&self, position: &Position) -> String {
        let (confirmed, lag) = (position.confirmed(), ByteSize(position.lag_bytes()));
        let doing = match self.waiting {
            true => format!("waiting for {}", self.sink.name),
            false => "streaming".to_owned(),
        };
        format!("{doing}; confirmed {confirmed}, lag {lag}")
    }

    /// The service manager, which hears more than this.
    pub fn notify(&self) -> &Notify {
        &self.notify
    }

    /// Logs the line when there is something to say; returns whether it is time.
    fn log_if_due(&mut self, position: &Position) -> bool {
        let elapsed = self.since.elapsed();
        if elapsed < INTERVAL {
            return false;
        }
        if self.events > 0 {
            log::info!("{}", self.line(elapsed, position));
        }
        (self.since, self.events) = (Instant::now(), 0);
        (self.transactions, self.bytes) = (0, 0);
        self.received = position.sent();
        true
    }

    fn line(&self, elapsed: Duration, position: &Position) -> String {
        format!(
            "{} events, {} transactions, {} in {} s: {:.0} events/s; confirmed {}, lag {}{}{}",
            self.events,
            self.transactions,
            ByteSize(self.bytes),
            elapsed.as_secs(),
            self.events as f64 / elapsed.as_secs_f64(),
            position.confirmed(),
            ByteSize(position.lag_bytes()),
            self.open(position),
            self.backlog(elapsed, position),
        )
    }

    /// A large transaction keeps the confirmed position where it is until its end.
    fn open(&self, position: &Position) -> String {
        match position.open_transaction() {
            Some(xid) if self.open_events >= LARGE_TRANSACTION => {
                format!("; in transaction {xid}, {} events so far", self.open_events)
            }
            _ => String::new(),
        }
    }

    /// What is left of the WAL that was there at the start.
    fn backlog(&self, elapsed: Duration, position: &Position) -> String {
        let received = position.sent();
        if received >= self.backlog_end {
            return String::new();
        }
        let left = self.backlog_end.bytes_since(received);
        let rate = received.bytes_since(self.received) as f64 / elapsed.as_secs_f64();
        format!(
            "; backlog {} of WAL at {}/s{}",
            ByteSize(left),
            ByteSize(rate as u64),
            time_left(left, rate)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Side;
    use crate::pg::pgoutput::{Begin, Message};

    fn summary() -> Summary {
        let sink = Peer {
            side: Side::Sink,
            name: "Fluvio at h:1".to_owned(),
            patience: Duration::MAX,
        };
        Summary::new(Notify::default(), sink, Lsn(0x10), Lsn(0x20_0010))
    }

    #[test]
    fn the_status_says_whom_we_wait_for() {
        let mut summary = summary();
        let position = Position::starting_at(Lsn(0x10), Lsn(0x10));
        let streaming = "streaming; confirmed 0/10, lag 0 B";
        for (waits, status) in [
            (None, streaming),
            (Some(NOTICEABLE / 2), streaming),
            (
                Some(NOTICEABLE * 2),
                "waiting for Fluvio at h:1; confirmed 0/10, lag 0 B",
            ),
            (None, streaming),
        ] {
            summary.tell(&position, waits);
            assert_eq!(summary.status(&position), status);
        }
    }

    #[test]
    fn a_line() {
        let mut summary = summary();
        summary.count(1000, false);
        summary.count(24, true);
        let position = Position::starting_at(Lsn(0x16_0000_0010), Lsn(0x16_0000_0010));
        assert_eq!(
            summary.line(Duration::from_secs(2), &position),
            "2 events, 1 transactions, 1.0 KiB in 2 s: 1 events/s; confirmed 16/10, lag 0 B"
        );
    }

    #[test]
    fn a_backlog_and_a_large_transaction() {
        let mut summary = summary();
        for _ in 0..LARGE_TRANSACTION {
            summary.count(1, false);
        }
        let mut position = Position::starting_at(Lsn(0x10), Lsn(0x10));
        let begin = Message::Begin(Begin {
            final_lsn: Lsn(0x10_0010),
            timestamp: 0,
            xid: 7,
        });
        position.follow(&begin).unwrap();
        assert_eq!(
            summary.line(Duration::from_secs(2), &position),
            "100000 events, 0 transactions, 97.7 KiB in 2 s: 50000 events/s; confirmed 0/10, lag 1.0 \
             MiB; in transaction 7, 100000 events so far; backlog 1.0 MiB of WAL at 512.0 KiB/s: 2s"
        );
    }
}
