//! Events, and the batch of them that travels from the reader to the producer.
//!
//! A batch is one arena of bytes and one small head an event: an owned event would cost an
//! allocation for each of its values. Tuples stay as the server sent them, checked once.

mod arena;
mod batch;
mod body;

pub use batch::Batch;

pub use crate::pg::replication::Envelope;

use crate::pg::pgoutput::{Begin, Commit, Logical, OldTuple, Origin, Tuple, Type};
use crate::relation::Relation;

/// One event of a batch, borrowed from it.
#[derive(Debug)]
pub struct Event<'a> {
    /// What came with it.
    pub envelope: Envelope,
    /// What happened.
    pub change: Change<'a>,
}

/// The ten event types, rows with the table they belong to.
#[derive(Debug)]
#[allow(missing_docs)] // the fields are those of the messages in `pg::pgoutput`
pub enum Change<'a> {
    Begin(Begin),
    Commit(Commit),
    Origin(Origin<'a>),
    Relation(&'a Relation),
    Type(Type<'a>),
    Insert {
        relation: &'a Relation,
        new: Tuple<'a>,
    },
    Update {
        relation: &'a Relation,
        old: Option<OldTuple<'a>>,
        new: Tuple<'a>,
    },
    Delete {
        relation: &'a Relation,
        old: OldTuple<'a>,
    },
    Truncate {
        options: i8,
        rel_ids: RelIds<'a>,
    },
    Logical(Logical<'a>),
}

/// The tables of a truncate: four bytes each, in the order of this machine.
#[derive(Debug, Clone, Copy)]
pub struct RelIds<'a>(&'a [u8]);

impl RelIds<'_> {
    /// The OIDs.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0
            .as_chunks::<4>()
            .0
            .iter()
            .map(|id| u32::from_ne_bytes(*id))
    }
}
