//! The line that says what went through: every half minute while there is traffic, and more often
//! while something takes long. The service manager hears the same.
//!
//! Counting costs a row nothing but three additions; everything else is decided by the time, at the
//! end of what one read brought.

mod lasting;

use std::time::{Duration, Instant};

use bytesize::ByteSize;

use self::lasting::{Lasting, SinceLastLine};
use crate::base::lsn::Lsn;
use crate::observe::long_work;
use crate::observe::metrics::Metrics;
use crate::observe::notify::Notify;
use crate::observe::peer::{Peer, Side};
use crate::pipeline::position::Position;
use crate::pipeline::resume::past::Past;

/// How often it is logged while nothing takes long.
const INTERVAL: Duration = Duration::from_secs(30);

/// A side that is waited for longer than this is worth a word.
const NOTICEABLE: Duration = Duration::from_secs(2);

/// What went through.
#[derive(Debug)]
pub struct Summary {
    notify: Notify,
    sink: Peer,
    /// The name of the server of the slot.
    server: String,
    /// The side that is waited for, as the status says.
    waiting: Option<Side>,
    /// What the status says of work that takes long.
    long: String,
    total: Count,
    /// The total at the last commit.
    committed: Count,
    /// The time of the last line, the total then, and what was in the topic.
    since: Instant,
    before: Count,
    stored: Lsn,
    lasting: Lasting,
}

/// How much went through.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    events: u64,
    transactions: u64,
    bytes: u64,
}

impl Count {
    fn since(self, before: Count) -> Count {
        Count {
            events: self.events - before.events,
            transactions: self.transactions - before.transactions,
            bytes: self.bytes - before.bytes,
        }
    }
}

/// What a line is made of.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Where the reader is.
    pub position: &'a Position,
    /// What comes again.
    pub past: &'a Past,
    /// What the topic has, and how far the server is.
    pub metrics: &'a Metrics,
}

impl Summary {
    /// Begins where nothing has gone from `server` to `sink` yet.
    pub fn new(notify: Notify, sink: Peer, server: String) -> Self {
        Summary {
            notify,
            sink,
            server,
            waiting: None,
            long: String::new(),
            total: Count::default(),
            committed: Count::default(),
            since: Instant::now(),
            before: Count::default(),
            stored: Lsn::ZERO,
            lasting: Lasting::default(),
        }
    }

    /// The name of the server of the slot.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Counts a message, and whether it was a commit.
    pub fn count(&mut self, bytes: usize, committed: bool) {
        self.total.events += 1;
        self.total.bytes += bytes as u64;
        if committed {
            self.total.transactions += 1;
            self.committed = self.total;
        }
    }

    /// Gives the service manager a sign of life, unless the sink has been waited for for longer than it may take; and
    /// says how far we are when it is time, or when a wait begins or ends.
    pub fn log_progress(&mut self, view: View<'_>) {
        let waits = view.metrics.waits.of(Side::Sink);
        if waits.is_none_or(|waits| waits < self.sink.patience) {
            self.notify.alive();
        }
        let longest = view.metrics.waits.longest();
        let waiting = longest.and_then(|(side, waited)| (waited > NOTICEABLE).then_some(side));
        let due = self.due(view, Instant::now());
        if let Due::Line(line) = &due {
            let (confirmed, lag) = (view.position.confirmed(), view.position.lag_bytes());
            log::info!(confirmed_lsn:% = confirmed, lag_bytes = lag; "{line}");
        }
        if due != Due::No || waiting != self.waiting {
            self.waiting = waiting;
            self.notify.status(&self.status(view.position));
        }
    }

    /// What the service manager shows.
    pub fn status(&self, position: &Position) -> String {
        let (confirmed, lag) = (position.confirmed(), ByteSize(position.lag_bytes()));
        let doing = match self.waiting {
            Some(Side::Sink) => format!("waiting for {}", self.sink.name),
            Some(Side::Postgres) => format!("waiting for {}", self.server),
            None => "streaming".to_owned(),
        };
        format!("{doing}; confirmed {confirmed}, lag {lag}{}", self.long)
    }

    /// The service manager, which hears more than this.
    pub fn notify(&self) -> &Notify {
        &self.notify
    }

