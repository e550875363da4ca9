//! Where each lane ends, as far as there are not too many of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sink::fluvio::LanePlace;

/// The most lanes that have samples of their own: whoever collects them keeps a series for each.
pub const MOST_LANES: usize = 100;

/// The lanes of the session, and the end of each, up to which everything is acknowledged.
#[derive(Debug, Default)]
pub struct LaneEnds(Mutex<Ends>);

#[derive(Debug, Default, Clone)]
pub(super) struct Ends {
    pub places: Arc<[LanePlace]>,
    pub offsets: Arc<[i64]>,
}

impl LaneEnds {
    /// Takes the lanes of a session, and where they end.
    pub fn open(&self, places: &[LanePlace], offsets: &Arc<[i64]>) {
        *self.lock() = Ends {
            places: places.into(),
            offsets: Arc::clone(offsets),
        };
    }

    /// Takes where they end now.
    pub fn end_at(&self, offsets: &Arc<[i64]>) {
        self.lock().offsets = Arc::clone(offsets);
    }

    /// The lanes and their ends.
    pub(super) fn get(&self) -> Ends {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
