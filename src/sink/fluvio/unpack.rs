//! Reading record batches: the counterpart of [`super::batch`].
//!
//! A fetch returns an Int32 length and that many bytes: batches, the last of which may be cut. A
//! batch is Int64 offset of its first record · Int32 length of what follows · Int32 epoch · Int8
//! magic · Int32 checksum · Int16 attributes · Int32 number of records less one · 36 bytes of times
//! and producer · Int32 schema, if the attributes say so · the records, perhaps compressed.
//!
//! The decoder of the official types takes lengths at their word: it allocates what a record claims
//! to be long, and cuts a value that is shorter. Whoever may write to the topic could end this
//! program with it. Nor does it look at the checksum (CRC-32C of what follows it), which no server
//! verifies either: what a disk has damaged would be taken for what was written.

use std::io;

use fluvio::Compression;
use fluvio_protocol::bytes::{Buf, BufMut, Bytes};
use fluvio_protocol::record::BATCH_PREAMBLE_SIZE;
use fluvio_protocol::{Decoder, Encoder, Version};

use super::batch::MAX_UNPACKED_BYTES;
use super::uncompress::uncompress;
use crate::base::error::{Context, Error, Result};

/// Epoch and magic, which are of no interest here.
const SKIPPED_BEFORE_CHECKSUM: usize = 4 + 1;

/// Times, producer and sequence.
const SKIPPED_AFTER_COUNT: usize = 8 + 8 + 8 + 2 + 4;

/// The bits of the attributes that name the compression.
const COMPRESSION_MASK: i16 = 0x07;

/// The bit of the attributes that says that a schema's number stands before the records.
const HAS_SCHEMA: i16 = 0x10;

/// A 64-bit number takes no more bytes as a varint.
const MAX_VARINT_BYTES: u32 = 10;

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// The record's offset.
    pub offset: i64,
    /// The record's key, if it has one.
    pub key: Option<Bytes>,
    /// The record's value.
    pub value: Bytes,
}

/// What one fetch returned.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// The records of the batches that are there in whole.
    pub records: Vec<StoredRecord>,
    /// How large the first batch says it is, in part or whole.
    pub first_batch_bytes: Option<i32>,
}

/// The bytes of the batches, as a fetch returns them.
#[derive(Debug, Default)]
pub struct RecordSet(pub Bytes);

impl Decoder for RecordSet {
    fn decode<T: Buf>(&mut self, src: &mut T, _version: Version) -> io::Result<()> {
        let len = src.try_get_i32()?;
        let len = usize::try_from(len).ok();
        let len = len.filter(|len| *len <= src.remaining()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::UnexpectedEof, "records longer than they are")
        })?;
        self.0 = src.copy_to_bytes(len);
        Ok(())
    }
}

/// Never sent; the type of a response has to have it.
impl Encoder for RecordSet {
    fn write_size(&self, _version: Version) -> usize {
        size_of::<i32>() + self.0.len()
    }

    fn encode<T: BufMut>(&self, dest: &mut T, _version: Version) -> io::Result<()> {
        let len = i32::try_from(self.0.len()).map_err(io::Error::other)?;
        dest.put_i32(len);
        dest.put_slice(&self.0);
        Ok(())
    }
}

/// The records from `offset` on. Each follows the one before it: whatever was left out of an answer
/// would be taken for missing from the topic.
pub fn unpack(set: &[u8], offset: i64) -> Result<Unpacked> {
    unpack_within(MAX_UNPACKED_BYTES, set, offset)
}

/// The records from `offset` on, with a limit of the caller's choice for what is compressed.
pub fn unpack_within(limit: usize, mut set: &[u8], offset: i64) -> Result<Unpacked> {
    let mut unpacked = Unpacked::default();
    while set.len() >= BATCH_PREAMBLE_SIZE {
        let (base_offset, claimed) = (set.get_i64(), set.get_i32());
        let place = || format!("batch at offset {base_offset}");
        let len = usize::try_from(claimed)
            .map_err(|_| Error::undeliverable(format!("says it has {claimed} bytes")))
            .at(place)?;
        // A sum that does not fit is larger than any batch that is taken.
        let bytes = claimed.saturating_add(BATCH_PREAMBLE_SIZE as i32);
        unpacked.first_batch_bytes.get_or_insert(bytes);
        let Some((batch, rest)) = set.split_at_checked(len) else {
            break;
        };
        set = rest;
        unpack_batch(limit, batch, base_offset, offset, &mut unpacked.records)
            .map_err(|error| error.with_hint(DAMAGED))
            .at(place)?;
    }
    Ok(unpacked)
}

