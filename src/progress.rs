//! What goes back from the producer to the reader: how far the stream is stored.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::lsn::Lsn;

/// A position in the stream and where it is in the topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// The end of a commit whose records are all stored.
    pub lsn: Lsn,
    /// The topic's end once they are.
    pub offset: i64,
}

/// The last [`Stored`], which only grows.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Stored>);

impl Progress {
    /// Progress that begins at what is stored already.
    pub fn starting_at(stored: Stored) -> Self {
        Progress(Mutex::new(stored))
    }

    /// So much is stored now.
    pub fn advance(&self, to: Stored) {
        let mut stored = self.lock();
        if to.lsn > stored.lsn {
            *stored = to;
        }
    }

    /// What is stored.
    pub fn stored(&self) -> Stored {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
