//! What is written of a change: its records, and their place in the stream read back.

pub(crate) mod events;
mod producer_record;
pub(crate) mod readback;

pub use self::events::{RawText, render};
pub use self::producer_record::ProducerRecord;
pub use self::readback::{Checksum, Placed, Record, Unit};

impl Placed {
    /// Reads a record back, in whatever form it is written; `None` when this program did not write it.
    pub fn parse(record: &[u8]) -> Option<Placed> {
        events::readback::parse(record)
    }
}

impl Record {
    /// Reads a record back without its position; `None` when this program did not write it.
    pub fn parse(record: &[u8]) -> Option<Record> {
        Placed::parse(record).map(|placed| placed.record)
    }
}
