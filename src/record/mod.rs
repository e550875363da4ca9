//! What is written of a change: its records, and their place in the stream read back.

pub(crate) mod events;
mod producer_record;
pub(crate) mod readback;

pub use self::events::{RawText, render};
pub use self::producer_record::ProducerRecord;
pub use self::readback::{Checksum, Placed, Record, Unit};
