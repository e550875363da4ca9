//! Writing a partition: one batch under way, and its acknowledgement awaited.

use std::time::Duration;

use fluvio::{Compression, Isolation};
use fluvio_protocol::link::ErrorCode;
use fluvio_spu_schema::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

use super::batch::{BatchBuilder, SentRecords, WireBatch, check_len};
use super::rpc::{Pending, Rpc};
use super::{Options, refused};
use crate::error::{Context, Error, Kind, Result};
use crate::json::LargeRecord;
use crate::sink::{InDoubt, Sink};

/// A partition's only writer. After an error it is of no use: what is in the partition is read
/// before anything is written again.
pub struct PartitionWriter {
    spu: Rpc,
    options: Options,
    compression: Compression,
    batch: BatchBuilder,
    /// The batch that was sent and is not acknowledged.
    sent: Option<SentRecords>,
    pending: Option<Pending<ProduceRequest<WireBatch>>>,
    /// Whether the server said that it did not take the batch.
    refused: bool,
    /// Memory of the last acknowledged batch.
    spare: Vec<u8>,
    next_offset: i64,
    stored: u64,
}

impl PartitionWriter {
    pub(super) fn new(
        spu: Rpc,
        options: Options,
        compression: Compression,
        next_offset: i64,
    ) -> Self {
        PartitionWriter {
            spu,
            options,
            compression,
            batch: BatchBuilder::default(),
            sent: None,
            pending: None,
            refused: false,
            spare: Vec::new(),
            next_offset,
            stored: 0,
        }
    }

    /// Sends the batch. One is under way at a time: were a second sent before the first is
    /// acknowledged, a failure of the first alone would leave the second in the topic before it.
    fn send_batch(&mut self) -> Result<()> {
        self.await_acknowledgement()?;
        let spare = std::mem::take(&mut self.spare);
        let (batch, sent) = self.batch.finish(self.compression, spare)?;
        self.sent = Some(sent);
        self.pending = Some(self.spu.send(&self.produce_request(batch))?);
        Ok(())
    }

    /// Sends what is there if a record of `len` bytes would not fit beside it.
    fn make_room(&mut self, len: usize) -> Result<()> {
        match !self.batch.is_empty() && self.batch.len_with(len) > self.options.batch_bytes {
            true => self.send_batch(),
            false => Ok(()),
        }
    }

    fn produce_request(&self, records: WireBatch) -> ProduceRequest<WireBatch> {
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
            self.spare = sent.into_memory(memory);
            self.spu.shrink_to(memory);
        }
        Ok(())
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
    fn write(&mut self, record: &[u8]) -> Result<()> {
        self.make_room(record.len())?;
        if self.compression == Compression::None {
            // Before it is copied.
            check_len(record.len())?;
        }
        self.batch.push(record);
        if self.batch.len() >= self.options.batch_bytes {
            self.send_batch()?;
        }
        Ok(())
    }

    /// Whether it fits is known before it is rendered, unless it is compressed; and it is rendered
    /// where it is sent from. It is sent with the next record or flush, when what it was made of is
    /// given back.
    fn write_large(&mut self, record: &LargeRecord<'_>) -> Result<usize> {
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

    fn flush(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            self.send_batch()?;
        }
        self.await_acknowledgement()
    }

    fn stored(&self) -> u64 {
        self.stored
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
