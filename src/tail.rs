//! Reading how a partition ends, when nobody else writes to it.

use std::thread;
use std::time::{Duration, Instant};

use crate::continuity;
use crate::error::{Error, Result};
use crate::record::Record;
use crate::resume::{NoBegin, Tail, WalkBack};
use crate::sink::InDoubt;
use crate::sink::fluvio::reader::{Bounds, PartitionReader};

/// How often the end of a partition is looked at while it must be still.
const POLL: Duration = Duration::from_millis(20);

/// So many records are read at a time on the way back to a begin.
const STEP: i64 = 2_000;

/// A walk back that takes longer than this says so.
const REPORT: Duration = Duration::from_secs(5);

/// Reads the end of a partition, and lets its caller do something else all the time: the
/// walsender, whose stream is open, must hear from us however long this takes.
pub struct TailReader<F: FnMut() -> Result<()>> {
    /// The partition.
    pub reader: PartitionReader,
    /// What else has to be done.
    pub meanwhile: F,
}

impl<F: FnMut() -> Result<()>> TailReader<F> {
    /// Waits until the end of the partition has been still for `settle`; returns what it holds.
    ///
    /// Bytes that a former connection left in the server's socket may still be stored by a server
    /// that was frozen. A partition that is never still has another writer.
    pub fn settled(&mut self, settle: Duration) -> Result<Bounds> {
        let begun = Instant::now();
        let mut bounds = self.reader.bounds()?;
        let mut since = Instant::now();
        while since.elapsed() < settle {
            thread::sleep(POLL.min(settle));
            (self.meanwhile)()?;
            let now = self.reader.bounds()?;
            if now != bounds {
                (bounds, since) = (now, Instant::now());
            }
            if begun.elapsed() > settle * 10 {
                return Err(
                    self.gap("the topic does not come to rest: something else writes to it")
                );
            }
        }
        Ok(bounds)
    }

    /// Compares what was in doubt with what is there now; returns how many of its records are not.
    pub fn compare(&mut self, bounds: Bounds, in_doubt: &InDoubt) -> Result<u64> {
        let mut found = Vec::new();
        let mut offset = in_doubt.offset.max(bounds.start);
        while offset < bounds.end && found.len() as u64 <= in_doubt.records.count() {
            let records = self.reader.fetch(offset)?;
            (self.meanwhile)()?;
            offset += records.len() as i64;
            found.extend(records.into_iter().map(|record| record.value));
        }
        if !in_doubt
            .records
            .start_with(found.iter().map(|value| &value[..]))?
        {
            let at = in_doubt.offset;
            return Err(self.gap(&format!(
                "the records from offset {at} on are not those that were sent"
            )));
        }
        Ok(in_doubt.records.count() - found.len() as u64)
    }

    /// Reads how the partition ends: one record, if that is a commit, else back to the begin of its
    /// transaction. Records before `first` do not matter.
    pub fn read(&mut self, bounds: Bounds, first: i64) -> Result<Tail> {
        let first = first.max(bounds.start);
        if bounds.end <= first {
            return Ok(Tail::Empty);
        }
        let mut walk = WalkBack::default();
        let mut reported = Instant::now();
        let (mut high, mut step) = (bounds.end, 1);
        while high > first {
            let low = first.max(high - step);
            for (i, record) in self.between(low, high)?.into_iter().enumerate().rev() {
                match walk.step(record) {
                    Ok(None) => {}
                    Ok(Some(tail)) => return Ok(tail),
                    Err(NoBegin) => {
                        let offset = low + i as i64;
                        return Err(
                            self.gap(&format!("no begin after the commit at offset {offset}"))
                        );
                    }
                }
            }
            (high, step) = (low, STEP);
            if reported.elapsed() >= REPORT {
                log::info!(
                    "reading the open transaction back: {} rows, at offset {high}",
                    walk.rows()
                );
                reported = Instant::now();
            }
        }
        Err(self.gap(&format!(
            "the begin of the transaction at its end is not there; it starts at offset {first}"
        )))
    }

    /// What the records from `low` up to and not including `high` are. Their values are not kept.
    fn between(&mut self, low: i64, high: i64) -> Result<Vec<Record>> {
        let mut found = Vec::new();
        while low + (found.len() as i64) < high {
            for record in self.reader.fetch(low + found.len() as i64)? {
                if record.offset < high {
                    found.push(
                        Record::parse(&record.value).ok_or_else(|| self.foreign(record.offset))?,
                    );
                }
            }
            (self.meanwhile)()?;
        }
        Ok(found)
    }

    fn foreign(&self, offset: i64) -> Error {
        self.gap(&format!(
            "the record at offset {offset} was not written by this program: it cannot be told what \
             the topic holds"
        ))
    }

    fn gap(&self, message: &str) -> Error {
        self.reader.error(continuity::gap(message))
    }
}
