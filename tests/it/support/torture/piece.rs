//! What a record says was changed.

use std::rc::Rc;

use serde_json::Value;

use super::journal::{Change, Kind};
use super::plan::text_len;

/// The table whose rows are the transactions of the journal.
pub const MARKER: &str = "marker";

/// A change as a lane has it.
#[derive(Debug)]
pub struct Piece {
    /// Where the transaction's commit is.
    pub lsn: u64,
    pub xid: u64,
    /// The number within the transaction, if the format has one.
    pub seq: Option<u64>,
    /// Whether it only tells that the row went to another lane.
    pub is_moved: bool,
    pub change: Change,
    /// The row itself, if the change leaves one.
    pub row: Option<Row>,
}

/// A row but for its id, so short that millions of them can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// The writer.
    Marker(i64),
    /// How often `x` stands in the text, and then how often `y`.
    Text(usize, usize),
}

impl Row {
    pub fn of_marker(writer: &Value) -> Result<Row, String> {
        let writer = writer.as_i64().ok_or("a marker has a writer")?;
        Ok(Row::Marker(writer))
    }

    /// A row with the text as the writers make it.
    pub fn of_text(change: &Change, body: &Value) -> Result<Row, String> {
        let body = body.as_str().ok_or("a row without a body")?;
        let texts = body.trim_start_matches('x');
        let (xs, ys) = (body.len() - texts.len(), texts.len());
        let is_new = change.kind == Kind::Insert;
        let is_expected = xs == text_len(&change.table, change.row) && ys == 0;
        if texts.bytes().any(|byte| byte != b'y') || is_new && !is_expected {
            let (row, table) = (change.row, &change.table);
            return Err(format!("the body of row {row} of {table} is another"));
        }
        Ok(Row::Text(xs, ys))
    }
}

/// What a lane's records mean, one after the other.
pub trait Reader {
    /// Takes a record. Adds the changes that it has, and returns the transaction that it ends.
    fn take(&mut self, record: &Value, pieces: &mut Vec<Piece>) -> Result<Option<u64>, String>;

    /// The transaction that has begun and not ended.
    fn open(&self) -> Option<u64>;
}

pub fn number(message: &Value, key: &str) -> Result<u64, String> {
    message[key]
        .as_u64()
        .ok_or_else(|| format!("a record without {key}"))
}

pub fn change(kind: Kind, table: &Rc<str>, row: i64) -> Change {
    Change {
        kind,
        table: Rc::clone(table),
        row,
        old_row: None,
    }
}
