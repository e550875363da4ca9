//! The log of one partition: batches as they came, checked on the way in.

use std::io::Cursor;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use ::fluvio::Compression;
use bytes::{Bytes, BytesMut};
use fluvio_protocol::link::ErrorCode;
use fluvio_protocol::record::{
    BATCH_FILE_HEADER_SIZE, BATCH_HEADER_SIZE, BATCH_PREAMBLE_SIZE, Batch, RawRecords,
};
use fluvio_protocol::{Decoder, Encoder};

/// The real server refuses a batch above this, counted with its header.
pub const BATCH_MAX: usize = 33_554_432;

/// The checksum is at bytes 17 to 20 of a batch and covers everything after it.
const CRC_RANGE: Range<usize> = 17..21;

/// The version at which batches are encoded: their layout is the same at all of them.
const BATCH_VERSION: i16 = 0;

/// What a test may want to know of a stored batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchInfo {
    /// The offset of its first record.
    pub base_offset: i64,
    /// How many records it holds.
    pub records: usize,
    /// Its size in the log, header included, compressed if it came so.
    pub bytes: usize,
    /// How its records are compressed.
    pub compression: Compression,
}

/// A batch in the log.
#[derive(Debug)]
pub(super) struct StoredBatch {
    info: BatchInfo,
    bytes: Bytes,
    /// Tests poll for records, so a batch is decompressed once and not at each look.
    values: OnceLock<Vec<Vec<u8>>>,
}

impl StoredBatch {
    pub(super) fn info(&self) -> BatchInfo {
        self.info.clone()
    }

    fn end(&self) -> i64 {
        self.info.base_offset + count_i64(self.info.records)
    }

    /// The values of its records from an offset on, which may lie before or after the batch.
    pub(super) fn values_from(&self, offset: i64) -> &[Vec<u8>] {
        if offset >= self.end() {
            return &[];
        }
        let first = usize::try_from(offset - self.info.base_offset).unwrap_or(0);
        &self.values()[first..]
    }

    fn values(&self) -> &[Vec<u8>] {
        self.values.get_or_init(|| {
            let records = decode(&self.bytes)
                .expect("the batch was decoded when it came")
                .memory_records()
                .expect("the records were decompressed when they came");
            records
                .into_iter()
                .map(|record| record.into_value().into_vec())
                .collect()
        })
    }
}

/// A batch that passed the checks and has no offset yet.
#[derive(Debug)]
pub(super) struct CheckedBatch {
    bytes: Bytes,
    records: usize,
    compression: Compression,
}

/// Takes a record set apart. It is all or nothing, as on the real server: one batch that is too
/// large refuses the whole entry.
pub(super) fn check(record_set: &Bytes) -> Result<Vec<CheckedBatch>, ErrorCode> {
    let mut batches = Vec::new();
    let mut rest = record_set.clone();
    while !rest.is_empty() {
        let len = batch_len(&rest)?;
        if len > BATCH_MAX {
            return Err(ErrorCode::MessageTooLarge);
        }
        let batch = check_batch(rest.split_to(len))?;
        // A batch without records takes no offset and is not stored.
        if batch.records > 0 {
            batches.push(batch);
        }
    }
    Ok(batches)
}

fn batch_len(bytes: &Bytes) -> Result<usize, ErrorCode> {
    if bytes.len() < BATCH_FILE_HEADER_SIZE {
        return Err(refusal(format!("{} bytes are no batch", bytes.len())));
    }
    let len = i32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    match usize::try_from(len) {
        Ok(len) if len >= BATCH_HEADER_SIZE && BATCH_PREAMBLE_SIZE + len <= bytes.len() => {
            Ok(BATCH_PREAMBLE_SIZE + len)
        }
        _ => Err(refusal(format!(
            "a batch says it has {len} bytes where {} are left",
            bytes.len() - BATCH_PREAMBLE_SIZE
        ))),
    }
}

fn check_batch(bytes: Bytes) -> Result<CheckedBatch, ErrorCode> {
    let batch = decode(&bytes)?;

    // The official encoder computes the checksum, so encoding again tells what it should be.
    let mut encoded = Vec::with_capacity(bytes.len());
    batch
        .encode(&mut encoded, BATCH_VERSION)
        .map_err(|error| refusal(format!("a batch cannot be encoded: {error}")))?;
    if encoded[CRC_RANGE] != bytes[CRC_RANGE] {
        return Err(refusal(format!(
            "the crc32c of a batch is {:02x?} and should be {:02x?}",
            &bytes[CRC_RANGE], &encoded[CRC_RANGE]
        )));
    }

    let compression = batch
        .get_compression()
        .map_err(|error| refusal(format!("the compression of a batch: {error}")))?;
    let records = batch.records_len();
    if records > 0 {
        let counted = counted_records(&batch, compression)?;
        if counted != count_i64(records) {
            return Err(refusal(format!(
                "the header of a batch promises {records} records, it holds {counted}"
            )));
        }
    }
    Ok(CheckedBatch {
        bytes,
        records,
        compression,
    })
}

/// The count in front of the records, which lies inside of the compression.
fn counted_records(batch: &Batch<RawRecords>, compression: Compression) -> Result<i64, ErrorCode> {
    let raw = &batch.records().0;
    let decompressed;
    let plain: &[u8] = if compression == Compression::None {
        raw
    } else {
        decompressed = compression
            .uncompress(raw)
            .map_err(|error| refusal(format!("a batch does not decompress: {error}")))?
            .unwrap_or_default();
        &decompressed
    };
    i32::decode_from(&mut Cursor::new(plain), BATCH_VERSION)
        .map(i64::from)
        .map_err(|error| refusal(format!("a batch has no count of records: {error}")))
}

