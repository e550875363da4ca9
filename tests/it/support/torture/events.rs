//! A lane in the event format: whole transactions, one after the other.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;

use super::journal::Kind;
use super::piece::{MARKER, Piece, Reader, Row, change, number};

/// A lane up to where it was read.
#[derive(Default)]
pub struct EventReader {
    described: HashMap<u64, Described>,
    open: Option<Open>,
    last_commit: u64,
}

struct Described {
    name: Rc<str>,
    columns: usize,
}

/// A transaction that has begun.
#[derive(Clone, Copy)]
struct Open {
    final_lsn: u64,
    xid: u64,
}

impl Reader for EventReader {
    fn take(&mut self, record: &Value, pieces: &mut Vec<Piece>) -> Result<Option<u64>, String> {
        let message = &record["message"];
        let kind = message["type"].as_str().ok_or("a record without a type")?;
        match kind {
            "begin" => self.begin(message)?,
            "commit" => return self.commit(message).map(Some),
            _ if self.open.is_none() => return Err(format!("{kind} outside of any transaction")),
            "relation" => self.relation(message)?,
            "type" | "origin" => {}
            "truncate" => self.truncate(message, pieces)?,
            "insert" => pieces.push(self.row(Kind::Insert, message, "tuple")?),
            "update" => pieces.push(self.row(Kind::Update, message, "new_tuple")?),
            "delete" => pieces.push(self.row(Kind::Delete, message, "key_tuple")?),
            other => return Err(format!("a record of the type {other}")),
        }
        Ok(None)
    }

    fn open(&self) -> Option<u64> {
        self.open.map(|open| open.final_lsn)
    }
}

impl EventReader {
    fn begin(&mut self, message: &Value) -> Result<(), String> {
        let final_lsn = number(message, "final_lsn")?;
        if let Some(open) = &self.open {
            return Err(format!(
                "a begin inside the transaction that commits at {}",
                open.final_lsn
            ));
        }
        if final_lsn <= self.last_commit {
            return Err(format!(
                "the transaction at {final_lsn} comes after the commit at {}",
                self.last_commit
            ));
        }
        let xid = number(message, "xid")?;
        self.open = Some(Open { final_lsn, xid });
        Ok(())
    }

    fn commit(&mut self, message: &Value) -> Result<u64, String> {
        let open = self.open.take().ok_or("a commit without a begin")?;
        let (commit, end) = (number(message, "commit_lsn")?, number(message, "end_lsn")?);
        if commit != open.final_lsn || end <= commit {
            return Err(format!(
                "the commit at {commit}, which ends at {end}, of a begin for {}",
                open.final_lsn
            ));
        }
        self.last_commit = commit;
        Ok(commit)
    }

    fn relation(&mut self, message: &Value) -> Result<(), String> {
        let name = message["name"].as_str().ok_or("a relation has a name")?;
        let columns = message["columns"].as_array().ok_or("and columns")?.len();
        let name = Rc::from(name);
        let rel_id = number(message, "rel_id")?;
        self.described.insert(rel_id, Described { name, columns });
        Ok(())
    }

    fn row(&self, kind: Kind, message: &Value, tuple: &str) -> Result<Piece, String> {
        let described = self.described(message["rel_id"].as_u64())?;
        let table = &described.name;
        let row = message[tuple].as_array().ok_or("a row without a tuple")?;
        if row.len() != described.columns {
            return Err(format!(
                "a row of {} columns in {table}, which was described with {}",
                row.len(),
                described.columns
            ));
        }
        let id = row[0]["Int8"].as_i64().ok_or("a row without an id")?;
        let mut change = change(kind, table, id);
        if kind == Kind::Update {
            change.old_row = message["key_tuple"][0]["Int8"].as_i64();
        }
        let row = match kind {
            Kind::Delete | Kind::Truncate => None,
            _ if &**table == MARKER => Some(Row::of_marker(&row[1]["Int4"])?),
            _ => Some(Row::of_text(&change, &row[1]["String"])?),
        };
        Ok(self.piece(change, row))
    }

    /// A truncate of several tables is a change in each.
    fn truncate(&self, message: &Value, pieces: &mut Vec<Piece>) -> Result<(), String> {
        let rel_ids = message["rel_ids"].as_array().ok_or("a truncate of none")?;
        for rel_id in rel_ids {
            let table = &self.described(rel_id.as_u64())?.name;
            pieces.push(self.piece(change(Kind::Truncate, table, 0), None));
        }
        Ok(())
    }

    fn piece(&self, change: super::journal::Change, row: Option<Row>) -> Piece {
        let open = self.open.expect("a change is inside");
        Piece {
            lsn: open.final_lsn,
            xid: open.xid,
            seq: None,
            is_moved: false,
            change,
            row,
        }
    }

    fn described(&self, rel_id: Option<u64>) -> Result<&Described, String> {
        let rel_id = rel_id.ok_or("a row without a table")?;
        self.described
            .get(&rel_id)
            .ok_or_else(|| format!("the table {rel_id} was not described"))
    }
}
