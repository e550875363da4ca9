//! Writing lanes: a batch of each is filled, and sent with those of others that the same SPU leads.
//!
//! A batch that is full is sent, and with it those that are worth it; so is what an SPU is to have once it
//! is much, however many batches it is in. Memory is bounded over all lanes together: whoever writes
//! waits for acknowledgements when it is reached. What is empty has no memory.
//!
//! A record that is open stays the last of its batch, where it can be amended. If the batch has to be sent,
//! the record begins the next one. A large one is alone in its batch from the beginning, so that it is
//! never copied. It cannot be sent before it is known to be the last of its transaction or not: large ones
//! of one transaction that are open in several lanes are all held, whatever the bound.

use fluvio::Compression;

use super::Options;
use super::batch::{BatchBuilder, FinishedBatch, check_len};
use super::filling::{self, Filling};
use super::spare::Spare;
use super::spu_writer::{SpuWriter, WrittenLane};
use crate::base::error::Result;
use crate::record::{LAST, ProducerRecord};
use crate::sink::{InDoubt, KEEP_BYTES, Sink};

/// The bytes of records that are taken between two searches for the acknowledgement of a request that is
/// under way.
const POLL_BYTES: usize = 64 * 1024;

/// A request grows no further once it has so much, and an SPU is sent one once it is to have so much.
const REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// How much is filled and under way in all lanes together.
const HELD_BYTES: usize = 8 * 1024 * 1024;

/// How many batches of one lane may be held: one is filled, one under way, one behind it.
const HELD_BATCHES: usize = 4;

/// The only writer of its lanes.
pub struct LanesWriter {
    /// What each lane's server has.
    written: Vec<WrittenLane>,
    /// What each is filled with.
    filling: Vec<Filling>,
    spus: Vec<Spu>,
    /// Memory for the next record: empty in between.
    value: Vec<u8>,
    spare: Spare,
    batch_bytes: usize,
    request_bytes: usize,
    most_held: usize,
    acknowledged: u64,
}

/// An SPU, and what it is to have.
struct Spu {
    writer: SpuWriter,
    /// Lanes with records that are not sent.
    filled: Vec<usize>,
    /// How many bytes these records have.
    bytes: usize,
    /// How many they have when an acknowledgement is searched for.
    poll_at: usize,
}

impl LanesWriter {
    /// A writer of `lanes`, each with the number of the SPU that leads it.
    pub(super) fn new(
        options: &Options,
        lanes: Vec<(usize, WrittenLane)>,
        spus: Vec<SpuWriter>,
    ) -> Self {
        let filling = lanes.iter().map(|&(spu, _)| Filling::of(spu));
        let spus = spus.into_iter().map(|writer| Spu {
            writer,
            filled: Vec::new(),
            bytes: 0,
            poll_at: POLL_BYTES,
        });
        let batch_bytes = options.batch_bytes;
        LanesWriter {
            filling: filling.collect(),
            written: lanes.into_iter().map(|(_, lane)| lane).collect(),
            spus: spus.collect(),
            value: Vec::new(),
            spare: Spare::new(batch_bytes),
            batch_bytes,
            request_bytes: REQUEST_BYTES.max(2 * batch_bytes),
            most_held: HELD_BYTES.max(HELD_BATCHES * batch_bytes),
            acknowledged: 0,
        }
    }

    /// Renders a record beside the batch, since its length stands before it there.
    fn write_small(&mut self, lane: usize, record: &ProducerRecord<'_>) -> Result<usize> {
        record.render(&mut self.value);
        let len = self.value.len();
        self.make_room(lane, record, len)?;
        if self.written[lane].compression == Compression::None {
            // Before it is copied.
            check_len(len)?;
        }
        let filling = &mut self.filling[lane];
        let before = match filling.batch.is_empty() {
            true => 0,
            false => filling.batch.len(),
        };
        if before == 0 {
            let memory = self.spare.lend();
            filling.lent = memory.capacity();
            filling.batch.reuse(memory);
            self.spus[filling.spu].filled.push(lane);
        }
        filling.batch.push(record.key(), &self.value);
        filling.is_open = record.is_open();
        self.value.clear();
        let after = filling.batch.len();
        let spu = &mut self.spus[filling.spu];
        spu.bytes += after - before;
        if after >= self.batch_bytes && !filling.is_open {
            self.send_lane(lane)?;
        } else if spu.bytes >= spu.poll_at {
            let spu = filling.spu;
            self.relieve(spu)?;
        }
        Ok(len)
    }

