//! Encoding a record batch.
//!
//! The records are an Int32 count and one after the other; they are compressed together with it.
//! A record is a varint length and: Int8 attributes · varint timestamp delta · varint offset delta
//! · Byte1 key (0: none) · varint length and bytes of the value · varint number of headers. The
//! varints are zigzag. The batch around it is `fluvio_protocol`'s.

use std::time::{SystemTime, UNIX_EPOCH};

use fluvio::Compression;
use fluvio_protocol::record::{BATCH_FILE_HEADER_SIZE, Batch, RawRecords};

use crate::error::{Error, Kind, Result};

/// The largest batch that a server takes.
pub const MAX_BATCH_BYTES: usize = 33_554_432;

/// The most that a record is longer than its value.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// Records in the form in which a batch has them.
pub struct BatchBuilder {
    /// The count, filled in at the end, and the records.
    records: Vec<u8>,
    count: i32,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        BatchBuilder::reusing(Vec::new())
    }
}

impl BatchBuilder {
    /// Appends a record with this value.
    pub fn push(&mut self, value: &[u8]) {
        let (offset_delta, len) = (self.count as u64, value.len() as u64);
        // Attributes, timestamp delta, key and number of headers are a zero byte each.
        let record_len = 4 + varint_len(offset_delta) + varint_len(len) + value.len();
        put_varint(record_len as u64, &mut self.records);
        self.records.extend_from_slice(&[0, 0]);
        put_varint(offset_delta, &mut self.records);
        self.records.push(0);
        put_varint(len, &mut self.records);
        self.records.extend_from_slice(value);
        self.records.push(0);
        self.count += 1;
    }

    /// How many bytes the batch would have, uncompressed, with one more record of `value_len`.
    pub fn len_with(&self, value_len: usize) -> usize {
        BATCH_FILE_HEADER_SIZE + self.records.len() + value_len + RECORD_OVERHEAD_BYTES
    }

    /// How many bytes the batch has, uncompressed.
    pub fn len(&self) -> usize {
        BATCH_FILE_HEADER_SIZE + self.records.len()
    }

    /// How many records there are.
    pub fn count(&self) -> u64 {
        u64::from(self.count.unsigned_abs())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch, and its records as they were pushed, to be compared with what the topic holds
    /// when the outcome is not known. This builder is empty afterwards and goes on with the memory
    /// of `spare`.
    pub fn finish(
        &mut self,
        compression: Compression,
        spare: Vec<u8>,
    ) -> Result<(Batch<RawRecords>, SentRecords)> {
        self.records[..size_of::<i32>()].copy_from_slice(&self.count.to_be_bytes());
        let records = compression.compress(&self.records).map_err(|e| {
            Error::new(
                Kind::Bug,
                format!("cannot compress a batch with {compression}"),
            )
            .with_source(e)
        })?;
        let mut batch = Batch::<RawRecords>::default();
        batch.header.set_compression(compression);
        batch.header.last_offset_delta = self.count - 1;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as i64);
        batch.header.first_timestamp = now;
        batch.header.max_time_stamp = now;
        let len = BATCH_FILE_HEADER_SIZE + records.len();
        if len > MAX_BATCH_BYTES {
            return Err(Error::undeliverable(format!(
                "{len} bytes in one batch, the most that Fluvio takes is {MAX_BATCH_BYTES}"
            ))
            .with_hint(
                "nothing was lost: the change stays in the slot; compression may bring it under \
                 the limit, or exclude the table or the column from the publication",
            ));
        }
        *batch.mut_records() = RawRecords(records);
        let next = BatchBuilder::reusing(spare);
        let BatchBuilder { records, count } = std::mem::replace(self, next);
        Ok((
            batch,
            SentRecords {
                records,
                count: u64::from(count.unsigned_abs()),
            },
        ))
    }

    fn reusing(mut memory: Vec<u8>) -> Self {
        memory.clear();
        memory.extend_from_slice(&[0; size_of::<i32>()]);
        BatchBuilder {
            records: memory,
            count: 0,
        }
    }
}

/// The records of a batch that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentRecords {
    records: Vec<u8>,
    count: u64,
}

impl SentRecords {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether the first of them have these values, byte for byte.
    pub fn start_with<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut found = BatchBuilder::default();
        for value in values {
            found.push(value);
        }
        self.records[size_of::<i32>()..].starts_with(&found.records[size_of::<i32>()..])
    }

    /// Their memory, to be used again; what is beyond `bytes` is given back.
    pub fn into_memory(mut self, bytes: usize) -> Vec<u8> {
        self.records.clear();
        self.records.shrink_to(bytes);
        self.records
    }
}

/// A number that is not negative as a zigzag varint: seven bits a byte, the lowest first.
fn put_varint(number: u64, out: &mut Vec<u8>) {
    let mut zigzag = number << 1;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

fn varint_len(number: u64) -> usize {
    // Seven bits a byte, at least one byte.
    let bits = u64::BITS - (number << 1 | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvio_protocol::{Decoder, Encoder};

    fn round_trip(compression: Compression) {
        let values: Vec<Vec<u8>> = (0..300).map(|i| vec![i as u8; i * 7]).collect();
        let mut builder = BatchBuilder::default();
        for value in &values {
            let bound = builder.len_with(value.len());
            builder.push(value);
            assert!(builder.len() <= bound);
        }
        assert_eq!(builder.count(), 300);
        let mut bytes = Vec::new();
        builder
            .finish(compression, Vec::new())
            .unwrap()
            .0
            .encode(&mut bytes, 0)
            .unwrap();
        assert!(builder.is_empty());

        let mut batch = Batch::<RawRecords>::default();
        batch.decode(&mut &bytes[..], 0).unwrap();
        assert_eq!(batch.records_len(), 300);
        let records = batch.memory_records().unwrap();
        let got: Vec<_> = records
            .iter()
            .map(|record| record.value().as_ref().to_vec())
            .collect();
        assert_eq!(got, values, "{compression}");
        let deltas: Vec<_> = records.iter().map(|record| record.offset_delta()).collect();
        assert_eq!(deltas, (0..300).collect::<Vec<_>>());
    }

    #[test]
    fn the_official_decoder_reads_it_back() {
        use Compression::*;
        for compression in [None, Gzip, Snappy, Lz4, Zstd] {
            round_trip(compression);
        }
    }

    #[test]
    fn a_batch_beyond_the_limit_is_refused() {
        let mut builder = BatchBuilder::default();
        builder.push(&vec![b'x'; MAX_BATCH_BYTES]);
        let error = builder.finish(Compression::None, Vec::new()).unwrap_err();
        assert_eq!(error.kind(), Kind::Undeliverable);
        assert!(error.to_string().contains("33554"), "{error}");
        builder.finish(Compression::Zstd, Vec::new()).unwrap();
    }

    #[test]
    fn what_was_sent_is_compared_byte_for_byte() {
        let mut builder = BatchBuilder::default();
        for value in ["one", "two", "three"] {
            builder.push(value.as_bytes());
        }
        let (_, sent) = builder.finish(Compression::None, vec![7; 100]).unwrap();
        assert_eq!(sent.count(), 3);
        let found = |values: &[&'static str]| {
            sent.start_with(values.iter().map(|value| str::as_bytes(value)))
        };
        assert!(found(&[]) && found(&["one"]) && found(&["one", "two", "three"]));
        assert!(!found(&["two"]) && !found(&["one", "tw"]));
        assert!(!found(&["one", "two", "three", "four"]));
        assert!(builder.is_empty() && builder.records == [0; 4]);
    }
}
