//! How a topic ends, as its last records say.

use crate::base::lsn::Lsn;
use crate::record::readback::{Checksum, Placed, Record, Unit};

/// How a topic ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tail {
    /// The topic has no records of this program.
    #[default]
    Empty,
    /// The topic ended with records that its retention has removed since: it had everything before this
    /// position, and nothing else.
    Removed {
        /// A position between two units of the stream.
        stored: Lsn,
    },
    /// The topic ends with the commit of a transaction, or a message between two.
    Complete {
        /// The transaction or message.
        last: Unit,
        /// Where its WAL record ends.
        end_lsn: Lsn,
        /// What else is known of it.
        mark: Mark,
    },
    /// The topic ends inside a transaction.
    Open {
        /// The commit of the transaction, which is still to come.
        final_lsn: Lsn,
        /// What else is known of it.
        mark: Mark,
        /// How many of its inserts, updates, deletes and truncates are there.
        rows: u64,
        /// The last of these rows.
        last_row: Option<RowPlace>,
        /// The last of its messages that is there, or zero.
        last_message: Lsn,
    },
    /// The topic ends inside a transaction whose begin was removed by the topic's retention.
    Headless {
        /// The last of its rows that is there. A position in the WAL belongs to one transaction.
        last_row: RowPlace,
        /// How many rows of its position are there.
        same_place: u64,
        /// Whether no row of another position is there: then some of this one may have been removed too.
        is_all: bool,
        /// The last of its messages that is there, or zero.
        last_message: Lsn,
    },
}

/// What a transaction or message has besides its position: another history may have another one at the
/// same place of its WAL. What is not known is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// When the transaction was committed, in the server's microseconds.
    pub committed_us: Option<i64>,
    /// The transaction's id.
    pub xid: Option<u32>,
    /// The message's content.
    pub content: Option<Checksum>,
}

impl Mark {
    /// Whether both may be of the same transaction or message.
    pub fn fits(self, other: Mark) -> bool {
        fn fit<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.is_none() || other.is_none() || one == other
        }
        fit(self.committed_us, other.committed_us)
            && fit(self.xid, other.xid)
            && fit(self.content, other.content)
    }
}

/// The place of a row, or of a truncate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPlace {
    /// The table's OID; a truncate has none, or several.
    pub rel_id: Option<u32>,
    /// Where the change begins. The rows of one COPY page share it.
    pub wal_start: Lsn,
}

impl RowPlace {
    /// The place of a record, if it is a row or a truncate.
    fn of(placed: Placed) -> Option<RowPlace> {
        let rel_id = match placed.record {
            Record::Row { rel_id } => Some(rel_id),
            Record::Truncate => None,
            _ => return None,
        };
        Some(RowPlace {
            rel_id,
            wal_start: placed.wal_start,
        })
    }
}

impl Tail {
    /// The unit that the topic ends with, whole or in part, if that can be named.
    pub(super) fn last(self) -> Option<Unit> {
        match self {
            Tail::Empty | Tail::Removed { .. } | Tail::Headless { .. } => None,
            Tail::Complete { last, .. } => Some(last),
            Tail::Open { final_lsn, .. } => Some(Unit::transaction(final_lsn)),
        }
    }

    /// The position up to which the topic holds everything for certain.
    pub fn stored(self) -> Option<Lsn> {
        match self {
            Tail::Removed { stored } => Some(stored),
            Tail::Complete { end_lsn, .. } => Some(end_lsn),
            Tail::Empty | Tail::Open { .. } | Tail::Headless { .. } => None,
        }
    }

    /// How far the WAL must reach for the topic to be of it.
    pub fn reach(self) -> Lsn {
        match self {
            Tail::Empty => Lsn::ZERO,
            Tail::Removed { stored } => stored,
            Tail::Complete { end_lsn, .. } => end_lsn,
            Tail::Open { final_lsn, .. } => final_lsn,
            Tail::Headless { last_row, .. } => last_row.wal_start,
        }
    }
}

/// Finds how a topic ends, from parts of it: the last part first, but each from its first record
/// on, so that none has to be held.
#[derive(Debug, Default)]
pub struct WalkBack {
    /// What the parts that are done have.
    done: Rows,
    /// Whether a part is done.
    begun: bool,
    part: Part,
}

/// What is known of a part so far: the last of its brackets, and what came after that.
#[derive(Debug, Default)]
struct Part {
    bracket: Option<Bracket>,
    after: u64,
    rows: Rows,
}

#[derive(Debug, Clone, Copy)]
enum Bracket {
    Begin {
        final_lsn: Lsn,
        mark: Mark,
    },
    End {
        last: Unit,
        end_lsn: Lsn,
        mark: Mark,
    },
    Foreign,
}

