//! Exactly once: what of the stream the topic holds already, and is dropped when it comes again.
//!
//! The server sends again what was not confirmed. Decoding the same WAL gives the same transactions
//! in the same order, each with the same sequence of begin, row changes and commit, so a message's
//! place is (final_lsn of its transaction, number within it), and the topic's last records say
//! which of them it has. An LSN alone would not do: rows share them.
//!
//! A message of `pg_logical_emit_message` has an LSN that no other message has, and is not numbered:
//! the config decides which of them are written, and may have changed since. One that is not
//! transactional stands between transactions, and resuming treats it as one of its own.
//!
//! The same place in the WAL may hold something else: a database that was restored from a copy writes
//! another history on the same positions. So what the topic ends with is compared with what comes in
//! its place: a transaction by its commit time and id, a message by its content, and a part of a
//! transaction by the table and position of its last row. Everything before it is of the same WAL.
//!
//! # How long is long enough
//!
//! Before the end of a topic counts, everything that a former session sent must have arrived or be
//! unable to. A socket that is closed is not empty: its kernel would go on sending what it was given.
//! Ours are told to forget it, when they are closed, when the process dies, and after a time in any
//! case (see `sink::fluvio::stream`). What is left is what was on its way already, and what a server
//! has received and not read. For that the partition has to be still:
//!
//! | after | for | which is enough for |
//! |---|---|---|
//! | a start, or a session that failed | 1 s | packets on their way (they live for less than a second in any queue that still works), and a server that reads what it has |
//! | the same, with a slow server | 10 times what it took to answer us | a server that was just as slow to read what was sent before |
//! | a write whose outcome is not known, in this process or, with a `state_dir`, in one before it | `fluvio.timeout`, or until all that was sent is there | a server that took it and hangs on its disk: longer than that, and no write counts as stored at all |
//! | a reload | 100 ms | nothing is under way: everything was acknowledged |
//!
//! No time is enough for a machine between us and the server that keeps what it was given and delivers
//! it later (a proxy that buffers); the next acknowledgement tells that it did.

pub(crate) mod continuity;
pub(crate) mod event_lanes;
mod gaps;
mod held;
pub(crate) mod owner;
pub(crate) mod past;
pub(crate) mod row_tail;
pub(crate) mod source;
pub(crate) mod state;
pub(crate) mod state_file;
mod tail;
pub(crate) mod topic_end;

pub use tail::{Mark, NoTail, RowPlace, Tail, WalkBack};

use std::fmt;

use bytesize::ByteSize;

use self::gaps::{another_history, gap, is_there, not_found, rewritten, undecidable};
use self::held::Held;
use crate::base::error::Result;
use crate::base::lsn::Lsn;
use crate::change::relation::Catalog;
use crate::change::{Batch, Envelope};
use crate::pg::wire::pgoutput::{Begin, Logical, Message};
use crate::record::readback::{Checksum, Unit};

/// What happens with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The message is new.
    Write,
    /// The topic has it, or it belongs to what the topic has.
    Drop,
}

/// How many messages were dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many whole transactions.
    pub transactions: u64,
    /// How many messages, those of whole transactions included.
    pub messages: u64,
}

/// What is still to come of what the topic has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outstanding {
    /// Bytes of WAL.
    Wal(u64),
    /// Rows of the transaction that the topic has a part of.
    Rows(u64),
}

impl fmt::Display for Outstanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outstanding::Wal(bytes) => write!(f, "{} of WAL", ByteSize(*bytes)),
            Outstanding::Rows(rows) => write!(f, "{rows} rows"),
        }
    }
}

