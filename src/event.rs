//! Events, and the batch of them that travels from the reader to the producer.
//!
//! A batch is one arena of bytes and one small head an event: an owned event would cost an
//! allocation for each of its values. Tuples stay as the server sent them, checked once.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::lsn::Lsn;
pub use crate::pg::replication::Envelope;

use crate::pg::pgoutput::{Begin, Commit, Logical, Message, OldTuple, Origin, Tuple, Type};
use crate::relation::{Catalog, Relation};

/// A batch is full when it holds this many bytes of tuples: large enough that handing it over
/// costs nothing next to filling it, small enough to stay in the cache of the second core.
const BATCH_BYTES: usize = 256 * 1024;

/// A batch is full when it holds this many events, so that heads stay bounded when tuples are tiny.
const BATCH_EVENTS: usize = 4096;

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

/// Events in the order of the stream.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    heads: Vec<Head>,
    /// The tables its rows belong to, so that a batch in flight keeps its own definitions.
    relations: Vec<Arc<Relation>>,
}

struct Head {
    envelope: Envelope,
    body: Body,
}

enum Body {
    Begin(Begin),
    Commit(Commit),
    Origin {
        commit_lsn: Lsn,
        name: Span,
    },
    Relation(u32),
    Type {
        id: u32,
        namespace: Span,
        name: Span,
    },
    Insert {
        relation: u32,
        new: Row,
    },
    Update {
        relation: u32,
        old: Option<OldRow>,
        new: Row,
    },
    Delete {
        relation: u32,
        old: OldRow,
    },
    Truncate {
        options: i8,
        rel_ids: Span,
    },
    Logical {
        flags: i8,
        lsn: Lsn,
        prefix: Span,
        content: Span,
    },
}

/// A part of the arena. 32 bits suffice: the arena ends with the message that fills it, and the
/// server's messages end at 1 GB.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

struct Row {
    columns: u16,
    span: Span,
}

enum OldRow {
    Key(Row),
    Full(Row),
}

impl Batch {
    /// Adds one message. A row is checked against the table it names.
    pub fn push(
        &mut self,
        envelope: Envelope,
        message: &Message<'_>,
        catalog: &mut Catalog,
    ) -> Result<()> {
        let body = match message {
            Message::Begin(begin) => Body::Begin(*begin),
            Message::Commit(commit) => Body::Commit(*commit),
            Message::Origin(origin) => Body::Origin {
                commit_lsn: origin.commit_lsn,
                name: self.keep(origin.name.as_bytes()),
            },
            Message::Type(described) => {
                catalog.describe_type(described);
                self.described_type(described)
            }
            Message::Relation(described) => {
                let relation = catalog.describe(described);
                Body::Relation(self.adopt(relation, catalog))
            }
            Message::Insert { rel_id, new } => {
                let relation = self.relation(*rel_id, catalog)?;
                Body::Insert {
                    relation,
                    new: self.row(relation, new)?,
                }
            }
            Message::Update { rel_id, old, new } => {
                let relation = self.relation(*rel_id, catalog)?;
                let old = old
                    .as_ref()
                    .map(|old| self.old_row(relation, old))
                    .transpose()?;
                Body::Update {
                    relation,
                    old,
                    new: self.row(relation, new)?,
                }
            }
            Message::Delete { rel_id, old } => {
                let relation = self.relation(*rel_id, catalog)?;
                Body::Delete {
                    relation,
                    old: self.old_row(relation, old)?,
                }
            }
            Message::Truncate(truncate) => {
                let start = self.bytes.len();
                self.bytes
                    .extend(truncate.rel_ids().flat_map(u32::to_ne_bytes));
                Body::Truncate {
                    options: truncate.options,
                    rel_ids: self.span_from(start),
                }
            }
            Message::Logical(logical) => Body::Logical {
                flags: logical.flags,
                lsn: logical.lsn,
                prefix: self.keep(logical.prefix),
                content: self.keep(logical.content),
            },
        };
        self.heads.push(Head { envelope, body });
        Ok(())
    }

