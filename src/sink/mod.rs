//! Where records go.

pub(crate) mod fluvio;
pub(crate) mod lane;
pub(crate) mod lease;
pub(crate) mod partitioner;
pub(crate) mod stdout;

pub use self::fluvio::answer::Ask;
pub use self::fluvio::batch::{BatchBuilder, BatchHead};
pub use self::fluvio::leaders::Leaders;
pub use self::fluvio::rpc::{decode, guarded};
pub use self::fluvio::unpack::{RecordSet, StoredRecord, unpack_within};
pub use self::fluvio::writer::LanesWriter;
pub use self::fluvio::{LanePlace, Options, Partition, WantedTopic};
pub use self::lane::Lanes;
pub use self::lease::Lease;
pub use self::partitioner::partition_of;
pub use self::stdout::note_closed_stdout;

use std::time::Duration;

use self::fluvio::records::SentRecords;
use crate::base::error::Result;
use crate::record::ProducerRecord;

/// Memory beyond this that one record needed is given back.
const KEEP_BYTES: usize = 1024 * 1024;

/// An ordered store of records in each of its lanes. A sink that failed is thrown away; what it had not
/// stored comes again from PostgreSQL.
///
/// A record may be open ([`ProducerRecord::is_open`]): whether it is the last of its transaction in its
/// lane is known only with the next record there, or when the transaction ends. Until then it is held.
pub trait Sink: Send {
    /// Takes a record of a lane, and returns its length. It may be stored at once or later, but always
    /// after those before it in its lane. One before it there that was open is the last of nothing.
    fn write(&mut self, lane: usize, record: &ProducerRecord<'_>) -> Result<usize>;

    /// Ends a transaction in a lane: if the record that was written last there is open, it ends
    /// with [`LAST`](crate::record::LAST) then.
    fn end_unit(&mut self, lane: usize) -> Result<()>;

    /// Lets what is on its way already not wait for the next record: none comes for a while.
    fn pause(&mut self) -> Result<()> {
        Ok(())
    }

    /// Stores everything that was taken, but for records that are open, and returns when it is stored.
    fn flush(&mut self) -> Result<()>;

    /// How many of the records taken of a lane are stored: acknowledged by the other side.
    fn stored(&self, lane: usize) -> u64;

    /// How many records are stored in all lanes together.
    fn acknowledged(&self) -> u64;

    /// Whether what was in the lanes before their first records can not go missing any more, while nothing
    /// is under way. What was stored since tells that of its lane.
    fn is_settled(&mut self) -> Result<bool> {
        Ok(true)
    }

    /// What was sent and may be stored or not, after a failure: at most one batch of a lane.
    fn in_doubt(&mut self) -> Vec<InDoubt> {
        Vec::new()
    }
}

/// Records of a lane that were sent and not acknowledged.
#[derive(Debug)]
pub struct InDoubt {
    /// The lane.
    pub lane: usize,
    /// The offset of the first record, if they are stored.
    pub offset: i64,
    /// The records.
    pub records: SentRecords,
    /// How long the partition must be still before they count as not stored.
    pub settle: Duration,
}
