//! Answers of a Fluvio server, and the record batches in them.

use fluvio_protocol::api::Request;
use fluvio_protocol::link::versions::ApiVersionsRequest;
use fluvio_sc_schema::TryEncodableFrom;
use fluvio_sc_schema::objects::{ListResponse, ObjectApiCreateRequest, ObjectApiListRequest};
use fluvio_sc_schema::partition::PartitionSpec;
use fluvio_sc_schema::spu::SpuSpec;
use fluvio_sc_schema::topic::TopicSpec;
use fluvio_spu_schema::fetch::FetchRequest;
use fluvio_spu_schema::produce::ProduceRequest;
use fluvio_spu_schema::server::fetch_offset::FetchOffsetsRequest;
use postgres_source::sink::Ask;
use postgres_source::sink::BatchHead;
use postgres_source::sink::{RecordSet, unpack_within};
use postgres_source::sink::{decode, guarded};

/// The first byte says what was asked for, the second at which version.
pub fn fluvio(data: &[u8]) {
    let Some((&[kind, version], response)) = data.split_first_chunk() else {
        return;
    };
    match kind % 7 {
        0 => answer::<ApiVersionsRequest>(response, version),
        1 => answer::<FetchOffsetsRequest>(response, version),
        2 => answer::<ProduceRequest<BatchHead>>(response, version),
        3 => answer::<ObjectApiCreateRequest>(response, version),
        4 => list(response, version),
        5 => fetch(response, version),
        _ => records(response, i64::from(version)),
    }
}

fn version_of<R: Request>(version: u8) -> i16 {
    let versions = R::MIN_API_VERSION..=R::MAX_API_VERSION.max(R::DEFAULT_API_VERSION);
    i16::from(version).clamp(*versions.start(), *versions.end())
}

fn answer<R: Ask>(response: &[u8], version: u8) {
    let _ = decode::<R>(response, version_of::<R>(version));
}

fn list(response: &[u8], version: u8) {
    let version = version_of::<ObjectApiListRequest>(version);
    if let Ok((_, list)) = decode::<ObjectApiListRequest>(response, version) {
        let _ = guarded(|| TryEncodableFrom::<ListResponse<TopicSpec>>::downcast(&list));
        let _ = guarded(|| TryEncodableFrom::<ListResponse<PartitionSpec>>::downcast(&list));
        let _ = guarded(|| TryEncodableFrom::<ListResponse<SpuSpec>>::downcast(&list));
    }
}

fn fetch(response: &[u8], version: u8) {
    let version = version_of::<FetchRequest<RecordSet>>(version);
    let Ok((_, fetched)) = decode::<FetchRequest<RecordSet>>(response, version) else {
        return;
    };
    for topic in fetched.topics {
        for partition in topic.partitions {
            assert!(partition.records.0.len() <= response.len());
            records(&partition.records.0, 0);
        }
    }
}

/// So much may be unpacked: a few KiB of input can be hundreds of MiB, below the program's limit.
const UNPACKED_BYTES: usize = 1024 * 1024;

/// Where in a batch its length and its checksum are.
const LENGTH: std::ops::Range<usize> = 8..12;
const CHECKSUM: std::ops::Range<usize> = 17..21;

/// As it is, and with checksums that are right: nothing would be found behind one that is not.
fn records(set: &[u8], offset: i64) {
    let _ = unpack_within(UNPACKED_BYTES, set, offset);
    let mut sealed = set.to_vec();
    seal(&mut sealed);
    let Ok(unpacked) = unpack_within(UNPACKED_BYTES, &sealed, offset) else {
        return;
    };
    let offsets: Vec<i64> = unpacked
        .records
        .iter()
        .map(|record| record.offset)
        .collect();
    assert!(offsets.iter().all(|at| *at >= offset));
    // Follows without a gap, from where it was asked for on.
    assert!(offsets.windows(2).all(|pair| pair[1] - pair[0] == 1));
}

/// Sets the checksum of each batch that is there in whole.
fn seal(mut set: &mut [u8]) {
    while let Some(len) = set.get(LENGTH) {
        let len = i32::from_be_bytes(len.try_into().expect("four bytes"));
        let end = usize::try_from(len).map(|len| LENGTH.end.saturating_add(len));
        let Some((batch, rest)) = end.ok().and_then(|end| set.split_at_mut_checked(end)) else {
            return;
        };
        if let Some(covered) = batch.get(CHECKSUM.end..) {
            let checksum = crc32c::crc32c(covered).to_be_bytes();
            batch[CHECKSUM].copy_from_slice(&checksum);
        }
        set = rest;
    }
}
