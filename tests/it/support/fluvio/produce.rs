//! Produce requests, and the faults that they meet.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use fluvio_protocol::Decoder;
use fluvio_protocol::api::{Request, RequestHeader};
use fluvio_protocol::link::ErrorCode;
use fluvio_spu_schema::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};

use super::Shared;
use super::connection::Connection;
use super::faults::{Close, Fault};
use super::log;
use super::spu::answer;
use super::wire::RawRecordSet;

/// So much of a produce request tells whether it has records: the header with the client's name,
/// a few numbers and the name of the topic come before the count of partitions.
pub(super) const PRODUCE_HEAD: usize = 512;

pub(super) type Produce = ProduceRequest<RawRecordSet>;

/// Whether this is the start of a produce request with records in it.
pub(super) fn has_records(mut head: &[u8]) -> bool {
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
pub(super) async fn produce(
    connection: &Connection,
    header: &RequestHeader,
    mut body: Bytes,
    fault: Option<Fault>,
    shared: &Arc<Shared>,
    spu: usize,
) -> io::Result<Option<Close>> {
    let request = Produce::decode_from(&mut body, header.api_version())?;
    let response = match fault {
        None => append(&request, shared, spu),
        Some(Fault::ErrorOf { partition, code }) => {
            append_except(&request, shared, spu, |of| match of == partition {
                true => Err(code.clone()),
                false => Ok(()),
            })
        }
        Some(Fault::Error(code)) => same_answer(&request, &code),
        Some(Fault::ErrorAfterApply(code)) => {
            append(&request, shared, spu);
            same_answer(&request, &code)
        }
        Some(Fault::AckDelay(delay)) => {
            let response = append(&request, shared, spu);
            tokio::time::sleep(delay).await;
            response
        }
        Some(Fault::CloseBefore(how) | Fault::CloseAfterBytes(_, how)) => return Ok(Some(how)),
        Some(Fault::CloseAfter(how)) => {
            append(&request, shared, spu);
            return Ok(Some(how));
        }
        Some(Fault::SilenceBefore) => std::future::pending().await,
        Some(Fault::SilenceAfter) => {
            append(&request, shared, spu);
            std::future::pending().await
        }
        Some(Fault::SilenceAndApplyLate(delay)) => {
            let shared = Arc::clone(shared);
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                append(&request, &shared, spu);
            });
            std::future::pending().await
        }
        Some(Fault::WrongBaseOffset(shift)) => {
            let mut response = append(&request, shared, spu);
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

fn append(request: &Produce, shared: &Shared, spu: usize) -> ProduceResponse {
    append_except(request, shared, spu, |_| Ok(()))
}

/// Appends what is not refused, as the real server: one partition after the other, each by itself.
fn append_except(
    request: &Produce,
    shared: &Shared,
    spu: usize,
    refuse: impl Fn(u32) -> Result<(), ErrorCode>,
) -> ProduceResponse {
    answer_each(request, |topic, partition, records| {
        refuse(partition)?;
        if !shared.leads(spu, topic, partition) {
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
