//! Reads a topic with the ordinary client, and works around what it gets wrong.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::pin::pin;
use std::time::{Duration, Instant};

use ::fluvio::consumer::ConsumerConfigExt;
use ::fluvio::{Fluvio, FluvioClusterConfig, Offset, RecordKey};
use fluvio_protocol::api::{Request, RequestMessage, ResponseMessage};
use fluvio_protocol::record::ReplicaKey;
use fluvio_protocol::{Decoder, Encoder};
use fluvio_sc_schema::objects::{
    CommonCreateRequest, CreateRequest, DeleteRequest, ListRequest, ListResponse, Metadata,
    ObjectApiCreateRequest, ObjectApiDeleteRequest, ObjectApiListRequest, ObjectApiListResponse,
};
use fluvio_sc_schema::partition::PartitionSpec;
use fluvio_sc_schema::spu::SpuSpec;
use fluvio_sc_schema::topic::TopicSpec;
use fluvio_sc_schema::{AdminSpec, TryEncodableFrom};
use fluvio_spu_schema::server::fetch_offset::FetchOffsetsRequest;
use futures_util::StreamExt;

/// Below the size of a batch a consumer makes no progress, and at each fetch it loses the batch
/// that the limit cuts. This is more than the largest batch.
const FETCH_MAX: i32 = 64 << 20;

/// How long any step may take.
const PATIENCE: Duration = Duration::from_secs(20);

const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The end of partition 0 of a topic, as its SPU says; None if the topic does not exist.
///
/// The ordinary client does not look at the error code of this request: right after a restart it
/// takes any topic for an empty one.
pub fn end_offset(sc_addr: &str, topic: &str) -> io::Result<Option<i64>> {
    end_of(sc_addr, topic, 0)
}

fn end_of(sc_addr: &str, topic: &str, index: u32) -> io::Result<Option<i64>> {
    let mut sc = connect(sc_addr)?;
    let partitions = list::<PartitionSpec>(&mut sc)?;
    let name = format!("{topic}-{index}");
    let Some(partition) = partitions.into_iter().find(|found| found.name == name) else {
        return Ok(None);
    };
    let spus = list::<SpuSpec>(&mut sc)?;
    let leader = spus
        .into_iter()
        .find(|spu| spu.spec.id == partition.spec.leader)
        .ok_or_else(|| io::Error::other("the leader is unknown to the SC"))?;
    let mut spu = connect(&leader.spec.public_endpoint.addr())?;
    let response = ask(&mut spu, FetchOffsetsRequest::new(topic.to_owned(), index))?;
    let offsets = response
        .find_partition(&ReplicaKey::new(topic, index))
        .ok_or_else(|| io::Error::other("the SPU does not answer for the partition"))?;
    if offsets.error_code.is_error() {
        return Err(io::Error::other(offsets.error_code));
    }
    Ok(Some(offsets.last_stable_offset))
}

/// The ends of all partitions of a topic, in their order.
pub fn end_offsets(sc_addr: &str, topic: &str) -> io::Result<Vec<i64>> {
    let mut ends = Vec::new();
    for index in 0.. {
        match end_of(sc_addr, topic, index)? {
            Some(end) => ends.push(end),
            None => break,
        }
    }
    Ok(ends)
}

/// Creates a topic. The SC answers when the SPUs have taken it over.
pub fn create_topic(sc_addr: &str, topic: &str, partitions: u32) -> io::Result<()> {
    let mut sc = connect(sc_addr)?;
    let common = CommonCreateRequest {
        name: topic.to_owned(),
        ..Default::default()
    };
    let request = CreateRequest::new(common, TopicSpec::new_computed(partitions, 1, None));
    let version = ObjectApiCreateRequest::DEFAULT_API_VERSION;
    let request =
        ObjectApiCreateRequest::try_encode_from(request, version).map_err(io::Error::other)?;
    let status = ask(&mut sc, request)?;
    status.as_result().map_err(io::Error::other)
}

