//! Writing a partition: one batch under way, and the next behind it.
//!
//! Were two batches with the server, a failure of the first alone would leave the second in the topic
//! before it. So of the second all is sent but its last byte: it crosses the network and waits in the
//! server's socket while the first is stored, and becomes a request when that is acknowledged. If it is
//! not, the connection ends, and what came of the second is of no meaning to any server.
//!
//! Nothing becomes a request unless the slot is ours at that moment: the [`Lease`] is checked before a
//! batch is sent, and before the last byte of one that took a while to send.

use std::time::Duration;

use fluvio::{Compression, Isolation};
use fluvio_protocol::link::ErrorCode;
use fluvio_spu_schema::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

use super::batch::{BatchBuilder, BatchHead, SentRecords, check_len};
use super::reader::ask_offsets;
use super::rpc::{Begun, Payload, Pending, Rpc};
use super::{Options, refused};
use crate::base::error::{Context, Error, Kind, Result};
use crate::record::ProducerRecord;
use crate::sink::lease::Lease;
use crate::sink::{InDoubt, KEEP_BYTES, Sink};

/// The bytes of records that are taken between two searches for the acknowledgement of a batch that is
/// under way.
const POLL_BYTES: usize = 64 * 1024;

/// A batch up to this size is taken by the kernel in one step; a larger one may have to wait for the
/// server between its first byte and its last.
const ONE_STEP_BYTES: usize = 64 * 1024;

/// A partition's only writer. After an error it is of no use: what is in the partition is read
/// before anything is written again.
pub struct PartitionWriter {
    spu: Rpc,
    lease: Lease,
    options: Options,
    compression: Compression,
    batch: BatchBuilder,
    /// Memory for the next record: empty in between.
    value: Vec<u8>,
    /// The batch that was sent and is not acknowledged.
    sent: Option<SentRecords>,
    pending: Option<Pending<ProduceRequest<BatchHead>>>,
    /// The batch after that, of which the last byte is not sent.
    begun: Option<(SentRecords, Begun<ProduceRequest<BatchHead>>)>,
    /// The length of `batch` at which an acknowledgement is searched for.
    poll_at: usize,
    /// Whether the server said that it did not take the batch.
    refused: bool,
    /// Memory of acknowledged batches.
    spare: Vec<Vec<u8>>,
    next_offset: i64,
    stored: u64,
}

impl PartitionWriter {
    pub(super) fn new(
        spu: Rpc,
        lease: Lease,
        options: Options,
        compression: Compression,
        next_offset: i64,
    ) -> Self {
        PartitionWriter {
            spu,
            lease,
            options,
            compression,
            batch: BatchBuilder::default(),
            value: Vec::new(),
            sent: None,
            pending: None,
            begun: None,
            poll_at: POLL_BYTES,
            refused: false,
            spare: Vec::new(),
            next_offset,
            stored: 0,
        }
    }

    /// Sends the batch: whole if none is under way, else all but its last byte.
    fn send_batch(&mut self) -> Result<()> {
        self.poll_acknowledgement()?;
        // One that is larger than the others is not to be in memory beside them.
        let is_large = self.batch.len() > self.options.batch_bytes;
        while self.begun.is_some() || is_large && self.sent.is_some() {
            self.await_acknowledgement()?;
        }
        let spare = self.spare.pop().unwrap_or_default();
        let batch = self.batch.finish(self.compression, spare)?;
        self.poll_at = POLL_BYTES;
        self.value.shrink_to(KEEP_BYTES);
        let request = self.produce_request(batch.head);
        let payload = Payload {
            bytes: &batch.records,
            // The number of SmartModules, which is zero.
            followed_by: size_of::<i32>(),
        };
        self.lease.hold().at(|| self.options.place())?;
        if self.sent.is_none() && batch.records.len() <= ONE_STEP_BYTES {
            self.sent = Some(batch.sent);
            self.pending = Some(self.spu.send_around(&request, &payload)?);
            return Ok(());
        }
        let begun = self.spu.begin_around(&request, &payload)?;
        match self.sent {
            Some(_) => self.begun = Some((batch.sent, begun)),
            None => self.complete(batch.sent, begun)?,
        }
        Ok(())
    }

    /// Sends the last byte of a batch: from then on it is a request.
    fn complete(
        &mut self,
        records: SentRecords,
        begun: Begun<ProduceRequest<BatchHead>>,
    ) -> Result<()> {
        self.lease.hold().at(|| self.options.place())?;
        self.sent = Some(records);
        self.pending = Some(self.spu.complete(begun)?);
        Ok(())
    }

