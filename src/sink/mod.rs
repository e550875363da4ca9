//! Where records go.

pub(crate) mod fluvio;
pub(crate) mod lane;
pub(crate) mod lease;
pub(crate) mod stdout;

pub use self::fluvio::answer::Ask;
pub use self::fluvio::batch::{BatchBuilder, BatchHead};
pub use self::fluvio::rpc::{decode, guarded};
pub use self::fluvio::unpack::{RecordSet, unpack_within};
pub use self::fluvio::{Options, Partition};
pub use self::lane::Lane;
pub use self::lease::Lease;
pub use self::stdout::note_closed_stdout;

use std::time::Duration;

use self::fluvio::batch::SentRecords;
use crate::base::error::Result;
use crate::record::ProducerRecord;

/// Memory beyond this that one record needed is given back.
const KEEP_BYTES: usize = 1024 * 1024;

/// An ordered store of records. A sink that failed is thrown away; what it had not stored comes
/// again from PostgreSQL.
pub trait Sink: Send {
    /// Takes a record, and returns its length. It may be stored at once or later, but always after
    /// those before it.
    fn write(&mut self, record: &ProducerRecord<'_>) -> Result<usize>;

    /// Lets what is on its way already not wait for the next record: none comes for a while.
    fn pause(&mut self) -> Result<()> {
        Ok(())
    }

    /// Stores everything that was taken, and returns when it is stored.
    fn flush(&mut self) -> Result<()>;

    /// How many of the records taken are stored: acknowledged by the other side.
    fn stored(&self) -> u64;

    /// Whether what was there before the first record can not go missing any more, while nothing is
    /// under way.
    fn is_settled(&mut self) -> Result<bool> {
        Ok(true)
    }

    /// What was sent and may be stored or not, after a failure.
    fn in_doubt(&mut self) -> Option<InDoubt> {
        None
    }
}

/// Records that were sent and not acknowledged.
#[derive(Debug)]
pub struct InDoubt {
    /// The offset of the first record, if they are stored.
    pub offset: i64,
    /// The records.
    pub records: SentRecords,
    /// How long the partition must be still before they count as not stored.
    pub settle: Duration,
}
