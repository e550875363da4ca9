//! What goes back from the producer to the reader: how far the stream is stored.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use crate::base::error::{Error, Result};
pub use crate::sink::lane::Stored;

/// The last [`Stored`], which only grows, and a bell for the reader, which waits for its socket.
#[derive(Debug)]
pub struct Progress {
    stored: Mutex<Stored>,
    bell: OwnedFd,
}

impl Progress {
    /// Progress that begins at what is stored already.
    pub fn starting_at(stored: Stored) -> Result<Self> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        Ok(Progress {
            stored: Mutex::new(stored),
            bell: bell.map_err(|e| Error::unreachable("cannot make an eventfd").with_source(e))?,
        })
    }

    /// Moves on to what is stored now; never back.
    pub fn advance(&self, to: Stored) {
        let mut stored = self.lock();
        if to.lsn > stored.lsn {
            *stored = to;
            // It fails only when it has rung 2^64 times and nobody came.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    /// How far the stream is stored.
    pub fn stored(&self) -> Stored {
        self.lock().clone()
    }

    /// Can be read once there has been progress since [`Progress::clear_bell`].
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Silences the bell, once whoever waited for it has come.
    pub fn clear_bell(&self) {
        // It fails when it has not rung.
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
