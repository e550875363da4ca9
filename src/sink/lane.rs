//! The lanes: partitions of topics that this program writes, or standard output.
//!
//! A unit, which is a transaction or a message between two, is stored when all lanes that it touched have
//! its records. What is confirmed is the end of the last unit before which all are stored: one queue of
//! units says that, and each lane says which of its records were the last of which unit. A lane that
//! nothing of a unit was written to holds nothing back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::{InDoubt, Sink};
use crate::base::error::Result;
use crate::base::lsn::Lsn;
use crate::record::ProducerRecord;

/// A position in the stream and where it is in the lanes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// The end of a commit, or of a message between two, before which everything is stored.
    pub lsn: Lsn,
    /// The end of each lane once everything before that is.
    pub offsets: Arc<[i64]>,
}

impl Stored {
    /// A position that one lane has, which ends at `offset` then.
    pub fn in_one(lsn: Lsn, offset: i64) -> Stored {
        let offsets = Arc::from([offset]);
        Stored { lsn, offsets }
    }

    /// The offset of the only lane.
    pub fn offset(&self) -> i64 {
        self.offsets.first().copied().unwrap_or_default()
    }
}

/// The end of a transaction, or of a message between two: when its records are stored, all of it is.
#[derive(Debug, Clone, Copy)]
pub struct UnitEnd {
    /// The position that it confirms.
    pub lsn: Lsn,
    /// When the transaction was committed, if it is one.
    pub committed_us: Option<i64>,
}

/// The writer of all lanes, and what was written to them and is not known to be stored.
pub struct Lanes {
    sink: Box<dyn Sink>,
    lanes: Vec<Lane>,
    /// Units that were written, up to the first that is not stored the oldest in front.
    units: VecDeque<Unit>,
    /// The number of the unit in front, or of the next.
    first_unit: u64,
    /// Lanes that have records of the unit that is written.
    touched: Vec<usize>,
    /// Lanes that have records that are not stored, or that are not confirmed.
    waiting: Vec<usize>,
    acknowledged: u64,
    /// Since when there are records that wait for a flush.
    unstored_since: Option<Instant>,
    confirmed: Lsn,
}

/// A unit that was written.
struct Unit {
    end: UnitEnd,
    /// How many lanes have not stored what they have of it.
    missing: usize,
}

/// What was written to a lane.
struct Lane {
    /// The offset of the first record.
    base: i64,
    /// How many records were written.
    records: u64,
    /// How many records belong to units that are confirmed.
    confirmed: u64,
    /// For each unit that is not confirmed, the number of its last record here, and its own.
    ends: VecDeque<(u64, u64)>,
    /// The unit of the records that were there before, if it is not confirmed, and the offset that counts
    /// until it is.
    held: Option<(Lsn, i64)>,
    /// How many of these records are stored.
    stored_ends: usize,
    /// Whether the lane is one of those that are touched, and of those that wait.
    is_touched: bool,
    is_waiting: bool,
}

impl Lanes {
    /// Lanes that have what comes before `stored`: the next record of each is to have its offset there.
    pub fn new(sink: Box<dyn Sink>, stored: &Stored) -> Lanes {
        let lane = |&base: &i64| Lane {
            base,
            records: 0,
            confirmed: 0,
            ends: VecDeque::new(),
            stored_ends: 0,
            held: None,
            is_touched: false,
            is_waiting: false,
        };
        Lanes {
            sink,
            lanes: stored.offsets.iter().map(lane).collect(),
            units: VecDeque::new(),
            first_unit: 0,
            touched: Vec::new(),
            waiting: Vec::new(),
            acknowledged: 0,
            unstored_since: None,
            confirmed: stored.lsn,
        }
    }

    /// A lane ends, before anything is written to it, with records of a unit that is not confirmed: until
    /// something beyond `unit` is, only what is before `offset` belongs to what is confirmed.
    pub fn hold(&mut self, lane: usize, unit: Lsn, offset: i64) {
        self.lanes[lane].held = Some((unit, offset));
    }

