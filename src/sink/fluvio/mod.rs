//! Records into one partition of a Fluvio topic.
//!
//! A small blocking client over the official protocol types. The ordinary client retries, queues
//! and writes on its own threads, so that after a failure nobody can say what is in the topic; here
//! one batch is under way at a time, its acknowledgement is awaited, and closing the socket is
//! giving up. [`rpc`] talks to a server, [`cluster`] finds the one that leads the partition,
//! [`batch`] encodes.

pub mod batch;
pub mod cluster;
pub mod rpc;

use std::thread;
use std::time::{Duration, Instant};

use fluvio::{Compression, Isolation};
use fluvio_protocol::link::ErrorCode;
use fluvio_protocol::record::{Batch, RawRecords, RecordSet};
use fluvio_sc_schema::topic::CompressionAlgorithm;
use fluvio_spu_schema::produce::{
    DefaultPartitionRequest, DefaultProduceRequest, DefaultTopicRequest, PartitionProduceResponse,
};
use fluvio_spu_schema::server::fetch_offset::FetchOffsetsRequest;

use self::batch::BatchBuilder;
use self::cluster::Leader;
use self::rpc::{Pending, Rpc};
use super::Sink;
use crate::error::{Context, Error, Kind, Result};

/// How often a leader that is not ready yet is asked again.
const POLL: Duration = Duration::from_millis(50);

/// Where and how records are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The SC's address; the current profile's when there is none.
    pub endpoint: Option<String>,
    /// The topic.
    pub topic: String,
    /// The partition, counted from 0.
    pub partition: u32,
    /// Whether a missing topic is created.
    pub create_topic: bool,
    /// The size to which batches grow while records keep coming. A larger record goes alone.
    pub batch_bytes: usize,
    /// How batches are compressed; as the topic says when there is nothing.
    pub compression: Option<Compression>,
    /// How long a server may take to answer.
    pub timeout: Duration,
}

/// A partition's writer.
pub struct Fluvio {
    spu: Rpc,
    options: Options,
    compression: Compression,
    batch: BatchBuilder,
    in_flight: Option<InFlight>,
    stored: u64,
}

struct InFlight {
    pending: Pending<DefaultProduceRequest>,
    records: u64,
}

