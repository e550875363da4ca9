//! Encoding a record batch.
//!
//! The [records](super::records) are an Int32 count and one after the other; they are compressed together
//! with it.
//!
//! The last record can be amended, which may be as late as the batch is finished, and it can be taken
//! out to begin the next batch with: whether it is the last of its transaction may not be known yet.
//!
//! The batch around it: Int64 base offset (0: the server's to say) · Int32 length of what follows ·
//! Int32 leader epoch · Int8 magic · Int32 CRC-32C of what follows · Int16 attributes · Int32 delta
//! of the last offset · Int64 first and last timestamp · Int64 producer id · Int16 producer epoch ·
//! Int32 first sequence · the records. `fluvio_protocol` encodes the same, but copies the records
//! four times on the way.

use std::io;

use bytes::{Buf, BufMut, Bytes};
use fluvio::Compression;
use fluvio_protocol::record::{BATCH_FILE_HEADER_SIZE, BATCH_PREAMBLE_SIZE, BatchHeader};
use fluvio_protocol::{Decoder, Encoder, Version};

use super::records::{RecordParts, SentRecords, put_header};
use crate::base::clock::since_unix_epoch;
use crate::base::error::{Error, Kind, Result};

/// The largest batch that a server takes.
pub const MAX_BATCH_BYTES: usize = 33_554_432;

/// The most that a compressed batch may have once it is unpacked. A server has no such limit, so
/// this is the reader's protection against a batch of a few MiB that unpacks to many GiB; and none
/// is written that could not be read back. PostgreSQL cannot send a row that is larger.
pub const MAX_UNPACKED_BYTES: usize = 1024 * 1024 * 1024;

/// The most that a record is longer than its value.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// Records in the form in which a batch has them.
#[derive(Default)]
pub struct BatchBuilder {
    /// The count, filled in at the end, and the records; nothing while there are none.
    records: Vec<u8>,
    count: i32,
    /// Where the last record begins.
    last: usize,
}

impl BatchBuilder {
    /// Appends a record with this key and value.
    pub fn push(&mut self, key: Option<&[u8]>, value: &[u8]) {
        self.begin(key, value.len());
        self.records.extend_from_slice(value);
        self.end();
    }

    /// Appends a record with a value of `value_len` bytes, which `render` puts in its place. Memory
    /// is taken once: as much as is needed, and `room` bytes by which the record may be amended.
    pub fn push_large(
        &mut self,
        key: Option<&[u8]>,
        value_len: usize,
        room: usize,
        render: impl FnOnce(&mut Vec<u8>),
    ) {
        let key_len = key.map_or(0, <[u8]>::len);
        self.records
            .reserve_exact(key_len + value_len + RECORD_OVERHEAD_BYTES + room);
        self.begin(key, value_len);
        let start = self.records.len();
        render(&mut self.records);
        debug_assert_eq!(self.records.len() - start, value_len);
        self.end();
    }

    /// Replaces the last byte of the last record's value by `tail`.
    pub fn amend_last(&mut self, tail: &[u8]) {
        let Some(record) = RecordParts::of(&self.records[self.last..]) else {
            return;
        };
        let value_len = record.value.len() - 1 + tail.len();
        let (header_len, key_len) = (record.header_len, record.key.map(<[u8]>::len));
        let mut header = Vec::with_capacity(RECORD_OVERHEAD_BYTES + key_len.unwrap_or_default());
        put_header(self.delta_of_last(), record.key, value_len, &mut header);
        let range = self.last..self.last + header_len;
        if header.len() == header_len {
            self.records[range].copy_from_slice(&header);
        } else {
            // A length has one digit more.
            self.records.splice(range, header);
        }
        // The value's last byte, and the number of headers.
        self.records.truncate(self.records.len() - 2);
        self.records.extend_from_slice(tail);
        self.records.push(0);
    }

    /// Takes the last record out, into a batch of its own. There must be one.
    pub fn split_last(&mut self) -> BatchBuilder {
        let mut next = BatchBuilder::default();
        if self.count == 1 {
            std::mem::swap(self, &mut next);
        } else if let Some(record) = RecordParts::of(&self.records[self.last..]) {
            next.push(record.key, record.value);
            self.records.truncate(self.last);
            self.count -= 1;
        }
        next
    }

