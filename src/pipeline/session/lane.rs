//! What is known of a lane from one session to the next, and how long it must be still before a session
//! believes what it ends with.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::time::Duration;

use crate::pipeline::resume::state_file::Sent;
use crate::pipeline::resume::topic_end::Rest;
use crate::sink::InDoubt;
use crate::sink::fluvio::LanePlace;

/// How long a topic must be still, at the least, before its end counts: a former process may have
/// sent something that its server has not taken yet.
pub(super) const SETTLE: Duration = Duration::from_millis(100);

/// How long a topic must be still when the process has just started, or a session failed: one before it
/// may have been killed or cut off a moment ago, here or on another machine, with more on its way.
const FIRST_SETTLE: Duration = Duration::from_secs(1);

/// How many times as long as a server took to answer it must be still: it may be just as slow to store
/// what it was sent before.
const SETTLE_FACTOR: u32 = 10;

/// What the sessions of this process know of their lanes: those of the last session first, in its order.
#[derive(Default)]
pub(super) struct LanePasts(Vec<(LanePlace, LanePast)>);

impl LanePasts {
    /// Puts the lanes of a session first. Those that it does not have may come again.
    pub fn align(&mut self, places: &[LanePlace]) {
        let before = std::mem::take(&mut self.0);
        let mut before: HashMap<LanePlace, LanePast> = before.into_iter().collect();
        let mut past = |place: &LanePlace| before.remove(place).unwrap_or_else(LanePast::none);
        self.0 = places
            .iter()
            .map(|place| (place.clone(), past(place)))
            .collect();
        self.0.extend(before);
    }

    /// All that is known.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut LanePast> {
        self.0.iter_mut().map(|(_, past)| past)
    }

    /// Where each lane ends that has been opened.
    pub fn ends(&self) -> impl Iterator<Item = (&LanePlace, i64)> {
        let opened = self.0.iter();
        opened.filter_map(|(place, past)| Some((place, past.end?)))
    }
}

impl Index<usize> for LanePasts {
    type Output = LanePast;

    fn index(&self, lane: usize) -> &LanePast {
        &self.0[lane].1
    }
}

impl IndexMut<usize> for LanePasts {
    fn index_mut(&mut self, lane: usize) -> &mut LanePast {
        &mut self.0[lane].1
    }
}

/// What the sessions of this process know of a lane.
pub(super) struct LanePast {
    /// Records that the last session sent and that may be stored or not.
    pub in_doubt: Option<InDoubt>,
    /// Where the lane ends, once it has been opened.
    pub end: Option<i64>,
    /// Where the lane ended when the last session did, without what was in doubt then.
    pub left_at: i64,
    /// How long the lane must be still although nothing of this process is in doubt.
    least_settle: Duration,
}

impl LanePast {
    /// Begins with a lane that this process has not opened yet.
    pub fn none() -> LanePast {
        LanePast {
            in_doubt: None,
            end: None,
            left_at: 0,
            least_settle: FIRST_SETTLE,
        }
    }

    /// Takes down that a session failed.
    pub fn failed(&mut self) {
        self.least_settle = FIRST_SETTLE;
    }

    /// Takes down that nothing more can come of what was sent before.
    pub fn settled(&mut self) {
        self.in_doubt = None;
        self.least_settle = SETTLE;
    }

    /// How long the lane, which ends at `end` and whose leader took `slowest` to answer, must be still, and
    /// where it ends if all that is in doubt is there: then nothing more can come. `noted` is what a process
    /// before this one left in doubt. The module `resume` says what each time is long enough for.
    pub fn rest(
        &self,
        end: i64,
        slowest: Duration,
        noted: Option<Sent>,
        timeout: Duration,
    ) -> Rest {
        let sent = |offset: i64, records: u64| offset.saturating_add_unsigned(records);
        let (patience, all) = match (&self.in_doubt, noted) {
            (Some(own), _) => (own.settle, Some(sent(own.offset, own.records.count()))),
            (None, Some(noted)) => (timeout, Some(sent(noted.offset, noted.records))),
            (None, None) if end > 0 => (self.least_settle, None),
            (None, None) => (SETTLE, None),
        };
        let settle = (slowest * SETTLE_FACTOR)
            .max(patience)
            .clamp(SETTLE, timeout.max(SETTLE));
        Rest { settle, all }
    }
}
