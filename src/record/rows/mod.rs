//! The row format: one record is one change of one row, which says by itself what happened, to which
//! row of which table, and where in the stream that was.
//!
//! Compact JSON with its keys in one order, which reading back relies on. What is the same in all
//! records of a table is made once, in [`RowTable`], and what is the same in all records of a
//! transaction once in [`Transaction`].

mod json;
mod key;
mod place;
pub(crate) mod readback;
mod table;
mod value;

#[cfg(test)]
mod tests;

pub use self::key::table_key;
pub use self::place::{OrderKind, Place, RowOrder, Transaction};
pub use self::table::{Int8, JsonStyle, RowStyle, RowTable};

use self::table::Column;
use self::value::member;
use super::text::WriteJson;
use crate::change::LARGE_BYTES;
use crate::pg::wire::pgoutput::{Logical, OldTuple, Tuple, Value};

/// What a record may be: a [JSON Schema](https://json-schema.org/draft/2020-12).
pub const SCHEMA: &str = include_str!("schema.json");

/// What takes the place of the final `}` of a transaction's last record in a partition.
pub const LAST: &[u8] = b",\"last\":true}";

/// A record of the row format.
#[derive(Debug, Clone, Copy)]
pub struct RowRecord<'e> {
    /// What happened.
    pub op: RowOp<'e>,
    /// Where in the stream that was.
    pub place: Place<'e>,
}

/// What a record of the row format says happened.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)] // the fields are those of the messages in `pg::wire::pgoutput`
pub enum RowOp<'e> {
    /// A new row.
    Insert { table: &'e RowTable, new: Tuple<'e> },
    /// A changed row.
    Update {
        table: &'e RowTable,
        old: Option<OldTuple<'e>>,
        new: Tuple<'e>,
    },
    /// A row is gone.
    Delete {
        table: &'e RowTable,
        old: OldTuple<'e>,
    },
    /// A row is gone from the partition of its old key, since an update changed the key to one of
    /// another partition.
    Moved {
        table: &'e RowTable,
        old: OldTuple<'e>,
    },
    /// One of the tables that were emptied.
    Truncate { table: &'e RowTable, options: i8 },
    /// What somebody wrote with `pg_logical_emit_message`.
    Message(Logical<'e>),
}

impl<'e> RowOp<'e> {
    /// The table, of which a message has none.
    pub fn table(&self) -> Option<&'e RowTable> {
        match *self {
            RowOp::Insert { table, .. }
            | RowOp::Update { table, .. }
            | RowOp::Delete { table, .. }
            | RowOp::Moved { table, .. }
            | RowOp::Truncate { table, .. } => Some(table),
            RowOp::Message(_) => None,
        }
    }

    /// The record for the partition of the old key, if the old row of an update is known.
    pub fn moved(&self) -> Option<RowOp<'e>> {
        match *self {
            RowOp::Update { table, old, .. } => old.map(|old| RowOp::Moved { table, old }),
            _ => None,
        }
    }

    /// The row after the change.
    fn new_row(&self) -> Option<Tuple<'e>> {
        match self {
            RowOp::Insert { new, .. } | RowOp::Update { new, .. } => Some(*new),
            _ => None,
        }
    }

    /// The row before the change, as far as the server sent it.
    fn old_row(&self) -> Option<OldTuple<'e>> {
        match self {
            RowOp::Update { old, .. } => *old,
            RowOp::Delete { old, .. } | RowOp::Moved { old, .. } => Some(*old),
            _ => None,
        }
    }

    fn is_large(&self) -> bool {
        let old = self.old_row().map_or(0, |old| old.tuple().bytes().len());
        let new = self.new_row().map_or(0, |new| new.bytes().len());
        let content = match self {
            RowOp::Message(logical) => logical.content.len(),
            _ => 0,
        };
        old + new + content >= LARGE_BYTES
    }
}