    fn delta_of_last(&self) -> u64 {
        self.count() - 1
    }

    fn begin(&mut self, key: Option<&[u8]>, value_len: usize) {
        if self.count == 0 {
            self.records.clear();
            self.records.extend_from_slice(&[0; size_of::<i32>()]);
        }
        self.last = self.records.len();
        put_header(self.count as u64, key, value_len, &mut self.records);
    }

    fn end(&mut self) {
        self.records.push(0);
        self.count += 1;
    }

    /// Gives memory to a batch that has no records.
    pub fn reuse(&mut self, memory: Vec<u8>) {
        debug_assert!(self.is_empty());
        self.records = memory;
    }

    /// How many bytes of memory the batch has.
    pub fn capacity(&self) -> usize {
        self.records.capacity()
    }

    /// How many bytes the batch would have, uncompressed, with one more record whose key and value have
    /// `len` bytes.
    pub fn len_with(&self, len: usize) -> usize {
        BATCH_FILE_HEADER_SIZE + self.records.len() + len + RECORD_OVERHEAD_BYTES
    }

    /// How many bytes the batch has, uncompressed.
    pub fn len(&self) -> usize {
        BATCH_FILE_HEADER_SIZE + self.records.len()
    }

    /// How many records there are.
    pub fn count(&self) -> u64 {
        u64::from(self.count.unsigned_abs())
    }

    /// Whether the batch has no records.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch, and its records as they were pushed. There must be one. This builder is empty afterwards,
    /// and has no memory.
    pub fn finish(&mut self, compression: Compression) -> Result<FinishedBatch> {
        check_unpacked_len(self.records.len())?;
        self.records[..size_of::<i32>()].copy_from_slice(&self.count.to_be_bytes());
        let compressed = match compression {
            Compression::None => None,
            _ => Some(compress(compression, &self.records)?),
        };
        let len = compressed.as_ref().map_or(self.records.len(), Bytes::len);
        let len = BATCH_FILE_HEADER_SIZE + len;
        check_len(len)?;
        let plain = Bytes::from(std::mem::take(&mut self.records));
        let records = compressed.unwrap_or_else(|| plain.clone());
        let finished = FinishedBatch {
            head: BatchHead::of(&records, self.count, compression),
            records,
            sent: SentRecords::new(plain, self.count()),
        };
        *self = BatchBuilder::default();
        Ok(finished)
    }
}

/// Refuses a batch of `len` bytes when no server takes it.
pub fn check_len(len: usize) -> Result<()> {
    if len <= MAX_BATCH_BYTES {
        return Ok(());
    }
    Err(Error::undeliverable(format!(
        "{len} bytes in one batch, the most that Fluvio takes is {MAX_BATCH_BYTES}"
    ))
    .with_hint(
        "nothing was lost: the change stays in the slot; compression may bring it under the limit; else \
         exclude the table or the column from the publication, which counts for what is written from \
         then on, and give up what the slot holds with \"postgres-source accept-gap --config FILE \
         --reason TEXT\"",
    ))
}

/// Refuses a batch with `len` bytes of records when it could not be read back.
fn check_unpacked_len(len: usize) -> Result<()> {
    if len <= MAX_UNPACKED_BYTES {
        return Ok(());
    }
    Err(Error::undeliverable(format!(
        "{len} bytes of JSON in one batch, the most that is read back is {MAX_UNPACKED_BYTES}"
    ))
    .with_hint(
        "nothing was lost: the change stays in the slot; exclude the table or the column from the \
         publication, which counts for what is written from then on, and give up what the slot holds \
         with \"postgres-source accept-gap --config FILE --reason TEXT\"",
    ))
}

fn compress(compression: Compression, records: &[u8]) -> Result<Bytes> {
    compression.compress(records).map_err(|e| {
        let what = format!("cannot compress a batch with {compression}");
        Error::new(Kind::Bug, what).with_source(e)
    })
}

/// A batch that is ready to be sent.
#[derive(Debug)]
pub struct FinishedBatch {
    /// What stands before the records.
    pub head: BatchHead,
    /// The records, compressed if that is wanted.
    pub records: Bytes,
    /// The records as they were pushed, to be compared with what the topic holds when the outcome is not known.
    pub sent: SentRecords,
}

