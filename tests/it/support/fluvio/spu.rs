//! The SPU: what is produced, the ends of partitions, and both ways to fetch.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use fluvio_protocol::api::{Request, RequestHeader};
use fluvio_protocol::link::ErrorCode;
use fluvio_protocol::link::versions::{ApiVersionsRequest, ApiVersionsResponse};
use fluvio_protocol::{Decoder, Encoder};
use fluvio_spu_schema::fetch::{
    FetchRequest, FetchResponse, FetchablePartitionResponse, FetchableTopicResponse,
};
use fluvio_spu_schema::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use fluvio_spu_schema::server::fetch_offset::{
    FetchOffsetPartitionResponse, FetchOffsetTopicResponse, FetchOffsetsRequest,
    FetchOffsetsResponse,
};
use fluvio_spu_schema::server::stream_fetch::{StreamFetchRequest, StreamFetchResponse};
use fluvio_spu_schema::server::update_offset::{
    OffsetUpdateStatus, UpdateOffsetsRequest, UpdateOffsetsResponse,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Shared;
use super::faults::{Close, Fault};
use super::log;
use super::net::{Connection, FrameSender};
use super::wire::{RawRecordSet, response_frame, version_range, version_range_from};

type Produce = ProduceRequest<RawRecordSet>;
type Fetch = FetchRequest<RawRecordSet>;
type StreamFetch = StreamFetchRequest<RawRecordSet>;

/// So much of a produce request tells whether it has records: the header with the client's name,
/// a few numbers and the name of the topic come before the count of partitions.
const PRODUCE_HEAD: usize = 512;

/// Where the offsets that a consumer reports go, for each stream of a connection.
type Streams = HashMap<u32, UnboundedSender<i64>>;

pub(super) async fn serve(connection: &mut Connection, shared: &Arc<Shared>) -> io::Result<Close> {
    let mut streams = Streams::new();
    while let Some(head) = connection.peek(PRODUCE_HEAD).await? {
        let fault = if has_records(head) {
            shared.produce_faults.lock().unwrap().meet()
        } else {
            None
        };
        if let Some(Fault::CloseAfterBytes(bytes, how)) = fault {
            connection.read_part(bytes).await?;
            return Ok(how);
        }
        let Some(mut frame) = connection.frame().await? else {
            break;
        };
        let header = RequestHeader::decode_from(&mut frame, 0)?;
        match header.api_key() {
            ApiVersionsRequest::API_KEY => answer(connection, &header, versions(shared)).await?,
            Produce::API_KEY => {
                if let Some(how) = produce(connection, &header, frame, fault, shared).await? {
                    return Ok(how);
                }
            }
            FetchOffsetsRequest::API_KEY => {
                let request = FetchOffsetsRequest::decode_from(&mut frame, header.api_version())?;
                answer(connection, &header, fetch_offsets(request, shared)).await?;
            }
            Fetch::API_KEY => {
                let request = Fetch::decode_from(&mut frame, header.api_version())?;
                answer(connection, &header, fetch(&request, shared)).await?;
            }
            StreamFetch::API_KEY => {
                let request = StreamFetch::decode_from(&mut frame, header.api_version())?;
                start_stream(connection, header, request, shared, &mut streams).await?;
            }
            UpdateOffsetsRequest::API_KEY => {
                let request = UpdateOffsetsRequest::decode_from(&mut frame, header.api_version())?;
                answer(connection, &header, update_offsets(request, &streams)).await?;
            }
            key => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("the SPU has no request {key}"),
                ));
            }
        }
    }
    Ok(Close::Fin)
}

async fn answer<P: Encoder + Default>(
    connection: &Connection,
    header: &RequestHeader,
    body: P,
) -> io::Result<()> {
    let frame = response_frame(header.correlation_id(), header.api_version(), body)?;
    connection.sender().send(frame).await
}

fn versions(shared: &Shared) -> ApiVersionsResponse {
    ApiVersionsResponse {
        api_keys: shared.shifted(vec![
            version_range::<Produce>(),
            version_range::<Fetch>(),
            version_range_from::<FetchOffsetsRequest>(FetchOffsetsRequest::DEFAULT_API_VERSION),
            version_range_from::<StreamFetch>(0),
            version_range::<UpdateOffsetsRequest>(),
        ]),
        ..Default::default()
    }
}

