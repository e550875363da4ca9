//! Writing to one SPU: one request under way, and the next behind it.
//!
//! Were two requests with the server, a failure of the first alone would leave the second in the topics
//! before it. So of the second all is sent but its last byte: it crosses the network and waits in the
//! server's socket while the first is stored, and becomes a request when that is acknowledged. If it is
//! not, the connection ends, and what came of the second is of no meaning to any server.
//!
//! A request has a batch for each of some lanes. The server stores one after the other, and says of each
//! whether it did: that one is refused says nothing of the others.
//!
//! Nothing becomes a request unless the slot is ours at that moment: the [`Lease`] is checked before a
//! request is sent, and before the last byte of one that took a while to send.

use std::time::Duration;

use fluvio::{Compression, Isolation};
use fluvio_protocol::Encoder;
use fluvio_protocol::link::ErrorCode;
use fluvio_spu_schema::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

use super::answer::{OfTopics, Produced};
use super::batch::{BatchHead, FinishedBatch};
use super::reader::ask_offsets;
use super::records::SentRecords;
use super::rpc::{Begun, Payload, Pending, Rpc};
use super::spare::Spare;
use super::{LanePlace, refused};
use crate::base::error::{Context, Error, Kind, Result};
use crate::sink::InDoubt;
use crate::sink::lease::Lease;

/// A request up to this size is taken by the kernel in one step; a larger one may have to wait for the
/// server between its first byte and its last.
const ONE_STEP_BYTES: usize = 64 * 1024;

/// What of a request follows its last batch: the number of SmartModules, which is zero.
const AFTER_BATCHES_BYTES: usize = size_of::<i32>();

/// A lane as its server has it.
pub(super) struct WrittenLane {
    /// Where the records go.
    pub place: LanePlace,
    /// How batches are compressed.
    pub compression: Compression,
    /// The offset of the next record that is acknowledged.
    pub next_offset: i64,
    /// How many records are acknowledged.
    pub stored: u64,
}

/// A connection to an SPU that writes the lanes which it leads. After an error it is of no use: what is
/// in their partitions is read before anything is written again.
pub(super) struct SpuWriter {
    spu: Rpc,
    lease: Lease,
    timeout: Duration,
    /// The request that was sent and is not acknowledged.
    sent: Option<SentRequest>,
    pending: Option<Pending<ProduceRequest<BatchHead>>>,
    /// The request after that, of which the last byte is not sent.
    begun: Option<(SentRequest, Begun<ProduceRequest<BatchHead>>)>,
    has_failed: bool,
}

/// The batches of a request.
struct SentRequest {
    batches: Vec<SentBatch>,
    /// How many bytes the records have.
    bytes: usize,
}

/// A batch of a request.
struct SentBatch {
    lane: usize,
    records: SentRecords,
    /// Whether the server said that it did not take the batch.
    is_refused: bool,
}

impl SpuWriter {
    /// Writes over `spu` under the lease of a slot.
    pub fn new(spu: Rpc, lease: Lease, timeout: Duration) -> SpuWriter {
        SpuWriter {
            spu,
            lease,
            timeout,
            sent: None,
            pending: None,
            begun: None,
            has_failed: false,
        }
    }

    /// How many requests there are that are not acknowledged.
    pub fn requests(&self) -> usize {
        usize::from(self.sent.is_some()) + usize::from(self.begun.is_some())
    }

    /// How many bytes of records are not acknowledged.
    pub fn bytes(&self) -> usize {
        let begun = self.begun.as_ref().map(|(request, _)| request);
        let requests = self.sent.iter().chain(begun);
        requests.map(|request| request.bytes).sum()
    }

    /// Whether an answer has come that can be taken without waiting.
    pub fn has_answer(&self) -> Result<bool> {
        Ok(self.sent.is_some() && self.spu.has_response()?)
    }

    /// Sends a request: whole if none is under way, else all but its last byte. One at most may be under
    /// way, and no second one.
    pub fn send(
        &mut self,
        batches: Vec<(usize, FinishedBatch)>,
        lanes: &[WrittenLane],
    ) -> Result<()> {
        let result = self.send_batches(batches, lanes);
        self.has_failed |= result.is_err();
        result
    }

