//! A load of one shape: so many rows, of so many columns, in so many tables and transactions.

use crate::Result;
use crate::support::postgres::Database;
use crate::workloads::{NARROW, NARROW_ROW, flushed, write};

/// Columns where it is not they that grow.
pub const COLUMNS: u64 = 6;
/// Tables of a transaction that makes them: the server has room for the locks of so many.
const TABLES_PER_TRANSACTION: u64 = 200;

/// One load.
#[derive(Clone, Copy)]
pub struct Load {
    pub rows: u64,
    pub rows_per_transaction: u64,
    pub tables: u64,
    /// None for the six of the throughput's workloads.
    pub columns: Option<u64>,
}

impl Load {
    /// How many columns its tables have.
    pub fn columns(&self) -> u64 {
        self.columns.unwrap_or(COLUMNS)
    }

    /// The definitions of the columns, and a row of them.
    fn definition(&self) -> (String, String) {
        match self.columns {
            // No key: an index would only take time to write.
            None => (NARROW.replace(" PRIMARY KEY", ""), NARROW_ROW.to_owned()),
            Some(columns) => (
                list(columns, |column| format!("c{column} int4")),
                list(columns, |column| format!("((i + {column}) % 100000)::int4")),
            ),
        }
    }

    /// Makes the tables.
    pub fn prepare(&self, database: &Database) -> Result<()> {
        let (columns, _) = self.definition();
        let tables = self.tables;
        write(
            database,
            &format!(
                "DO $do$ BEGIN FOR t IN 0..{tables} - 1 LOOP \
                 EXECUTE 'CREATE TABLE load_' || t || ' ({columns})'; \
                 IF t % {TABLES_PER_TRANSACTION} = 0 THEN COMMIT; END IF; END LOOP; END $do$"
            ),
        )
    }

    /// Writes the rows, to one table after the other.
    pub fn write(&self, database: &Database) -> Result<u64> {
        let (_, row) = self.definition();
        let n = self.rows_per_transaction;
        let transactions = self.rows / n;
        let range = format!("t * {n}::int8 + 1, (t + 1) * {n}::int8");
        // A statement that is planned anew each time takes longer than a row.
        let statement = match self.tables {
            1 => format!("INSERT INTO load_0 SELECT {row} FROM generate_series({range}) i"),
            tables => format!(
                "EXECUTE 'INSERT INTO load_' || t % {tables} || \
                 $row$ SELECT {row} FROM generate_series($1, $2) i $row$ USING {range}"
            ),
        };
        write(
            database,
            &format!(
                "DO $do$ BEGIN FOR t IN 0..{transactions} - 1 LOOP \
                 {statement}; COMMIT; END LOOP; END $do$"
            ),
        )?;
        flushed(database)
    }
}

fn list(columns: u64, each: impl Fn(u64) -> String) -> String {
    (1..=columns).map(each).collect::<Vec<_>>().join(", ")
}
