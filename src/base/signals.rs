//! SIGTERM and SIGINT, and SIGHUP.
//!
//! While nothing is under way they end the process at once. While records are, the first asks for
//! a clean stop and a second ends the process at once. SIGHUP asks for a reload.
//!
//! While a statement waits on the server they ask for its end, all of them: until the server has been
//! told, nothing may end the process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::unregister;

use super::error::{Error, Kind, Result};

/// What the signals have asked for so far.
#[derive(Debug, Clone)]
pub struct Signals {
    stop: Arc<AtomicBool>,
    at_once: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    /// What ends the process at a second signal.
    second: Arc<Mutex<Vec<SigId>>>,
}

/// What a signal does while nothing is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Idle {
    /// The signal ends the process with 0.
    End,
    /// The signal ends the process as if nobody listened.
    Default,
}

/// A guard: as long as it lives, records are under way and a signal asks for a clean stop.
#[derive(Debug)]
pub struct UnderWay(Arc<AtomicBool>);

/// A guard: as long as it lives, a statement waits and no signal ends the process.
#[derive(Debug)]
pub struct Deferred {
    signals: Signals,
    was_at_once: bool,
}

impl Signals {
    /// Begins to listen, for a program that a signal stops when it should stop.
    pub fn listen() -> Result<Signals> {
        Self::listen_for(&[SIGTERM, SIGINT, SIGHUP], Idle::End)
    }

    /// Begins to listen, for a command that has failed when a signal ends it.
    pub fn listen_for_a_command() -> Result<Signals> {
        Self::listen_for(&[SIGTERM, SIGINT], Idle::Default)
    }

    fn listen_for(listened: &[i32], idle: Idle) -> Result<Signals> {
        let signals = Signals {
            stop: Arc::new(AtomicBool::new(false)),
            at_once: Arc::new(AtomicBool::new(true)),
            reload: Arc::new(AtomicBool::new(false)),
            second: Arc::default(),
        };
        for signal in listened {
            signals
                .register(*signal, idle)
                .map_err(|e| cannot_listen(*signal, e))?;
        }
        signals.end_at_the_second();
        Ok(signals)
    }

    /// Makes SIGTERM and SIGINT end the process at once, with 0: nothing that it does has to be
    /// finished.
    pub fn end_at_once() -> Result<()> {
        for signal in [SIGTERM, SIGINT] {
            let always = Arc::new(AtomicBool::new(true));
            flag::register_conditional_shutdown(signal, 0, always)
                .map_err(|e| cannot_listen(signal, e))?;
        }
        Ok(())
    }

    fn register(&self, signal: i32, idle: Idle) -> std::io::Result<()> {
        if signal == SIGHUP {
            return flag::register(signal, Arc::clone(&self.reload)).map(drop);
        }
        let at_once = Arc::clone(&self.at_once);
        match idle {
            Idle::End => flag::register_conditional_shutdown(signal, 0, at_once)?,
            Idle::Default => flag::register_conditional_default(signal, at_once)?,
        };
        flag::register(signal, Arc::clone(&self.stop))?;
        Ok(())
    }

    /// Makes a signal end the process, if a stop is asked for already.
    ///
    /// The actions run in the order in which they are registered: the first of the two must not see
    /// what the second has just set.
    fn end_at_the_second(&self) {
        let is_second = Arc::new(AtomicBool::new(self.stop_requested()));
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        for signal in [SIGTERM, SIGINT] {
            let (ends, sets) = (Arc::clone(&is_second), Arc::clone(&is_second));
            let ends = flag::register_conditional_shutdown(signal, 128 + signal, ends);
            let sets = flag::register(signal, sets);
            // Where it cannot be had, a stop is a clean one.
            second.extend([ends, sets].into_iter().flatten());
        }
    }

    /// Whether a clean stop is asked for.
    pub fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether a reload is asked for.
    pub fn reload_requested(&self) -> bool {
        self.reload.load(Ordering::Relaxed)
    }

    /// Takes note that the reload begins: a signal from now on asks for another.
    pub fn begin_reload(&self) {
        self.reload.store(false, Ordering::Relaxed);
    }

    /// Makes a signal ask for a clean stop instead of ending the process.
    pub fn under_way(&self) -> UnderWay {
        self.at_once.store(false, Ordering::SeqCst);
        UnderWay(Arc::clone(&self.at_once))
    }

    /// Makes any signal ask for a stop, and none end the process.
    pub fn deferred(&self) -> Deferred {
        let was_at_once = self.at_once.swap(false, Ordering::SeqCst);
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        second.drain(..).for_each(|id| {
            unregister(id);
        });
        Deferred {
            signals: self.clone(),
            was_at_once,
        }
    }
}

fn cannot_listen(signal: i32, error: std::io::Error) -> Error {
    Error::new(Kind::Bug, format!("cannot listen to signal {signal}")).with_source(error)
}

impl Drop for Deferred {
    fn drop(&mut self) {
        self.signals.end_at_the_second();
        self.signals
            .at_once
            .store(self.was_at_once, Ordering::SeqCst);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
