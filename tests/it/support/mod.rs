//! What the tests stand on: real servers, a network with faults, a scripted server, the program, and
//! a torture of them all.
#![allow(dead_code)]

pub mod certificates;
pub mod check;
pub mod connector;
pub mod cut;
pub mod fluvio;
pub mod http;
pub mod lanes;
pub mod load;
pub mod manager;
pub mod namespace;
pub mod outcome;
pub mod pair;
pub mod pgbouncer;
pub mod pipeline;
pub mod ports;
pub mod postgres;
pub mod prometheus;
pub mod proxy;
pub mod random;
pub mod record;
pub mod role;
pub mod row_lanes;
pub mod rows;
pub mod script;
pub mod spread;
pub mod stopped;
pub mod tls_front;
pub mod torture;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The pause between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `holds` is true and panics with `what` when the deadline passes first.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    // The condition is looked at once more after the deadline, so that a long pause of
    // this thread on a busy machine is not taken for a failure.
    loop {
        let late = Instant::now() >= end;
        if holds() {
            return;
        }
        assert!(!late, "waited {deadline:?} in vain: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Locks also after a panic elsewhere, because helpers must still clean up after a failed test.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
