//! What goes back from the producer to the reader: how far the stream is stored, and whether the
//! sink is waited for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::lsn::Lsn;

/// A position in the stream and where it is in the topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// The end of a commit whose records are all stored.
    pub lsn: Lsn,
    /// The topic's end once they are.
    pub offset: i64,
}

/// The last [`Stored`], which only grows; and since when the producer is busy with what follows.
#[derive(Debug, Default)]
pub struct Progress {
    stored: Mutex<Stored>,
    busy_since: Mutex<Option<Instant>>,
}

impl Progress {
    /// Progress that begins at what is stored already.
    pub fn starting_at(stored: Stored) -> Self {
        Progress {
            stored: Mutex::new(stored),
            busy_since: Mutex::default(),
        }
    }

    /// So much is stored now.
    pub fn advance(&self, to: Stored) {
        let mut stored = lock(&self.stored);
        if to.lsn > stored.lsn {
            *stored = to;
        }
    }

    /// What is stored.
    pub fn stored(&self) -> Stored {
        *lock(&self.stored)
    }

    /// The producer begins something that may have to wait for the sink, or the sink has moved.
    pub fn busy(&self) {
        *lock(&self.busy_since) = Some(Instant::now());
    }

    /// The producer waits for nothing but batches.
    pub fn idle(&self) {
        *lock(&self.busy_since) = None;
    }

    /// How long the producer has heard nothing of its sink, if it waits for it.
    pub fn waits(&self) -> Option<Duration> {
        lock(&self.busy_since).map(|since| since.elapsed())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