    /// Takes an acknowledgement that has come.
    fn poll_acknowledgement(&mut self) -> Result<()> {
        self.poll_at = self.batch.len() + POLL_BYTES;
        match self.sent.is_some() && self.spu.has_response()? {
            true => self.await_acknowledgement(),
            false => Ok(()),
        }
    }

    /// Sends what is there if a record of `len` bytes would not fit beside it.
    fn make_room(&mut self, len: usize) -> Result<()> {
        match !self.batch.is_empty() && self.batch.len_with(len) > self.options.batch_bytes {
            true => self.send_batch(),
            false => Ok(()),
        }
    }

    /// Renders a record beside the batch, since its length stands before it there.
    fn write_small(&mut self, record: &ProducerRecord<'_>) -> Result<usize> {
        record.render(&mut self.value);
        let len = self.value.len();
        self.make_room(len)?;
        if self.compression == Compression::None {
            // Before it is copied.
            check_len(len)?;
        }
        self.batch.push(&self.value);
        self.value.clear();
        match self.batch.len() {
            len if len >= self.options.batch_bytes => self.send_batch()?,
            len if len >= self.poll_at => self.poll_acknowledgement()?,
            _ => {}
        }
        Ok(len)
    }

    /// Renders a record where it is sent from. Whether it fits is known before, unless it is
    /// compressed. It is sent with the next record or flush, when what it was made of is given back.
    fn write_large(&mut self, record: &ProducerRecord<'_>) -> Result<usize> {
        let len = record.measure();
        self.make_room(len)?;
        let is_plain = self.compression == Compression::None;
        if is_plain {
            check_len(len)?;
        }
        self.batch.push_large(len, |out| record.render(out));
        match is_plain {
            true => check_len(self.batch.len())?,
            false => self.send_batch()?,
        }
        Ok(len)
    }

    fn produce_request(&self, records: BatchHead) -> ProduceRequest<BatchHead> {
        let partition_index = self.options.partition;
        let topic = TopicProduceData {
            name: self.options.topic.clone(),
            partitions: vec![PartitionProduceData {
                partition_index,
                records,
            }],
            ..Default::default()
        };
        ProduceRequest {
            // Acknowledged when the replicas that the topic asks for have it.
            isolation: Isolation::ReadCommitted,
            timeout: self.options.timeout,
            topics: vec![topic],
            ..Default::default()
        }
    }

    fn await_acknowledgement(&mut self) -> Result<()> {
        let Some(pending) = &self.pending else {
            return Ok(());
        };
        let response = self.spu.receive(pending).at(|| self.options.place())?;
        let found = response.find(&self.options.topic, self.options.partition);
        let Some(found) = found else {
            return Err(self.error(Error::undeliverable("an acknowledgement of something else")));
        };
        let code = found.error_code.0;
        if code != ErrorCode::None {
            // One that took too long may be stored all the same.
            self.refused = !matches!(code, ErrorCode::RequestTimedOut { .. });
            return Err(self.error(refused(&code)));
        }
        if found.base_offset != self.next_offset {
            return Err(self.error(another_writer(found.base_offset, self.next_offset)));
        }
        self.pending = None;
        if let Some(sent) = self.sent.take() {
            self.next_offset += sent.count() as i64;
            self.stored += sent.count();
            // What a large record needed is given back.
            let memory = 2 * self.options.batch_bytes;
            self.spare.push(sent.into_memory(memory));
        }
        match self.begun.take() {
            Some((records, begun)) => self.complete(records, begun),
            None => Ok(()),
        }
    }

    fn error(&self, error: Error) -> Error {
        self.spu.error(error).at(self.options.place())
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

impl Sink for PartitionWriter {
    fn write(&mut self, record: &ProducerRecord<'_>) -> Result<usize> {
        match record.is_large() {
            true => self.write_large(record),
            false => self.write_small(record),
        }
    }

    fn pause(&mut self) -> Result<()> {
        while self.begun.is_some() {
            self.await_acknowledgement()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            self.send_batch()?;
        }
        while self.sent.is_some() {
            self.await_acknowledgement()?;
        }
        Ok(())
    }

    fn stored(&self) -> u64 {
        self.stored
    }

    fn is_settled(&mut self) -> Result<bool> {
        let offsets = ask_offsets(&mut self.spu, &self.options)?;
        let offsets = offsets.map_err(|code| self.error(refused(&code)))?;
        Ok(offsets.last_stable_offset >= self.next_offset)
    }

    fn in_doubt(&mut self) -> Option<InDoubt> {
        self.sent.take().map(|records| InDoubt {
            offset: self.next_offset,
            records,
            settle: if self.refused {
                Duration::ZERO
            } else {
                self.options.timeout
            },
        })
    }
}