    fn send_batches(
        &mut self,
        batches: Vec<(usize, FinishedBatch)>,
        lanes: &[WrittenLane],
    ) -> Result<()> {
        let bytes = batches.iter().map(|(_, batch)| batch.sent.bytes()).sum();
        let mut request = SentRequest {
            batches: Vec::with_capacity(batches.len()),
            bytes,
        };
        let (mut heads, mut records) = (Vec::new(), Vec::new());
        for (lane, batch) in batches {
            heads.push((lane, batch.head));
            records.push(batch.records);
            request.batches.push(SentBatch {
                lane,
                records: batch.sent,
                is_refused: false,
            });
        }
        let produce = self.produce_request(heads, lanes);
        let version = self.spu.version::<ProduceRequest<BatchHead>>()?;
        let mut followed_by = AFTER_BATCHES_BYTES;
        let mut parts: Vec<_> = (produce.topics.iter().zip(&records).rev())
            .map(|(topic, bytes)| {
                let part = Payload { bytes, followed_by };
                followed_by += topic.write_size(version);
                part
            })
            .collect();
        parts.reverse();
        self.hold(&request, lanes)?;
        let len: usize = records.iter().map(|records| records.len()).sum();
        if self.sent.is_none() && len <= ONE_STEP_BYTES {
            self.sent = Some(request);
            self.pending = Some(self.spu.send_around(&produce, &parts)?);
            return Ok(());
        }
        let begun = self.spu.begin_around(&produce, &parts)?;
        match self.sent {
            Some(_) => self.begun = Some((request, begun)),
            None => self.complete(request, begun, lanes)?,
        }
        Ok(())
    }

    /// A topic for each batch: answers come in the order of the request, whatever the names.
    fn produce_request(
        &self,
        heads: Vec<(usize, BatchHead)>,
        lanes: &[WrittenLane],
    ) -> ProduceRequest<BatchHead> {
        let topics = heads.into_iter().map(|(lane, records)| {
            let place = &lanes[lane].place;
            TopicProduceData {
                name: place.topic.to_string(),
                partitions: vec![PartitionProduceData {
                    partition_index: place.partition,
                    records,
                }],
                ..Default::default()
            }
        });
        ProduceRequest {
            // Acknowledged when the replicas that the topic asks for have it.
            isolation: Isolation::ReadCommitted,
            timeout: self.timeout,
            topics: topics.collect(),
            ..Default::default()
        }
    }

    /// Makes sure that the slot is ours.
    fn hold(&self, request: &SentRequest, lanes: &[WrittenLane]) -> Result<()> {
        self.lease.hold().at(|| request.place(lanes))
    }

    /// Sends the last byte of a request: from then on it is one.
    fn complete(
        &mut self,
        request: SentRequest,
        begun: Begun<ProduceRequest<BatchHead>>,
        lanes: &[WrittenLane],
    ) -> Result<()> {
        self.hold(&request, lanes)?;
        self.sent = Some(request);
        self.pending = Some(self.spu.complete(begun)?);
        Ok(())
    }

    /// Waits for the answer to the request that is under way, if one is; then the next is. What is
    /// acknowledged is added, also when some of it is not.
    pub fn await_answer(
        &mut self,
        lanes: &mut [WrittenLane],
        spare: &mut Spare,
        acknowledged: &mut u64,
    ) -> Result<()> {
        let result = self.take_answer(lanes, spare, acknowledged);
        let result = result.and_then(|()| match self.begun.take() {
            Some((request, begun)) => self.complete(request, begun, lanes),
            None => Ok(()),
        });
        self.has_failed |= result.is_err();
        result
    }

    /// Waits for the answer to the request that is under way when another server has failed. What this one
    /// says is still worth to know; the next request is not sent any more.
    pub fn await_last_answer(
        &mut self,
        lanes: &mut [WrittenLane],
        spare: &mut Spare,
        acknowledged: &mut u64,
    ) {
        if !self.has_failed
            && let Err(error) = self.take_answer(lanes, spare, acknowledged)
        {
            log::warn!("{error}");
        }
        self.has_failed = true;
    }

