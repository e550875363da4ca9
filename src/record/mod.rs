//! What is written of a change: its records, and their place in the stream read back.

pub(crate) mod events;
mod producer_record;
pub(crate) mod readback;
pub(crate) mod rows;
mod text;

pub use self::events::{RawText, render};
pub use self::producer_record::ProducerRecord;
pub use self::readback::{Checksum, Placed, Record, Unit};
pub use self::rows::readback::{Commit, Op, RowNames, RowPlaced};
pub use self::rows::{
    Int8, JsonStyle, LAST, OrderKind, Place, RowOp, RowOrder, RowRecord, RowStyle, RowTable,
    Transaction, table_key,
};

/// What records look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Events of transactions, which are explained by the descriptions of tables between them.
    #[default]
    Events,
    /// Changes of rows, each of which explains itself.
    Rows,
}

impl Placed {
    /// Reads a record back, in whatever form it is written; `None` when this program did not write it.
    pub fn parse(record: &[u8]) -> Option<Placed> {
        match record.starts_with(b"{\"op\"") {
            true => rows::readback::parse(record).map(Placed::from),
            false => events::readback::parse(record),
        }
    }
}

impl Record {
    /// Reads a record back without its position; `None` when this program did not write it.
    pub fn parse(record: &[u8]) -> Option<Record> {
        Placed::parse(record).map(|placed| placed.record)
    }
}
