//! The only retry loop.
//!
//! A session that fails is thrown away whole, and the next one begins where the slot was confirmed.

use std::hash::{BuildHasher, RandomState};
use std::thread;
use std::time::{Duration, Instant};

use super::reader::Ending;
use super::session::{Goal, Output, Program};
use crate::base::error::{Error, Kind, Reason, Result};
use crate::base::signals::Signals;
use crate::config::{Config, Retry};
use crate::observe::metrics::Cause;
use crate::observe::monitor::{self, Connector};
use crate::observe::notify::Notify;
use crate::observe::waiting::Onlookers;

/// How soon a reload is noticed between two attempts.
const POLL: Duration = Duration::from_millis(100);

/// How often a session is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempts {
    /// A session that fails in a way that may pass is followed by another, for as long as it takes.
    Unlimited,
    /// The program ends at the first failure.
    Once,
    /// The program ends at the first failure, and once it has confirmed what the server had at the start.
    OnceDrained,
}

/// What the program hears and tells besides its two connections.
pub struct Surroundings<'a> {
    /// The signals: a stop, a reload.
    pub signals: Signals,
    /// The service manager, which hears how it goes.
    pub notify: Notify,
    /// Reads the configuration anew, and takes the level and the format of its log.
    pub reload: &'a dyn Fn() -> Result<Config>,
}

/// Runs sessions until a signal asks for a stop, everything is drained, or an error cannot be
/// mended by trying again.
pub fn run(
    config: &Config,
    output: Output,
    attempts: Attempts,
    surroundings: &Surroundings<'_>,
) -> Result<()> {
    let Surroundings {
        signals, notify, ..
    } = surroundings;
    let onlookers = Onlookers {
        signals: signals.clone(),
        notify: notify.clone(),
    };
    let program = Program::new(config, output, onlookers);
    let result =
        program.and_then(|mut program| sessions(&mut program, config, attempts, surroundings));
    if let Err(error) = &result {
        notify.stopping(&error.message());
    } else if signals.stop_requested() {
        notify.status("stopped");
    }
    result
}

fn sessions(
    program: &mut Program<'_>,
    config: &Config,
    attempts: Attempts,
    surroundings: &Surroundings<'_>,
) -> Result<()> {
    let goal = match attempts {
        Attempts::OnceDrained => Goal::Drained,
        Attempts::Unlimited | Attempts::Once => Goal::None,
    };
    let connector = Connector {
        name: config.name.clone(),
        slot: config.slot.clone(),
    };
    let mut monitor = monitor::prepare(
        &config.metrics,
        connector,
        program.params(),
        program.metrics(),
    )?;
    let mut backoff = Backoff::new(config.retry);
    let mut was_refused = false;
    loop {
        // A reload, or one that did not work out, changes it.
        monitor.use_params(program.params());
        let (ended, progressed) = match monitor.begin() {
            Ok(()) => program.session(goal, &surroundings.signals),
            Err(error) => (Err(error), false),
        };
        let error = match ended {
            Ok(Ending::Reload) => {
                surroundings.reload(program);
                continue;
            }
            // Its lanes are opened with all others.
            Ok(Ending::NewTable(_)) => continue,
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        // A line that is cut inside of the password makes a right one wrong, but hardly twice in a row.
        let is_refused = error.reason() == Some(Reason::PasswordRefused);
        let may_be_cut = is_refused && program.was_let_in() && !was_refused;
        was_refused = is_refused;
        if !error.is_transient() && !may_be_cut {
            return Err(error);
        }
        if surroundings.signals.stop_requested() {
            log::warn!("{error}; stopping: what is not confirmed will be sent again");
            return Ok(());
        }
        if attempts != Attempts::Unlimited {
            return Err(error);
        }
        if progressed {
            backoff = Backoff::new(config.retry);
        }
        let slot_in_use = (error.kind() == Kind::SlotInUse).then_some(Cause::SlotInUse);
        let metrics = program.metrics();
        metrics.retry(metrics.cause(slot_in_use));
        surroundings.pause(&error, backoff.next());
        if surroundings.signals.reload_requested() {
            surroundings.notify.reloading();
            surroundings.reload(program);
        }
    }
}

impl Surroundings<'_> {
    /// Waits before the next attempt; no longer than until a reload is asked for.
    fn pause(&self, error: &Error, pause: Duration) {
        let seconds = pause.as_secs_f64();
        let exit_code = error.kind().exit_code();
        log::warn!(exit_code; "{error}; trying again in {seconds:.1} s");
        let error = error.message();
        self.notify
            .status(&format!("trying again in {seconds:.1} s: {error}"));
        let begun = Instant::now();
        while !self.signals.reload_requested() {
            self.notify.alive();
            match pause.saturating_sub(begun.elapsed()) {
                Duration::ZERO => return,
                left => thread::sleep(left.min(POLL)),
            }
        }
    }

    /// A configuration that cannot be read changes nothing.
    fn reload(&self, program: &mut Program<'_>) {
        self.signals.begin_reload();
        match (self.reload)().and_then(|fresh| program.reload(&fresh)) {
            Ok(()) => log::info!("reloaded: log, URL, password and certificates"),
            Err(error) => log::error!("{error}; going on as before the reload"),
        }
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