#[cfg(test)]
impl FinishedBatch {
    /// All of it, as it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        [&self.head.0[..], &self.records].concat()
    }
}

/// A batch but for its records, in the place of the record set of a request: they are not copied into
/// that but sent from where they are.
#[derive(Debug, Default)]
pub struct BatchHead(Vec<u8>);

impl BatchHead {
    fn of(records: &[u8], count: i32, compression: Compression) -> Self {
        let now = since_unix_epoch().as_millis() as i64;
        let mut header = BatchHeader::default();
        header.set_compression(compression);
        let mut checked = Vec::with_capacity(BATCH_FILE_HEADER_SIZE);
        checked.put_i16(header.attributes);
        checked.put_i32(count - 1);
        checked.put_i64(now);
        checked.put_i64(now);
        checked.put_i64(header.producer_id);
        checked.put_i16(header.producer_epoch);
        checked.put_i32(header.first_sequence);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&checked), records);
        // Nothing over 32 MiB is made.
        let len = (BATCH_FILE_HEADER_SIZE + records.len()) as i32;
        let mut head = Vec::with_capacity(size_of::<i32>() + BATCH_FILE_HEADER_SIZE);
        head.put_i32(len);
        head.put_i64(0);
        head.put_i32(len - BATCH_PREAMBLE_SIZE as i32);
        head.put_i32(header.partition_leader_epoch);
        head.put_i8(header.magic);
        head.put_u32(crc);
        head.put_slice(&checked);
        BatchHead(head)
    }
}

impl Encoder for BatchHead {
    fn write_size(&self, _: Version) -> usize {
        self.0.len()
    }

    fn encode<T: BufMut>(&self, out: &mut T, _: Version) -> io::Result<()> {
        out.put_slice(&self.0);
        Ok(())
    }
}

/// A request has to be decodable; nobody decodes this one here.
impl Decoder for BatchHead {
    fn decode<T: Buf>(&mut self, _: &mut T, _: Version) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvio_protocol::record::{Batch, RawRecords, RecordSet};

    fn round_trip(compression: Compression) {
        let values: Vec<Vec<u8>> = (0..300).map(|i| vec![i as u8; i * 7]).collect();
        let mut builder = BatchBuilder::default();
        for value in &values {
            let bound = builder.len_with(value.len());
            builder.push(None, value);
            assert!(builder.len() <= bound);
        }
        assert_eq!(builder.count(), 300);
        let bytes = builder.finish(compression).unwrap().bytes();
        assert!(builder.is_empty());

        let mut set = RecordSet::<RawRecords>::default();
        set.decode(&mut &bytes[..], 0).unwrap();
        // The same bytes as theirs, the checksum too.
        let mut theirs = Vec::new();
        set.encode(&mut theirs, 0).unwrap();
        assert!(bytes == theirs, "{compression}");
        let batch: &Batch<RawRecords> = &set.batches[0];
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
        builder.push(None, &vec![b'x'; MAX_BATCH_BYTES]);
        let error = builder.finish(Compression::None).unwrap_err();
        assert_eq!(error.kind(), Kind::Undeliverable);
        assert!(error.to_string().contains("33554"), "{error}");
        builder.finish(Compression::Zstd).unwrap();
    }

    #[test]
    fn what_could_not_be_read_back_is_not_written() {
        check_unpacked_len(MAX_UNPACKED_BYTES).unwrap();
        let error = check_unpacked_len(MAX_UNPACKED_BYTES + 1).unwrap_err();
        assert_eq!(error.kind(), Kind::Undeliverable);
    }

