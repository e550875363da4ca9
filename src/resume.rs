//! Exactly once: what of the stream the topic holds already, and is dropped when it comes again.
//!
//! The server sends again what was not confirmed. Decoding the same WAL gives the same transactions
//! in the same order, each with the same sequence of begin, row changes and commit, so a message's
//! place is (final_lsn of its transaction, number within it), and the topic's last records say
//! which of them it has. An LSN alone would not do: rows share them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::event::{Batch, Envelope};
use crate::lsn::Lsn;
use crate::pg::pgoutput::{Message, Type};
use crate::record::Record;
use crate::relation::{Catalog, Relation};

/// How a topic ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tail {
    /// It has no records of this program.
    #[default]
    Empty,
    /// With the commit of a transaction.
    Complete {
        /// The commit.
        commit_lsn: Lsn,
        /// Where it ends.
        end_lsn: Lsn,
    },
    /// Inside a transaction.
    Open {
        /// Its commit, which is still to come.
        final_lsn: Lsn,
        /// How many of its inserts, updates, deletes and truncates are there.
        rows: u64,
    },
}

impl Tail {
    /// The last transaction's commit.
    pub fn final_lsn(self) -> Option<Lsn> {
        match self {
            Tail::Empty => None,
            Tail::Complete { commit_lsn, .. } => Some(commit_lsn),
            Tail::Open { final_lsn, .. } => Some(final_lsn),
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
        self.stored().or(self.final_lsn()).unwrap_or_default()
    }
}

/// Finds how a topic ends, from parts of it: the last part first, but each from its first record
/// on, so that none has to be held.
#[derive(Debug, Default)]
pub struct WalkBack {
    /// Rows in the parts that are done.
    rows: u64,
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
}

#[derive(Debug, Clone, Copy)]
enum Bracket {
    Begin { final_lsn: Lsn },
    Commit { commit_lsn: Lsn, end_lsn: Lsn },
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
    /// A commit, and no begin before what comes after it.
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
            }) => Bracket::Commit {
                commit_lsn,
                end_lsn,
            },
            None => Bracket::Foreign,
            Some(record) => {
                self.part.after += 1;
                self.part.rows += u64::from(record.counts());
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
        } = std::mem::take(&mut self.part);
        self.rows += rows;
        match bracket {
            None => Ok(None),
            Some(Bracket::Begin { final_lsn }) => Ok(Some(Tail::Open {
                final_lsn,
                rows: self.rows,
            })),
            Some(Bracket::Commit {
                commit_lsn,
                end_lsn,
            }) if is_last && after == 0 => Ok(Some(Tail::Complete {
                commit_lsn,
                end_lsn,
            })),
            Some(Bracket::Commit { .. }) => Err(NoTail::NoBegin { after }),
            Some(Bracket::Foreign) => Err(NoTail::Foreign { after }),
        }
    }

    /// How many rows were counted so far.
    pub fn rows(&self) -> u64 {
        self.rows + self.part.rows
    }
}

/// What happens with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is new.
    Write,
    /// The topic has it, or it belongs to what the topic has.
    Drop,
}

/// How many messages were dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Whole transactions.
    pub transactions: u64,
    /// Messages, those of whole transactions included.
    pub messages: u64,
}

/// Follows the stream and tells what the topic has from what is new.
#[derive(Default)]
pub struct Resume {
    tail: Tail,
    /// The transaction that the topic ends with, until it comes again.
    awaited: Option<Lsn>,
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
    /// In the transaction that the topic has the first rows of; so many more of them.
    Part(u64),
}

impl Resume {
    /// After a topic that ends with `tail`, on a slot that was confirmed at `confirmed`: what is not
    /// confirmed comes again, or topic and slot are not of the same history.
    pub fn after(tail: Tail, confirmed: Lsn) -> Self {
        let awaited = match tail {
            Tail::Empty => None,
            Tail::Complete { commit_lsn, .. } => (confirmed <= commit_lsn).then_some(commit_lsn),
            Tail::Open { final_lsn, .. } => Some(final_lsn),
        };
        Resume {
            tail,
            awaited,
            ..Resume::default()
        }
    }

    /// Whether the stream has yet to show that it is the one that the topic has. Until then nothing
    /// may be confirmed.
    pub fn is_awaiting(&self) -> bool {
        self.awaited.is_some()
    }

    /// Whether the last of what the topic has is still to come.
    pub fn is_resuming(&self) -> bool {
        self.is_awaiting() || matches!(self.mode, Mode::Part(1..))
    }

