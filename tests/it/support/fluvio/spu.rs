//! The SPU: its requests, the ends of partitions, and both ways to fetch.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use fluvio_protocol::api::{Request, RequestHeader};
use fluvio_protocol::link::ErrorCode;
use fluvio_protocol::link::versions::{ApiVersionsRequest, ApiVersionsResponse};
use fluvio_protocol::{Decoder, Encoder};
use fluvio_spu_schema::fetch::{
    FetchRequest, FetchResponse, FetchablePartitionResponse, FetchableTopicResponse,
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
use super::connection::{Connection, FrameSender};
use super::faults::{Close, Fault, OffsetFault};
use super::net::Side;
use super::produce::{PRODUCE_HEAD, Produce, has_records, produce};
use super::wire::{RawRecordSet, response_frame, version_range, version_range_from};

type Fetch = FetchRequest<RawRecordSet>;
type StreamFetch = StreamFetchRequest<RawRecordSet>;

/// Where the offsets that a consumer reports go, for each stream of a connection.
type Streams = HashMap<u32, UnboundedSender<i64>>;

pub(super) async fn serve(
    connection: &mut Connection,
    shared: &Arc<Shared>,
    spu: usize,
) -> io::Result<Close> {
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
        shared.count(Side::Spu, header.api_key());
        match header.api_key() {
            ApiVersionsRequest::API_KEY => answer(connection, &header, versions(shared)).await?,
            Produce::API_KEY => {
                if let Some(how) = produce(connection, &header, frame, fault, shared, spu).await? {
                    return Ok(how);
                }
            }
            FetchOffsetsRequest::API_KEY => {
                let request = FetchOffsetsRequest::decode_from(&mut frame, header.api_version())?;
                answer(connection, &header, fetch_offsets(request, shared, spu)).await?;
            }
            Fetch::API_KEY => {
                let request = Fetch::decode_from(&mut frame, header.api_version())?;
                answer(connection, &header, fetch(&request, shared, spu)).await?;
            }
            StreamFetch::API_KEY => {
                let request = StreamFetch::decode_from(&mut frame, header.api_version())?;
                start_stream(connection, header, request, (shared, spu), &mut streams).await?;
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

pub(super) async fn answer<P: Encoder + Default>(
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

fn fetch_offsets(
    request: FetchOffsetsRequest,
    shared: &Shared,
    spu: usize,
) -> FetchOffsetsResponse {
    let fault = shared.offset_faults.lock().unwrap().meet();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            let mut response = FetchOffsetPartitionResponse {
                partition_index: index,
                ..Default::default()
            };
            let bounds = shared.bounds(&topic.name, index);
            match bounds.filter(|_| shared.leads(spu, &topic.name, index)) {
                Some(bounds) => {
                    response.start_offset = bounds.start;
                    response.last_stable_offset = bounds.end;
                }
                None => response.error_code = ErrorCode::PartitionNotLeader,
            }
            match &fault {
                Some(OffsetFault::Error(code)) => {
                    response.error_code = code.clone();
                    response.last_stable_offset = 0;
                }
                Some(OffsetFault::Old(records)) => response.last_stable_offset -= records,
                None => {}
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

fn fetch(request: &Fetch, shared: &Shared, spu: usize) -> FetchResponse<RawRecordSet> {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.fetch_partitions.iter().map(|partition| {
            // The limit of the request counts and not that of the partition, as on the real one.
            read(
                (shared, spu),
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
    (shared, spu): (&Shared, usize),
    topic: &str,
    partition: u32,
    offset: i64,
    max_bytes: i32,
) -> FetchablePartitionResponse<RawRecordSet> {
    let mut response = FetchablePartitionResponse {
        partition_index: partition,
        ..Default::default()
    };
    let leads = shared.leads(spu, topic, partition);
    let topics = shared.topics.lock().unwrap();
    match topics.log(topic, partition) {
        Some(log) if leads => {
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
    (shared, spu): (&Arc<Shared>, usize),
    streams: &mut Streams,
) -> io::Result<()> {
    if !shared.leads(spu, &request.topic, request.partition) {
        let response = read((shared, spu), &request.topic, request.partition, 0, 0);
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
    let place = (shared, spu);
    connection.spawn(stream(sender, header, request, place, stream_id, reports));
    Ok(())
}

/// Sends what there is, waits until the consumer says how far it has come, and goes on from there.
async fn stream(
    sender: FrameSender,
    header: RequestHeader,
    request: StreamFetch,
    (shared, spu): (Arc<Shared>, usize),
    stream_id: u32,
    mut reports: UnboundedReceiver<i64>,
) -> io::Result<()> {
    let mut changed = shared.records_changed.subscribe();
    let mut offset = request.fetch_offset;
    loop {
        let mut partition = read(
            (&shared, spu),
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
