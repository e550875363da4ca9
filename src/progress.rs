//! The one number that goes back: how far the stream is stored.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::lsn::Lsn;

/// The end of the last commit whose records are all stored. It only grows.
#[derive(Debug, Default)]
pub struct Progress(AtomicU64);

impl Progress {
    /// Progress that begins at what was confirmed before.
    pub fn starting_at(confirmed: Lsn) -> Self {
        Progress(AtomicU64::new(confirmed.0))
    }

    /// Everything up to the commit that ends at `end_lsn` is stored.
    pub fn advance(&self, end_lsn: Lsn) {
        self.0.fetch_max(end_lsn.0, Ordering::Release);
    }

    /// What may be confirmed.
    pub fn stored(&self) -> Lsn {
        Lsn(self.0.load(Ordering::Acquire))
    }
}
