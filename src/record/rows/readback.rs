//! Reading a record of the row format back, without its values.

use std::borrow::Cow;

use super::json::Scanner;
use super::place::{OrderKind, RowOrder, parse_time};
use crate::base::lsn::Lsn;
use crate::record::readback::{Checksum, Unit};

/// What a record of the row format says of itself, apart from its table and its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowPlaced {
    /// Where the record is in the stream.
    pub order: RowOrder,
    /// What happened.
    pub op: Op,
    /// The transaction's commit; a message between two has none.
    pub commit: Option<Commit>,
    /// Whether the record says that it is its transaction's last in its partition.
    pub is_last: bool,
    /// Whether the record is what an update left in the partition of its old key.
    pub is_moved: bool,
}

/// What a record of the row format says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// A new row.
    Insert,
    /// A changed row.
    Update,
    /// A row is gone.
    Delete,
    /// A table was emptied.
    Truncate,
    /// A message, by its bytes; [`RowOrder`] has where it is, and whether that is in a transaction.
    Message(Checksum),
}

/// The commit of the transaction that a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// The transaction's id.
    pub xid: u32,
    /// When it was committed, in the server's microseconds.
    pub time_us: i64,
}

/// The table of a record and the key of its row, as the record has them: JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowNames<'a> {
    schema: &'a [u8],
    table: &'a [u8],
    key: &'a [u8],
}

/// Reads a record back; `None` when this program did not write it.
pub fn parse(record: &[u8]) -> Option<RowPlaced> {
    parse_with_names(record).map(|(placed, _)| placed)
}

/// Reads a record back with the names in it, which only a message has none of; `None` when this program
/// did not write it.
pub fn parse_with_names(record: &[u8]) -> Option<(RowPlaced, Option<RowNames<'_>>)> {
    std::str::from_utf8(record).ok()?;
    let mut s = Scanner::new(record);
    s.take(b"{\"op\":\"")?;
    for (op, tag) in [
        (Op::Insert, &b"insert\","[..]),
        (Op::Update, b"update\","),
        (Op::Delete, b"delete\","),
        (Op::Truncate, b"truncate\","),
    ] {
        if s.take(tag).is_some() {
            return change(s, op);
        }
    }
    s.take(b"message\",")?;
    message(s).map(|placed| (placed, None))
}

fn change<'a>(mut s: Scanner<'a>, op: Op) -> Option<(RowPlaced, Option<RowNames<'a>>)> {
    s.take(b"\"schema\":")?;
    let schema = s.slice(Scanner::string)?;
    s.take(b",\"table\":")?;
    let table = s.slice(Scanner::string)?;
    s.take(b",\"key\":")?;
    let key = object_or_null(&mut s)?;
    s.take(b",\"before\":")?;
    let before = object_or_null(&mut s)?;
    s.take(b",\"after\":")?;
    let after = object_or_null(&mut s)?;
    let (has_before, has_after) = (before != b"null", after != b"null");
    let is_whole = match op {
        Op::Insert => !has_before && has_after,
        Op::Update => has_after,
        Op::Delete => has_before && !has_after,
        Op::Truncate | Op::Message(_) => key == b"null" && !has_before && !has_after,
    };
    is_whole.then_some(())?;
    if op == Op::Truncate {
        let _ = s.take(b",\"cascade\":true");
        let _ = s.take(b",\"restart_identity\":true");
    } else if s.take(b",\"unchanged\":").is_some() {
        s.rest().starts_with(b"[\"").then_some(())?;
        s.any()?;
    }
    let (lsn, seq) = position(&mut s)?;
    let commit = commit(&mut s)?;
    let is_moved = op == Op::Delete && s.take(b",\"moved\":true").is_some();
    let placed = RowPlaced {
        order: RowOrder {
            unit: Unit::transaction(lsn),
            seq,
            kind: OrderKind::Change,
        },
        op,
        commit: Some(commit),
        is_last: last(&mut s)?,
        is_moved,
    };
    Some((placed, Some(RowNames { schema, table, key })))
}

