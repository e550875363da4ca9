//! Events in the order of the stream.

use std::sync::Arc;

use bytes::Bytes;

use super::arena::Arena;
use super::body::{Body, Contents, Described, OldRow, Row};
use super::relation::{Catalog, Names};
use super::{Envelope, Event};
use crate::base::error::{Error, Result};
use crate::pg::wire::pgoutput::{Message, OldTuple, Tuple, Type};

/// A batch is full when it holds this many bytes of tuples: large enough that handing it over
/// costs nothing next to filling it, small enough to stay in the cache of the second core.
const BATCH_BYTES: usize = 256 * 1024;

/// A batch is full when it holds this many events, so that heads stay bounded when tuples are tiny.
const BATCH_EVENTS: usize = 4096;

/// Events in the order of the stream.
#[derive(Default)]
pub struct Batch {
    heads: Vec<Head>,
    contents: Contents,
    /// The lane of what is pushed.
    lane: u32,
}

struct Head {
    envelope: Envelope,
    lane: u32,
    body: Body,
}

/// The lane of a commit that only ends its transaction: it is a record of no lane.
pub const NO_LANE: u32 = u32::MAX;

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
                name: self.contents.arena.keep(origin.name.as_bytes()),
            },
            Message::Type(described) => {
                catalog.describe_type(described);
                self.described_type(described)
            }
            Message::Relation(described) => {
                catalog.describe(described)?;
                Body::Relation(self.adopt(described.rel_id, catalog)?)
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
            Message::Truncate(truncate) => Body::Truncate {
                options: truncate.options,
                rel_ids: self
                    .contents
                    .arena
                    .collect(truncate.rel_ids().flat_map(u32::to_ne_bytes)),
            },
            Message::Logical(logical) => Body::Logical {
                flags: logical.flags,
                lsn: logical.lsn,
                prefix: self.contents.arena.keep(logical.prefix),
                content: self.contents.arena.keep(logical.content),
            },
        };
        self.add(envelope, body);
        Ok(())
    }

    fn add(&mut self, envelope: Envelope, body: Body) {
        let lane = self.lane;
        self.heads.push(Head {
            envelope,
            lane,
            body,
        });
    }

    /// Turns to a lane: what is pushed from now on is a record there.
    pub fn go_to(&mut self, lane: u32) {
        self.lane = lane;
    }

    /// Shares `message`, if it is large, which is pushed next: its rows stay there, and the batch is full.
    pub fn share(&mut self, message: Option<&Bytes>) {
        if let Some(message) = message {
            self.contents.arena.share(message);
        }
    }

    /// Adds a truncate of these tables.
    pub fn push_truncate(&mut self, envelope: Envelope, options: i8, tables: &[u32]) {
        let bytes = tables.iter().flat_map(|table| table.to_ne_bytes());
        let rel_ids = self.contents.arena.collect(bytes);
        self.add(envelope, Body::Truncate { options, rel_ids });
    }

    /// Adds the description of a table.
    pub fn push_relation(
        &mut self,
        envelope: Envelope,
        rel_id: u32,
        catalog: &mut Catalog,
    ) -> Result<()> {
        let body = Body::Relation(self.adopt(rel_id, catalog)?);
        self.add(envelope, body);
        Ok(())
    }

    /// Adds the description of a type.
    pub fn push_type(&mut self, envelope: Envelope, described: &Type<'_>) {
        let body = self.described_type(described);
        self.add(envelope, body);
    }

    /// Takes the events out, and makes room for as many: while a stream is busy, the next batch is as
    /// large.
    pub fn take(&mut self) -> Batch {
        let Contents {
            arena,
            relations,
            names,
        } = &self.contents;
        let room = Batch {
            heads: Vec::with_capacity(self.heads.len().min(BATCH_EVENTS)),
            contents: Contents {
                arena: Arena::with_capacity(arena.copied().min(BATCH_BYTES + BATCH_BYTES / 16)),
                relations: Vec::with_capacity(relations.len()),
                names: Names::with_capacity(names.bytes()),
            },
            lane: self.lane,
        };
        std::mem::replace(self, room)
    }

    /// Whether the batch should be handed over before anything is added.
    pub fn is_full(&self) -> bool {
        self.contents.arena.copied() >= BATCH_BYTES
            || self.contents.arena.has_large()
            || self.heads.len() >= BATCH_EVENTS
    }

    /// Whether the batch has no events.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The events, in order.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.heads.iter().map(|head| Event {
            envelope: head.envelope,
            lane: head.lane,
            change: self.contents.change(&head.body),
        })
    }

    fn described_type(&mut self, described: &Type<'_>) -> Body {
        Body::Type {
            id: described.id,
            namespace: self.contents.arena.keep(described.namespace.as_bytes()),
            name: self.contents.arena.keep(described.name.as_bytes()),
        }
    }

    fn adopt(&mut self, rel_id: u32, catalog: &mut Catalog) -> Result<u32> {
        let position = self.contents.relations.len() as u32;
        let relation = catalog.place(rel_id, position)?;
        self.contents.relations.push(Described {
            rel_id,
            name: self.contents.names.add(relation.name()),
            shape: Arc::clone(relation.shape),
        });
        Ok(position)
    }

    fn relation(&mut self, rel_id: u32, catalog: &mut Catalog) -> Result<u32> {
        // Rows of one table come together. The last that was adopted is the current one of its table.
        if let Some(last) = self.contents.relations.last()
            && last.rel_id == rel_id
        {
            return Ok(self.contents.relations.len() as u32 - 1);
        }
        let (relation, position) = catalog.placed(rel_id)?;
        match self.contents.relations.get(position as usize) {
            Some(there) if there.rel_id == rel_id && Arc::ptr_eq(&there.shape, relation.shape) => {
                Ok(position)
            }
            _ => self.adopt(rel_id, catalog),
        }
    }

    fn row(&mut self, relation: u32, tuple: &Tuple<'_>) -> Result<Row> {
        let relation = self.contents.described(relation);
        if usize::from(tuple.columns()) != relation.columns.len() {
            return Err(Error::undeliverable(format!(
                "a row of {relation} has {} columns, its relation {}",
                tuple.columns(),
                relation.columns.len()
            )));
        }
        Ok(Row {
            columns: tuple.columns(),
            span: self.contents.arena.keep(tuple.bytes()),
        })
    }

    fn old_row(&mut self, relation: u32, old: &OldTuple<'_>) -> Result<OldRow> {
        Ok(match old {
            OldTuple::Key(tuple) => OldRow::Key(self.row(relation, tuple)?),
            OldTuple::Full(tuple) => OldRow::Full(self.row(relation, tuple)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::lsn::Lsn;
    use crate::change::{Change, LARGE_BYTES};
    use crate::pg::wire::pgoutput::Value;

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
    fn rows_after_a_rename_that_is_not_in_the_batch_have_the_new_name() {
        let (mut batch, mut catalog) = (Batch::default(), Catalog::default());
        let column = b"d\0\x01\x01a\0\0\0\0\x17\xFF\xFF\xFF\xFF";
        let table = |id: u8, name: &[u8]| {
            [b"R\0\0\0", &[id][..], b"public\0", name, b"\0", column].concat()
        };
        push(&mut batch, &mut catalog, &table(1, b"old")).unwrap();
        push(&mut batch, &mut catalog, &table(2, b"other")).unwrap();
        match Message::decode(&table(1, b"new")).unwrap() {
            Message::Relation(renamed) => catalog.describe(&renamed).unwrap(),
            other => panic!("{other:?}"),
        }
        push(&mut batch, &mut catalog, b"I\0\0\0\x01N\0\x01n").unwrap();
        let names: Vec<_> = batch
            .events()
            .filter_map(|event| match event.change {
                Change::Relation(relation) | Change::Insert { relation, .. } => {
                    Some(relation.to_string())
                }
                _ => None,
            })
            .collect();
        assert_eq!(names, ["public.old", "public.other", "public.new"]);
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

    #[test]
    fn both_rows_of_a_large_update_stay_where_they_were_read() {
        let (mut batch, mut catalog) = (Batch::default(), Catalog::default());
        let table = b"R\0\0\0\x01\0t\0f\0\x01\x01a\0\0\0\0\x19\xFF\xFF\xFF\xFF";
        push(&mut batch, &mut catalog, table).unwrap();
        let len = LARGE_BYTES as u32;
        let (before, after) = (vec![b'b'; LARGE_BYTES], vec![b'a'; LARGE_BYTES]);
        let row = |value: &[u8]| [&b"\0\x01t"[..], &len.to_be_bytes(), value].concat();
        let parts = [
            b"U\0\0\0\x01O".to_vec(),
            row(&before),
            b"N".to_vec(),
            row(&after),
        ];
        let message = Bytes::from(parts.concat());
        batch.share(Some(&message));
        push(&mut batch, &mut catalog, &message).unwrap();
        assert_eq!(batch.contents.arena.copied(), 0);
        assert!(batch.is_full());
        let event = batch.events().nth(1).unwrap();
        assert!(event.is_large());
        let Change::Update {
            old: Some(old),
            new,
            ..
        } = event.change
        else {
            panic!("an update is one");
        };
        assert!(old.tuple().values().eq([Value::Text(&before)]));
        assert!(new.values().eq([Value::Text(&after)]));
    }
}
