//! Reading how a partition ends, when nobody else writes to it.

use super::continuity;
use super::{NoTail, Tail, WalkBack};
use crate::base::error::{Error, Result};
use crate::observe::long_work::{Left, LongWork};
use crate::record::readback::Placed;
use crate::sink::InDoubt;
use crate::sink::fluvio::reader::{Bounds, PartitionReader};

/// How many records are read at a time on the way back to a begin, at the least.
const STEP: i64 = 2_000;

/// Reads the end of a partition, and lets its caller do something else all the time: the
/// walsender, whose stream is open, must hear from us however long this takes.
pub struct TailReader<F: FnMut() -> Result<()>> {
    /// The partition.
    pub reader: PartitionReader,
    /// What else has to be done.
    pub meanwhile: F,
}

impl<F: FnMut() -> Result<()>> TailReader<F> {
    /// Compares what was in doubt with what is there now; returns how many of its records are not, or
    /// nothing when another process of this program has written there instead. Those that were removed
    /// since by the topic's retention had been stored before.
    pub fn compare(&mut self, bounds: Bounds, in_doubt: &InDoubt) -> Result<Option<u64>> {
        let sent = in_doubt.records.count();
        let removed = (bounds.start - in_doubt.offset).max(0).unsigned_abs();
        if removed >= sent {
            return Ok(Some(0));
        }
        let mut found = Vec::new();
        let mut offset = in_doubt.offset + removed as i64;
        while offset < bounds.end && (found.len() as u64) < sent - removed {
            let records = self.reader.fetch(offset)?;
            (self.meanwhile)()?;
            offset += records.len() as i64;
            found.extend(records);
        }
        // What comes after that was not sent by us.
        found.truncate((sent - removed) as usize);
        let records = found
            .iter()
            .map(|record| (record.key.as_deref(), &record.value[..]));
        if in_doubt.records.match_after(removed, records) {
            return Ok(Some(sent - removed - found.len() as u64));
        }
        if (found.iter()).all(|record| Placed::parse(&record.value).is_some()) {
            return Ok(None);
        }
        let at = in_doubt.offset;
        Err(self.gap(&format!(
            "the records from offset {at} on are not those that were sent"
        )))
    }

    /// Reads how the partition ends: one record, if that is a commit, else back to the begin of its
    /// transaction. Records before `first` do not matter.
    pub fn read(&mut self, bounds: Bounds, first: i64) -> Result<Tail> {
        let first = first.max(bounds.start);
        if bounds.end <= first {
            return Ok(Tail::Empty);
        }
        let mut walk = WalkBack::default();
        let mut work = LongWork::begin("reading the open transaction back");
        let (mut high, mut step) = (bounds.end, 1);
        while high > first {
            let low = first.max(high - step);
            self.read_part(&mut walk, low, high, |offset| {
                let (after, before) = (bounds.end - high, low - first);
                let left = Left::AtMost((high - offset + before).unsigned_abs());
                work.log_progress((after + offset - low).unsigned_abs(), &left);
            })?;
            let at = |after: u64| high - 1 - after as i64;
            match walk.end_part() {
                Ok(Some(tail)) => return Ok(tail),
                Ok(None) => {}
                Err(NoTail::Foreign { after }) => {
                    return Err(self.gap(&format!(
                        "the record at offset {} was not written by this program: it cannot be told \
                         what the topic holds",
                        at(after)
                    )));
                }
                Err(NoTail::NoBegin { after }) => {
                    let at = at(after);
                    return Err(self.gap(&format!("no begin after the commit at offset {at}")));
                }
            }
            (high, step) = (low, STEP.max(bounds.end - low));
        }
        walk.without_begin().ok_or_else(|| {
            self.gap(&format!(
                "the begin of the transaction at its end is not there, nor a row of it; it starts at \
                 offset {first}"
            ))
        })
    }

    /// Takes the records from `low` up to and not including `high`, and says after each fetch which offset
    /// is reached. None of them is kept.
    fn read_part(
        &mut self,
        walk: &mut WalkBack,
        low: i64,
        high: i64,
        mut reached: impl FnMut(i64),
    ) -> Result<()> {
        let mut offset = low;
        while offset < high {
            for record in self.reader.fetch(offset)? {
                if record.offset < high {
                    walk.take(Placed::parse(&record.value));
                    offset = record.offset + 1;
                }
            }
            (self.meanwhile)()?;
            reached(offset);
        }
        Ok(())
    }

    fn gap(&self, message: &str) -> Error {
        self.reader.error(continuity::gap(message))
    }
}