    /// Writes a record to a lane, and returns its length.
    pub fn write(&mut self, lane: usize, record: &ProducerRecord<'_>) -> Result<usize> {
        let len = self.sink.write(lane, record)?;
        let written = &mut self.lanes[lane];
        written.records += 1;
        if !written.is_touched {
            written.is_touched = true;
            self.touched.push(lane);
        }
        if !written.is_waiting {
            written.is_waiting = true;
            self.waiting.push(lane);
        }
        if self.unstored_since.is_none() {
            self.unstored_since = Some(Instant::now());
        }
        Ok(len)
    }

    /// Ends a unit: it has what was written since the one before it.
    pub fn end_unit(&mut self, end: UnitEnd) -> Result<()> {
        let number = self.first_unit + self.units.len() as u64;
        let missing = self.touched.len();
        for lane in self.touched.drain(..) {
            self.sink.end_unit(lane)?;
            let written = &mut self.lanes[lane];
            written.is_touched = false;
            written.ends.push_back((written.records, number));
        }
        // One that left nothing is no transaction that was stored.
        let committed_us = end.committed_us.filter(|_| missing > 0);
        let end = UnitEnd {
            committed_us,
            ..end
        };
        self.units.push_back(Unit { end, missing });
        Ok(())
    }

    /// Takes down what is stored by now, and returns how many records that are more than before.
    pub fn acknowledge(&mut self) -> u64 {
        let more = self.sink.acknowledged() - self.acknowledged;
        if more == 0 {
            return 0;
        }
        self.acknowledged += more;
        let mut is_missing = false;
        for &number in &self.waiting {
            let lane = &mut self.lanes[number];
            let stored = self.sink.stored(number);
            is_missing |= lane.records > stored;
            while let Some((record, unit)) = lane.ends.get(lane.stored_ends)
                && *record <= stored
            {
                lane.stored_ends += 1;
                self.units[(unit - self.first_unit) as usize].missing -= 1;
            }
        }
        self.unstored_since = is_missing.then(Instant::now);
        more
    }

    /// Takes the next unit whose records are all stored, if all before it are.
    pub fn take_stored(&mut self) -> Option<UnitEnd> {
        if self.units.front()?.missing > 0 {
            return None;
        }
        let unit = self.units.pop_front()?;
        self.first_unit += 1;
        self.confirmed = self.confirmed.max(unit.end.lsn);
        Some(unit.end)
    }

    /// Up to where everything is stored: the end of the last unit that was taken.
    pub fn confirmed(&mut self) -> Stored {
        let (lanes, first_unit) = (&mut self.lanes, self.first_unit);
        let sink = &self.sink;
        self.waiting.retain(|&number| {
            let lane = &mut lanes[number];
            while let Some(&(record, unit)) = lane.ends.front()
                && unit < first_unit
            {
                lane.ends.pop_front();
                lane.stored_ends -= 1;
                lane.confirmed = record;
            }
            lane.is_waiting = !lane.ends.is_empty() || lane.records > sink.stored(number);
            lane.is_waiting
        });
        let confirmed = self.confirmed;
        let offsets = lanes.iter().map(|lane| match lane.held {
            Some((unit, offset)) if confirmed <= unit => offset,
            _ => lane.base + lane.confirmed as i64,
        });
        Stored {
            lsn: self.confirmed,
            offsets: offsets.collect(),
        }
    }

    /// How many lanes there are.
    pub fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Since when records wait for a flush.
    pub fn unstored_since(&self) -> Option<Instant> {
        self.unstored_since
    }

    /// Lets what is on its way already not wait for a record: none comes for a while.
    pub fn pause(&mut self) -> Result<()> {
        self.sink.pause()
    }

    /// Stores everything that was written, but for records that are open, and returns when it is stored.
    pub fn flush(&mut self) -> Result<()> {
        self.sink.flush()?;
        self.unstored_since = None;
        Ok(())
    }

    /// Whether what was there before the first record can not go missing any more, while nothing is
    /// under way.
    pub fn is_settled(&mut self) -> Result<bool> {
        self.sink.is_settled()
    }

    /// What was sent and may be stored or not, after a failure.
    pub fn in_doubt(&mut self) -> Vec<InDoubt> {
        self.sink.in_doubt()
    }
}
