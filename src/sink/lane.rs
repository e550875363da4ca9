//! A lane: one partition of one topic that this program writes, or standard output.

use std::collections::VecDeque;
use std::time::Instant;

use super::{InDoubt, Sink};
use crate::base::error::Result;
use crate::base::lsn::Lsn;
use crate::record::ProducerRecord;

/// A position in the stream and where it is in a lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// The end of a commit, or of a message between two, before which everything is stored.
    pub lsn: Lsn,
    /// The lane's end once they are.
    pub offset: i64,
}

/// The end of a transaction, or of a message between two: when its record is stored, all of it is.
#[derive(Debug, Clone, Copy)]
pub struct UnitEnd {
    /// The position that it confirms.
    pub lsn: Lsn,
    /// When the transaction was committed, if it is one.
    pub committed_us: Option<i64>,
}

/// The writer of a lane, and what was written to it and is not known to be stored.
pub struct Lane {
    sink: Box<dyn Sink>,
    /// The offset of the first record.
    base: i64,
    /// How many records were written.
    records: u64,
    /// How many of them are stored.
    stored: u64,
    /// Since when there are others, or there were when the last of those were stored.
    unstored_since: Option<Instant>,
    unconfirmed: VecDeque<Unconfirmed>,
    /// The end of the last unit that was written.
    written: Lsn,
    /// The offset behind the last unit that is stored.
    confirmed_offset: i64,
}

/// A record that confirms something once it is stored.
struct Unconfirmed {
    /// The record's number.
    record: u64,
    /// The end of the unit before it, in whatever lane that is.
    before: Lsn,
    end: UnitEnd,
}

impl Lane {
    /// A lane that has what comes before `stored`: the next record is to have the offset of that.
    pub fn new(sink: Box<dyn Sink>, stored: Stored) -> Lane {
        Lane {
            sink,
            base: stored.offset,
            records: 0,
            stored: 0,
            unstored_since: None,
            unconfirmed: VecDeque::new(),
            written: stored.lsn,
            confirmed_offset: stored.offset,
        }
    }

    /// Writes a record, and returns its length.
    pub fn write(&mut self, record: &ProducerRecord<'_>) -> Result<usize> {
        let len = self.sink.write(record)?;
        self.records += 1;
        self.unstored_since.get_or_insert_with(Instant::now);
        Ok(len)
    }

    /// Ends a unit with the record that was written last. The unit before it in the stream ends at
    /// `before`.
    pub fn end_unit(&mut self, before: Lsn, end: UnitEnd) {
        self.written = before.max(end.lsn);
        self.unconfirmed.push_back(Unconfirmed {
            record: self.records,
            before,
            end,
        });
    }

    /// Takes down how many records are stored by now, and returns how many that are more than before.
    pub fn acknowledge(&mut self) -> u64 {
        let stored = self.sink.stored();
        let more = stored - self.stored;
        if more > 0 {
            self.stored = stored;
            self.unstored_since = (self.records > stored).then(Instant::now);
        }
        more
    }

    /// Takes the next unit whose records are all stored.
    pub fn take_stored(&mut self) -> Option<UnitEnd> {
        let next = self.unconfirmed.front()?;
        if next.record > self.stored {
            return None;
        }
        self.confirmed_offset = self.base + next.record as i64;
        self.unconfirmed.pop_front().map(|next| next.end)
    }

    /// The end of the last unit that was written.
    pub fn written(&self) -> Lsn {
        self.written
    }

    /// Up to where the lane has everything that belongs to it, when `written` is where the last unit
    /// ends that was written to any lane. A lane that has stored all of its records holds nothing back.
    pub fn confirmed(&self, written: Lsn) -> Stored {
        let first = self.unconfirmed.front();
        Stored {
            lsn: first.map_or(written, |first| first.before),
            offset: self.confirmed_offset,
        }
    }

    /// Since when records wait that are not stored.
    pub fn unstored_since(&self) -> Option<Instant> {
        self.unstored_since
    }

    /// Lets what is on its way already not wait for a record: none comes for a while.
    pub fn pause(&mut self) -> Result<()> {
        self.sink.pause()
    }

    /// Stores everything that was written, and returns when it is stored.
    pub fn flush(&mut self) -> Result<()> {
        self.sink.flush()
    }

    /// Whether what was there before the first record can not go missing any more, while nothing is
    /// under way. What was written since could be acknowledged only with that.
    pub fn is_settled(&mut self) -> Result<bool> {
        Ok(self.stored > 0 || self.sink.is_settled()?)
    }

    /// What was sent and may be stored or not, after a failure.
    pub fn in_doubt(&mut self) -> Option<InDoubt> {
        self.sink.in_doubt()
    }
}