    /// Adds the description of a table.
    pub fn push_relation(
        &mut self,
        envelope: Envelope,
        relation: Arc<Relation>,
        catalog: &mut Catalog,
    ) {
        let body = Body::Relation(self.adopt(relation, catalog));
        self.heads.push(Head { envelope, body });
    }

    /// Adds the description of a type.
    pub fn push_type(&mut self, envelope: Envelope, described: &Type<'_>) {
        let body = self.described_type(described);
        self.heads.push(Head { envelope, body });
    }

    /// Takes what is in it, and makes room for as much: while a stream is busy, the next batch is as
    /// large.
    pub fn take(&mut self) -> Batch {
        let room = Batch {
            bytes: Vec::with_capacity(self.bytes.len().min(BATCH_BYTES + BATCH_BYTES / 16)),
            heads: Vec::with_capacity(self.heads.len().min(BATCH_EVENTS)),
            relations: Vec::with_capacity(self.relations.len()),
        };
        std::mem::replace(self, room)
    }

    /// Whether it should be handed over before anything is added.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES || self.heads.len() >= BATCH_EVENTS
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The events in order.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.heads.iter().map(|head| Event {
            envelope: head.envelope,
            change: self.change(&head.body),
        })
    }

    fn described_type(&mut self, described: &Type<'_>) -> Body {
        Body::Type {
            id: described.id,
            namespace: self.keep(described.namespace.as_bytes()),
            name: self.keep(described.name.as_bytes()),
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.span_from(start)
    }

    fn span_from(&self, start: usize) -> Span {
        Span {
            start: start as u32,
            len: (self.bytes.len() - start) as u32,
        }
    }

    fn adopt(&mut self, relation: Arc<Relation>, catalog: &mut Catalog) -> u32 {
        let position = self.relations.len() as u32;
        catalog.place(relation.rel_id, position);
        self.relations.push(relation);
        position
    }

    fn relation(&mut self, rel_id: u32, catalog: &mut Catalog) -> Result<u32> {
        // Rows of one table come together. The last that was adopted is the current one of its table.
        if let Some(last) = self.relations.last()
            && last.rel_id == rel_id
        {
            return Ok(self.relations.len() as u32 - 1);
        }
        let (relation, position) = catalog.placed(rel_id)?;
        match self.relations.get(position as usize) {
            Some(there) if Arc::ptr_eq(there, relation) => Ok(position),
            _ => {
                let relation = Arc::clone(relation);
                Ok(self.adopt(relation, catalog))
            }
        }
    }

    fn row(&mut self, relation: u32, tuple: &Tuple<'_>) -> Result<Row> {
        let relation = &self.relations[relation as usize];
        if usize::from(tuple.columns()) != relation.columns.len() {
            return Err(Error::undeliverable(format!(
                "a row of {relation} has {} columns, its relation {}",
                tuple.columns(),
                relation.columns.len()
            )));
        }
        Ok(Row {
            columns: tuple.columns(),
            span: self.keep(tuple.bytes()),
        })
    }

    fn old_row(&mut self, relation: u32, old: &OldTuple<'_>) -> Result<OldRow> {
        Ok(match old {
            OldTuple::Key(tuple) => OldRow::Key(self.row(relation, tuple)?),
            OldTuple::Full(tuple) => OldRow::Full(self.row(relation, tuple)?),
        })
    }

    fn change<'a>(&'a self, body: &Body) -> Change<'a> {
        match body {
            Body::Begin(begin) => Change::Begin(*begin),
            Body::Commit(commit) => Change::Commit(*commit),
            Body::Origin { commit_lsn, name } => Change::Origin(Origin {
                commit_lsn: *commit_lsn,
                name: self.str(*name).into(),
            }),
            Body::Relation(relation) => Change::Relation(self.described(*relation)),
            Body::Type {
                id,
                namespace,
                name,
            } => Change::Type(Type {
                id: *id,
                namespace: self.str(*namespace).into(),
                name: self.str(*name).into(),
            }),
            Body::Insert { relation, new } => Change::Insert {
                relation: self.described(*relation),
                new: self.tuple(new),
            },
            Body::Update { relation, old, new } => Change::Update {
                relation: self.described(*relation),
                old: old.as_ref().map(|old| self.old_tuple(old)),
                new: self.tuple(new),
            },
            Body::Delete { relation, old } => Change::Delete {
                relation: self.described(*relation),
                old: self.old_tuple(old),
            },
            Body::Truncate { options, rel_ids } => Change::Truncate {
                options: *options,
                rel_ids: RelIds(self.slice(*rel_ids)),
            },
            Body::Logical {
                flags,
                lsn,
                prefix,
                content,
            } => Change::Logical(Logical {
                flags: *flags,
                lsn: *lsn,
                prefix: self.slice(*prefix),
                content: self.slice(*content),
            }),
        }
    }

    fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..][..span.len as usize]
    }

    /// What was kept from a `str` is one: the decoder checked it.
    fn str(&self, span: Span) -> &str {
        std::str::from_utf8(self.slice(span)).unwrap_or_default()
    }

    fn described(&self, position: u32) -> &Relation {
        &self.relations[position as usize]
    }

    fn tuple(&self, row: &Row) -> Tuple<'_> {
        Tuple::from_parts(row.columns, self.slice(row.span))
    }

    fn old_tuple(&self, old: &OldRow) -> OldTuple<'_> {
        match old {
            OldRow::Key(row) => OldTuple::Key(self.tuple(row)),
            OldRow::Full(row) => OldTuple::Full(self.tuple(row)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVELOPE: Envelope = Envelope {
        wal_start: Lsn(1),
        wal_end: Lsn(2),
        timestamp: 3,
    };

    fn push(batch: &mut Batch, catalog: &mut Catalog, bytes: &[u8]) -> Result<()> {
        batch.push(ENVELOPE, &Message::decode(bytes).unwrap(), catalog)
    }

    #[test]
    fn rows_keep_the_definition_they_were_written_under() {
        let (mut batch, mut catalog) = (Batch::default(), Catalog::default());
        push(
            &mut batch,
            &mut catalog,
            b"R\0\0\0\x01\0t\0d\0\x01\x01a\0\0\0\0\x17\xFF\xFF\xFF\xFF",
        )
        .unwrap();
        push(&mut batch, &mut catalog, b"I\0\0\0\x01N\0\x01t\0\0\0\x011").unwrap();
        push(
            &mut batch,
            &mut catalog,
            b"R\0\0\0\x01\0t\0d\0\x01\x01b\0\0\0\0\x19\xFF\xFF\xFF\xFF",
        )
        .unwrap();
        push(&mut batch, &mut catalog, b"I\0\0\0\x01N\0\x01t\0\0\0\x012").unwrap();
        let names: Vec<_> = batch
            .events()
            .filter_map(|event| match event.change {
                Change::Insert { relation, new } => {
                    Some((relation.columns[0].name.clone(), new.values().count()))
                }
                _ => None,
            })
            .collect();
        assert_eq!(names, [("a".into(), 1), ("b".into(), 1)]);
    }

    #[test]
    fn a_row_must_fit_its_relation() {
        let (mut batch, mut catalog) = (Batch::default(), Catalog::default());
        push(
            &mut batch,
            &mut catalog,
            b"R\0\0\0\x01\0t\0d\0\x01\x01a\0\0\0\0\x17\xFF\xFF\xFF\xFF",
        )
        .unwrap();
        let error = push(&mut batch, &mut catalog, b"I\0\0\0\x01N\0\x02nn").unwrap_err();
        assert_eq!(
            error.to_string(),
            "a row of pg_catalog.t has 2 columns, its relation 1"
        );
        assert!(push(&mut batch, &mut catalog, b"I\0\0\0\x09N\0\x01n").is_err());
    }
}