/// What can be done about a batch that cannot be read.
const DAMAGED: &str = "nothing was written or confirmed past it. It was damaged, or another program \
    wrote it: look at the disk and the log of the SPU that leads the partition, and at its other \
    replicas; to go on without the topic as it is, make it anew, or name another one, then \
    \"postgres-source accept-gap --config FILE --reason TEXT\"";

/// Adds the records of one batch, from `offset` on.
fn unpack_batch(
    limit: usize,
    mut batch: &[u8],
    base_offset: i64,
    offset: i64,
    records: &mut Vec<StoredRecord>,
) -> Result<()> {
    let cannot = || Error::undeliverable("its header cannot be read");
    verify_checksum(&mut batch).ok_or_else(cannot)??;
    let header = header(&mut batch).ok_or_else(cannot)?;
    let uncompressed = uncompress(header.compression()?, batch, limit)?;
    let mut rest = uncompressed.as_deref().unwrap_or(batch);
    let count = rest
        .try_get_i32()
        .map_err(|_| Error::undeliverable("the number of its records is cut"))?;
    if count != header.count {
        return Err(Error::undeliverable(format!(
            "has {count} records, its header says {}",
            header.count
        )));
    }
    let end = base_offset
        .checked_add(count.into())
        .filter(|_| base_offset >= 0)
        .ok_or_else(|| Error::undeliverable("there is no such offset"))?;
    for (number, at) in (1..).zip(base_offset..end) {
        let (key, value) = key_and_value(&mut rest).ok_or_else(|| {
            Error::undeliverable(format!("record {number} of {count} cannot be read"))
        })?;
        if at < offset {
            continue;
        }
        let follows = records
            .last()
            .map_or(at.max(offset), |last| last.offset + 1);
        if at != follows {
            return Err(Error::undeliverable(format!(
                "has offset {at} where {follows} follows"
            )));
        }
        records.push(StoredRecord {
            offset: at,
            key: key.map(Bytes::copy_from_slice),
            value: Bytes::copy_from_slice(value),
        });
    }
    match rest.len() {
        0 => Ok(()),
        more => Err(Error::undeliverable(format!(
            "{more} bytes after its records"
        ))),
    }
}

/// Reads up to the checksum, and compares it with what follows. None when it is cut.
fn verify_checksum(batch: &mut &[u8]) -> Option<Result<()>> {
    skip(batch, SKIPPED_BEFORE_CHECKSUM)?;
    let expected = batch.try_get_u32().ok()?;
    let found = crc32c::crc32c(batch);
    Some(match found == expected {
        true => Ok(()),
        false => Err(Error::undeliverable(format!(
            "its checksum is {expected:08x}, and that of its {} bytes {found:08x}",
            batch.len()
        ))),
    })
}

struct Header {
    attributes: i16,
    count: i32,
}

impl Header {
    fn compression(&self) -> Result<Compression> {
        Compression::try_from((self.attributes & COMPRESSION_MASK) as i8)
            .map_err(|e| Error::undeliverable("cannot be unpacked").with_source(e))
    }
}

/// Reads from the checksum up to the records.
fn header(batch: &mut &[u8]) -> Option<Header> {
    let attributes = batch.try_get_i16().ok()?;
    let count = batch.try_get_i32().ok()?.checked_add(1)?;
    let schema = usize::from(attributes & HAS_SCHEMA != 0) * size_of::<u32>();
    skip(batch, SKIPPED_AFTER_COUNT + schema)?;
    Some(Header { attributes, count })
}