    /// Whether it is time for a line.
    fn due(&mut self, view: View<'_>, now: Instant) -> Due {
        if self.stored == Lsn::ZERO {
            self.stored = view.metrics.stored();
        }
        let lasts = self.lasting.follow(view, now);
        let ended = !lasts && !std::mem::take(&mut self.long).is_empty();
        let change = SinceLastLine {
            elapsed: now.duration_since(self.since),
            events: self.total.events - self.before.events,
            stored: self.stored,
            open: self.total.since(self.committed),
        };
        let is_early = |least: Duration| change.elapsed < least;
        let long = match is_early(long_work::INTERVAL) {
            true => None,
            false => self.lasting.describe(view, &change, now),
        };
        if long.is_none() && is_early(INTERVAL) {
            return if ended { Due::Status } else { Due::No };
        }
        let is_quiet = change.events == 0 && long.is_none();
        self.long = long.unwrap_or_default();
        let line = self.line(change.elapsed, view.position);
        (self.since, self.before, self.stored) = (now, self.total, view.metrics.stored());
        match is_quiet {
            true => Due::Status,
            false => Due::Line(line),
        }
    }

    fn line(&self, elapsed: Duration, position: &Position) -> String {
        let Count {
            events,
            transactions,
            bytes,
        } = self.total.since(self.before);
        format!(
            "{events} events, {transactions} transactions, {} in {} s: {:.0} events/s; confirmed {}, \
             lag {}{}",
            ByteSize(bytes),
            elapsed.as_secs(),
            events as f64 / elapsed.as_secs_f64(),
            position.confirmed(),
            ByteSize(position.lag_bytes()),
            self.long,
        )
    }
}

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    No,
    /// A new status alone: nothing went through.
    Status,
    Line(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::postgres_now_us;
    use crate::change::Envelope;
    use crate::change::relation::Catalog;
    use crate::observe::peer::Waits;
    use crate::pg::wire::pgoutput::{Begin, Commit, Message};
    use crate::pipeline::resume::{Mark, Resume, Tail};
    use crate::record::readback::Unit;

    const MIB: u64 = 1024 * 1024;

    /// A summary that began at `start`, and what it tells of.
    struct Told {
        summary: Summary,
        start: Instant,
        position: Position,
        past: Past,
        metrics: Metrics,
    }

    impl Told {
        fn at(lsn: u64) -> Told {
            let sink = Peer {
                side: Side::Sink,
                name: "Fluvio at h:1".to_owned(),
                patience: Duration::MAX,
            };
            let server = "PostgreSQL at h:2".to_owned();
            let summary = Summary::new(Notify::default(), sink, server);
            let (lsn, metrics) = (Lsn(lsn), Metrics::default());
            metrics.session_begins(lsn, lsn);
            Told {
                start: summary.since,
                summary,
                position: Position::starting_at(lsn, lsn),
                past: Past::default(),
                metrics,
            }
        }

        /// The line that is due after so many seconds.
        fn line(&mut self, after_s: u64) -> Option<String> {
            let now = self.start + Duration::from_secs(after_s);
            let view = View {
                position: &self.position,
                past: &self.past,
                metrics: &self.metrics,
            };
            match self.summary.due(view, now) {
                Due::Line(line) => Some(line),
                Due::No | Due::Status => None,
            }
        }

        fn begin(&mut self, final_lsn: u64) {
            let begin = begin(final_lsn);
            self.position.follow(&begin).unwrap();
            self.summary.count(100, false);
        }

        fn commit(&mut self, commit_lsn: u64) {
            let (commit_lsn, end_lsn) = (Lsn(commit_lsn), Lsn(commit_lsn + 8));
            let commit = Message::Commit(Commit {
                flags: 0,
                commit_lsn,
                end_lsn,
                timestamp: 0,
            });
            self.position.follow(&commit).unwrap();
            self.summary.count(100, true);
        }
    }

    fn begin(final_lsn: u64) -> Message<'static> {
        Message::Begin(Begin {
            final_lsn: Lsn(final_lsn),
            timestamp: postgres_now_us() - 60_000_000,
            xid: final_lsn as u32,
        })
    }

    #[test]
    fn the_status_says_whom_we_wait_for() {
        let mut told = Told::at(0x10);
        let long_ago = Instant::now() - NOTICEABLE * 2;
        told.metrics.waits = Waits::beginning_at(long_ago);
        let mut status = |waits: Option<(Side, Instant)>| {
            for side in Side::ALL {
                told.metrics.waits.answered(side);
            }
            if let Some((side, since)) = waits {
                told.metrics.waits.begin_at(side, since);
            }
            told.summary.log_progress(View {
                position: &told.position,
                past: &told.past,
                metrics: &told.metrics,
            });
            told.summary.status(&told.position)
        };
        let streaming = "streaming; confirmed 0/10, lag 0 B";
        assert_eq!(status(None), streaming);
        assert_eq!(status(Some((Side::Sink, Instant::now()))), streaming);
        let waiting = "waiting for Fluvio at h:1; confirmed 0/10, lag 0 B";
        assert_eq!(status(Some((Side::Sink, long_ago))), waiting);
        let waiting = "waiting for PostgreSQL at h:2; confirmed 0/10, lag 0 B";
        assert_eq!(status(Some((Side::Postgres, long_ago))), waiting);
        assert_eq!(status(None), streaming);
    }

    #[test]
    fn ordinary_traffic_has_a_line_every_half_minute_and_none_while_it_is_quiet() {
        let mut told = Told::at(0x16_0000_0010);
        assert_eq!(told.line(30), None);
        for second in 30..60 {
            told.begin(0x16_0000_0020 + second);
            assert_eq!(told.line(second), None);
            told.commit(0x16_0000_0020 + second);
        }
        assert_eq!(
            told.line(60).unwrap(),
            "60 events, 30 transactions, 5.9 KiB in 30 s: 2 events/s; confirmed 16/10, lag 83 B"
        );
        assert_eq!(told.line(90), None);
    }

    #[test]
    fn a_transaction_that_takes_long_is_told_of_as_long_as_it_moves() {
        let mut told = Told::at(0x10);
        told.begin(0x100);
        assert_eq!(told.line(1), None);
        told.summary.count(1900, false);
        assert_eq!(told.line(10), None, "it is not long yet");
        let line = told.line(11).unwrap();
        let says = "; inside transaction 256: 2 events, 2.0 KiB so far, committed 1m ago";
        assert!(line.ends_with(says), "{line}");
        assert!(told.summary.status(&told.position).ends_with(says));
        assert_eq!(told.line(21), None, "nothing moves");
        told.summary.count(48, false);
        let line = told.line(22).unwrap();
        assert!(line.contains(": 3 events, 2.0 KiB so far"), "{line}");
        told.commit(0x100);
        assert_eq!(told.line(33), None);
        let status = told.summary.status(&told.position);
        assert!(status.ends_with("lag 248 B"), "{status}");
    }

    #[test]
    fn a_backlog_has_its_rate_and_what_is_left() {
        let mut told = Told::at(MIB);
        told.metrics.wal_end.set(2001 * MIB);
        assert_eq!(told.line(1), None);
        told.metrics.at(Lsn(1001 * MIB), Lsn(501 * MIB), 0);
        let line = told.line(11).unwrap();
        let says = "; catching up: 45.5 MiB/s of WAL, 1.5 GiB left, 33s";
        assert!(line.ends_with(says), "{line}");
        assert_eq!(told.line(21), None, "nothing moves");
        told.metrics.at(Lsn(2001 * MIB), Lsn(2000 * MIB), 0);
        assert_eq!(told.line(31), None, "it is over");
    }

    #[test]
    fn what_comes_again_is_counted_up_to_where_the_topic_ends() {
        let mut told = Told::at(MIB);
        let tail = Tail::Complete {
            last: Unit::transaction(Lsn(11 * MIB)),
            end_lsn: Lsn(11 * MIB),
            mark: Mark::default(),
        };
        let resume = Resume::after(tail, Lsn(MIB), Lsn(11 * MIB));
        told.past = Past::Events(Box::new(resume));
        assert_eq!(told.line(1), None);
        let envelope = Envelope {
            wal_start: Lsn::ZERO,
            wal_end: Lsn::ZERO,
            timestamp: 0,
        };
        let mut catalog = Catalog::default();
        let again = begin(6 * MIB);
        if let Past::Events(resume) = &mut told.past {
            resume.judge(envelope, &again, &mut catalog).unwrap();
        }
        told.summary.count(100, false);
        let line = told.line(11).unwrap();
        let says = "; resuming: 1 messages that came again are in the topic, 5.0 MiB of WAL left";
        assert!(line.ends_with(says), "{line}");
    }
}
