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
    /// Since when reads have brought nothing.
    since: Option<Moment>,
    is_told: bool,
}

impl Silence {
    /// The server of this name has just begun to stream.
    pub fn of(server: String, lease: Lease) -> Silence {
        Silence {
            lease,
            server,
            asked: None,
            since: None,
            is_told: false,
        }
    }

    /// A status is sent now: whether it asks for a reply. One is enough at a time.
    pub fn asks(&mut self) -> bool {
        let asks = self.asked.is_none();
        self.asked.get_or_insert_with(Moment::now);
        asks
    }

    /// A keepalive came. It may be one that the server sends by itself while the reply is under way; it
    /// follows what was sent before all the same, unless the way there is broken, which the kernel
    /// notices before the server gives the slot away.
    pub fn keepalive(&mut self) {
        if let Some(sent) = self.asked.take() {
            self.lease.renew(sent);
        }
    }

    /// Nobody was listening until now.
    pub fn pause(&mut self) {
        self.since = None;
    }

    /// One read brought so many bytes. Says whether a status is due, because it has been silent for
    /// half of the time after which it is an error.
    pub fn follow(&mut self, bytes: usize, metrics: &Metrics) -> Result<bool> {
        if bytes > 0 {
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