fn message(mut s: Scanner<'_>) -> Option<RowPlaced> {
    s.take(b"\"prefix\":")?;
    let prefix = text_checksum(s.slice(Scanner::any)?)?;
    s.take(b",\"content\":")?;
    let content = text_checksum(s.slice(Scanner::any)?)?;
    s.take(b",\"transactional\":")?;
    let transactional = s.take(b"true").is_some();
    if !transactional {
        s.take(b"false")?;
    }
    s.take(b",\"at\":")?;
    let at = Lsn(number(&mut s)?);
    let (lsn, seq) = position(&mut s)?;
    let (unit, commit) = match transactional {
        true => (Unit::transaction(lsn), Some(commit(&mut s)?)),
        false => {
            s.take(b",\"xid\":null,\"ts\":null")?;
            (lsn == at && seq == 0).then_some(())?;
            (Unit::message(at), None)
        }
    };
    let is_last = last(&mut s)?;
    (is_last || transactional).then_some(RowPlaced {
        order: RowOrder {
            unit,
            seq,
            kind: OrderKind::Message { at },
        },
        op: Op::Message(Checksum { prefix, content }),
        commit,
        is_last,
        is_moved: false,
    })
}

fn object_or_null<'a>(s: &mut Scanner<'a>) -> Option<&'a [u8]> {
    matches!(s.rest().first()?, b'{' | b'n').then_some(())?;
    s.slice(Scanner::any)
}

/// A number as this program writes it.
fn number(s: &mut Scanner<'_>) -> Option<u64> {
    // JSON has one way to write an integer.
    std::str::from_utf8(s.slice(Scanner::any)?)
        .ok()?
        .parse()
        .ok()
}

fn position(s: &mut Scanner<'_>) -> Option<(Lsn, u64)> {
    s.take(b",\"lsn\":")?;
    let lsn = Lsn(number(s)?);
    s.take(b",\"seq\":")?;
    Some((lsn, number(s)?))
}

fn commit(s: &mut Scanner<'_>) -> Option<Commit> {
    s.take(b",\"xid\":")?;
    let xid = u32::try_from(number(s)?).ok()?;
    s.take(b",\"ts\":")?;
    let [b'"', time @ .., b'"'] = s.slice(Scanner::string)? else {
        return None;
    };
    Some(Commit {
        xid,
        time_us: parse_time(time)?,
    })
}

/// The end of the record.
fn last(s: &mut Scanner<'_>) -> Option<bool> {
    let is_last = s.take(b",\"last\":true").is_some();
    s.take(b"}")?;
    s.rest().is_empty().then_some(is_last)
}

/// The checksum of the bytes of a string or of `{"hex":"c3"}`.
fn text_checksum(json: &[u8]) -> Option<u32> {
    let hex = json.strip_prefix(b"{\"hex\":\"");
    if let Some(digits) = hex.and_then(|rest| rest.strip_suffix(b"\"}")) {
        let (pairs, []) = digits.as_chunks::<2>() else {
            return None;
        };
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        return pairs.iter().try_fold(0, |checksum, [high, low]| {
            let byte = digit(*high)? << 4 | digit(*low)?;
            Some(crc32c::crc32c_append(checksum, &[byte]))
        });
    }
    let text: String = serde_json::from_slice(json).ok()?;
    Some(crc32c::crc32c(text.as_bytes()))
}

impl<'a> RowNames<'a> {
    /// The schema's name.
    pub fn schema(&self) -> Cow<'a, str> {
        plain(self.schema)
    }

    /// The table's name.
    pub fn table(&self) -> Cow<'a, str> {
        plain(self.table)
    }

    /// The key as the record has it: an object, or null.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// Appends what stands for the table where it is all that counts: `["public","pets"]`.
    pub fn append_name(&self, out: &mut Vec<u8>) {
        self.append_names(out);
        out.push(b']');
    }

    /// Appends the key that the record has in Fluvio, `["public","pets",1]`; false where it has none.
    pub fn append_key(&self, out: &mut Vec<u8>) -> bool {
        if self.key == b"null" {
            return false;
        }
        self.append_names(out);
        let mut s = Scanner::new(self.key);
        let mut open = &b"{"[..];
        while s.take(open).is_some() {
            open = b",";
            let value = s.string().and_then(|()| s.take(b":"));
            let Some(value) = value.and_then(|()| s.slice(Scanner::spaced)) else {
                break;
            };
            out.push(b',');
            out.extend_from_slice(value);
        }
        out.push(b']');
        true
    }

    fn append_names(&self, out: &mut Vec<u8>) {
        for part in [b"[", self.schema, b",", self.table] {
            out.extend_from_slice(part);
        }
    }
}

/// The text of a JSON string, copied only if something in it is escaped.
fn plain(json: &[u8]) -> Cow<'_, str> {
    let inner = json
        .get(1..json.len().saturating_sub(1))
        .unwrap_or_default();
    match inner.contains(&b'\\') {
        false => String::from_utf8_lossy(inner),
        true => Cow::Owned(serde_json::from_slice(json).unwrap_or_default()),
    }
}
