//! What a reader makes of the lanes: the tables.

use std::collections::{HashMap, hash_map::Entry};
use std::rc::Rc;

use super::super::postgres::Database;
use super::journal::Kind;
use super::piece::{MARKER, Piece, Row};

type Rows = HashMap<i64, Row>;

/// The rows that one lane has, by its own records alone.
#[derive(Default)]
pub struct Fold {
    tables: HashMap<Rc<str>, Rows>,
}

impl Fold {
    /// Does what a record says.
    pub fn apply(&mut self, piece: &Piece) -> Result<(), String> {
        let change = &piece.change;
        let rows = self.tables.entry(Rc::clone(&change.table)).or_default();
        let missing = |row: i64| format!("row {row} of {} is not there", change.table);
        match (change.kind, piece.row) {
            (Kind::Truncate, _) => rows.clear(),
            (Kind::Delete, _) => {
                rows.remove(&change.row)
                    .ok_or_else(|| missing(change.row))?;
            }
            (Kind::Insert, Some(row)) => insert(rows, change.row, row)?,
            (Kind::Update, Some(row)) => match change.old_row {
                // The lane that the old key was in may be another one.
                Some(old_row) => {
                    rows.remove(&old_row);
                    insert(rows, change.row, row)?;
                }
                None => {
                    let known = rows.get_mut(&change.row);
                    *known.ok_or_else(|| missing(change.row))? = row;
                }
            },
            (Kind::Insert | Kind::Update, None) => return Err("a change without a row".to_owned()),
        }
        Ok(())
    }

    /// Compares the lanes together with the tables.
    pub fn compare(lanes: Vec<Fold>, database: &Database, tables: &[String]) -> Result<(), String> {
        let mut all: HashMap<Rc<str>, Rows> = HashMap::new();
        for (table, rows) in lanes.into_iter().flat_map(|lane| lane.tables) {
            let known = all.entry(Rc::clone(&table)).or_default();
            for (id, row) in rows {
                insert(known, id, row)
                    .map_err(|_| format!("two lanes have row {id} of {table}"))?;
            }
        }
        for table in tables {
            let folded = all.remove(table.as_str()).unwrap_or_default();
            let stored = stored(database, table)?;
            let differs = |(id, row): &(&i64, &Row)| folded.get(id) != Some(row);
            if let Some((id, row)) = stored.iter().find(differs) {
                let found = folded.get(id);
                return Err(format!(
                    "row {id} of {table} is {row:?}, and {found:?} by the lanes"
                ));
            }
            if folded.len() != stored.len() {
                return Err(format!(
                    "{table} has {} rows, and {} by the lanes",
                    stored.len(),
                    folded.len()
                ));
            }
        }
        match all.keys().next() {
            Some(table) => Err(format!("a table that does not exist: {table}")),
            None => Ok(()),
        }
    }
}

fn insert(rows: &mut Rows, id: i64, row: Row) -> Result<(), String> {
    match rows.entry(id) {
        Entry::Occupied(_) => Err(format!("row {id} is there already")),
        Entry::Vacant(entry) => {
            entry.insert(row);
            Ok(())
        }
    }
}

/// The rows of a table on the server.
fn stored(database: &Database, table: &str) -> Result<Rows, String> {
    let sql = match table {
        MARKER => format!("SELECT id, writer::int8, 0::int8 FROM {table}"),
        _ => format!(
            "SELECT id, length(rtrim(body, 'y'))::int8, \
             (length(body) - length(rtrim(body, 'y')))::int8 FROM {table}"
        ),
    };
    let mut client = database.try_client().map_err(|error| error.to_string())?;
    let rows = client.query(&sql, &[]).map_err(|error| error.to_string())?;
    let count = |count: i64| usize::try_from(count).expect("a count");
    let row = |row: &postgres::Row| {
        let (id, first, ys): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let row = match table {
            MARKER => Row::Marker(first),
            _ => Row::Text(count(first), count(ys)),
        };
        (id, row)
    };
    Ok(rows.iter().map(row).collect())
}