/// Whether this is the start of a produce request with records in it.
fn has_records(mut head: &[u8]) -> bool {
    partition_count(&mut head).is_ok_and(|count| count > 0)
}

fn partition_count(head: &mut &[u8]) -> io::Result<i32> {
    let header = RequestHeader::decode_from(head, 0)?;
    if header.api_key() != Produce::API_KEY {
        return Ok(0);
    }
    let version = header.api_version();
    let _transactional_id: Option<String> = Decoder::decode_from(head, version)?;
    let _isolation = i16::decode_from(head, version)?;
    let _timeout = i32::decode_from(head, version)?;
    if i32::decode_from(head, version)? == 0 {
        return Ok(0);
    }
    let _topic = String::decode_from(head, version)?;
    i32::decode_from(head, version)
}

/// Some says that the connection is to be closed.
async fn produce(
    connection: &Connection,
    header: &RequestHeader,
    mut body: Bytes,
    fault: Option<Fault>,
    shared: &Shared,
) -> io::Result<Option<Close>> {
    let request = Produce::decode_from(&mut body, header.api_version())?;
    let response = match fault {
        None => append(&request, shared),
        Some(Fault::Error(code)) => same_answer(&request, &code),
        Some(Fault::ErrorAfterApply(code)) => {
            append(&request, shared);
            same_answer(&request, &code)
        }
        Some(Fault::AckDelay(delay)) => {
            let response = append(&request, shared);
            tokio::time::sleep(delay).await;
            response
        }
        Some(Fault::CloseBefore(how) | Fault::CloseAfterBytes(_, how)) => return Ok(Some(how)),
        Some(Fault::CloseAfter(how)) => {
            append(&request, shared);
            return Ok(Some(how));
        }
        Some(Fault::SilenceBefore) => std::future::pending().await,
        Some(Fault::SilenceAfter) => {
            append(&request, shared);
            std::future::pending().await
        }
        Some(Fault::WrongBaseOffset(shift)) => {
            let mut response = append(&request, shared);
            let topics = response.responses.iter_mut();
            for partition in topics.flat_map(|topic| &mut topic.partitions) {
                partition.base_offset += shift;
            }
            response
        }
    };
    answer(connection, header, response).await?;
    Ok(None)
}

/// One answer for each entry of the request, in its order: clients match them by position.
fn answer_each(
    request: &Produce,
    mut entry: impl FnMut(&str, u32, &Bytes) -> Result<i64, ErrorCode>,
) -> ProduceResponse {
    let mut response = ProduceResponse::default();
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let result = entry(&topic.name, index, &partition.records.0);
            partitions.push(PartitionProduceResponse {
                partition_index: index,
                base_offset: *result.as_ref().unwrap_or(&0),
                error_code: result.err().unwrap_or_default(),
                ..Default::default()
            });
        }
        response.responses.push(TopicProduceResponse {
            name: topic.name.clone(),
            partitions,
        });
    }
    response
}

fn same_answer(request: &Produce, code: &ErrorCode) -> ProduceResponse {
    answer_each(request, |_, _, _| Err(code.clone()))
}

fn append(request: &Produce, shared: &Shared) -> ProduceResponse {
    answer_each(request, |topic, partition, records| {
        if shared.is_not_leader() || !shared.has_partition(topic, partition) {
            return Err(ErrorCode::NotLeaderForPartition);
        }
        // The checks take their time and are made while nobody waits for the topics.
        let batches = log::check(records)?;
        if batches.is_empty() {
            return Ok(0);
        }
        let mut topics = shared.topics.lock().unwrap();
        let log = topics
            .log_mut(topic, partition)
            .ok_or(ErrorCode::NotLeaderForPartition)?;
        let base_offset = log.append(batches);
        drop(topics);
        shared.records_changed.send_replace(());
        Ok(base_offset)
    })
}

fn fetch_offsets(request: FetchOffsetsRequest, shared: &Shared) -> FetchOffsetsResponse {
    let fault = shared.offset_faults.lock().unwrap().meet();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            let mut response = FetchOffsetPartitionResponse {
                partition_index: index,
                ..Default::default()
            };
            let end = shared.end_offset(&topic.name, index);
            match end.filter(|_| !shared.is_not_leader()) {
                Some(end) => response.last_stable_offset = end,
                None => response.error_code = ErrorCode::PartitionNotLeader,
            }
            if let Some(code) = fault.clone() {
                response.error_code = code;
                response.last_stable_offset = 0;
            }
            response
        });
        FetchOffsetTopicResponse {
            partitions: partitions.collect(),
            name: topic.name,
        }
    });
    FetchOffsetsResponse {
        topics: topics.collect(),
    }
}