    /// Renders a record where it is sent from. Whether it fits is known before, unless it is
    /// compressed. It is sent with the next record or flush, when what it was made of is given back.
    fn write_large(&mut self, lane: usize, record: &ProducerRecord<'_>) -> Result<usize> {
        let len = record.measure();
        self.make_room(lane, record, len)?;
        if record.is_open() && !self.filling[lane].batch.is_empty() {
            self.send_lane(lane)?;
        }
        if self.filling.len() > 1 {
            // A large one of another lane is not to be in memory beside it.
            self.hold_less()?;
        }
        let is_plain = self.written[lane].compression == Compression::None;
        if is_plain {
            check_len(len)?;
        }
        let filling = &mut self.filling[lane];
        let spu = &mut self.spus[filling.spu];
        let mut before = filling.batch.len();
        if filling.batch.is_empty() {
            before = 0;
            spu.filled.push(lane);
        }
        let room = usize::from(record.is_open()) * LAST.len();
        let render = |out: &mut Vec<u8>| record.render(out);
        filling.batch.push_large(record.key(), len, room, render);
        filling.is_open = record.is_open();
        spu.bytes += filling.batch.len() - before;
        match is_plain {
            true => check_len(filling.batch.len())?,
            false if filling.is_open => {}
            false => self.send_lane(lane)?,
        }
        Ok(len)
    }

    /// Sends what is there of a lane if a record with a value of `len` bytes would not fit beside it.
    fn make_room(&mut self, lane: usize, record: &ProducerRecord<'_>, len: usize) -> Result<()> {
        let batch = &self.filling[lane].batch;
        let key_len = record.key().map_or(0, <[u8]>::len);
        let amended = usize::from(record.is_open()) * LAST.len();
        match !batch.is_empty() && batch.len_with(key_len + len + amended) > self.batch_bytes {
            true => self.send_lane(lane),
            false => Ok(()),
        }
    }

    /// Sends the batch of a lane, and with it those of others that are half full at least. One that is
    /// larger than the others goes alone.
    fn send_lane(&mut self, lane: usize) -> Result<()> {
        let (number, len) = (self.filling[lane].spu, self.filling[lane].batch.len());
        let mut chosen = vec![lane];
        if len <= self.batch_bytes {
            let filled = &self.spus[number].filled;
            let others = filled.iter().copied().filter(|&other| other != lane);
            self.choose(others, self.batch_bytes / 2, &mut chosen);
        }
        self.send(number, &chosen)
    }

    /// Sends the fullest batches of an SPU. Whether there was something to send.
    fn send_fullest(&mut self, number: usize) -> Result<bool> {
        let filled = &self.spus[number].filled;
        let sendable = filled
            .iter()
            .filter(|&&lane| self.filling[lane].is_sendable());
        let fullest = sendable.map(|&lane| self.filling[lane].batch.len()).max();
        let Some(fullest) = fullest else {
            return Ok(false);
        };
        let mut chosen = Vec::new();
        self.choose(filled.iter().copied(), fullest / 2, &mut chosen);
        self.send(number, &chosen).map(|()| true)
    }

    /// Adds lanes to those that are chosen for a request, as long as it may have more.
    fn choose(&self, lanes: impl Iterator<Item = usize>, least: usize, chosen: &mut Vec<usize>) {
        filling::choose(&self.filling, lanes, least, self.request_bytes, chosen);
    }

    /// Sends the batches of lanes in one request to the SPU that leads them.
    fn send(&mut self, number: usize, lanes: &[usize]) -> Result<()> {
        self.poll(number)?;
        let bytes: usize = lanes
            .iter()
            .map(|&lane| self.filling[lane].batch.len())
            .sum();
        // A batch that is larger than the others is not to be in memory beside them.
        let is_large = lanes.len() == 1 && bytes > self.batch_bytes;
        let beside = if is_large { 0 } else { 1 };
        while self.spus[number].writer.requests() > beside {
            self.await_answer(number)?;
        }
        let mut batches = Vec::with_capacity(lanes.len());
        for &lane in lanes {
            batches.push((lane, self.finish(lane)?));
        }
        self.value.shrink_to(KEEP_BYTES);
        let filling = &self.filling;
        let spu = &mut self.spus[number];
        let is_filled = |lane: &usize| !filling[*lane].batch.is_empty();
        spu.filled.retain(is_filled);
        spu.bytes = spu
            .filled
            .iter()
            .map(|&lane| filling[lane].batch.len())
            .sum();
        spu.poll_at = spu.bytes + POLL_BYTES;
        spu.writer.send(batches, &self.written)
    }

    /// The batch of a lane, ready to be sent, but for a record that is open.
    fn finish(&mut self, lane: usize) -> Result<FinishedBatch> {
        let filling = &mut self.filling[lane];
        let next = match filling.is_open {
            true => filling.batch.split_last(),
            false => BatchBuilder::default(),
        };
        self.spare.take_back(std::mem::take(&mut filling.lent));
        let compression = self.written[lane].compression;
        let finished = filling.batch.finish(compression);
        filling.batch = next;
        finished
    }

