//! The only retry loop.
//!
//! A session that fails is thrown away whole, and the next one begins where the slot was confirmed.

use std::hash::{BuildHasher, RandomState};
use std::thread;
use std::time::Duration;

use crate::config::{Config, Retry};
use crate::error::{Kind, Result};
use crate::metrics::Cause;
use crate::monitor;
use crate::session::{Output, Program};
use crate::signals::Signals;

/// What happens when a session fails in a way that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempts {
    /// It is tried again, for as long as it takes.
    Unlimited,
    /// The program ends.
    Once,
}

/// Runs sessions until a signal asks for a stop or an error cannot be mended by trying again.
pub fn run(config: &Config, output: Output, attempts: Attempts, signals: &Signals) -> Result<()> {
    let mut program = Program::new(config, output)?;
    monitor::start(config, program.target(), program.metrics())?;
    let mut backoff = Backoff::new(config.retry);
    loop {
        let (error, progressed) = match program.session(signals) {
            (Ok(()), _) => return Ok(()),
            (Err(error), progressed) => (error, progressed),
        };
        if !error.kind().is_transient() {
            return Err(error);
        }
        if signals.stop_requested() {
            log::warn!("{error}; stopping: what is not confirmed will be sent again");
            return Ok(());
        }
        if attempts == Attempts::Once {
            return Err(error);
        }
        if progressed {
            backoff = Backoff::new(config.retry);
        }
        let slot_in_use = (error.kind() == Kind::SlotInUse).then_some(Cause::SlotInUse);
        let metrics = program.metrics();
        metrics.retry(metrics.cause(slot_in_use));
        let pause = backoff.next();
        log::warn!("{error}; trying again in {:.1} s", pause.as_secs_f64());
        thread::sleep(pause);
    }
}

/// The pauses between attempts: doubling from the shortest to the longest, each shortened by up to
/// a quarter at random, so that many connectors do not come back at once.
struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    fn new(retry: Retry) -> Self {
        Backoff {
            next: retry.min,
            max: retry.max,
        }
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        let random = RandomState::new().hash_one(0) % 1000;
        pause.mul_f64(1.0 - random as f64 / 4000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry {
            min: Duration::from_millis(500),
            max: Duration::from_secs(3),
        };
        let mut backoff = Backoff::new(retry);
        for longest_ms in [500, 1000, 2000, 3000, 3000] {
            let pause = backoff.next().as_millis();
            assert!(
                (longest_ms * 3 / 4..=longest_ms).contains(&pause),
                "{pause} of {longest_ms}"
            );
        }
    }
}