/// Follows the stream and keeps what the topic has apart from what is new.
#[derive(Default)]
pub struct Resume {
    tail: Tail,
    /// What the topic ends with, until it comes again.
    awaited: Option<Unit>,
    /// Where the last transaction that came, or message between two, is in the WAL.
    arrived: Lsn,
    /// A row of this position would be one more than is in the topic, or one that was removed from it.
    undecidable_at: Option<Lsn>,
    /// The transaction that the topic ends inside of, and whose begin it has not, was committed before.
    committed_before: Lsn,
    mode: Mode,
    dropped: Dropped,
    held: Held,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    /// Between transactions, or in one that is new.
    #[default]
    New,
    /// In a transaction that the topic has.
    Whole,
    /// In the transaction that the topic has the first rows of, and messages up to one.
    Part {
        /// How many more of these rows are to come.
        rows: u64,
        /// The last of them.
        last_row: Option<RowPlace>,
        last_message: Lsn,
    },
    /// In a transaction that the topic has, if only the last rows of it.
    Search {
        /// How many rows of the position that is looked for came.
        found: u64,
    },
}

impl Resume {
    /// Begins after a topic that ends with `tail`, on a slot that was confirmed at `confirmed` and a server
    /// whose WAL reached `wal_end` later than that: what is not confirmed comes again, or topic and slot
    /// are not of the same history.
    pub fn after(tail: Tail, confirmed: Lsn, wal_end: Lsn) -> Self {
        let awaited = match tail {
            Tail::Empty | Tail::Removed { .. } | Tail::Headless { .. } => None,
            Tail::Complete { last, .. } => last.is_sent_from(confirmed).then_some(last),
            Tail::Open { final_lsn, .. } => Some(Unit::transaction(final_lsn)),
        };
        Resume {
            tail,
            awaited,
            arrived: confirmed,
            committed_before: wal_end,
            ..Resume::default()
        }
    }

    /// Whether the stream has yet to show that it is the one that the topic has. Until then nothing
    /// may be confirmed.
    pub fn is_awaiting(&self) -> bool {
        self.awaited.is_some() || matches!(self.tail, Tail::Headless { .. })
    }

    /// Whether the last of what the topic has is still to come.
    pub fn is_resuming(&self) -> bool {
        self.is_awaiting() || matches!(self.mode, Mode::Part { rows: 1.., .. })
    }

    /// What is still to come of what the topic has, while something is.
    pub fn left(&self) -> Option<Outstanding> {
        match self.mode {
            Mode::Part { rows: 0, .. } => None,
            Mode::Part { rows, .. } => Some(Outstanding::Rows(rows)),
            Mode::New if !self.is_awaiting() => None,
            Mode::New | Mode::Whole | Mode::Search { .. } => Some(Outstanding::Wal(
                self.tail.reach().bytes_since(self.arrived),
            )),
        }
    }

    /// Notes that everything before `wal_end` was sent.
    pub fn sent_up_to(&self, wal_end: Lsn) -> Result<()> {
        match (self.awaited, self.tail) {
            (Some(last), _) if wal_end > last.lsn() => Err(another_history(last)),
            (_, Tail::Headless { last_row, .. }) if wal_end >= self.committed_before => {
                Err(not_found(last_row))
            }
            _ => Ok(()),
        }
    }

    /// Decides about the next message. What is dropped but will be needed is kept.
    pub fn judge(
        &mut self,
        envelope: Envelope,
        message: &Message<'_>,
        catalog: &mut Catalog,
    ) -> Result<Verdict> {
        let verdict = self.verdict(envelope, message)?;
        if verdict == Verdict::Drop {
            self.dropped.messages += 1;
            match message {
                Message::Type(described) => {
                    catalog.describe_type(described);
                    self.held.hold_type(envelope, described);
                }
                Message::Relation(described) => {
                    self.held.relations.insert(described.rel_id, envelope);
                    catalog.describe(described)?;
                }
                _ => {}
            }
        }
        Ok(verdict)
    }

