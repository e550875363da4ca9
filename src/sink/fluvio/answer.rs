//! The answers to our requests, as far as we read them.
//!
//! They are laid out as in the official crates, whose own decoder of an error code takes memory at
//! the word of a length that it read: a server could end the program with a few bytes.

use std::io::{self, ErrorKind};

use bytes::Buf;
use fluvio_protocol::api::Request;
use fluvio_protocol::link::ErrorCode;
use fluvio_protocol::link::versions::{ApiVersionKey, ApiVersionsRequest};
use fluvio_protocol::{Decoder, Version};
use fluvio_sc_schema::objects::{ObjectApiCreateRequest, ObjectApiListRequest};
use fluvio_spu_schema::fetch::FetchRequest;
use fluvio_spu_schema::produce::ProduceRequest;
use fluvio_spu_schema::server::fetch_offset::FetchOffsetsRequest;

use super::batch::BatchHead;
use super::unpack::RecordSet;

/// The error of a SmartModule that failed, the only one that carries a record. None was asked for.
const SMART_MODULE_FAILED: i16 = 6004;

/// A request, and what is read of its response.
pub trait Ask: Request {
    /// The response.
    type Answer: Decoder + Default;
}

impl Ask for ApiVersionsRequest {
    type Answer = Versions;
}

impl Ask for ObjectApiCreateRequest {
    type Answer = Created;
}

impl Ask for ObjectApiListRequest {
    type Answer = <ObjectApiListRequest as Request>::Response;
}

impl Ask for FetchOffsetsRequest {
    type Answer = OfTopics<Offsets>;
}

impl Ask for ProduceRequest<BatchHead> {
    type Answer = OfTopics<Produced>;
}

impl Ask for FetchRequest<RecordSet> {
    type Answer = Fetched;
}

/// Int16 code · what belongs to it.
#[derive(Debug, Default, Clone)]
pub struct Code(pub ErrorCode);

impl Decoder for Code {
    fn decode<T: Buf>(&mut self, src: &mut T, version: Version) -> io::Result<()> {
        if let Some(&code) = src.chunk().first_chunk()
            && i16::from_be_bytes(code) == SMART_MODULE_FAILED
        {
            let said = "an error of a SmartModule, and none was asked for";
            return Err(io::Error::new(ErrorKind::InvalidData, said));
        }
        self.0.decode(src, version)
    }
}

/// The versions of each request that the server has.
#[derive(Debug, Default, Decoder)]
pub struct Versions {
    /// Whether the server answers.
    pub error_code: Code,
    /// The versions of each request.
    pub api_keys: Vec<ApiVersionKey>,
    /// The version of the cluster's software.
    pub platform_version: String,
}

/// What became of a topic that was to be made.
#[derive(Debug, Default, Decoder)]
pub struct Created {
    /// The topic's name.
    pub name: String,
    /// Whether the topic was made.
    pub error_code: Code,
    /// Why the topic was not made.
    pub error_message: Option<String>,
}

/// An answer for each partition. More may follow, which is not read.
#[derive(Debug, Default, Decoder)]
pub struct OfTopics<P: Decoder + Default> {
    /// Topics in the order of the request.
    pub topics: Vec<OfTopic<P>>,
}

/// A topic's part of an answer.
#[derive(Debug, Default, Decoder)]
pub struct OfTopic<P: Decoder + Default> {
    /// The topic's name.
    pub name: String,
    /// The answers for its partitions.
    pub partitions: Vec<P>,
}

/// An answer that is a partition's.
pub trait OfPartition {
    /// The partition's number.
    fn partition(&self) -> u32;
}

impl<P: Decoder + Default + OfPartition> OfTopics<P> {
    /// The part that belongs to a partition.
    pub fn find(self, topic: &str, partition: u32) -> Option<P> {
        find(self.topics, topic, partition)
    }
}

fn find<P>(topics: Vec<OfTopic<P>>, topic: &str, partition: u32) -> Option<P>
where
    P: Decoder + Default + OfPartition,
{
    topics
        .into_iter()
        .filter(|found| found.name == topic)
        .flat_map(|found| found.partitions)
        .find(|found| found.partition() == partition)
}

/// What a partition holds.
#[derive(Debug, Default, Clone, Decoder)]
pub struct Offsets {
    /// Whether the offsets are known.
    pub error_code: Code,
    /// The partition's number.
    pub partition_index: u32,
    /// The first record's offset.
    pub start_offset: i64,
    /// Up to here every replica has the records.
    pub last_stable_offset: i64,
}

impl OfPartition for Offsets {
    fn partition(&self) -> u32 {
        self.partition_index
    }
}

/// What became of records that were sent.
#[derive(Debug, Default, Decoder)]
pub struct Produced {
    /// The partition's number.
    pub partition_index: u32,
    /// Whether the records are stored.
    pub error_code: Code,
    /// The offset of the first record.
    pub base_offset: i64,
    /// When the records were stored, if the topic says.
    #[fluvio(min_version = 2)]
    pub log_append_time_ms: i64,
    /// The first record's offset in the log.
    #[fluvio(min_version = 5)]
    pub log_start_offset: i64,
}

impl OfPartition for Produced {
    fn partition(&self) -> u32 {
        self.partition_index
    }
}

/// Records of partitions.
#[derive(Debug, Default, Decoder)]
pub struct Fetched {
    /// How long the request was held back.
    pub throttle_time_ms: i32,
    /// Whether the request was answered.
    pub error_code: Code,
    /// Of no use here.
    pub session_id: i32,
    /// Topics in the order of the request.
    pub topics: Vec<OfTopic<FetchedRecords>>,
}

impl Fetched {
    /// The part that belongs to a partition.
    pub fn find(self, topic: &str, partition: u32) -> Option<FetchedRecords> {
        find(self.topics, topic, partition)
    }
}

/// Records of one partition.
#[derive(Debug, Default, Decoder)]
pub struct FetchedRecords {
    /// The partition's number.
    pub partition_index: u32,
    /// Whether the records could be read.
    pub error_code: Code,
    /// Up to here every replica has the records.
    pub high_watermark: i64,
    /// Where a consumer with a filter goes on.
    #[fluvio(min_version = 11)]
    pub next_filter_offset: i64,
    /// The first record's offset in the log.
    pub log_start_offset: i64,
    /// Of no use here.
    pub aborted: Option<Vec<Aborted>>,
    /// The batches.
    pub records: RecordSet,
}

impl OfPartition for FetchedRecords {
    fn partition(&self) -> u32 {
        self.partition_index
    }
}

/// A transaction of a kind that Fluvio does not have.
#[derive(Debug, Default, Decoder)]
pub struct Aborted {
    /// Who wrote the transaction.
    pub producer_id: i64,
    /// Where the transaction began.
    pub first_offset: i64,
}
