//! How a topic ends, as its last records say.

use crate::lsn::Lsn;
use crate::record::{Record, Unit};

/// How a topic ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tail {
    /// It has no records of this program.
    #[default]
    Empty,
    /// With the commit of a transaction, or a message between two.
    Complete {
        /// What it is.
        last: Unit,
        /// Where its WAL record ends.
        end_lsn: Lsn,
    },
    /// Inside a transaction.
    Open {
        /// Its commit, which is still to come.
        final_lsn: Lsn,
        /// How many of its inserts, updates, deletes and truncates are there.
        rows: u64,
        /// The last of its messages that is there, or zero.
        last_message: Lsn,
    },
}

impl Tail {
    /// What it ends with, whole or in part.
    pub(super) fn last(self) -> Option<Unit> {
        match self {
            Tail::Empty => None,
            Tail::Complete { last, .. } => Some(last),
            Tail::Open { final_lsn, .. } => Some(Unit::transaction(final_lsn)),
        }
    }

    /// Up to where the topic holds everything for certain.
    pub fn stored(self) -> Option<Lsn> {
        match self {
            Tail::Complete { end_lsn, .. } => Some(end_lsn),
            Tail::Empty | Tail::Open { .. } => None,
        }
    }

    /// How far the WAL must reach for the topic to be of it.
    pub fn reach(self) -> Lsn {
        match self {
            Tail::Empty => Lsn::ZERO,
            Tail::Complete { end_lsn, .. } => end_lsn,
            Tail::Open { final_lsn, .. } => final_lsn,
        }
    }
}

/// Finds how a topic ends, from parts of it: the last part first, but each from its first record
/// on, so that none has to be held.
#[derive(Debug, Default)]
pub struct WalkBack {
    /// Rows in the parts that are done.
    rows: u64,
    /// The last message in them.
    last_message: Lsn,
    /// Whether a part is done.
    begun: bool,
    part: Part,
}

/// What is known of a part so far: the last of its brackets, and what came after that.
#[derive(Debug, Default)]
struct Part {
    bracket: Option<Bracket>,
    after: u64,
    rows: u64,
    last_message: Lsn,
}

#[derive(Debug, Clone, Copy)]
enum Bracket {
    Begin { final_lsn: Lsn },
    End { last: Unit, end_lsn: Lsn },
    Foreign,
}

/// The records cannot be the end of what this program wrote.
#[derive(Debug, PartialEq, Eq)]
pub enum NoTail {
    /// One that this program did not write.
    Foreign {
        /// How many records come after it in its part.
        after: u64,
    },
    /// A commit, or a message between transactions, and no begin before what comes after it.
    NoBegin {
        /// How many records come after it in its part.
        after: u64,
    },
}

impl WalkBack {
    /// Takes the next record of this part; `None` for one that this program did not write.
    pub fn take(&mut self, record: Option<Record>) {
        let bracket = match record {
            Some(Record::Begin { final_lsn, .. }) => Bracket::Begin { final_lsn },
            Some(Record::Commit {
                commit_lsn,
                end_lsn,
            }) => Bracket::End {
                last: Unit::transaction(commit_lsn),
                end_lsn,
            },
            Some(Record::Message {
                lsn,
                transactional: false,
            }) => Bracket::End {
                last: Unit::message(lsn),
                end_lsn: lsn,
            },
            None => Bracket::Foreign,
            Some(record) => {
                self.part.after += 1;
                self.part.rows += u64::from(record.counts());
                if let Record::Message { lsn, .. } = record {
                    self.part.last_message = lsn;
                }
                return;
            }
        };
        self.part = Part {
            bracket: Some(bracket),
            ..Part::default()
        };
    }

    /// The part is over: how the topic ends, if that is known; else the part before it is next.
    pub fn end_part(&mut self) -> Result<Option<Tail>, NoTail> {
        let is_last = !std::mem::replace(&mut self.begun, true);
        let Part {
            bracket,
            after,
            rows,
            last_message,
        } = std::mem::take(&mut self.part);
        self.rows += rows;
        self.last_message = self.last_message.max(last_message);
        match bracket {
            None => Ok(None),
            Some(Bracket::Begin { final_lsn }) => Ok(Some(Tail::Open {
                final_lsn,
                rows: self.rows,
                last_message: self.last_message,
            })),
            Some(Bracket::End { last, end_lsn }) if is_last && after == 0 => {
                Ok(Some(Tail::Complete { last, end_lsn }))
            }
            Some(Bracket::End { .. }) => Err(NoTail::NoBegin { after }),
            Some(Bracket::Foreign) => Err(NoTail::Foreign { after }),
        }
    }

    /// How many rows were counted so far.
    pub fn rows(&self) -> u64 {
        self.rows + self.part.rows
    }
}
