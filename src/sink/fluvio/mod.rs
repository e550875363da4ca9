//! Records into one partition of a Fluvio topic.
//!
//! A small blocking client over the official protocol types. The ordinary client retries, queues
//! and writes on its own threads, so that after a failure nobody can say what is in the topic; here
//! the server never has more than one batch, its acknowledgement is awaited, and closing the socket
//! gives up what the server has not taken. [`stream`] and [`rpc`] talk to a [`server`], [`cluster`] finds the one that leads the
//! partition, [`batch`] encodes, [`answer`], [`unpack`] and [`uncompress`] decode, [`reader`] reads
//! and [`writer`] writes.

pub(crate) mod answer;
pub(crate) mod batch;
pub(crate) mod cluster;
pub(crate) mod reader;
pub(crate) mod rpc;
pub(crate) mod server;
pub(crate) mod stream;
pub(crate) mod uncompress;
pub(crate) mod unpack;
pub(crate) mod writer;

use std::thread;
use std::time::{Duration, Instant};

use fluvio::Compression;
use fluvio_protocol::link::ErrorCode;
use fluvio_sc_schema::topic::CompressionAlgorithm;

use self::reader::{Bounds, PartitionReader};
use self::rpc::Rpc;
use self::server::FluvioServer;
use self::writer::PartitionWriter;
use crate::base::error::{Error, Kind, Result};
use crate::base::printable::capped;
use crate::sink::lease::Lease;

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

impl Options {
    /// The partition, for messages.
    pub fn place(&self) -> String {
        format!("partition {} of {}", self.partition, self.topic)
    }
}

/// A partition whose leader is known and answers for it.
pub struct Partition {
    options: Options,
    leader: FluvioServer,
    compression: Compression,
    is_replicated: bool,
    bounds: Bounds,
    /// The longest that the leader took to answer.
    slowest: Duration,
}

impl Partition {
    /// Finds the leader, and waits until it answers for the partition: one that has just started,
    /// or has just got the partition, needs a moment.
    pub fn open(options: Options) -> Result<Partition> {
        let started = Instant::now();
        let cluster = cluster::endpoint(&options)?;
        let leader = cluster::find_leader(&cluster, &options)?;
        let compression = allowed(&options, &leader.compression)?;
        let mut asked = Instant::now();
        let is_replicated = leader.is_replicated;
        let mut reader = PartitionReader::connect(&leader.server, &options, is_replicated)?;
        loop {
            match reader.ask_bounds()? {
                Ok(bounds) => {
                    let slowest = asked.elapsed();
                    let leader = leader.server;
                    return Ok(Partition {
                        options,
                        leader,
                        compression,
                        is_replicated,
                        bounds,
                        slowest,
                    });
                }
                Err(code) if started.elapsed() < options.timeout && is_transient(&code) => {
                    log::debug!("{}: {code}", options.place());
                    thread::sleep(POLL);
                    asked = Instant::now();
                }
                Err(code) => return Err(reader.error(refused(&code))),
            }
        }
    }

    /// The address of the server that leads the partition.
    pub fn leader(&self) -> &str {
        &self.leader.address
    }

    /// Opens a partition that is only read: no topic is made for it, and what the config wants of
    /// batches to come says nothing of those that are there.
    pub fn open_to_read(options: &Options) -> Result<Partition> {
        Partition::open(Options {
            create_topic: false,
            compression: None,
            ..options.clone()
        })
    }

    /// What the partition held when it was opened.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The longest that the leader took to answer when it was opened.
    pub fn slowest(&self) -> Duration {
        self.slowest
    }

    /// A new connection to read the partition.
    pub fn reader(&self) -> Result<PartitionReader> {
        PartitionReader::connect(&self.leader, &self.options, self.is_replicated)
    }

    /// A new connection to write to the partition, under the lease of a slot; its next record is to have
    /// the offset `next_offset`.
    pub fn writer(&self, next_offset: i64, lease: Lease) -> Result<PartitionWriter> {
        let mut spu = Rpc::connect(&self.leader, self.options.timeout)?;
        spu.hold_under(lease.clone())?;
        Ok(PartitionWriter::new(
            spu,
            lease,
            self.options.clone(),
            self.compression,
            next_offset,
        ))
    }
}

/// The compression that the config and the topic, which may demand one, agree on. Any consumer can read
/// any of them.
pub fn allowed(options: &Options, demanded: &CompressionAlgorithm) -> Result<Compression> {
    let demanded = match demanded {
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
    Error::new(
        kind,
        format!("the server refuses: {}", capped(&code.to_string())),
    )
}

fn is_transient(code: &ErrorCode) -> bool {
    refused(code).kind().is_transient()
}