    /// Everything before `wal_end` was sent.
    pub fn sent_up_to(&self, wal_end: Lsn) -> Result<()> {
        match self.awaited {
            Some(last) if wal_end > last => Err(another_history(last)),
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
        let verdict = self.verdict(message)?;
        if verdict == Verdict::Drop {
            self.dropped.messages += 1;
            match message {
                Message::Type(described) => {
                    catalog.describe_type(described);
                    self.held.hold_type(envelope, described);
                }
                Message::Relation(described) => {
                    self.held.relations.insert(described.rel_id, envelope);
                    catalog.describe(described);
                }
                _ => {}
            }
        }
        Ok(verdict)
    }

    fn verdict(&mut self, message: &Message<'_>) -> Result<Verdict> {
        match (message, self.mode) {
            (Message::Begin(begin), _) => self.begin(begin.final_lsn),
            (Message::Commit(_), Mode::Whole) => {
                self.mode = Mode::New;
                self.dropped.transactions += 1;
                Ok(Verdict::Drop)
            }
            (_, Mode::Whole) => Ok(Verdict::Drop),
            (Message::Commit(commit), Mode::Part(missing @ 1..)) => Err(gap(format!(
                "the transaction at {} has {missing} rows less than the topic has of it",
                commit.commit_lsn
            ))),
            (Message::Commit(_), Mode::Part(0)) => {
                self.mode = Mode::New;
                Ok(Verdict::Write)
            }
            // Descriptions are repeated in each session. An origin may be there or not: again is
            // harmless.
            (Message::Type(_) | Message::Relation(_), Mode::Part(1..)) => Ok(Verdict::Drop),
            (Message::Origin(_) | Message::Type(_) | Message::Relation(_), Mode::Part(_)) => {
                Ok(Verdict::Write)
            }
            (_, Mode::Part(there @ 1..)) => {
                self.mode = Mode::Part(there - 1);
                Ok(Verdict::Drop)
            }
            (_, Mode::Part(0) | Mode::New) => Ok(Verdict::Write),
        }
    }

    fn begin(&mut self, final_lsn: Lsn) -> Result<Verdict> {
        let last = self.tail.final_lsn().unwrap_or_default();
        match self.awaited {
            Some(awaited) if final_lsn == awaited => self.awaited = None,
            Some(awaited) if final_lsn > awaited => return Err(another_history(awaited)),
            _ => {}
        }
        match self.tail {
            Tail::Open { rows, .. } if final_lsn == last => {
                self.tail = Tail::Empty;
                self.mode = Mode::Part(rows);
                Ok(Verdict::Drop)
            }
            Tail::Complete { .. } | Tail::Open { .. } if final_lsn <= last => {
                self.mode = Mode::Whole;
                Ok(Verdict::Drop)
            }
            _ => {
                self.mode = Mode::New;
                self.tail = Tail::Empty;
                Ok(Verdict::Write)
            }
        }
    }

    /// Whether everything that comes from here on is new.
    pub fn is_over(&self) -> bool {
        self.tail == Tail::Empty && self.mode == Mode::New
    }

    /// What was dropped.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Before a row is written: writes the descriptions of its tables that were dropped.
    pub fn release(
        &mut self,
        message: &Message<'_>,
        batch: &mut Batch,
        catalog: &Catalog,
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

/// Descriptions that were dropped and not written since.
#[derive(Default)]
struct Held {
    relations: HashMap<u32, Envelope>,
    types: HashMap<u32, (Envelope, Type<'static>)>,
}

impl Held {
    fn hold_type(&mut self, envelope: Envelope, described: &Type<'_>) {
        let described = Type {
            id: described.id,
            namespace: described.namespace.clone().into_owned().into(),
            name: described.name.clone().into_owned().into(),
        };
        self.types.insert(described.id, (envelope, described));
    }

    fn release(&mut self, rel_id: u32, batch: &mut Batch, catalog: &Catalog) -> Result<()> {
        let Some(envelope) = self.relations.remove(&rel_id) else {
            return Ok(());
        };
        let relation: &Arc<Relation> = catalog.relation(rel_id)?;
        for column in &relation.columns {
            if let Some((envelope, described)) = self.types.remove(&column.type_id) {
                batch.push_type(envelope, &described);
            }
        }
        batch.push_relation(envelope, Arc::clone(relation));
        Ok(())
    }
}

fn another_history(last: Lsn) -> Error {
    gap(format!(
        "the topic ends with the transaction at {last}, which the slot has not confirmed and does not \
         send: the database was restored to an earlier point, or is another one"
    ))
}

fn gap(message: String) -> Error {
    Error::new(Kind::Gap, message)
}
