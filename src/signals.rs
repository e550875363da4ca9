//! SIGTERM and SIGINT, and SIGHUP.
//!
//! While nothing is under way they end the process at once. While records are, the first asks for
//! a clean stop and a second ends the process at once. SIGHUP asks for a reload.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Error, Kind, Result};

/// What the signals have said.
#[derive(Debug, Clone)]
pub struct Signals {
    stop: Arc<AtomicBool>,
    at_once: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

/// Records are under way as long as it lives.
#[derive(Debug)]
pub struct UnderWay(Arc<AtomicBool>);

impl Signals {
    /// Begins to listen.
    pub fn listen() -> Result<Signals> {
        let signals = Signals {
            stop: Arc::new(AtomicBool::new(false)),
            at_once: Arc::new(AtomicBool::new(true)),
            reload: Arc::new(AtomicBool::new(false)),
        };
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signals
                .register(signal)
                .map_err(|e| cannot_listen(signal, e))?;
        }
        Ok(signals)
    }

    /// From now on SIGTERM and SIGINT end the process at once, with 0: nothing that it does has to be
    /// finished.
    pub fn end_at_once() -> Result<()> {
        for signal in [SIGTERM, SIGINT] {
            let always = Arc::new(AtomicBool::new(true));
            flag::register_conditional_shutdown(signal, 0, always)
                .map_err(|e| cannot_listen(signal, e))?;
        }
        Ok(())
    }

    /// The actions run in this order at each signal: the second one must not see what the third
    /// has just set.
    fn register(&self, signal: i32) -> std::io::Result<()> {
        if signal == SIGHUP {
            return flag::register(signal, Arc::clone(&self.reload)).map(drop);
        }
        flag::register_conditional_shutdown(signal, 0, Arc::clone(&self.at_once))?;
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&self.stop))?;
        flag::register(signal, Arc::clone(&self.stop))?;
        Ok(())
    }

    /// Whether a clean stop is asked for.
    pub fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether a reload is asked for.
    pub fn reload_requested(&self) -> bool {
        self.reload.load(Ordering::Relaxed)
    }

    /// The reload begins: a signal from now on asks for another.
    pub fn begin_reload(&self) {
        self.reload.store(false, Ordering::Relaxed);
    }

    /// From now on a signal asks for a clean stop instead of ending the process.
    pub fn under_way(&self) -> UnderWay {
        self.at_once.store(false, Ordering::SeqCst);
        UnderWay(Arc::clone(&self.at_once))
    }
}

fn cannot_listen(signal: i32, error: std::io::Error) -> Error {
    Error::new(Kind::Bug, format!("cannot listen to signal {signal}")).with_source(error)
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
