//! Reading a partition: its bounds, and its records in whole batches.

use fluvio_protocol::link::ErrorCode;
use fluvio_spu_schema::fetch::{FetchPartition, FetchRequest, FetchableTopic};
use fluvio_spu_schema::server::fetch_offset::FetchOffsetsRequest;

use super::answer::Offsets;
use super::rpc::Rpc;
use super::server::FluvioServer;
use super::unpack::{RecordSet, StoredRecord, Unpacked, unpack};
use super::{Options, refused};
use crate::base::error::{Error, Result};

/// A fetch returns whole batches up to this size; most are no larger than this.
const FETCH_BYTES: i32 = 4 * 1024 * 1024;

/// A fetch returns no whole batch when the first is larger than it may be, and may not even say how
/// large that is. This is above the largest that a server stores.
const LARGEST_FETCH_BYTES: i32 = 40 * 1024 * 1024;

/// The offsets that a partition holds: from `start` up to and not including `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first record's offset; older ones were removed by the topic's retention.
    pub start: i64,
    /// The offset that the next record will have.
    pub end: i64,
    /// Up to here every replica that the topic asks for has the records.
    pub stable: i64,
}

impl Bounds {
    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

/// A connection that reads one partition.
pub struct PartitionReader {
    spu: Rpc,
    options: Options,
    is_replicated: bool,
}

impl PartitionReader {
    /// Connects to the partition's leader.
    pub fn connect(
        leader: &FluvioServer,
        options: &Options,
        is_replicated: bool,
    ) -> Result<PartitionReader> {
        let spu = Rpc::connect(leader, options.timeout)?;
        Ok(PartitionReader {
            spu,
            options: options.clone(),
            is_replicated,
        })
    }

    /// What the partition holds now.
    pub fn bounds(&mut self) -> Result<Bounds> {
        self.ask_bounds()?
            .map_err(|code| self.error(refused(&code)))
    }

    /// What the partition holds now; a refusal by the server is not an error of the connection.
    pub(super) fn ask_bounds(&mut self) -> Result<Result<Bounds, ErrorCode>> {
        let asked = match self.ask_offsets()? {
            Ok(offsets) => offsets,
            Err(code) => return Ok(Err(code)),
        };
        let end = self.find_end(asked.last_stable_offset)?;
        // What came after the answer makes it an old one, not the records unstable. Nor are they where
        // nobody else has to have them, whatever a server that was killed finds in its file.
        let stable = match end > asked.last_stable_offset {
            _ if !self.is_replicated => Ok(end),
            true => self.ask_offsets()?.map(|again| again.last_stable_offset),
            false => Ok(asked.last_stable_offset),
        };
        Ok(stable.map(|stable| Bounds {
            start: asked.start_offset,
            end,
            stable,
        }))
    }

    fn ask_offsets(&mut self) -> Result<Result<Offsets, ErrorCode>> {
        ask_offsets(&mut self.spu, &self.options)
    }

    /// The end of the log. What the server calls the last stable offset may lie before it: a server
    /// that was killed finds it again in a file that it writes late, and a replica may be behind.
    fn find_end(&mut self, stable: i64) -> Result<i64> {
        let mut end = stable;
        while let Some(last) = self.fetch_some(end)?.last() {
            end = last.offset + 1;
        }
        Ok(end)
    }

    /// The records from `offset` on, as many as one answer holds: at least one. There must be a
    /// record at `offset`.
    pub fn fetch(&mut self, offset: i64) -> Result<Vec<StoredRecord>> {
        let records = self.fetch_some(offset)?;
        match records.first() {
            Some(first) if first.offset == offset => Ok(records),
            Some(first) => Err(self.error(Error::undeliverable(format!(
                "asked for the records from offset {offset} on, got {}",
                first.offset
            )))),
            // It may be behind for a moment after it has become the leader.
            None => Err(self.error(Error::unreachable(format!("no record at offset {offset}")))),
        }
    }

    /// Fetches from `offset`; empty at the end of the log.
    fn fetch_some(&mut self, offset: i64) -> Result<Vec<StoredRecord>> {
        let fetched = self.fetch_up_to(offset, FETCH_BYTES)?;
        match fetched.first_batch_bytes {
            // Not more than this batch: what comes after it would take as much memory again.
            Some(bytes) if fetched.records.is_empty() => {
                let bytes = bytes.min(LARGEST_FETCH_BYTES);
                self.fetch_up_to(offset, bytes)
                    .map(|fetched| fetched.records)
            }
            _ => Ok(fetched.records),
        }
    }

    fn fetch_up_to(&mut self, offset: i64, max_bytes: i32) -> Result<Unpacked> {
        let partition = FetchPartition {
            partition_index: self.options.partition,
            fetch_offset: offset,
            max_bytes,
            ..Default::default()
        };
        let topic = FetchableTopic {
            name: self.options.topic.clone(),
            fetch_partitions: vec![partition],
        };
        let request = FetchRequest::<RecordSet> {
            max_bytes,
            topics: vec![topic],
            ..Default::default()
        };
        let response = self.spu.call(&request)?;
        let found = response
            .find(&self.options.topic, self.options.partition)
            .ok_or_else(|| self.error(Error::undeliverable("no records in the answer")))?;
        match found.error_code.0 {
            ErrorCode::None => {}
            code => return Err(self.error(refused(&code))),
        }
        // The server cuts an answer at `max_bytes`, in the middle of a batch if need be.
        unpack(&found.records.0, offset).map_err(|error| self.error(error))
    }

    /// An error of the partition, with its server.
    pub fn error(&self, error: Error) -> Error {
        self.spu.error(error).at(self.options.place())
    }
}

/// Asks a partition's leader for its offsets.
pub(super) fn ask_offsets(spu: &mut Rpc, options: &Options) -> Result<Result<Offsets, ErrorCode>> {
    let (topic, partition) = (options.topic.clone(), options.partition);
    let response = spu.call(&FetchOffsetsRequest::new(topic, partition))?;
    let found = response
        .find(&options.topic, partition)
        .ok_or_else(|| spu.error(Error::undeliverable("no offsets in the answer")))?;
    let (start, stable) = (found.start_offset, found.last_stable_offset);
    match found.error_code.0 {
        ErrorCode::None if start.min(stable) < 0 => Err(spu.error(Error::undeliverable(format!(
            "the topic is said to begin at offset {start} and to end at {stable}"
        )))),
        ErrorCode::None => Ok(Ok(found.clone())),
        code => Ok(Err(code)),
    }
}
