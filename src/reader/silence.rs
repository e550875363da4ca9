//! A server that is there and says nothing.
//!
//! A middlebox that keeps our side open and passes nothing on, or a walsender that hangs, looks like a
//! database in which nothing happens. So statuses ask for a reply, as those of PostgreSQL's own
//! walreceiver do. No reply is told of after a while, and ends the session once the server would have
//! given us up for the same silence.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::lease::{Lease, Moment};
use crate::metrics::Metrics;
use crate::peer::Side;

/// Positions may be confirmed in quick succession: not each of them asks.
const ASKED_APART: Duration = Duration::from_millis(100);

/// A reply that takes longer than this is waited for.
const PROMPT: Duration = Duration::from_secs(1);

/// A silence that lasts longer than this is worth a line.
const NOTICEABLE: Duration = Duration::from_secs(5);

/// What the server has let us wait for. A reader that does not read, because its producer has no room,
/// hears nothing, which does not count.
pub struct Silence {
    lease: Lease,
    /// The server's name.
    server: String,
    /// When a status was sent whose reply has not come.
    asked: Option<Moment>,
    /// When the last status was sent that asked for one.
    asked_last: Option<Moment>,
    /// Since when reads have brought nothing.
    since: Option<Moment>,
    is_told: bool,
    /// How much our clock is ahead of the server's, and how long the quickest message took: in ms.
    ahead_ms: Option<i64>,
    /// Whether the next message is the first of a read.
    is_first: bool,
}

impl Silence {
    /// The server of this name has just begun to stream.
    pub fn of(server: String, lease: Lease) -> Silence {
        Silence {
            lease,
            server,
            asked: None,
            asked_last: None,
            since: None,
            is_told: false,
            ahead_ms: None,
            is_first: false,
        }
    }

    /// A status is sent now: whether it asks for a reply. One is enough at a time.
    pub fn asks(&mut self) -> bool {
        let apart = ASKED_APART.min(self.lease.patience() / 16);
        let is_late = |last: Moment| last.elapsed() >= apart;
        let asks = self.asked.is_none() && self.asked_last.is_none_or(is_late);
        if asks {
            self.asked = Some(Moment::now());
            self.asked_last = self.asked;
        }
        asks
    }

    /// A message came that the server sent at this time by its clock. One of each read is enough.
    pub fn message(&mut self, sent_us: i64) {
        if std::mem::take(&mut self.is_first) {
            self.compare_clocks(sent_us / 1000, Moment::now());
        }
    }

    /// A keepalive came. It may have waited for us for long, while we were stopped or had no room, and
    /// be none that was asked for: it proves no more than that the server had the slot for us when it
    /// sent that. A clock of the server's that is set back makes it older than it is, which costs a
    /// question.
    pub fn keepalive(&mut self, sent_us: i64) {
        self.keepalive_at(sent_us / 1000, Moment::now());
    }

    fn keepalive_at(&mut self, sent_ms: i64, now: Moment) {
        let ahead_ms = self.compare_clocks(sent_ms, now);
        if let Some(asked) = self.asked.take() {
            let sent = Moment::since_boot(sent_ms.saturating_add(ahead_ms));
            self.lease.renew(asked.min(sent));
        }
    }

    fn compare_clocks(&mut self, sent_ms: i64, now: Moment) -> i64 {
        let ahead_ms = now.since_boot_ms().saturating_sub(sent_ms);
        let least_ms = self
            .ahead_ms
            .map_or(ahead_ms, |before| before.min(ahead_ms));
        self.ahead_ms = Some(least_ms);
        least_ms
    }

    /// Nobody was listening until now.
    pub fn pause(&mut self) {
        self.since = None;
    }

    /// One read brought so many bytes. Says whether a status is due, because it has been silent for
    /// half of the time after which it is an error.
    pub fn follow(&mut self, bytes: usize, metrics: &Metrics) -> Result<bool> {
        if bytes > 0 {
            self.is_first = true;
            self.end(metrics);
            return Ok(false);
        }
        let (silent, patience) = (
            self.since.get_or_insert_with(Moment::now).elapsed(),
            self.lease.patience(),
        );
        if silent >= patience {
            return Err(self.mute(silent));
        }
        let Some(unanswered) = self.asked.map(Moment::elapsed) else {
            return Ok(silent >= patience / 2);
        };
        // What came in between was no reply, but no silence either.
        let waited = unanswered.min(silent);
        if waited >= PROMPT {
            let now = Instant::now();
            let since = now.checked_sub(waited).unwrap_or(now);
            metrics.waits.begin_at(Side::Postgres, since);
        }
        if waited >= NOTICEABLE.min(patience / 2) && !std::mem::replace(&mut self.is_told, true) {
            log::warn!(
                "waiting for {}: it has not answered for {} s; the session ends when it has not for {} s",
                self.server,
                waited.as_secs(),
                patience.as_secs()
            );
        }
        Ok(false)
    }

    fn end(&mut self, metrics: &Metrics) {
        self.since = None;
        if metrics.waits.of(Side::Postgres).is_some() {
            metrics.waits.answered(Side::Postgres);
        }
        if std::mem::take(&mut self.is_told) {
            log::info!("{} answers again", self.server);
        }
    }

    fn mute(&self, silent: Duration) -> Error {
        Error::unreachable(format!(
            "{} has sent nothing for {} s, not even the reply that was asked for",
            self.server,
            silent.as_secs()
        ))
        .with_hint(
            "the server hangs, or something between here and there keeps the connection open",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_was_sent_before_a_freeze_proves_nothing_after_it() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let ask = || Err(lease::lost("it is somebody else's"));
        let timeout = Some(Duration::from_secs(60));
        let lease = Lease::begin(OwnedFd::from(socket), timeout, Box::new(ask));
        let begun = lease.proved().since_boot_ms();
        let mut silence = Silence::of("PostgreSQL".to_owned(), lease.clone());
        let at = |ms: i64| Moment::since_boot(begun + ms);
        let mut keepalive = |asked_at: i64, sent: i64, read_at: i64| {
            silence.asked = Some(at(asked_at));
            // The server's clock has another beginning than ours.
            silence.keepalive_at(800_000_000_000 + sent, at(read_at));
            lease.proved().since_boot_ms() - begun
        };
        assert_eq!(keepalive(1_000, 1_001, 1_002), 1_000);
        // It was sent before the freeze, and is read after it: no answer to what was asked then.
        assert_eq!(keepalive(90_000, 2_000, 90_001), 2_001);
        assert_eq!(keepalive(90_002, 90_003, 90_005), 90_002);
    }
}