fn fetch(request: &Fetch, shared: &Shared) -> FetchResponse<RawRecordSet> {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.fetch_partitions.iter().map(|partition| {
            // The limit of the request counts and not that of the partition, as on the real one.
            read(
                shared,
                &topic.name,
                partition.partition_index,
                partition.fetch_offset,
                request.max_bytes,
            )
        });
        FetchableTopicResponse {
            name: topic.name.clone(),
            partitions: partitions.collect(),
            ..Default::default()
        }
    });
    FetchResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

fn read(
    shared: &Shared,
    topic: &str,
    partition: u32,
    offset: i64,
    max_bytes: i32,
) -> FetchablePartitionResponse<RawRecordSet> {
    let mut response = FetchablePartitionResponse {
        partition_index: partition,
        ..Default::default()
    };
    let topics = shared.topics.lock().unwrap();
    match topics.log(topic, partition) {
        Some(log) if !shared.is_not_leader() => {
            let max_bytes = usize::try_from(max_bytes).unwrap_or(0);
            match log.read(offset, max_bytes) {
                Ok(records) => {
                    response.high_watermark = log.end();
                    response.records = RawRecordSet(records);
                }
                Err(code) => response.error_code = code,
            }
        }
        _ => response.error_code = ErrorCode::NotLeaderForPartition,
    }
    response
}

async fn start_stream(
    connection: &mut Connection,
    header: RequestHeader,
    request: StreamFetch,
    shared: &Arc<Shared>,
    streams: &mut Streams,
) -> io::Result<()> {
    if shared.is_not_leader() || !shared.has_partition(&request.topic, request.partition) {
        let response = read(shared, &request.topic, request.partition, 0, 0);
        let response = StreamFetchResponse {
            topic: request.topic,
            stream_id: 0,
            partition: response,
        };
        return answer(connection, &header, response).await;
    }
    // The ordinary client takes 0 for no stream at all.
    let stream_id = u32::try_from(streams.len() + 1).map_err(io::Error::other)?;
    let (reported, reports) = unbounded_channel();
    streams.insert(stream_id, reported);
    let sender = connection.sender();
    let shared = Arc::clone(shared);
    connection.spawn(stream(sender, header, request, shared, stream_id, reports));
    Ok(())
}

/// Sends what there is, waits until the consumer says how far it has come, and goes on from there.
async fn stream(
    sender: FrameSender,
    header: RequestHeader,
    request: StreamFetch,
    shared: Arc<Shared>,
    stream_id: u32,
    mut reports: UnboundedReceiver<i64>,
) -> io::Result<()> {
    let mut changed = shared.records_changed.subscribe();
    let mut offset = request.fetch_offset;
    loop {
        let mut partition = read(
            &shared,
            &request.topic,
            request.partition,
            offset,
            request.max_bytes,
        );
        if !shared.has_partition(&request.topic, request.partition) {
            partition.error_code = ErrorCode::TopicDeleted;
        }
        let failed = partition.error_code.is_error();
        if partition.records.0.is_empty() && !failed {
            if changed.changed().await.is_err() {
                return Ok(());
            }
            continue;
        }
        let response = StreamFetchResponse {
            topic: request.topic.clone(),
            stream_id,
            partition,
        };
        let frame = response_frame(header.correlation_id(), header.api_version(), response)?;
        sender.send(frame).await?;
        if failed {
            return Ok(());
        }
        match reports.recv().await {
            Some(reported) => offset = reported,
            None => return Ok(()),
        }
    }
}

fn update_offsets(request: UpdateOffsetsRequest, streams: &Streams) -> UpdateOffsetsResponse {
    let status = request.offsets.into_iter().map(|update| {
        let known = streams.get(&update.session_id);
        if let Some(stream) = known {
            // A stream that has ended with an error wants no reports.
            let _ = stream.send(update.offset);
        }
        OffsetUpdateStatus {
            session_id: update.session_id,
            error: match known {
                Some(_) => ErrorCode::None,
                None => ErrorCode::FetchSessionNotFoud,
            },
        }
    });
    UpdateOffsetsResponse {
        status: status.collect(),
    }
}
