//! A lane in the row format: changes in the order of their transactions and their numbers.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;

use super::journal::Kind;
use super::piece::{MARKER, Piece, Reader, Row, change, number};

/// A lane up to where it was read.
#[derive(Default)]
pub struct RowReader {
    tables: HashMap<String, Rc<str>>,
    last: Option<Last>,
}

/// The last record.
#[derive(Clone, Copy)]
struct Last {
    lsn: u64,
    seq: u64,
    ends: bool,
}

impl Reader for RowReader {
    fn take(&mut self, record: &Value, pieces: &mut Vec<Piece>) -> Result<Option<u64>, String> {
        let (lsn, seq) = (number(record, "lsn")?, number(record, "seq")?);
        let ends = match &record["last"] {
            Value::Null => false,
            Value::Bool(true) => true,
            other => return Err(format!("\"last\" is {other}")),
        };
        self.follow(lsn, seq)?;
        self.last = Some(Last { lsn, seq, ends });
        let mut piece = self.piece(record)?;
        (piece.lsn, piece.seq) = (lsn, Some(seq));
        pieces.push(piece);
        Ok(ends.then_some(lsn))
    }

    fn open(&self) -> Option<u64> {
        self.last.filter(|last| !last.ends).map(|last| last.lsn)
    }
}

impl RowReader {
    /// Positions increase, and the last record of a transaction says that it is the last.
    fn follow(&self, lsn: u64, seq: u64) -> Result<(), String> {
        let Some(last) = self.last else {
            return Ok(());
        };
        let was = format!("{} of the transaction at {}", last.seq, last.lsn);
        if (lsn, seq) <= (last.lsn, last.seq) {
            return Err(format!(
                "the change {seq} of the transaction at {lsn} comes after {was}"
            ));
        }
        match (lsn == last.lsn, last.ends) {
            (true, true) => Err(format!(
                "more follows {was}, which says that it is the last"
            )),
            (false, false) => Err(format!("nothing follows {was}, which is not the last")),
            (true, false) | (false, true) => Ok(()),
        }
    }

    fn piece(&mut self, record: &Value) -> Result<Piece, String> {
        let name = record["table"].as_str().ok_or("a record without a table")?;
        let table = match self.tables.get(name) {
            Some(table) => Rc::clone(table),
            None => {
                let table: Rc<str> = name.into();
                self.tables.insert(name.to_owned(), Rc::clone(&table));
                table
            }
        };
        let id = |what: &Value| what["id"].as_i64();
        let key = id(&record["key"]);
        let kind = match record["op"].as_str() {
            Some("insert") => Kind::Insert,
            Some("update") => Kind::Update,
            Some("delete") => Kind::Delete,
            Some("truncate") => Kind::Truncate,
            other => return Err(format!("a record with the op {other:?}")),
        };
        let mut change = change(kind, &table, 0);
        if kind != Kind::Truncate {
            change.row = key.ok_or("a row without a key")?;
        }
        if kind == Kind::Update {
            change.old_row = id(&record["before"]);
        }
        let (before, after) = (id(&record["before"]), id(&record["after"]));
        let is_whole = match kind {
            Kind::Insert => before.is_none() && after == key,
            Kind::Update => after == key && before != key,
            Kind::Delete => before == key && record["after"].is_null(),
            Kind::Truncate => before.is_none() && after.is_none() && key.is_none(),
        };
        if !is_whole {
            return Err(format!("key, before and after do not fit: {kind:?}"));
        }
        let after = &record["after"];
        let row = match kind {
            Kind::Delete | Kind::Truncate => None,
            _ if &*table == MARKER => Some(Row::of_marker(&after["writer"])?),
            _ => Some(Row::of_text(&change, &after["body"])?),
        };
        let is_moved = record["moved"].as_bool().unwrap_or_default();
        if is_moved && kind != Kind::Delete {
            return Err(format!("{kind:?} of a row that moved"));
        }
        Ok(Piece {
            lsn: 0,
            xid: number(record, "xid")?,
            seq: None,
            is_moved,
            change,
            row,
        })
    }
}