    /// Takes an acknowledgement that has come, and sends what has become much.
    fn relieve(&mut self, number: usize) -> Result<()> {
        self.poll(number)?;
        if self.spus[number].bytes >= self.request_bytes {
            self.send_fullest(number)?;
        }
        self.hold_less()
    }

    /// Sends, and waits for acknowledgements, until no more is held than may be.
    fn hold_less(&mut self) -> Result<()> {
        while self.held() > self.most_held {
            let by_bytes = |&number: &usize| self.spus[number].bytes;
            let fullest = (0..self.spus.len())
                .max_by_key(by_bytes)
                .unwrap_or_default();
            let is_free = self.spus[fullest].writer.requests() < 2;
            if is_free && self.send_fullest(fullest)? {
                continue;
            }
            let by_sent = |&number: &usize| self.spus[number].writer.bytes();
            let busiest = (0..self.spus.len()).max_by_key(by_sent).unwrap_or_default();
            if self.spus[busiest].writer.requests() == 0 {
                // What is left is open.
                break;
            }
            self.await_answer(busiest)?;
        }
        Ok(())
    }

    /// How many bytes of records there are that are not acknowledged.
    fn held(&self) -> usize {
        let held = |spu: &Spu| spu.bytes + spu.writer.bytes();
        self.spus.iter().map(held).sum()
    }

    /// Takes an acknowledgement that has come.
    fn poll(&mut self, number: usize) -> Result<()> {
        let spu = &mut self.spus[number];
        spu.poll_at = spu.bytes + POLL_BYTES;
        match spu.writer.has_answer()? {
            true => self.await_answer(number),
            false => Ok(()),
        }
    }

    fn await_answer(&mut self, number: usize) -> Result<()> {
        let writer = &mut self.spus[number].writer;
        writer.await_answer(&mut self.written, &mut self.spare, &mut self.acknowledged)
    }
}

impl Sink for LanesWriter {
    fn write(&mut self, lane: usize, record: &ProducerRecord<'_>) -> Result<usize> {
        self.filling[lane].is_open = false;
        match record.is_large() {
            true => self.write_large(lane, record),
            false => self.write_small(lane, record),
        }
    }

    fn end_unit(&mut self, lane: usize) -> Result<()> {
        let filling = &mut self.filling[lane];
        if !std::mem::take(&mut filling.is_open) {
            return Ok(());
        }
        let before = filling.batch.len();
        filling.batch.amend_last(LAST);
        let after = filling.batch.len();
        self.spus[filling.spu].bytes += after - before;
        match after >= self.batch_bytes {
            true => self.send_lane(lane),
            false => Ok(()),
        }
    }

    fn pause(&mut self) -> Result<()> {
        for number in 0..self.spus.len() {
            while self.spus[number].writer.requests() > 1 {
                self.await_answer(number)?;
            }
        }
        Ok(())
    }

    /// All servers have something to do before one of them is waited for, and one that fails does not keep
    /// the others from being heard.
    fn flush(&mut self) -> Result<()> {
        let mut result = Ok(());
        for number in 0..self.spus.len() {
            let sent = self.send_all(number);
            result = result.and(sent);
        }
        for number in 0..self.spus.len() {
            while result.is_ok() && self.spus[number].writer.requests() > 0 {
                result = self.await_answer(number);
            }
        }
        result
    }

    fn stored(&self, lane: usize) -> u64 {
        self.written[lane].stored
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    fn is_settled(&mut self) -> Result<bool> {
        for (number, spu) in self.spus.iter_mut().enumerate() {
            let led = self.filling.iter().zip(&self.written);
            let led = led.filter(|(filling, lane)| filling.spu == number && lane.stored == 0);
            if !spu.writer.is_settled(led.map(|(_, lane)| lane))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn in_doubt(&mut self) -> Vec<InDoubt> {
        let mut in_doubt = Vec::new();
        for spu in &mut self.spus {
            spu.writer.await_last_answer(
                &mut self.written,
                &mut self.spare,
                &mut self.acknowledged,
            );
            spu.writer.in_doubt(&self.written, &mut in_doubt);
        }
        in_doubt
    }
}

impl LanesWriter {
    /// Sends all batches of an SPU, in as many requests as they need.
    fn send_all(&mut self, number: usize) -> Result<()> {
        loop {
            let mut chosen = Vec::new();
            self.choose(self.spus[number].filled.iter().copied(), 0, &mut chosen);
            if chosen.is_empty() {
                return Ok(());
            }
            self.send(number, &chosen)?;
        }
    }
}