/// Rows and messages of one transaction, one after the other.
#[derive(Debug, Clone, Copy, Default)]
struct Rows {
    count: u64,
    last: Option<RowPlace>,
    /// How many at the end have the position of the last.
    same_place: u64,
    last_message: Lsn,
}

impl Rows {
    fn push(&mut self, place: RowPlace) {
        let is_same = |last: RowPlace| last.wal_start == place.wal_start;
        self.same_place = match self.last.is_some_and(is_same) {
            true => self.same_place + 1,
            false => 1,
        };
        self.last = Some(place);
        self.count += 1;
    }

    /// Puts `before` in front.
    fn prepend(&mut self, before: Rows) {
        let at = |rows: &Rows| rows.last.map(|last| last.wal_start);
        if self.same_place == self.count && (self.last.is_none() || at(self) == at(&before)) {
            self.same_place += before.same_place;
        }
        self.last = self.last.or(before.last);
        self.count += before.count;
        self.last_message = self.last_message.max(before.last_message);
    }
}

/// Why records cannot be the end of what this program wrote.
#[derive(Debug, PartialEq, Eq)]
pub enum NoTail {
    /// There is one that this program did not write.
    Foreign {
        /// How many records of its part come after that.
        after: u64,
    },
    /// There is a commit, or a message between transactions, and no begin before what comes after it.
    NoBegin {
        /// How many records of its part come after that.
        after: u64,
    },
}

impl WalkBack {
    /// Takes the next record of this part; `None` for one that this program did not write.
    pub fn take(&mut self, placed: Option<Placed>) {
        let bracket = match placed.map(|placed| placed.record) {
            Some(Record::Begin {
                final_lsn,
                timestamp,
                xid,
            }) => Bracket::Begin {
                final_lsn,
                mark: Mark {
                    committed_us: Some(timestamp),
                    xid: Some(xid),
                    content: None,
                },
            },
            Some(Record::Commit {
                commit_lsn,
                end_lsn,
                timestamp,
            }) => Bracket::End {
                last: Unit::transaction(commit_lsn),
                end_lsn,
                mark: Mark {
                    committed_us: Some(timestamp),
                    ..Mark::default()
                },
            },
            Some(Record::Message {
                lsn,
                transactional: false,
                content,
            }) => Bracket::End {
                last: Unit::message(lsn),
                end_lsn: lsn,
                mark: Mark {
                    content: Some(content),
                    ..Mark::default()
                },
            },
            // What is written in two forms cannot be told to be whole.
            None | Some(Record::OfRows(_)) => Bracket::Foreign,
            Some(record) => {
                self.part.after += 1;
                if let Some(place) = placed.and_then(RowPlace::of) {
                    self.part.rows.push(place);
                }
                if let Record::Message { lsn, .. } = record {
                    self.part.rows.last_message = lsn;
                }
                return;
            }
        };
        self.part = Part {
            bracket: Some(bracket),
            ..Part::default()
        };
    }

    /// Ends the part: how the topic ends, if that is known; else the part before it is next.
    pub fn end_part(&mut self) -> Result<Option<Tail>, NoTail> {
        let is_last = !std::mem::replace(&mut self.begun, true);
        let Part {
            bracket,
            after,
            rows,
        } = std::mem::take(&mut self.part);
        self.done.prepend(rows);
        match bracket {
            None => Ok(None),
            Some(Bracket::Begin { final_lsn, mark }) => Ok(Some(Tail::Open {
                final_lsn,
                mark,
                rows: self.done.count,
                last_row: self.done.last,
                last_message: self.done.last_message,
            })),
            Some(Bracket::End {
                last,
                end_lsn,
                mark,
            }) if is_last && after == 0 => Ok(Some(Tail::Complete {
                last,
                end_lsn,
                mark,
            })),
            Some(Bracket::End { .. }) => Err(NoTail::NoBegin { after }),
            Some(Bracket::Foreign) => Err(NoTail::Foreign { after }),
        }
    }

    /// How a topic ends that has no part before, and no begin, if there is a row by
    /// which what comes again can be told.
    pub fn without_begin(&self) -> Option<Tail> {
        let Rows {
            count,
            last,
            same_place,
            last_message,
        } = self.done;
        last.map(|last_row| Tail::Headless {
            last_row,
            same_place,
            is_all: same_place == count,
            last_message,
        })
    }

    /// How many rows were counted so far.
    pub fn rows(&self) -> u64 {
        self.done.count + self.part.rows.count
    }
}