impl RowRecord<'_> {
    /// Whether the record is made of at least [`LARGE_BYTES`].
    pub fn is_large(&self) -> bool {
        self.op.is_large()
    }

    /// Whether the record belongs to a transaction, whose last in its partition it may be. A message
    /// between transactions is all there is of its unit.
    pub fn is_open(&self) -> bool {
        matches!(self.place, Place::Within { .. })
    }

    /// Appends the record to `out`.
    pub fn render(&self, out: &mut impl WriteJson) {
        match &self.op {
            RowOp::Insert { .. } => self.change(b"{\"op\":\"insert\",", out),
            RowOp::Update { .. } => self.change(b"{\"op\":\"update\",", out),
            RowOp::Delete { .. } | RowOp::Moved { .. } => {
                self.change(b"{\"op\":\"delete\",", out);
            }
            RowOp::Truncate { table, options } => {
                out.raw(b"{\"op\":\"truncate\",");
                out.raw(table.head());
                out.raw(b"null,\"before\":null,\"after\":null");
                if options & 1 != 0 {
                    out.raw(b",\"cascade\":true");
                }
                if options & 2 != 0 {
                    out.raw(b",\"restart_identity\":true");
                }
            }
            RowOp::Message(logical) => message(logical, out),
        }
        self.place.render(out);
        if matches!(self.op, RowOp::Moved { .. }) {
            out.raw(b",\"moved\":true");
        }
        match self.is_open() {
            true => out.raw(b"}"),
            false => out.raw(LAST),
        }
    }

    /// The change of a row, up to its place.
    fn change(&self, op: &[u8], out: &mut impl WriteJson) {
        let Some(table) = self.op.table() else {
            return;
        };
        out.raw(op);
        out.raw(table.head());
        self.op.key_object(table, out);
        let (old, new) = (self.op.old_row(), self.op.new_row());
        match &old {
            None => out.raw(b",\"before\":null,\"after\":"),
            Some(old) => {
                out.raw(b",\"before\":");
                before(table, old, out);
                out.raw(b",\"after\":");
            }
        }
        let absent = match new {
            None => {
                out.raw(b"null");
                old.is_some_and(|old| has_unchanged(&old.tuple()))
            }
            Some(new) => match old {
                None => row(table, &new, out),
                Some(old) => after(table, &old.tuple(), &new, out),
            },
        };
        if absent {
            unchanged(table, old.as_ref(), new.as_ref(), out);
        }
    }
}

fn message(logical: &Logical<'_>, out: &mut impl WriteJson) {
    out.raw(b"{\"op\":\"message\",\"prefix\":");
    value::text(logical.prefix, out);
    out.raw(b",\"content\":");
    value::text(logical.content, out);
    out.raw(match logical.flags & 1 {
        0 => b",\"transactional\":false,\"at\":",
        _ => b",\"transactional\":true,\"at\":",
    });
    out.integer(logical.lsn.0);
}

fn has_unchanged(tuple: &Tuple<'_>) -> bool {
    tuple.values().any(|value| value == Value::UnchangedToast)
}

/// What is known of the old row: all of it, or the columns of the replica identity.
fn before(table: &RowTable, old: &OldTuple<'_>, out: &mut impl WriteJson) {
    match old {
        OldTuple::Full(tuple) => {
            row(table, tuple, out);
        }
        OldTuple::Key(tuple) => {
            let columns = table.columns().zip(tuple.values());
            object(columns.filter(|(column, _)| column.is_identity()), out);
        }
    }
}

/// All columns with a value, and whether there are others.
fn row(table: &RowTable, tuple: &Tuple<'_>, out: &mut impl WriteJson) -> bool {
    object(table.columns().zip(tuple.values()), out)
}

/// The row after an update, with what did not change from the row before it, and whether there are
/// columns that neither has.
fn after(table: &RowTable, old: &Tuple<'_>, new: &Tuple<'_>, out: &mut impl WriteJson) -> bool {
    let values = new.values().zip(old.values());
    let values = values.map(|(new, old)| known(new, old));
    object(table.columns().zip(values), out)
}

/// The value of a column after an update; an old key has NULL for what is not part of it.
fn known<'a>(new: Value<'a>, old: Value<'a>) -> Value<'a> {
    match (new, old) {
        (Value::UnchangedToast, Value::Text(_)) => old,
        (new, _) => new,
    }
}

/// An object of the columns that have a value, and whether there are others.
#[inline]
fn object<'t, 'v>(
    columns: impl Iterator<Item = (Column<'t>, Value<'v>)>,
    out: &mut impl WriteJson,
) -> bool {
    let (mut is_first, mut absent) = (true, false);
    for (column, text) in columns {
        if text == Value::UnchangedToast {
            absent = true;
            continue;
        }
        if std::mem::replace(&mut is_first, false) {
            out.raw(b"{");
            member(&column.name()[1..], column.form(), text, out);
        } else {
            member(column.name(), column.form(), text, out);
        }
    }
    out.raw(if is_first { b"{}" } else { b"}" });
    absent
}

/// The names of the columns that have no value in the record.
fn unchanged(
    table: &RowTable,
    old: Option<&OldTuple<'_>>,
    new: Option<&Tuple<'_>>,
    out: &mut impl WriteJson,
) {
    let old = old.map(OldTuple::tuple);
    let mut olds = old.iter().flat_map(Tuple::values);
    let mut news = new.into_iter().flat_map(Tuple::values);
    out.raw(b",\"unchanged\":[");
    let mut is_first = true;
    for column in table.columns() {
        let value = match (news.next(), olds.next()) {
            (Some(new), Some(old)) => known(new, old),
            (Some(value), None) | (None, Some(value)) => value,
            (None, None) => break,
        };
        if value == Value::UnchangedToast {
            // The name as it stands before its value, without the colon and the quote.
            let name = &column.name()[..column.name().len() - 2];
            out.raw(if is_first { &name[1..] } else { name });
            is_first = false;
        }
    }
    out.raw(b"]");
}