    fn verdict(&mut self, envelope: Envelope, message: &Message<'_>) -> Result<Verdict> {
        match (message, self.mode) {
            (Message::Begin(begin), _) => {
                let (unit, mark) = transaction_of(begin);
                self.arrive(unit, mark)
            }
            (Message::Logical(logical), mode) => self.logical(logical, mode),
            (Message::Commit(_), Mode::Whole) => {
                self.mode = Mode::New;
                self.dropped.transactions += 1;
                Ok(Verdict::Drop)
            }
            (_, Mode::Whole) => Ok(Verdict::Drop),
            (message, Mode::Search { found }) => self.search(envelope, message, found),
            (
                Message::Commit(commit),
                Mode::Part {
                    rows: missing @ 1..,
                    ..
                },
            ) => Err(gap(format!(
                "the transaction at {} has {missing} rows less than the topic has of it",
                commit.commit_lsn
            ))),
            (Message::Commit(_), Mode::Part { .. }) => {
                self.mode = Mode::New;
                Ok(Verdict::Write)
            }
            // Descriptions are repeated in each session. An origin comes before the rows, and is there if
            // the topic has any of them; else it may be there or not, and again is harmless.
            (
                Message::Origin(_) | Message::Type(_) | Message::Relation(_),
                Mode::Part { rows: 1.., .. },
            ) => Ok(Verdict::Drop),
            (Message::Origin(_) | Message::Type(_) | Message::Relation(_), Mode::Part { .. }) => {
                Ok(Verdict::Write)
            }
            (
                _,
                Mode::Part {
                    rows: there @ 1..,
                    last_row,
                    last_message,
                },
            ) => {
                let rows = there - 1;
                if let (0, Some(last_row)) = (rows, last_row) {
                    is_there(last_row, envelope, message)?;
                }
                self.mode = Mode::Part {
                    rows,
                    last_row,
                    last_message,
                };
                Ok(Verdict::Drop)
            }
            (_, Mode::Part { .. }) => match self.undecidable_at.take() {
                Some(position) if position == envelope.wal_start => Err(undecidable(position)),
                _ => Ok(Verdict::Write),
            },
            (_, Mode::New) => Ok(Verdict::Write),
        }
    }

    /// In a transaction that may be the one that the topic has the last rows of: its next message.
    fn search(&mut self, envelope: Envelope, message: &Message<'_>, found: u64) -> Result<Verdict> {
        let Tail::Headless {
            last_row,
            same_place,
            is_all,
            last_message,
        } = self.tail
        else {
            return Ok(Verdict::Drop);
        };
        match message {
            Message::Commit(_) if found > 0 => return Err(not_found(last_row)),
            Message::Commit(_) => {
                self.mode = Mode::New;
                self.dropped.transactions += 1;
            }
            Message::Origin(_) | Message::Type(_) | Message::Relation(_) => {}
            _ if envelope.wal_start == last_row.wal_start => {
                let found = found + 1;
                self.mode = Mode::Search { found };
                if found == same_place {
                    is_there(last_row, envelope, message)?;
                    self.tail = Tail::Empty;
                    self.undecidable_at = is_all.then_some(last_row.wal_start);
                    self.mode = Mode::Part {
                        rows: 0,
                        last_row: None,
                        last_message,
                    };
                }
            }
            _ => {}
        }
        Ok(Verdict::Drop)
    }

    /// The topic has each message of the transaction up to its last one, and none of those that
    /// were not asked for when rows after them were written: these stay out.
    fn logical(&mut self, logical: &Logical<'_>, mode: Mode) -> Result<Verdict> {
        if !logical.is_transactional() {
            let (unit, mark) = message_of(logical);
            return self.arrive(unit, mark);
        }
        Ok(match mode {
            Mode::Whole | Mode::Search { .. } | Mode::Part { rows: 1.., .. } => Verdict::Drop,
            Mode::Part { last_message, .. } if logical.lsn <= last_message => Verdict::Drop,
            Mode::Part { .. } | Mode::New => Verdict::Write,
        })
    }