/// Deletes a topic.
pub fn delete_topic(sc_addr: &str, topic: &str) -> io::Result<()> {
    let mut sc = connect(sc_addr)?;
    let request = DeleteRequest::<TopicSpec>::new(topic.to_owned());
    let version = ObjectApiDeleteRequest::DEFAULT_API_VERSION;
    let request =
        ObjectApiDeleteRequest::try_encode_from(request, version).map_err(io::Error::other)?;
    let status = ask(&mut sc, request)?;
    status.as_result().map_err(io::Error::other)
}

/// Writes records with the ordinary client, as anybody may, and waits until they are stored.
pub fn produce(sc_addr: &str, topic: &str, values: &[Vec<u8>]) -> io::Result<()> {
    let records = values.iter().map(|value| (RecordKey::NULL, value.clone()));
    produce_records(sc_addr, topic, records.collect())
}

/// Writes a record for each key with the ordinary client, which chooses the partition; the value is the key.
pub fn produce_keys(sc_addr: &str, topic: &str, keys: &[Vec<u8>]) -> io::Result<()> {
    let records = keys
        .iter()
        .map(|key| (RecordKey::from(key.clone()), key.clone()));
    produce_records(sc_addr, topic, records.collect())
}

/// Writes records with the ordinary client, which chooses the partition by the key of those that have one.
pub fn produce_pairs(
    sc_addr: &str,
    topic: &str,
    pairs: &[(Option<Vec<u8>>, Vec<u8>)],
) -> io::Result<()> {
    let records = pairs.iter().map(|(key, value)| {
        let key = key.clone().map_or(RecordKey::NULL, RecordKey::from);
        (key, value.clone())
    });
    produce_records(sc_addr, topic, records.collect())
}

fn produce_records(
    sc_addr: &str,
    topic: &str,
    records: Vec<(RecordKey, Vec<u8>)>,
) -> io::Result<()> {
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(produce_all(sc_addr, topic, records))
        });
        writing.join().expect("the producer does not panic")
    })
}

async fn produce_all(
    sc_addr: &str,
    topic: &str,
    records: Vec<(RecordKey, Vec<u8>)>,
) -> io::Result<()> {
    let config = FluvioClusterConfig::new(sc_addr);
    let client = in_time(Fluvio::connect_with_config(&config)).await?;
    let client = client.map_err(io::Error::other)?;
    let producer = in_time(client.topic_producer(topic)).await?;
    let producer = producer.map_err(io::Error::other)?;
    let mut outputs = Vec::new();
    for (key, value) in records {
        let output = in_time(producer.send(key, value)).await?;
        outputs.push(output.map_err(io::Error::other)?);
    }
    in_time(producer.flush()).await?.map_err(io::Error::other)?;
    for output in outputs {
        in_time(output.wait()).await?.map_err(io::Error::other)?;
    }
    Ok(())
}

fn connect(addr: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)
        .map_err(|error| io::Error::new(error.kind(), format!("{addr}: {error}")))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn ask<R: Request>(stream: &mut TcpStream, request: R) -> io::Result<R::Response> {
    let message = RequestMessage::new_request(request);
    let mut frame = vec![0; 4];
    message.encode(&mut frame, 0)?;
    let len = i32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&len.to_be_bytes());
    stream.write_all(&frame)?;

    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = u32::from_be_bytes(len);
    let mut answer = Vec::new();
    stream.take(u64::from(len)).read_to_end(&mut answer)?;
    let answer = ResponseMessage::<R::Response>::decode_from(
        &mut answer.as_slice(),
        R::DEFAULT_API_VERSION,
    )?;
    Ok(answer.response)
}

fn list<S>(sc: &mut TcpStream) -> io::Result<Vec<Metadata<S>>>
where
    S: AdminSpec,
    S::Status: Encoder + Decoder,
    ObjectApiListRequest: TryEncodableFrom<ListRequest<S>>,
    ObjectApiListResponse: TryEncodableFrom<ListResponse<S>>,
{
    let request = ListRequest::<S>::new("", false);
    let version = ObjectApiListRequest::DEFAULT_API_VERSION;
    let request =
        ObjectApiListRequest::try_encode_from(request, version).map_err(io::Error::other)?;
    let response: Option<ListResponse<S>> =
        ask(sc, request)?.downcast().map_err(io::Error::other)?;
    let response = response.ok_or_else(|| io::Error::other("a list of other objects"))?;
    Ok(response.inner())
}

