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

/// Finds how a topic ends, from its last record backwards.
#[derive(Debug, Default)]
pub struct WalkBack {
    begun: bool,
    rows: u64,
}

/// The records cannot be the end of what this program wrote.
#[derive(Debug, PartialEq, Eq)]
pub struct NoBegin;

impl WalkBack {
    /// Takes the record before those taken so far; `None` until it is known how the topic ends.
    pub fn step(&mut self, record: Record) -> Result<Option<Tail>, NoBegin> {
        let is_last = !std::mem::replace(&mut self.begun, true);
        match record {
            Record::Begin { final_lsn, .. } => Ok(Some(Tail::Open {
                final_lsn,
                rows: self.rows,
            })),
            Record::Commit {
                commit_lsn,
                end_lsn,
            } if is_last => Ok(Some(Tail::Complete {
                commit_lsn,
                end_lsn,
            })),
            Record::Commit { .. } => Err(NoBegin),
            record => {
                self.rows += u64::from(record.counts());
                Ok(None)
            }
        }
    }

    /// How many rows were counted so far.
    pub fn rows(&self) -> u64 {
        self.rows
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
    /// After a topic that ends with `tail`.
    pub fn after(tail: Tail) -> Self {
        Resume {
            tail,
            ..Resume::default()
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
        match self.tail {
            Tail::Open { rows, .. } if final_lsn == last => {
                self.tail = Tail::Empty;
                self.mode = Mode::Part(rows);
                Ok(Verdict::Drop)
            }
            Tail::Open { .. } if final_lsn > last => Err(gap(format!(
                "the topic ends inside the transaction at {last}, the slot goes on at {final_lsn}"
            ))),
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
    types: HashMap<u32, HeldType>,
}

struct HeldType {
    envelope: Envelope,
    namespace: String,
    name: String,
}

impl Held {
    fn hold_type(&mut self, envelope: Envelope, described: &Type<'_>) {
        let (namespace, name) = (described.namespace.to_owned(), described.name.to_owned());
        self.types.insert(
            described.id,
            HeldType {
                envelope,
                namespace,
                name,
            },
        );
    }

    fn release(&mut self, rel_id: u32, batch: &mut Batch, catalog: &Catalog) -> Result<()> {
        let Some(envelope) = self.relations.remove(&rel_id) else {
            return Ok(());
        };
        let relation: &Arc<Relation> = catalog.relation(rel_id)?;
        for column in &relation.columns {
            if let Some(held) = self.types.remove(&column.type_id) {
                let (namespace, name) = (&*held.namespace, &*held.name);
                batch.push_type(
                    held.envelope,
                    &Type {
                        id: column.type_id,
                        namespace,
                        name,
                    },
                );
            }
        }
        batch.push_relation(envelope, Arc::clone(relation));
        Ok(())
    }
}

fn gap(message: String) -> Error {
    Error::new(Kind::Gap, message)
}