fn decode(bytes: &Bytes) -> Result<Batch<RawRecords>, ErrorCode> {
    Batch::decode_from(&mut bytes.clone(), BATCH_VERSION)
        .map_err(|error| refusal(format!("a batch cannot be decoded: {error}")))
}

/// The real server takes what it is given. This one refuses in words what no reader could read.
fn refusal(reason: String) -> ErrorCode {
    eprintln!("fluvio for the tests: refused: {reason}");
    ErrorCode::Other(reason)
}

/// The log of one partition.
#[derive(Debug, Default)]
pub(super) struct PartitionLog {
    /// The first offset that retention has left.
    start: i64,
    batches: Vec<Arc<StoredBatch>>,
}

impl PartitionLog {
    /// The offset of the first record that is there, or would be.
    pub(super) fn start(&self) -> i64 {
        self.start
    }

    /// The offset that the next record gets.
    pub(super) fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |batch| batch.end())
    }

    pub(super) fn batches(&self) -> &[Arc<StoredBatch>] {
        &self.batches
    }

    pub(super) fn bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.bytes.len()).sum()
    }

    /// Appends and returns the offset of the first record.
    pub(super) fn append(&mut self, batches: Vec<CheckedBatch>) -> i64 {
        let base_offset = self.end();
        for batch in batches {
            let base_offset = self.end();
            let mut bytes = BytesMut::from(batch.bytes);
            // The checksum does not cover the base offset, so nothing else has to change.
            bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
            self.batches.push(Arc::new(StoredBatch {
                info: BatchInfo {
                    base_offset,
                    records: batch.records,
                    bytes: bytes.len(),
                    compression: batch.compression,
                },
                bytes: bytes.freeze(),
                values: OnceLock::new(),
            }));
        }
        base_offset
    }

    /// At most `max_bytes` of the log from the batch that holds `offset`. Like the real server it
    /// cuts there, wherever that falls: the last batch of the answer may be a part of one.
    pub(super) fn read(&self, offset: i64, max_bytes: usize) -> Result<Bytes, ErrorCode> {
        let end = self.end();
        if offset > end {
            return Err(ErrorCode::Other(format!(
                "the offset {offset} is after the end of the log, {end}"
            )));
        }
        if offset < self.start {
            return Err(ErrorCode::OffsetEvicted {
                offset,
                next_available: self.start,
            });
        }
        let first = self.batches.partition_point(|batch| batch.end() <= offset);
        let mut bytes = BytesMut::new();
        for batch in &self.batches[first..] {
            let room = max_bytes - bytes.len();
            bytes.extend_from_slice(&batch.bytes[..batch.bytes.len().min(room)]);
            if bytes.len() == max_bytes {
                break;
            }
        }
        Ok(bytes.freeze())
    }

    /// Flips a bit of the batch that holds `offset`, as a disk does that forgets.
    pub(super) fn damage(&mut self, offset: i64) {
        let at = self.batches.partition_point(|batch| batch.end() <= offset);
        let batch = self.batches.get_mut(at).expect("a batch holds the offset");
        let mut bytes = BytesMut::from(&batch.bytes[..]);
        *bytes.last_mut().expect("a batch has bytes") ^= 1;
        *batch = Arc::new(StoredBatch {
            info: batch.info(),
            bytes: bytes.freeze(),
            values: batch.values.clone(),
        });
    }

    /// Drops what is at `end` and after it, and writes a batch anew that `end` cuts in two.
    pub(super) fn truncate(&mut self, end: i64) {
        while let Some(last) = self.batches.pop() {
            if last.end() <= end {
                self.batches.push(last);
                return;
            }
            if last.info.base_offset < end {
                let keep = usize::try_from(end - last.info.base_offset)
                    .expect("the batch starts before the end");
                self.append(vec![shortened(&last, 0..keep)]);
                return;
            }
        }
    }

    /// Drops what is before `start`, and writes a batch anew that `start` cuts in two. The offsets
    /// of the others stay.
    pub(super) fn evict(&mut self, start: i64) {
        assert!((self.start..=self.end()).contains(&start), "{start}");
        self.start = start;
        let first = self.batches.partition_point(|batch| batch.end() <= start);
        let kept = self.batches.split_off(first);
        self.batches.clear();
        for batch in kept {
            let gone = usize::try_from(start - batch.info.base_offset).unwrap_or(0);
            if gone == 0 {
                self.batches.push(batch);
            } else {
                self.append(vec![shortened(&batch, gone..batch.info.records)]);
            }
        }
    }
}

/// A batch of some of its records.
fn shortened(batch: &StoredBatch, kept: Range<usize>) -> CheckedBatch {
    let old = decode(&batch.bytes).expect("the batch was decoded when it came");
    let records = old
        .memory_records()
        .expect("the records were decompressed when they came");
    let keep = kept.len();
    let records: Vec<_> = records.into_iter().skip(kept.start).take(keep).collect();
    let mut new: Batch = Batch::from(records);
    // Timestamps and attributes, the compression among them, stay; only the count is another.
    let last_offset_delta = new.header.last_offset_delta;
    new.header = old.header.clone();
    new.header.last_offset_delta = last_offset_delta;
    let new: Batch<RawRecords> = new.try_into().expect("what was compressed compresses");
    let mut bytes = Vec::new();
    new.encode(&mut bytes, BATCH_VERSION)
        .expect("a batch encodes into memory");
    CheckedBatch {
        bytes: bytes.into(),
        records: keep,
        compression: batch.info.compression,
    }
}

fn count_i64(count: usize) -> i64 {
    i64::try_from(count).expect("counts of records are far below the limit")
}
