//! What is written of a change: its records, and their place in the stream read back.

pub(crate) mod events;
pub(crate) mod readback;

pub use self::events::{LargeRecord, RawText, render};
pub use self::readback::{Checksum, Placed, Record, Unit};