impl Fluvio {
    /// Finds the partition's leader and makes sure that it answers for the partition.
    pub fn open(options: Options) -> Result<Fluvio> {
        let deadline = Instant::now() + options.timeout;
        let cluster = cluster::endpoint(&options)?;
        let leader = cluster::find_leader(&cluster, &options)?;
        let compression = compression(&options, &leader)?;
        let spu = Rpc::connect(&leader.address, options.timeout)?;
        let batch = BatchBuilder::default();
        let mut sink = Fluvio {
            spu,
            options,
            compression,
            batch,
            in_flight: None,
            stored: 0,
        };
        loop {
            match sink.end_offset() {
                Ok(_) => return Ok(sink),
                // A server that has just started or just got the partition needs a moment.
                Err(error) if error.kind().is_transient() && Instant::now() < deadline => {
                    log::debug!("{error}");
                    thread::sleep(POLL);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The offset that the partition's next record will have.
    pub fn end_offset(&mut self) -> Result<i64> {
        let (topic, partition) = (self.options.topic.clone(), self.options.partition);
        let response = self.spu.call(&FetchOffsetsRequest::new(topic, partition))?;
        let found = response
            .topics
            .into_iter()
            .filter(|found| found.name == self.options.topic)
            .flat_map(|found| found.partitions)
            .find(|found| found.partition_index == partition);
        let found =
            found.ok_or_else(|| self.error(Error::undeliverable("no offsets in the answer")))?;
        match found.error_code {
            ErrorCode::None => Ok(found.last_stable_offset),
            code => Err(self.error(refused(&code))),
        }
    }

    /// Sends the batch. One is under way at a time: were a second sent before the first is
    /// acknowledged, a failure of the first alone would leave the second in the topic before it.
    fn send_batch(&mut self) -> Result<()> {
        self.await_acknowledgement()?;
        let records = self.batch.count();
        let batch = self.batch.finish(self.compression)?;
        self.batch.shrink_to(2 * self.options.batch_bytes);
        let pending = self.spu.send(&self.produce_request(batch))?;
        self.in_flight = Some(InFlight { pending, records });
        Ok(())
    }

    fn produce_request(&self, batch: Batch<RawRecords>) -> DefaultProduceRequest {
        let mut records = RecordSet::default();
        records.batches.push(batch);
        let partition = DefaultPartitionRequest {
            partition_index: self.options.partition,
            records,
        };
        let topic = DefaultTopicRequest {
            name: self.options.topic.clone(),
            partitions: vec![partition],
            ..Default::default()
        };
        DefaultProduceRequest {
            // Acknowledged when the replicas that the topic asks for have it.
            isolation: Isolation::ReadCommitted,
            timeout: self.options.timeout,
            topics: vec![topic],
            ..Default::default()
        }
    }

    fn await_acknowledgement(&mut self) -> Result<()> {
        let Some(InFlight { pending, records }) = self.in_flight.take() else {
            return Ok(());
        };
        let response = self.spu.receive(pending).at(|| self.place())?;
        let found: Option<&PartitionProduceResponse> =
            response.find_partition_response(&self.options.topic, self.options.partition);
        match found.map(|found| &found.error_code) {
            Some(ErrorCode::None) => {
                self.stored += records;
                Ok(())
            }
            Some(code) => Err(self.error(refused(code))),
            None => Err(self.error(Error::undeliverable("an acknowledgement of something else"))),
        }
    }

    fn place(&self) -> String {
        format!(
            "partition {} of {}",
            self.options.partition, self.options.topic
        )
    }

    fn error(&self, error: Error) -> Error {
        self.spu.error(error).at(self.place())
    }
}

impl Sink for Fluvio {
    fn write(&mut self, record: &[u8]) -> Result<()> {
        if !self.batch.is_empty() && self.batch.len_with(record.len()) > self.options.batch_bytes {
            self.send_batch()?;
        }
        self.batch.push(record)?;
        if self.batch.len() >= self.options.batch_bytes {
            self.send_batch()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            self.send_batch()?;
        }
        self.await_acknowledgement()
    }

    fn stored(&self) -> u64 {
        self.stored
    }
}

/// The topic may demand a compression. Any consumer can read any of them.
fn compression(options: &Options, leader: &Leader) -> Result<Compression> {
    let demanded = match leader.compression {
        CompressionAlgorithm::Any => return Ok(options.compression.unwrap_or_default()),
        CompressionAlgorithm::None => Compression::None,
        CompressionAlgorithm::Gzip => Compression::Gzip,
        CompressionAlgorithm::Snappy => Compression::Snappy,
        CompressionAlgorithm::Lz4 => Compression::Lz4,
        CompressionAlgorithm::Zstd => Compression::Zstd,
    };
    match options.compression {
        Some(configured) if configured != demanded => Err(Error::config(format!(
            "the topic {} demands compression {demanded}, the config has {configured}",
            options.topic
        ))
        .with_hint("remove \"compression\" from the config")),
        _ => Ok(demanded),
    }
}

/// What a server's error code means. A batch that it refused is not in the topic, or may be.
fn refused(code: &ErrorCode) -> Error {
    let kind = match code {
        ErrorCode::MessageTooLarge => Kind::Undeliverable,
        ErrorCode::PermissionDenied => Kind::Permission,
        ErrorCode::TopicInvalidReplicaType | ErrorCode::TopicInvalidConfiguration => Kind::Config,
        // The rest may pass: a leader that moves, a full disk, a topic that is made again.
        _ => Kind::Unreachable,
    };
    Error::new(kind, format!("the server refuses: {code}"))
}
