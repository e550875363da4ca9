//! The key of a row: in its record, and of its record in Fluvio.

use super::table::Column;
use super::value::{member, value};
use super::{RowOp, RowTable, known};
use crate::base::error::{Error, Result};
use crate::pg::wire::pgoutput::{OldTuple, Tuple, Value};
use crate::record::text::WriteJson;

impl RowOp<'_> {
    /// Appends the key that the record has in Fluvio, `["public","pets",1]`; false where it has none.
    ///
    /// It is an error if the row has one and the server did not send it.
    pub fn append_key(&self, out: &mut Vec<u8>) -> Result<bool> {
        let Some(table) = self.table().filter(|table| table.has_key()) else {
            return Ok(false);
        };
        let Some((row, old)) = self.key_rows() else {
            return Ok(false);
        };
        let begin = out.len();
        table.append_names(out);
        for (column, text) in key_values(table, &row, old.as_ref()) {
            if text == Value::UnchangedToast {
                out.truncate(begin);
                return Err(unknown(table));
            }
            out.raw(b",");
            value(column.form(), text, out);
        }
        out.raw(b"]");
        Ok(true)
    }

    /// Writes the key as the record has it: `{"id":1}`, or null.
    pub(super) fn key_object(&self, table: &RowTable, out: &mut impl WriteJson) {
        let rows = self.key_rows().filter(|_| table.has_key());
        let Some((row, old)) = rows else {
            return out.raw(b"null");
        };
        let is_unknown = |(_, value)| value == Value::UnchangedToast;
        if key_values(table, &row, old.as_ref()).any(is_unknown) {
            return out.raw(b"null");
        }
        let mut begin = b'{';
        for (column, text) in key_values(table, &row, old.as_ref()) {
            out.raw(&[std::mem::replace(&mut begin, b',')]);
            member(&column.name()[1..], column.form(), text, out);
        }
        out.raw(b"}");
    }

    /// The row that has the key, and the one that has what did not change of it.
    fn key_rows(&self) -> Option<(Tuple<'_>, Option<Tuple<'_>>)> {
        match self {
            RowOp::Insert { new, .. } => Some((*new, None)),
            RowOp::Update { old, new, .. } => Some((*new, old.as_ref().map(OldTuple::tuple))),
            RowOp::Delete { old, .. } | RowOp::Moved { old, .. } => Some((old.tuple(), None)),
            RowOp::Truncate { .. } | RowOp::Message(_) => None,
        }
    }
}

/// Appends `["public","pets"]`: what stands for a table where it is all that counts.
pub fn table_key(schema: &str, table: &str, out: &mut Vec<u8>) {
    out.raw(b"[");
    out.string(schema);
    out.raw(b",");
    out.string(table);
    out.raw(b"]");
}

/// The columns of the key, in the order of the table, with their values.
fn key_values<'t, 'v>(
    table: &'t RowTable,
    row: &Tuple<'v>,
    old: Option<&Tuple<'v>>,
) -> impl Iterator<Item = (Column<'t>, Value<'v>)> {
    let mut olds = old.map(Tuple::values);
    let columns = table.columns_to_key().zip(row.values());
    columns.filter_map(move |(column, value)| {
        let old = olds.as_mut().and_then(Iterator::next);
        let value = old.map_or(value, |old| known(value, old));
        column.is_key().then_some((column, value))
    })
}

/// A large key that did not change is sent as the old one, since the releases of February 2022.
fn unknown(table: &RowTable) -> Error {
    let mut name = Vec::new();
    table.append_name(&mut name);
    let name = String::from_utf8_lossy(&name);
    Error::undeliverable(format!(
        "the server did not send the key of a row of {name}: it is large and did not change"
    ))
    .with_hint("update the server: all releases since February 2022 send it")
}
