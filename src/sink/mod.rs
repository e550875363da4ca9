//! Where records go.

pub mod fluvio;
pub mod stdout;

use crate::error::Result;

/// An ordered store of records. A sink that failed is thrown away; what it had not stored comes
/// again from PostgreSQL.
pub trait Sink: Send {
    /// Takes a record. It may be stored at once or later, but always after those before it.
    fn write(&mut self, record: &[u8]) -> Result<()>;

    /// Stores everything that was taken, and returns when it is stored.
    fn flush(&mut self) -> Result<()>;

    /// How many of the records taken are stored: acknowledged by the other side.
    fn stored(&self) -> u64;
}