    /// What the answer says is taken down lane by lane. The first error is returned when all of it was
    /// looked at.
    fn take_answer(
        &mut self,
        lanes: &mut [WrittenLane],
        spare: &mut Spare,
        acknowledged: &mut u64,
    ) -> Result<()> {
        let (Some(pending), Some(request)) = (&self.pending, &mut self.sent) else {
            return Ok(());
        };
        let answer = self.spu.receive(pending).at(|| request.place(lanes))?;
        let mut first = Ok(());
        let mut answers = answer.topics.into_iter();
        let batches = std::mem::take(&mut request.batches);
        for mut batch in batches {
            let lane = &mut lanes[batch.lane];
            let answer = answers.next().map(|topic| OfTopics {
                topics: vec![topic],
            });
            match lane.check(answer, &mut batch) {
                Ok(()) => {
                    let count = batch.records.count();
                    lane.next_offset += count as i64;
                    lane.stored += count;
                    *acknowledged += count;
                    spare.put(batch.records);
                }
                Err(error) => {
                    first = first.and(Err(self.spu.error(error).at(lane.place.to_string())));
                    request.batches.push(batch);
                }
            }
        }
        first?;
        (self.pending, self.sent) = (None, None);
        Ok(())
    }

    /// What was sent and is not acknowledged.
    pub fn in_doubt(&mut self, lanes: &[WrittenLane], out: &mut Vec<InDoubt>) {
        let batches = self.sent.take().map(|request| request.batches);
        out.extend(batches.into_iter().flatten().map(|batch| InDoubt {
            lane: batch.lane,
            offset: lanes[batch.lane].next_offset,
            records: batch.records,
            settle: match batch.is_refused {
                true => Duration::ZERO,
                false => self.timeout,
            },
        }));
    }

    /// Whether what is in these partitions is on all of their replicas.
    pub fn is_settled<'a>(
        &mut self,
        lanes: impl IntoIterator<Item = &'a WrittenLane>,
    ) -> Result<bool> {
        let lanes: Vec<_> = lanes.into_iter().collect();
        if lanes.is_empty() {
            return Ok(true);
        }
        let places: Vec<_> = lanes.iter().map(|lane| &lane.place).collect();
        let offsets = ask_offsets(&mut self.spu, &places)?;
        for (lane, offsets) in lanes.iter().zip(offsets) {
            let offsets = offsets.map_err(|code| {
                let error = self.spu.error(refused(&code));
                error.at(lane.place.to_string())
            })?;
            if offsets.last_stable_offset < lane.next_offset {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl SentRequest {
    /// The place of the first batch, for messages.
    fn place(&self, lanes: &[WrittenLane]) -> String {
        let first = self.batches.first();
        let place = first.map(|batch| lanes[batch.lane].place.to_string());
        let place = place.unwrap_or_default();
        match self.batches.len() {
            0 | 1 => place,
            all => format!("{place} and {} more", all - 1),
        }
    }
}

impl WrittenLane {
    /// Whether a batch is where it was to be.
    fn check(&self, answer: Option<OfTopics<Produced>>, batch: &mut SentBatch) -> Result<()> {
        let found = answer.and_then(|answer| answer.find(&self.place.topic, self.place.partition));
        let found =
            found.ok_or_else(|| Error::undeliverable("an acknowledgement of something else"))?;
        let code = found.error_code.0;
        if code != ErrorCode::None {
            // One that took too long may be stored all the same.
            batch.is_refused = !matches!(code, ErrorCode::RequestTimedOut { .. });
            return Err(refused(&code));
        }
        match found.base_offset == self.next_offset {
            true => Ok(()),
            false => Err(another_writer(found.base_offset, self.next_offset)),
        }
    }
}

fn another_writer(stored_at: i64, expected: i64) -> Error {
    Error::new(
        Kind::Gap,
        format!("records were stored at offset {stored_at}, expected was {expected}: something else writes here"),
    )
    .with_hint(
        "one connector owns a partition; stop the other writer, or give each a topic or partition \
         of its own; then see \"accept-gap\" in the README",
    )
}
