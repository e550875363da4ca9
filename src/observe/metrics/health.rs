//! What `/healthz` and `/readyz` answer: whether there is progress, and not only life.

use std::time::{Duration, Instant};

use super::Metrics;
use crate::observe::peer::Side;

/// The time after which a reader hangs whose loop has not turned, and that waits for nobody: it turns ten
/// times a second.
const HANGS_AFTER: Duration = Duration::from_secs(30);

/// The time after which a peer that lets us wait keeps us from working.
const BLOCKED_AFTER: Duration = Duration::from_secs(5);

impl Metrics {
    /// Whether the program gets on, or is known to wait for somebody who is named; `Err` says since
    /// when it does not.
    pub fn health(&self) -> Result<String, String> {
        if let Some((peer, waited)) = self.blocked() {
            let (peer, seconds) = (peer.name(), waited.as_secs());
            return Ok(format!("waiting for {peer} for {seconds} s"));
        }
        let now = self.ms(Instant::now());
        let idle = Duration::from_millis(now.saturating_sub(self.turned_ms.value()));
        match idle < HANGS_AFTER {
            true => Ok("ok".to_owned()),
            false => Err(format!("no progress for {} s", idle.as_secs())),
        }
    }

    /// Whether changes go from the slot into the topic; `Err` says why not.
    pub fn readiness(&self) -> Result<String, String> {
        let health = self.health()?;
        match (self.blocked(), self.is_streaming()) {
            (Some(_), _) => Err(health),
            (None, false) => Err("not streaming".to_owned()),
            (None, true) => Ok(health),
        }
    }

    /// The peer that has let us wait for longest.
    fn blocked(&self) -> Option<(Side, Duration)> {
        let longest = self.waits.longest();
        longest.filter(|(_, waited)| *waited >= BLOCKED_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::lsn::Lsn;
    use crate::observe::peer::Waits;

    /// Metrics of a process that began so long ago.
    fn after(age: Duration) -> Metrics {
        let now = Instant::now();
        let began = now.checked_sub(age).expect("the machine is older");
        let mut metrics = Metrics::default();
        metrics.began.at = began;
        metrics.waits = Waits::beginning_at(began);
        metrics
    }

    #[test]
    fn health_is_progress_and_not_only_life() {
        let metrics = after(Duration::from_secs(60));
        assert_eq!(metrics.readiness().unwrap_err(), "no progress for 60 s");
        metrics.session_begins(Lsn(1), Lsn(1));
        assert_eq!(metrics.readiness().unwrap(), "ok");
        metrics.turned_ms.set(20_000);
        assert_eq!(metrics.health().unwrap_err(), "no progress for 40 s");
        // To wait for somebody is not to hang.
        let since = metrics.began.at + Duration::from_secs(10);
        metrics.waits.begin_at(Side::Postgres, since);
        assert_eq!(metrics.health().unwrap(), "waiting for postgres for 50 s");
        assert_eq!(
            metrics.readiness().unwrap_err(),
            "waiting for postgres for 50 s"
        );
        metrics.waits.answered(Side::Postgres);
        metrics.reader_turns(Instant::now());
        metrics.session_ends();
        assert_eq!(metrics.readiness().unwrap_err(), "not streaming");
    }
}