/// Reads a partition of a topic, a part at a time.
#[derive(Debug)]
pub struct TopicReader {
    sc_addr: String,
    topic: String,
    partition: u32,
    values: Vec<Vec<u8>>,
    keys: Vec<Option<Vec<u8>>>,
}

impl TopicReader {
    /// Starts at the beginning of the topic.
    pub fn new(sc_addr: &str, topic: &str) -> Self {
        Self {
            sc_addr: sc_addr.to_owned(),
            topic: topic.to_owned(),
            partition: 0,
            values: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// Reads another partition.
    pub fn partition(self, partition: u32) -> Self {
        Self { partition, ..self }
    }

    /// The keys of what was read until now.
    pub fn keys(&self) -> &[Option<Vec<u8>>] {
        &self.keys
    }

    /// What was read until now, one value a record.
    pub fn values(&self) -> &[Vec<u8>] {
        &self.values
    }

    /// Gives what was read until now.
    pub fn into_values(self) -> Vec<Vec<u8>> {
        self.values
    }

    /// Reads on to the end that the topic has now, or until there are `limit` records. A topic that
    /// does not exist is an empty one.
    pub fn read(&mut self, limit: usize) -> io::Result<()> {
        let end = end_of(&self.sc_addr, &self.topic, self.partition)?.unwrap_or(0);
        let end = usize::try_from(end).map_err(io::Error::other)?.min(limit);
        if self.values.len() >= end {
            return Ok(());
        }
        // A thread of its own, because the test may run on a runtime, where no other can start.
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?
                    .block_on(self.read_to(end))
            });
            reading.join().expect("the reader does not panic")
        })
    }

    async fn read_to(&mut self, end: usize) -> io::Result<()> {
        let mut progress = Instant::now();
        while self.values.len() < end {
            let before = self.values.len();
            let ended = self.read_some(end).await;
            if self.values.len() > before {
                progress = Instant::now();
            } else if progress.elapsed() > PATIENCE {
                ended?;
                return Err(io::Error::other(format!(
                    "no record at {before}, where the topic ends at {end}"
                )));
            } else {
                // A new client does not always find the topic at once.
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        Ok(())
    }

    /// Reads until the consumer skips a record, which it does where a fetch ends, or to the end.
    async fn read_some(&mut self, end: usize) -> io::Result<()> {
        let config = FluvioClusterConfig::new(&self.sc_addr);
        let client = in_time(Fluvio::connect_with_config(&config)).await?;
        let client = client.map_err(io::Error::other)?;
        let start = i64::try_from(self.values.len()).map_err(io::Error::other)?;
        let config = ConsumerConfigExt::builder()
            .topic(self.topic.clone())
            .partition(self.partition)
            .offset_start(Offset::absolute(start).map_err(io::Error::other)?)
            .max_bytes(FETCH_MAX)
            .build()
            .map_err(io::Error::other)?;
        let stream = in_time(client.consumer_with_config(config)).await?;
        let mut stream = pin!(stream.map_err(io::Error::other)?);
        while self.values.len() < end {
            let record = in_time(stream.next()).await?;
            let record = record
                .ok_or_else(|| io::Error::other("the consumer ended"))?
                .map_err(io::Error::other)?;
            if usize::try_from(record.offset()).is_ok_and(|offset| offset != self.values.len()) {
                return Ok(());
            }
            self.keys.push(record.key().map(<[u8]>::to_vec));
            self.values
                .push(record.into_inner().into_value().into_vec());
        }
        Ok(())
    }
}

/// The ordinary client waits for ever for a server that does not answer.
async fn in_time<T>(step: impl Future<Output = T>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, step)
        .await
        .map_err(|_| io::Error::other(format!("no answer for {PATIENCE:?}")))
}
