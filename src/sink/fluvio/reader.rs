//! Reading partitions: their bounds, several in a request; and one's records, in whole batches.

use std::time::Duration;

use fluvio_protocol::Decoder;
use fluvio_protocol::link::ErrorCode;
use fluvio_spu_schema::fetch::{FetchPartition, FetchRequest, FetchableTopic};
use fluvio_spu_schema::server::fetch_offset::{
    FetchOffsetPartition, FetchOffsetTopic, FetchOffsetsRequest,
};

use super::answer::{FetchedRecords, OfPartition, OfTopic, Offsets};
use super::rpc::Rpc;
use super::server::FluvioServer;
use super::unpack::{RecordSet, StoredRecord, Unpacked, unpack};
use super::{LanePlace, refused};
use crate::base::error::{Error, Result};

/// A fetch returns whole batches up to this size; most are no larger than this.
const FETCH_BYTES: i32 = 4 * 1024 * 1024;

/// A fetch returns no whole batch when the first is larger than it may be, and may not even say how
/// large that is. This is above the largest that a server stores.
const LARGEST_FETCH_BYTES: i32 = 40 * 1024 * 1024;

/// The most that a fetch from several partitions returns. A server may return so much of each.
const FETCH_FROM_MANY_BYTES: i32 = 4 * 1024 * 1024;

/// So much of a log tells whether there is anything.
const PROBE_BYTES: i32 = 4 * 1024;

/// So much of a log has its last batch, as a rule, where many lanes are written.
const LAST_BATCH_BYTES: i32 = 64 * 1024;

/// How many partitions are asked for their offsets in one request.
const MOST_ASKED: usize = 1_000;

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

/// A partition that is read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Which one it is.
    pub place: LanePlace,
    /// Whether other SPUs have to have the records too.
    pub is_replicated: bool,
}

/// A connection that reads one partition.
pub struct PartitionReader {
    spu: Rpc,
    source: Source,
}

impl PartitionReader {
    /// Connects to the partition's leader.
    pub(super) fn connect(
        leader: &FluvioServer,
        timeout: Duration,
        source: &Source,
    ) -> Result<PartitionReader> {
        Ok(PartitionReader {
            spu: Rpc::connect(leader, timeout)?,
            source: source.clone(),
        })
    }

    /// What the partition holds now.
    pub fn bounds(&mut self) -> Result<Bounds> {
        let asked = ask_bounds(&mut self.spu, &[&self.source])?.pop();
        let code = match asked {
            Some(Ok(bounds)) => return Ok(bounds),
            Some(Err(code)) => refused(&code),
            None => Error::undeliverable("no offsets in the answer"),
        };
        Err(self.error(code))
    }

    /// The records from `offset` on, as many as one answer holds: at least one. There must be a
    /// record at `offset`.
    pub fn fetch(&mut self, offset: i64) -> Result<Vec<StoredRecord>> {
        fetch(&mut self.spu, &self.source.place, offset)
    }

    /// An error of the partition, with its server.
    pub fn error(&self, error: Error) -> Error {
        of(&self.spu, &self.source.place, error)
    }
}

/// What each of some partitions holds now, all led by `spu`; or why their leader does not say, which is not
/// an error of the connection.
pub(super) fn ask_bounds(
    spu: &mut Rpc,
    sources: &[&Source],
) -> Result<Vec<Result<Bounds, ErrorCode>>> {
    let places: Vec<_> = sources.iter().map(|source| &source.place).collect();
    let asked = ask_offsets(spu, &places)?;
    let known = (asked.iter().zip(&places))
        .filter_map(|(asked, &place)| Some((place, asked.as_ref().ok()?.last_stable_offset)));
    let known: Vec<_> = known.collect();
    let mut ends = find_ends(spu, &known)?.into_iter();
    // What came after the answer makes it an old one, not the records unstable. Nor are they where
    // nobody else has to have them, whatever a server that was killed finds in its file.
    let mut bounds = Vec::with_capacity(sources.len());
    let mut again = Vec::new();
    for (number, (asked, source)) in asked.into_iter().zip(sources).enumerate() {
        let asked = match asked {
            Ok(asked) => asked,
            Err(code) => {
                bounds.push(Err(code));
                continue;
            }
        };
        let (stable, end) = (asked.last_stable_offset, ends.next().unwrap_or_default());
        let is_behind = end > stable && source.is_replicated;
        if is_behind {
            again.push((number, &source.place));
        }
        bounds.push(Ok(Bounds {
            start: asked.start_offset,
            end,
            stable: if source.is_replicated { stable } else { end },
        }));
    }
    if !again.is_empty() {
        let places: Vec<_> = again.iter().map(|(_, place)| *place).collect();
        for (&(number, _), asked) in again.iter().zip(ask_offsets(spu, &places)?) {
            match (&mut bounds[number], asked) {
                (Ok(bounds), Ok(asked)) => bounds.stable = asked.last_stable_offset,
                (found, Err(code)) => *found = Err(code),
                (Err(_), Ok(_)) => {}
            }
        }
    }
    Ok(bounds)
}

