//! Events, and the batch of them that travels from the reader to the producer.
//!
//! A batch is one arena of bytes and one small head an event: an owned event would cost an
//! allocation for each of its values. Tuples stay as the server sent them, checked once; a large
//! message stays even where it was read.

mod arena;
mod batch;
mod body;
mod event_type;
pub(crate) mod relation;

pub use batch::{Batch, NO_LANE};
pub use event_type::EventType;
pub use relation::{Catalog, Relation};

pub use crate::pg::replication::Envelope;

use crate::pg::wire::pgoutput::{Begin, Commit, Logical, OldTuple, Origin, Tuple, Type};

/// An event is large when its rows are at least this long: it is kept where the reader had it, and
/// rendered without its record being held whole. Under it, one copy more costs nothing.
pub const LARGE_BYTES: usize = 1024 * 1024;

/// One event of a batch, borrowed from it.
#[derive(Debug)]
pub struct Event<'a> {
    /// Where the event is in the WAL, and when it was sent.
    pub envelope: Envelope,
    /// The lane that the event goes to, or [`NO_LANE`]; of no meaning for rows, whose format decides.
    pub lane: u32,
    /// What happened.
    pub change: Change<'a>,
}

impl Event<'_> {
    /// Whether the event has at least [`LARGE_BYTES`].
    pub fn is_large(&self) -> bool {
        let bytes = match &self.change {
            Change::Insert { new, .. } => new.bytes().len(),
            Change::Update { old, new, .. } => {
                let old = old.map_or(0, |old| old.tuple().bytes().len());
                old + new.bytes().len()
            }
            Change::Delete { old, .. } => old.tuple().bytes().len(),
            Change::Logical(logical) => logical.content.len(),
            _ => 0,
        };
        bytes >= LARGE_BYTES
    }
}

/// What happened, rows with the table they belong to.
#[derive(Debug)]
#[allow(missing_docs)] // the fields are those of the messages in `pg::wire::pgoutput`
pub enum Change<'a> {
    Begin(Begin),
    Commit(Commit),
    Origin(Origin<'a>),
    Relation(Relation<'a>),
    Type(Type<'a>),
    Insert {
        relation: Relation<'a>,
        new: Tuple<'a>,
    },
    Update {
        relation: Relation<'a>,
        old: Option<OldTuple<'a>>,
        new: Tuple<'a>,
    },
    Delete {
        relation: Relation<'a>,
        old: OldTuple<'a>,
    },
    Truncate {
        options: i8,
        rel_ids: RelIds<'a>,
    },
    Logical(Logical<'a>),
}

impl Change<'_> {
    /// The type of the event.
    pub fn event_type(&self) -> EventType {
        match self {
            Change::Begin(_) => EventType::Begin,
            Change::Commit(_) => EventType::Commit,
            Change::Origin(_) => EventType::Origin,
            Change::Relation(_) => EventType::Relation,
            Change::Type(_) => EventType::Type,
            Change::Insert { .. } => EventType::Insert,
            Change::Update { .. } => EventType::Update,
            Change::Delete { .. } => EventType::Delete,
            Change::Truncate { .. } => EventType::Truncate,
            Change::Logical(_) => EventType::Message,
        }
    }
}

/// The tables of a truncate: four bytes each, in the order of this machine.
#[derive(Debug, Clone, Copy)]
pub struct RelIds<'a>(&'a [u8]);

impl RelIds<'_> {
    /// The OIDs of the tables.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0
            .as_chunks::<4>()
            .0
            .iter()
            .map(|id| u32::from_ne_bytes(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::lsn::Lsn;

    /// Events for the tests of other rooms.
    impl<'a> Event<'a> {
        /// An event somewhere in the WAL.
        pub fn of(change: Change<'a>) -> Event<'a> {
            let envelope = Envelope {
                wal_start: Lsn(1),
                wal_end: Lsn(2),
                timestamp: 3,
            };
            Event {
                envelope,
                lane: 0,
                change,
            }
        }

        /// A message with this content.
        pub fn message(content: &'a [u8]) -> Event<'a> {
            Event::of(Change::Logical(Logical {
                flags: 0,
                lsn: Lsn(4),
                prefix: b"p",
                content,
            }))
        }
    }
}
