//! Records in the form in which a batch has them, and those of a batch that was sent.
//!
//! A record is a varint length and: Int8 attributes · varint timestamp delta · varint offset delta
//! · Byte1 key (0: none; 1, then varint length and bytes) · varint length and bytes of the value ·
//! varint number of headers. The varints are zigzag.

use bytes::Bytes;

/// Puts what stands before the value of a record.
pub(super) fn put_header(
    offset_delta: u64,
    key: Option<&[u8]>,
    value_len: usize,
    out: &mut Vec<u8>,
) {
    let value_len = value_len as u64;
    let key_len = key.map_or(0, |key| varint_len(key.len() as u64) + key.len());
    // Attributes, timestamp delta, whether there is a key and number of headers are a byte each.
    let record_len =
        4 + varint_len(offset_delta) + key_len + varint_len(value_len) + value_len as usize;
    put_varint(record_len as u64, out);
    out.extend_from_slice(&[0, 0]);
    put_varint(offset_delta, out);
    match key {
        None => out.push(0),
        Some(key) => {
            out.push(1);
            put_varint(key.len() as u64, out);
            out.extend_from_slice(key);
        }
    }
    put_varint(value_len, out);
}

/// A record that was put into a batch.
pub(super) struct RecordParts<'a> {
    /// How many bytes stand before the value.
    pub header_len: usize,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: &'a [u8],
    /// How many bytes the record has with its length.
    pub len: usize,
}

impl<'a> RecordParts<'a> {
    /// Takes the first record of `bytes` apart.
    pub fn of(bytes: &'a [u8]) -> Option<RecordParts<'a>> {
        let mut rest = bytes;
        let len = usize::try_from(take_varint(&mut rest)?).ok()?;
        let len = (bytes.len() - rest.len()).checked_add(len)?;
        // Attributes and timestamp delta.
        rest = rest.get(2..)?;
        take_varint(&mut rest)?;
        let (&has_key, after) = rest.split_first()?;
        rest = after;
        let mut key = None;
        if has_key != 0 {
            let key_len = usize::try_from(take_varint(&mut rest)?).ok()?;
            let (found, after) = rest.split_at_checked(key_len)?;
            (key, rest) = (Some(found), after);
        }
        let value_len = usize::try_from(take_varint(&mut rest)?).ok()?;
        Some(RecordParts {
            header_len: bytes.len() - rest.len(),
            key,
            value: rest.get(..value_len)?,
            len,
        })
    }
}

/// The records of a batch that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentRecords {
    records: Bytes,
    count: u64,
}

impl SentRecords {
    /// `count` records, after their count.
    pub(super) fn new(records: Bytes, count: u64) -> SentRecords {
        SentRecords { records, count }
    }

    /// How many records there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many bytes the records have, uncompressed.
    pub fn bytes(&self) -> usize {
        self.records.len()
    }

    /// Whether the records after the first `skipped` begin with these keys and values, byte for byte.
    pub fn match_after<'a>(
        &self,
        skipped: u64,
        records: impl IntoIterator<Item = (Option<&'a [u8]>, &'a [u8])>,
    ) -> bool {
        let mut found = records.into_iter();
        let mut sent = self.parts().skip(skipped as usize);
        skipped <= self.count
            && found.all(|(key, value)| {
                sent.next()
                    .is_some_and(|sent| sent.key == key && sent.value == value)
            })
    }

    /// The values of the records, in order.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.parts().map(|record| record.value)
    }

    fn parts(&self) -> impl Iterator<Item = RecordParts<'_>> {
        let mut rest = self.records.get(size_of::<i32>()..).unwrap_or_default();
        std::iter::from_fn(move || {
            let record = RecordParts::of(rest)?;
            rest = rest.get(record.len..)?;
            Some(record)
        })
    }

    /// The memory of the records, to be used again; what is beyond `bytes` is given back.
    pub fn into_memory(self, bytes: usize) -> Vec<u8> {
        // It is the last holder; otherwise this would be a copy, and still right.
        let mut memory = Vec::from(self.records);
        memory.clear();
        memory.shrink_to(bytes);
        memory
    }
}

/// Reads what [`put_varint`] wrote.
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let (mut zigzag, mut shift) = (0u64, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        zigzag |= u64::from(byte & 0x7F).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(zigzag >> 1);
        }
        shift += 7;
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
