//! Encoding a record batch.
//!
//! The records are an Int32 count and one after the other; they are compressed together with it.
//! A record is a varint length and: Int8 attributes · varint timestamp delta · varint offset delta
//! · Byte1 key (0: none) · varint length and bytes of the value · varint number of headers. The
//! varints are zigzag. The batch around it is `fluvio_protocol`'s.

use std::time::{SystemTime, UNIX_EPOCH};

use fluvio::Compression;
use fluvio_protocol::EncoderVarInt;
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
        BatchBuilder {
            records: vec![0; size_of::<i32>()],
            count: 0,
        }
    }
}

impl BatchBuilder {
    /// Appends a record with this value.
    pub fn push(&mut self, value: &[u8]) -> Result<()> {
        let mut head = Vec::with_capacity(RECORD_OVERHEAD_BYTES);
        head.extend_from_slice(&[0, 0]);
        varint(self.count.into(), &mut head)?;
        head.push(0);
        varint(value.len() as i64, &mut head)?;
        varint((head.len() + value.len() + 1) as i64, &mut self.records)?;
        self.records.extend_from_slice(&head);
        self.records.extend_from_slice(value);
        self.records.push(0);
        self.count += 1;
        Ok(())
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

    /// The batch; this builder is empty afterwards.
    pub fn finish(&mut self, compression: Compression) -> Result<Batch<RawRecords>> {
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
        self.records.truncate(size_of::<i32>());
        self.count = 0;
        Ok(batch)
    }

    /// Gives memory beyond `bytes` back, which one large record took.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.records.shrink_to(bytes);
    }
}

fn varint(number: i64, out: &mut Vec<u8>) -> Result<()> {
    number
        .encode_varint(out)
        .map_err(|e| Error::new(Kind::Bug, "cannot encode a length").with_source(e))
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
            builder.push(value).unwrap();
            assert!(builder.len() <= bound);
        }
        assert_eq!(builder.count(), 300);
        let mut bytes = Vec::new();
        builder
            .finish(compression)
            .unwrap()
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
        builder.push(&vec![b'x'; MAX_BATCH_BYTES]).unwrap();
        let error = builder.finish(Compression::None).unwrap_err();
        assert_eq!(error.kind(), Kind::Undeliverable);
        assert!(error.to_string().contains("33554"), "{error}");
        builder.finish(Compression::Zstd).unwrap();
    }
}