    /// A transaction begins, or a message stands between two.
    fn arrive(&mut self, unit: Unit, mark: Mark) -> Result<Verdict> {
        self.arrived = unit.lsn();
        match self.awaited {
            Some(awaited) if unit == awaited => self.awaited = None,
            Some(awaited) if unit > awaited => return Err(another_history(awaited)),
            _ => {}
        }
        match self.tail {
            Tail::Complete { mark: known, .. } | Tail::Open { mark: known, .. }
                if Some(unit) == self.tail.last() && !known.fits(mark) =>
            {
                Err(rewritten(unit))
            }
            Tail::Open {
                rows,
                last_row,
                last_message,
                ..
            } if Some(unit) == self.tail.last() => {
                self.tail = Tail::Empty;
                self.mode = Mode::Part {
                    rows,
                    last_row,
                    last_message,
                };
                Ok(Verdict::Drop)
            }
            Tail::Complete { .. } | Tail::Open { .. } if Some(unit) <= self.tail.last() => {
                Ok(self.drop_whole(unit, Mode::Whole))
            }
            Tail::Removed { stored } if !unit.is_sent_from(stored) => {
                Ok(self.drop_whole(unit, Mode::Whole))
            }
            Tail::Headless { last_row, .. } if unit.lsn() >= self.committed_before => {
                Err(not_found(last_row))
            }
            Tail::Headless { .. } => Ok(self.drop_whole(unit, Mode::Search { found: 0 })),
            _ => {
                self.mode = Mode::New;
                self.tail = Tail::Empty;
                Ok(Verdict::Write)
            }
        }
    }

    fn drop_whole(&mut self, unit: Unit, inside: Mode) -> Verdict {
        self.mode = if unit.is_transaction() {
            inside
        } else {
            Mode::New
        };
        Verdict::Drop
    }

    /// Whether everything that comes from here on is new.
    pub fn is_over(&self) -> bool {
        self.tail == Tail::Empty && self.mode == Mode::New
    }

    /// Whether this is the transaction that the topic has the first part of.
    pub fn is_in_part(&self) -> bool {
        matches!(self.mode, Mode::Part { .. })
    }

    /// What was dropped.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Before a table is truncated: writes its description if that was dropped.
    pub fn release_table(
        &mut self,
        rel_id: u32,
        batch: &mut Batch,
        catalog: &mut Catalog,
    ) -> Result<()> {
        self.held.release(rel_id, batch, catalog)
    }

    /// Before a row is written: writes the descriptions of its tables that were dropped.
    pub fn release(
        &mut self,
        message: &Message<'_>,
        batch: &mut Batch,
        catalog: &mut Catalog,
    ) -> Result<()> {
        if self.held.relations.is_empty() {
            return Ok(());
        }
        match message {
            Message::Insert { rel_id, .. }
            | Message::Update { rel_id, .. }
            | Message::Delete { rel_id, .. } => self.held.release(*rel_id, batch, catalog),
            Message::Truncate(truncate) => truncate
                .rel_ids()
                .try_for_each(|rel_id| self.held.release(rel_id, batch, catalog)),
            // It is described again right now.
            Message::Relation(described) => {
                self.held.relations.remove(&described.rel_id);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The unit that a message begins, or is, and what is known of it.
pub fn unit_of(message: &Message<'_>) -> Option<(Unit, Mark)> {
    match message {
        Message::Begin(begin) => Some(transaction_of(begin)),
        Message::Logical(logical) if !logical.is_transactional() => Some(message_of(logical)),
        _ => None,
    }
}

fn transaction_of(begin: &Begin) -> (Unit, Mark) {
    let mark = Mark {
        committed_us: Some(begin.timestamp),
        xid: Some(begin.xid),
        content: None,
    };
    (Unit::transaction(begin.final_lsn), mark)
}

fn message_of(logical: &Logical<'_>) -> (Unit, Mark) {
    let prefix = String::from_utf8_lossy(logical.prefix);
    let mark = Mark {
        content: Some(Checksum::of(&prefix, logical.content)),
        ..Mark::default()
    };
    (Unit::message(logical.lsn), mark)
}