/// The key of the next record, if it has one, and its value.
fn key_and_value<'a>(rest: &mut &'a [u8]) -> Option<(Option<&'a [u8]>, &'a [u8])> {
    let mut record = bytes(rest)?;
    // Attributes; the time, and the number in the batch, which the order of the records says too.
    skip(&mut record, 1)?;
    varint(&mut record)?;
    varint(&mut record)?;
    let key = match record.try_get_u8().ok()? {
        0 => None,
        1 => Some(bytes(&mut record)?),
        _ => return None,
    };
    // Headers are of no interest.
    Some((key, bytes(&mut record)?))
}

/// A varint length and that many bytes.
fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(bytes)
}

fn skip(rest: &mut &[u8], len: usize) -> Option<()> {
    *rest = rest.get(len..)?;
    Some(())
}

/// A zigzag varint: seven bits a byte, the lowest first.
fn varint(rest: &mut &[u8]) -> Option<i64> {
    let mut number = 0u64;
    for place in 0..MAX_VARINT_BYTES {
        let byte = rest.try_get_u8().ok()?;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((number >> 1) as i64 ^ -((number & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::fluvio::batch::BatchBuilder;
    use fluvio_protocol::record::Batch;

    fn encoded(values: &[&[u8]], base_offset: i64, compression: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::default();
        values.iter().for_each(|value| builder.push(None, value));
        let mut bytes = builder.finish(compression).unwrap().bytes();
        // The length of the set does not belong to the batch, and the server says where it is.
        let mut bytes = bytes.split_off(size_of::<i32>());
        bytes[..size_of::<i64>()].copy_from_slice(&base_offset.to_be_bytes());
        bytes
    }

    fn offsets(unpacked: &Unpacked) -> Vec<i64> {
        unpacked
            .records
            .iter()
            .map(|record| record.offset)
            .collect()
    }

    fn error(set: &[u8]) -> String {
        unpack(set, 0).unwrap_err().message()
    }

    /// Sets the checksum to what it should be.
    fn seal(mut batch: Vec<u8>) -> Vec<u8> {
        let sealed = &batch[CHECKSUM.end..];
        let checksum = crc32c::crc32c(sealed).to_be_bytes();
        batch[CHECKSUM].copy_from_slice(&checksum);
        batch
    }

    const CHECKSUM: std::ops::Range<usize> = {
        let start = BATCH_PREAMBLE_SIZE + SKIPPED_BEFORE_CHECKSUM;
        start..start + size_of::<u32>()
    };

    #[test]
    fn what_was_written_is_read_back() {
        use Compression::*;
        for compression in [None, Gzip, Snappy, Lz4, Zstd] {
            let first = encoded(&[b"one", b"", &[7; 9000]], 5, compression);
            let second = encoded(&[b"four"], 8, compression);
            let set = [&first[..], &second].concat();
            let unpacked = unpack(&set, 6).unwrap();
            assert_eq!(offsets(&unpacked), [6, 7, 8], "{compression}");
            assert_eq!(unpacked.records[1].value[..], [7; 9000]);
            assert_eq!(unpacked.records[2].value, "four");
            assert_eq!(unpacked.first_batch_bytes, Some(first.len() as i32));
        }
    }

    #[test]
    fn what_the_ordinary_client_writes_is_read_too() {
        let mut batch = Batch::from(vec![
            fluvio_protocol::record::Record::new_key_value("key", "one"),
            fluvio_protocol::record::Record::new("two"),
        ]);
        batch.set_schema_id(Default::default());
        let mut bytes = Vec::new();
        batch.encode(&mut bytes, 0).unwrap();
        let unpacked = unpack(&bytes, 0).unwrap();
        let values: Vec<_> = unpacked.records.iter().map(|r| r.value.clone()).collect();
        assert_eq!(values, ["one", "two"]);
        let keys: Vec<_> = unpacked.records.iter().map(|r| r.key.clone()).collect();
        assert_eq!(keys, [Some(Bytes::from("key")), None]);
    }

    #[test]
    fn a_batch_that_is_cut_is_left_out() {
        let first = encoded(&[b"one"], 0, Compression::None);
        let set = [&first[..], &encoded(&[b"two"], 1, Compression::None)].concat();
        for end in 0..set.len() {
            let unpacked = unpack(&set[..end], 0).unwrap();
            assert_eq!(unpacked.records.len(), usize::from(end >= first.len()));
            let size = (end >= BATCH_PREAMBLE_SIZE).then_some(first.len() as i32);
            assert_eq!(unpacked.first_batch_bytes, size);
        }
    }

    /// A batch of one record, with something else in the place of its records.
    fn with_records(records: &[u8]) -> Vec<u8> {
        let mut set = encoded(&[b"x"], 0, Compression::None);
        set.truncate(fluvio_protocol::record::BATCH_FILE_HEADER_SIZE);
        set.extend_from_slice(records);
        let len = (set.len() - BATCH_PREAMBLE_SIZE) as i32;
        set[8..12].copy_from_slice(&len.to_be_bytes());
        seal(set)
    }

    /// The checksum covers all but what the server fills in, and the magic byte.
    #[test]
    fn a_flipped_bit_is_noticed() {
        use Compression::*;
        for compression in [None, Gzip, Snappy, Lz4, Zstd] {
            let set = encoded(&[b"one", &[7; 100]], 5, compression);
            for at in CHECKSUM.start..set.len() {
                let mut damaged = set.clone();
                damaged[at] ^= 0x10;
                let error = unpack(&damaged, 0).unwrap_err();
                let says = "batch at offset 5: its checksum is ";
                assert!(error.to_string().starts_with(says), "{error}");
                assert!(error.hint().unwrap().contains("accept-gap"));
            }
        }
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        use Compression::*;
        for compression in [Gzip, Snappy, Lz4, Zstd] {
            let bomb = encoded(&[&vec![b'0'; 1024 * 1024]], 0, compression);
            let error = unpack_within(1024 * 1024, &bomb, 0).unwrap_err();
            let says = "batch at offset 0: has more than 1048576 bytes once unpacked";
            assert!(error.to_string().starts_with(says), "{error}");
            assert_eq!(unpack(&bomb, 0).unwrap().records.len(), 1);
        }
    }

    #[test]
    fn lengths_are_not_taken_at_their_word() {
        let longest = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        let value_of = |len: &[u8]| {
            let record = [&[0, 0, 0, 0], len, b"x\0"].concat();
            let len = 2 * record.len() as u8;
            with_records(&[&[0, 0, 0, 1, len], &record[..]].concat())
        };
        assert_eq!(unpack(&value_of(&[2]), 0).unwrap().records[0].value, "x");
        for len in [&[6][..], &[1], &longest, &[0xFF; 11]] {
            assert_eq!(
                error(&value_of(len)),
                "batch at offset 0: record 1 of 1 cannot be read"
            );
        }
        let record = [&[0, 0, 0, 1][..], &longest].concat();
        assert!(error(&with_records(&record)).ends_with("record 1 of 1 cannot be read"));
    }

    #[test]
    fn what_does_not_add_up_is_an_error() {
        let set = encoded(&[b"one"], 0, Compression::None);
        let with = |at: usize, bytes: &[u8]| {
            let mut set = set.clone();
            set[at..][..bytes.len()].copy_from_slice(bytes);
            // One that is said to be shorter ends before its checksum.
            seal(set)
        };
        for (set, says) in [
            (
                with(8, &[0xFF; 4]),
                "batch at offset 0: says it has -1 bytes",
            ),
            (
                with(8, &[0, 0, 0, 5]),
                "batch at offset 0: its header cannot be read",
            ),
            (with(22, &[7]), "cannot be unpacked"),
            (with(23, &[0, 0, 0, 1]), "has 1 records, its header says 2"),
            (
                with(23, &[0x7F, 0xFF, 0xFF, 0xFF]),
                "its header cannot be read",
            ),
            (with_records(&[0, 0]), "the number of its records is cut"),
            (
                with_records(&[0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 0, 9]),
                "1 bytes after its records",
            ),
            ([&set[..], &set].concat(), "has offset 0 where 1 follows"),
        ] {
            let error = error(&set);
            assert!(error.contains(says), "{error}");
        }
        for offset in [i64::MAX, -1] {
            let error = error(&encoded(&[b"one"], offset, Compression::None));
            assert!(error.ends_with("there is no such offset"), "{error}");
        }
        let last = encoded(&[b"one"], i64::MAX - 1, Compression::None);
        assert_eq!(offsets(&unpack(&last, 0).unwrap()), [i64::MAX - 1]);
    }
}
