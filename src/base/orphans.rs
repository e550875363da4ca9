//! What others leave behind, where this program is process 1, as in a container.
//!
//! Whoever ends before its children leaves them to process 1: what `password_command` starts in the
//! background, or what is run in the container by `docker exec`. One of them that has ended stays in the
//! table of processes until process 1 has waited for it.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

use rustix::process::{WaitOptions, getpid, wait};

/// How often orphans that have ended are waited for.
const INTERVAL: Duration = Duration::from_secs(1);

/// A lock that is read by whoever has a child of its own, for which nobody else may wait.
static OWN_CHILDREN: RwLock<()> = RwLock::new(());

/// A child of ours may be started, and is waited for as long as this lives.
pub struct OwnChild {
    _no_wait: RwLockReadGuard<'static, ()>,
}

impl OwnChild {
    /// Announces a child, once no wait for orphans is under way, which takes no time.
    pub fn expected() -> OwnChild {
        OwnChild {
            _no_wait: OWN_CHILDREN.read().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Whether orphans are left to this process.
pub fn are_ours() -> bool {
    getpid().is_init()
}

/// Waits for whatever has ended, from time to time, as long as the process lives.
pub fn wait_for_ever() {
    loop {
        thread::sleep(INTERVAL);
        // Those of a time at which we had a child are waited for later.
        if let Ok(_nobody) = OWN_CHILDREN.try_write() {
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        }
    }
}
