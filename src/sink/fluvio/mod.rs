//! Records into partitions of Fluvio topics.
//!
//! A small blocking client over the official protocol types. The ordinary client retries, queues
//! and writes on its own threads, so that after a failure nobody can say what is in the topic; here
//! a server never has more than one request, its acknowledgement is awaited, and closing the socket
//! gives up what the server has not taken. [`stream`] and [`rpc`] talk to a [`server`], [`cluster`] finds those
//! that lead partitions and [`leaders`] waits until they do, [`batch`] encodes [`records`], [`answer`], [`unpack`] and
//! [`uncompress`] decode, [`reader`] reads, [`writer`] fills the batches of all lanes and [`spu_writer`] sends
//! those of one SPU.

pub(crate) mod answer;
pub(crate) mod batch;
pub(crate) mod cluster;
pub(crate) mod filling;
pub(crate) mod leaders;
pub(crate) mod reader;
pub(crate) mod records;
pub(crate) mod rpc;
pub(crate) mod server;
pub(crate) mod spare;
pub(crate) mod spu_writer;
pub(crate) mod stream;
pub(crate) mod uncompress;
pub(crate) mod unpack;
pub(crate) mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fluvio::Compression;
use fluvio_protocol::link::ErrorCode;
use fluvio_sc_schema::topic::CompressionAlgorithm;

pub use self::leaders::Leaders;
use self::reader::{Bounds, PartitionReader};
use crate::base::error::{Error, Kind, Result};
use crate::base::printable::capped;

/// How records are written, whichever topics they go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The SC's address; the current profile's when there is none.
    pub endpoint: Option<String>,
    /// Whether a missing topic is created.
    pub create_topic: bool,
    /// The size to which batches grow while records keep coming. A larger record goes alone.
    pub batch_bytes: usize,
    /// How batches are compressed; as the topic says when there is nothing.
    pub compression: Option<Compression>,
    /// How long a server may take to answer.
    pub timeout: Duration,
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LanePlace {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition, counted from 0.
    pub partition: u32,
}

impl fmt::Display for LanePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} of {}", self.partition, self.topic)
    }
}

/// A topic that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedTopic {
    /// The topic's name.
    pub name: Arc<str>,
    /// How many partitions the topic has to have, and gets when it is created.
    pub partitions: u32,
}

impl WantedTopic {
    /// What a user types to create the topic.
    pub fn create_command(&self) -> String {
        let WantedTopic { name, partitions } = self;
        match partitions {
            1 => format!("fluvio topic create {name}"),
            _ => format!("fluvio topic create {name} --partitions {partitions}"),
        }
    }
}

/// A partition whose leader is known and answers for it.
pub struct Partition(Leaders);

impl Partition {
    /// Finds the leader, and waits until it answers for the partition. The topic gets one partition if it is
    /// created.
    pub fn open(options: &Options, place: &LanePlace) -> Result<Partition> {
        let topic = WantedTopic {
            name: Arc::clone(&place.topic),
            partitions: 1,
        };
        Leaders::find(options, &[topic], std::slice::from_ref(place)).map(Partition)
    }

    /// Opens a partition that is only read: no topic is made for it, and what the config wants of
    /// batches to come says nothing of those that are there.
    pub fn open_to_read(options: &Options, place: &LanePlace) -> Result<Partition> {
        let options = Options {
            create_topic: false,
            compression: None,
            ..options.clone()
        };
        Partition::open(&options, place)
    }

    /// What the partition held when it was opened.
    pub fn bounds(&self) -> Bounds {
        self.0.bounds(0)
    }

    /// A new connection to read the partition.
    pub fn reader(&self) -> Result<PartitionReader> {
        self.0.reader(0)
    }
}

/// The compression that the config and the topic, which may demand one, agree on. Any consumer can read
/// any of them.
pub fn allowed(
    options: &Options,
    topic: &str,
    demanded: &CompressionAlgorithm,
) -> Result<Compression> {
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
            "the topic {topic} demands compression {demanded}, the config has {configured}"
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
