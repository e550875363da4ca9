//! The JSON of an event: one compact record, byte for byte as serde_json writes it.
//!
//! A value whose text is not in the form of its type, which no known server sends, is written as
//! `RawText`: nothing is lost, nothing is guessed, and no value can stop the stream.

mod raw;
pub(super) mod readback;
mod text;
mod value;

use std::io::Write;

use crate::change::relation::{Class, Relation};
use crate::change::{Change, Event};
use crate::pg::wire::pgoutput::{OldTuple, ReplicaIdentity, Tuple, Value};
use crate::record::text::WriteJson;

/// What a record may be: a [JSON Schema](https://json-schema.org/draft/2020-12).
pub const SCHEMA: &str = include_str!("schema.json");

/// How values of types without a JSON form of their own are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RawText {
    /// `{"RawText":[50,48]}`: the bytes.
    #[default]
    Bytes,
    /// `{"String":"20"}`, as long as they are UTF-8.
    String,
}

/// Appends the record of `event` to `out`.
pub fn render(event: &Event<'_>, raw_text: RawText, out: &mut impl Write) {
    Writer { out, raw_text }.event(event);
}

struct Writer<'o, W: Write> {
    out: &'o mut W,
    raw_text: RawText,
}

impl<W: Write> Writer<'_, W> {
    fn event(&mut self, event: &Event<'_>) {
        self.raw(b"{\"wal_start\":");
        self.integer(event.envelope.wal_start.0);
        self.raw(b",\"wal_end\":");
        self.integer(event.envelope.wal_end.0);
        self.raw(b",\"timestamp\":");
        self.integer(event.envelope.timestamp);
        self.raw(b",\"message\":{\"type\":\"");
        self.raw(event.change.event_type().as_str().as_bytes());
        self.change(&event.change);
        self.raw(b"}}");
    }

    /// What stands behind the name of its type.
    fn change(&mut self, change: &Change<'_>) {
        match change {
            Change::Begin(begin) => {
                self.raw(b"\",\"final_lsn\":");
                self.integer(begin.final_lsn.0);
                self.raw(b",\"timestamp\":");
                self.integer(begin.timestamp);
                self.raw(b",\"xid\":");
                self.integer(begin.xid);
            }
            Change::Commit(commit) => {
                self.raw(b"\",\"flags\":");
                self.integer(commit.flags);
                self.raw(b",\"commit_lsn\":");
                self.integer(commit.commit_lsn.0);
                self.raw(b",\"end_lsn\":");
                self.integer(commit.end_lsn.0);
                self.raw(b",\"timestamp\":");
                self.integer(commit.timestamp);
            }
            Change::Origin(origin) => {
                self.raw(b"\",\"commit_lsn\":");
                self.integer(origin.commit_lsn.0);
                self.raw(b",\"name\":");
                self.string(&origin.name);
            }
            Change::Relation(relation) => self.relation(relation),
            Change::Type(described) => {
                self.raw(b"\",\"id\":");
                self.integer(described.id);
                self.raw(b",\"namespace\":");
                self.string(&described.namespace);
                self.raw(b",\"name\":");
                self.string(&described.name);
            }
            Change::Insert { relation, new } => {
                self.rel_id(relation);
                self.raw(b",\"tuple\":");
                self.tuple(relation, new);
            }
            Change::Update { relation, old, new } => {
                self.rel_id(relation);
                self.old(relation, old.as_ref());
                self.raw(b",\"new_tuple\":");
                self.tuple(relation, new);
            }
            Change::Delete { relation, old } => {
                self.rel_id(relation);
                self.old(relation, Some(old));
            }
            Change::Truncate { options, rel_ids } => {
                self.raw(b"\",\"options\":");
                self.integer(*options);
                self.raw(b",\"rel_ids\":");
                self.array(rel_ids.iter(), |w, rel_id| w.integer(rel_id));
            }
            Change::Logical(logical) => {
                self.raw(b"\",\"flags\":");
                self.integer(logical.flags);
                self.raw(b",\"lsn\":");
                self.integer(logical.lsn.0);
                self.raw(b",\"prefix\":");
                // What the config names, and so text.
                self.string(&String::from_utf8_lossy(logical.prefix));
                self.raw(b",\"content\":");
                self.value(Class::Raw, logical.content);
            }
        }
    }

    fn relation(&mut self, relation: &Relation<'_>) {
        self.rel_id(relation);
        self.raw(b",\"namespace\":");
        self.string(&relation.namespace);
        self.raw(b",\"name\":");
        self.string(relation.name());
        self.raw(b",\"replica_identity\":");
        self.raw(match relation.replica_identity {
            ReplicaIdentity::Default => b"\"Default\"",
            ReplicaIdentity::Nothing => b"\"Nothing\"",
            ReplicaIdentity::Full => b"\"Full\"",
            ReplicaIdentity::Index => b"\"Index\"",
        });
        self.raw(b",\"columns\":");
        self.array(relation.columns.iter(), |w, column| {
            w.raw(b"{\"flags\":");
            w.integer(column.flags);
            w.raw(b",\"name\":");
            w.string(&column.name);
            w.raw(b",\"type_id\":");
            // The model has an i32 here: the same 32 bits.
            w.integer(column.type_id as i32);
            w.raw(b",\"type_modifier\":");
            w.integer(column.type_modifier);
            w.raw(b"}");
        });
    }

    fn rel_id(&mut self, relation: &Relation<'_>) {
        self.raw(b"\",\"rel_id\":");
        self.integer(relation.rel_id);
    }

    fn old(&mut self, relation: &Relation<'_>, old: Option<&OldTuple<'_>>) {
        self.raw(b",\"old_tuple\":");
        match old {
            Some(OldTuple::Full(tuple)) => self.tuple(relation, tuple),
            _ => self.raw(b"null"),
        }
        self.raw(b",\"key_tuple\":");
        match old {
            Some(OldTuple::Key(tuple)) => self.tuple(relation, tuple),
            _ => self.raw(b"null"),
        }
    }

    fn tuple(&mut self, relation: &Relation<'_>, tuple: &Tuple<'_>) {
        self.array(
            relation.columns.iter().zip(tuple.values()),
            |w, (column, value)| match value {
                Value::Null => w.raw(b"\"Null\""),
                Value::UnchangedToast => w.raw(b"\"UnchangedToast\""),
                Value::Text(text) => w.value(column.class, text),
            },
        );
    }

    fn array<T>(&mut self, items: impl Iterator<Item = T>, mut each: impl FnMut(&mut Self, T)) {
        self.raw(b"[");
        for (i, item) in items.enumerate() {
            if i > 0 {
                self.raw(b",");
            }
            each(self, item);
        }
        self.raw(b"]");
    }

    fn integer(&mut self, number: impl itoa::Integer) {
        self.out.integer(number);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.out.raw(bytes);
    }
}