    #[test]
    fn what_was_sent_is_compared_byte_for_byte() {
        let mut builder = BatchBuilder::default();
        for value in ["one", "two", "three"] {
            builder.push(None, value.as_bytes());
        }
        let FinishedBatch { sent, .. } = builder.finish(Compression::None).unwrap();
        assert_eq!(sent.count(), 3);
        let found = |values: &[&'static str]| {
            sent.match_after(0, values.iter().map(|value| (None, str::as_bytes(value))))
        };
        assert!(sent.values().eq([&b"one"[..], b"two", b"three"]));
        assert!(found(&[]) && found(&["one"]) && found(&["one", "two", "three"]));
        assert!(!found(&["two"]) && !found(&["one", "tw"]));
        assert!(!found(&["one", "two", "three", "four"]));
        let after = |skipped: u64, values: &[&'static str]| {
            sent.match_after(
                skipped,
                values.iter().map(|value| (None, str::as_bytes(value))),
            )
        };
        assert!(after(1, &["two", "three"]) && after(2, &["three"]) && after(3, &[]));
        assert!(!after(1, &["one"]) && !after(1, &["three"]) && !after(3, &["three"]));
        assert!(!after(4, &[]));
        assert!(builder.is_empty() && builder.capacity() == 0);
    }

    /// The keys and values that the official decoder reads, and the bytes of the records.
    fn read(builder: &mut BatchBuilder) -> Vec<(Option<Vec<u8>>, Vec<u8>)> {
        let bytes = builder.finish(Compression::None).unwrap().bytes();
        let mut set = RecordSet::<RawRecords>::default();
        set.decode(&mut &bytes[..], 0).unwrap();
        let records = set.batches[0].memory_records().unwrap();
        let deltas = records.iter().map(|record| record.offset_delta());
        assert!(deltas.eq(0..records.len() as i64));
        let parts = records.into_iter().map(|record| {
            let key = record.key().map(|key| key.as_ref().to_vec());
            (key, record.into_value().into_vec())
        });
        parts.collect()
    }

    #[test]
    fn keys_are_written_and_compared() {
        let mut builder = BatchBuilder::default();
        let keys: [Option<&[u8]>; 4] = [Some(b"1"), None, Some(b""), Some(&[7; 300])];
        for key in keys {
            builder.push(key, b"value");
        }
        let sent = builder.finish(Compression::None).unwrap().sent;
        assert!(sent.match_after(1, keys[1..].iter().map(|key| (*key, &b"value"[..]))));
        assert!(!sent.match_after(0, [(None, &b"value"[..])]));
        assert!(!sent.match_after(1, [(Some(&b""[..]), &b"value"[..])]));
        for key in keys {
            builder.push_large(key, 5, 0, |out| out.extend_from_slice(b"value"));
        }
        let read = read(&mut builder);
        assert!(read.iter().map(|(key, _)| key.as_deref()).eq(keys));
        assert!(read.iter().all(|(_, value)| value == b"value"));
    }

    #[test]
    fn the_last_record_is_amended_whatever_its_length() {
        // Around the lengths at which a varint of the record's or the value's length gets longer.
        let lens = (1..140).chain(8_150..8_200);
        for (len, key) in lens.flat_map(|len| [(len, None), (len, Some(&b"key"[..]))]) {
            let mut value = vec![b'x'; len];
            value[len - 1] = b'}';
            let mut builder = BatchBuilder::default();
            builder.push(None, b"before");
            builder.push(key, &value);
            builder.amend_last(b",\"last\":true}");
            let mut expected = BatchBuilder::default();
            expected.push(None, b"before");
            value.truncate(len - 1);
            value.extend_from_slice(b",\"last\":true}");
            expected.push(key, &value);
            assert!(builder.records == expected.records, "{len}");
            builder.push(None, b"after");
            let values = read(&mut builder).into_iter().map(|(_, value)| value);
            assert!(values.eq([b"before".to_vec(), value, b"after".to_vec()]));
        }
    }

    #[test]
    fn the_last_record_begins_the_next_batch() {
        let mut builder = BatchBuilder::default();
        for _ in 0..300 {
            builder.push(None, b"before");
        }
        builder.push(Some(b"key"), b"{}");
        let mut next = builder.split_last();
        assert_eq!((builder.count(), next.count()), (300, 1));
        assert_eq!(read(&mut builder).len(), 300);
        // Alone it stays where it is.
        let place = next.records.as_ptr();
        let mut alone = next.split_last();
        assert!(next.is_empty() && place == alone.records.as_ptr());
        alone.amend_last(b"...");
        assert_eq!(
            read(&mut alone),
            [(Some(b"key".to_vec()), b"{...".to_vec())]
        );
    }
}