/// The ends of logs. What the server calls the last stable offset may lie before it: a server that was
/// killed finds it again in a file that it writes late, and a replica may be behind.
fn find_ends(spu: &mut Rpc, stable: &[(&LanePlace, i64)]) -> Result<Vec<i64>> {
    let mut ends = Vec::with_capacity(stable.len());
    for ((place, stable), found) in stable
        .iter()
        .zip(fetch_from_each(spu, stable, PROBE_BYTES)?)
    {
        ends.push(match found.records.0.is_empty() {
            true => *stable,
            false => find_end(spu, place, *stable)?,
        });
    }
    Ok(ends)
}

fn find_end(spu: &mut Rpc, place: &LanePlace, stable: i64) -> Result<i64> {
    let mut end = stable;
    while let Some(last) = fetch_some(spu, place, end)?.last() {
        end = last.offset + 1;
    }
    Ok(end)
}

/// The last record of each of some partitions, all led by `spu`, which are not empty and end at these
/// offsets.
pub(super) fn last_records(spu: &mut Rpc, ends: &[(&LanePlace, i64)]) -> Result<Vec<StoredRecord>> {
    let last: Vec<_> = ends.iter().map(|&(place, end)| (place, end - 1)).collect();
    let mut records = Vec::with_capacity(last.len());
    for part in last.chunks(at_once(LAST_BATCH_BYTES)) {
        for (&(place, offset), found) in part.iter().zip(fetch_part(spu, part, LAST_BATCH_BYTES)?) {
            let found = unpack(&found.records.0, offset).map_err(|e| of(spu, place, e))?;
            let first = found.records.into_iter().next();
            records.push(match first.filter(|first| first.offset == offset) {
                Some(first) => first,
                // Its batch is larger; or the offset is not there, which this says.
                None => fetch(spu, place, offset)?.swap_remove(0),
            });
        }
    }
    Ok(records)
}

/// The records from `offset` on, as many as one answer holds: at least one.
fn fetch(spu: &mut Rpc, place: &LanePlace, offset: i64) -> Result<Vec<StoredRecord>> {
    let records = fetch_some(spu, place, offset)?;
    match records.first() {
        Some(first) if first.offset == offset => Ok(records),
        Some(first) => {
            let what = format!(
                "asked for the records from offset {offset} on, got {}",
                first.offset
            );
            Err(of(spu, place, Error::undeliverable(what)))
        }
        // It may be behind for a moment after it has become the leader.
        None => {
            let what = format!("no record at offset {offset}");
            Err(of(spu, place, Error::unreachable(what)))
        }
    }
}

/// Fetches from `offset`; empty at the end of the log.
fn fetch_some(spu: &mut Rpc, place: &LanePlace, offset: i64) -> Result<Vec<StoredRecord>> {
    let fetched = fetch_up_to(spu, place, offset, FETCH_BYTES)?;
    match fetched.first_batch_bytes {
        // Not more than this batch: what comes after it would take as much memory again.
        Some(bytes) if fetched.records.is_empty() => {
            let bytes = bytes.min(LARGEST_FETCH_BYTES);
            fetch_up_to(spu, place, offset, bytes).map(|fetched| fetched.records)
        }
        _ => Ok(fetched.records),
    }
}

/// The server cuts an answer at `max_bytes`, in the middle of a batch if need be.
fn fetch_up_to(spu: &mut Rpc, place: &LanePlace, offset: i64, max_bytes: i32) -> Result<Unpacked> {
    let found = fetch_part(spu, &[(place, offset)], max_bytes)?.pop();
    let found = found.unwrap_or_default();
    unpack(&found.records.0, offset).map_err(|error| of(spu, place, error))
}

/// How many partitions may be fetched from at once if each may give so much.
fn at_once(max_bytes: i32) -> usize {
    (FETCH_FROM_MANY_BYTES / max_bytes).max(1) as usize
}

/// Fetches from each of some partitions, in as many requests as memory wants.
fn fetch_from_each(
    spu: &mut Rpc,
    from: &[(&LanePlace, i64)],
    max_bytes: i32,
) -> Result<Vec<FetchedRecords>> {
    let mut fetched = Vec::with_capacity(from.len());
    for part in from.chunks(at_once(max_bytes)) {
        fetched.extend(fetch_part(spu, part, max_bytes)?);
    }
    Ok(fetched)
}

/// Fetches from each of some partitions in one request, at most `max_bytes` from each.
fn fetch_part(
    spu: &mut Rpc,
    from: &[(&LanePlace, i64)],
    max_bytes: i32,
) -> Result<Vec<FetchedRecords>> {
    let topics = from.iter().map(|&(place, fetch_offset)| FetchableTopic {
        name: place.topic.to_string(),
        fetch_partitions: vec![FetchPartition {
            partition_index: place.partition,
            fetch_offset,
            max_bytes,
            ..Default::default()
        }],
    });
    let request = FetchRequest::<RecordSet> {
        max_bytes,
        topics: topics.collect(),
        ..Default::default()
    };
    let mut answers = spu.call(&request)?.topics.into_iter();
    let mut fetched = Vec::with_capacity(from.len());
    for (place, _) in from {
        let found = answer_of(place, answers.next());
        let found = found
            .ok_or_else(|| of(spu, place, Error::undeliverable("no records in the answer")))?;
        match &found.error_code.0 {
            ErrorCode::None => fetched.push(found),
            code => return Err(of(spu, place, refused(code))),
        }
    }
    Ok(fetched)
}

/// Asks the leader of partitions for their offsets.
pub(super) fn ask_offsets(
    spu: &mut Rpc,
    places: &[&LanePlace],
) -> Result<Vec<Result<Offsets, ErrorCode>>> {
    let mut offsets = Vec::with_capacity(places.len());
    for part in places.chunks(MOST_ASKED) {
        let topics = part.iter().map(|place| FetchOffsetTopic {
            name: place.topic.to_string(),
            partitions: vec![FetchOffsetPartition {
                partition_index: place.partition,
            }],
        });
        let request = FetchOffsetsRequest {
            topics: topics.collect(),
            ..Default::default()
        };
        let mut answers = spu.call(&request)?.topics.into_iter();
        for place in part {
            let found = answer_of(place, answers.next());
            let found = found
                .ok_or_else(|| of(spu, place, Error::undeliverable("no offsets in the answer")))?;
            offsets.push(check_offsets(spu, place, found)?);
        }
    }
    Ok(offsets)
}

fn check_offsets(
    spu: &Rpc,
    place: &LanePlace,
    found: Offsets,
) -> Result<Result<Offsets, ErrorCode>> {
    let (start, stable) = (found.start_offset, found.last_stable_offset);
    match found.error_code.0 {
        ErrorCode::None if start.min(stable) < 0 => {
            let what =
                format!("the topic is said to begin at offset {start} and to end at {stable}");
            Err(of(spu, place, Error::undeliverable(what)))
        }
        ErrorCode::None => Ok(Ok(found)),
        code => Ok(Err(code)),
    }
}

/// The answer for a partition that was asked for as a topic of its own: answers come in the order of the
/// request.
fn answer_of<P>(place: &LanePlace, answer: Option<OfTopic<P>>) -> Option<P>
where
    P: Decoder + Default + OfPartition,
{
    let answer = answer.filter(|answer| *answer.name == *place.topic)?;
    let mut partitions = answer.partitions.into_iter();
    partitions.find(|found| found.partition() == place.partition)
}

/// An error of a partition, with its server.
fn of(spu: &Rpc, place: &LanePlace, error: Error) -> Error {
    spu.error(error).at(place.to_string())
}
