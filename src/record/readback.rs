//! Where in the stream a record stands: its units, and reading a record back without its values.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::base::lsn::Lsn;
use crate::change::EventType;

/// A record and where in the WAL it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Where its change begins.
    pub wal_start: Lsn,
    /// What it is.
    pub record: Record,
}

/// What a message is, whatever form it is written in: a checksum of its prefix and of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    prefix: u32,
    content: u32,
}

impl Checksum {
    /// That of a message.
    pub fn of(prefix: &str, content: &[u8]) -> Checksum {
        Checksum {
            prefix: crc32c::crc32c(prefix.as_bytes()),
            content: crc32c::crc32c(content),
        }
    }
}

/// The checksum of `{"RawText":[...]}` or `{"String":"..."}`, which is not held.
#[derive(Deserialize)]
enum Content {
    RawText(Bytes),
    String(Text),
}

impl Content {
    fn checksum(&self) -> u32 {
        let (Content::RawText(Bytes(checksum)) | Content::String(Text(checksum))) = self;
        *checksum
    }
}

/// The checksum of a list of bytes as numbers.
struct Bytes(u32);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        deserializer.deserialize_seq(Sum).map(Bytes)
    }
}

/// The checksum of a string.
struct Text(u32);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_str(Sum).map(Text)
    }
}

/// Sums up what is read.
struct Sum;

impl<'de> Visitor<'de> for Sum {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes as numbers, or a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<u32, E> {
        Ok(crc32c::crc32c(text.as_bytes()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<u32, A::Error> {
        let (mut checksum, mut part) = (0, Vec::with_capacity(PART_BYTES));
        while let Some(byte) = numbers.next_element::<u8>()? {
            part.push(byte);
            if part.len() == PART_BYTES {
                checksum = crc32c::crc32c_append(checksum, &part);
                part.clear();
            }
        }
        Ok(crc32c::crc32c_append(checksum, &part))
    }
}

/// So many bytes are summed up at a time.
const PART_BYTES: usize = 4096;

/// What a record of this program says of its place in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// A transaction begins.
    Begin {
        /// Where its commit record is: what identifies it.
        final_lsn: Lsn,
        /// When it was committed, in the server's microseconds.
        timestamp: i64,
        /// Its id.
        xid: u32,
    },
    /// A transaction ends.
    Commit {
        /// The begin's final_lsn.
        commit_lsn: Lsn,
        /// Where the commit record ends.
        end_lsn: Lsn,
        /// When it was committed, in the server's microseconds.
        timestamp: i64,
    },
    /// An insert, update or delete of a row of this table.
    Row {
        /// The table's OID.
        rel_id: u32,
    },
    /// A truncate.
    Truncate,
    /// A table is described. Sessions repeat it, so it does not count in a transaction.
    Relation {
        /// The table's OID.
        rel_id: u32,
    },
    /// A type is described. It does not count either.
    Type,
    /// Where the transaction came from. It does not count either.
    Origin,
    /// A message, in a transaction or between two. Which of them are written is a matter of the
    /// config, so it does not count: its own position says whether it is there.
    Message {
        /// Where its WAL record ends.
        lsn: Lsn,
        /// Whether it belongs to a transaction.
        transactional: bool,
        /// What its bytes are.
        content: Checksum,
    },
}

/// What the stream consists of, in its order: the WAL's.
///
/// WAL records do not overlap, so of a message that ends where a commit record begins the message is
/// the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unit {
    lsn: Lsn,
    kind: UnitKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum UnitKind {
    Message,
    Transaction,
}

impl Unit {
    /// A transaction, by where its commit record begins.
    pub fn transaction(final_lsn: Lsn) -> Unit {
        Unit {
            lsn: final_lsn,
            kind: UnitKind::Transaction,
        }
    }

    /// A message between transactions, by where its record ends.
    pub fn message(lsn: Lsn) -> Unit {
        Unit {
            lsn,
            kind: UnitKind::Message,
        }
    }

    /// The position that it goes by.
    pub fn lsn(self) -> Lsn {
        self.lsn
    }

    /// Whether it is a transaction.
    pub fn is_transaction(self) -> bool {
        self.kind == UnitKind::Transaction
    }

    /// Whether a slot that was confirmed there sends it again: the server looks at where the record
    /// begins.
    pub fn is_sent_from(self, confirmed: Lsn) -> bool {
        match self.kind {
            UnitKind::Transaction => confirmed <= self.lsn,
            UnitKind::Message => confirmed < self.lsn,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            UnitKind::Transaction => write!(f, "transaction at {}", self.lsn),
            UnitKind::Message => write!(f, "message at {}", self.lsn),
        }
    }
}

impl Placed {
    /// Reads a record; `None` when this program did not write it.
    pub fn parse(json: &[u8]) -> Option<Placed> {
        let written = serde_json::from_slice::<Written>(json).ok()?;
        Some(Placed {
            wal_start: Lsn(written.wal_start),
            record: written.message.record()?,
        })
    }
}

impl Record {
    /// Reads a record; `None` when this program did not write it.
    pub fn parse(json: &[u8]) -> Option<Record> {
        Placed::parse(json).map(|placed| placed.record)
    }

    /// Whether it has a number within its transaction: decoding the same WAL again gives the same
    /// sequence of these.
    pub fn counts(self) -> bool {
        matches!(self, Record::Row { .. } | Record::Truncate)
    }
}

/// The record as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    wal_start: u64,
    #[serde(rename = "wal_end")]
    _wal_end: u64,
    #[serde(rename = "timestamp")]
    _timestamp: i64,
    message: Message,
}

/// The keys of all types. An enum by `type` would copy every value before it is skipped.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    #[serde(rename = "type")]
    event_type: EventType,
    final_lsn: Option<u64>,
    xid: Option<u32>,
    commit_lsn: Option<u64>,
    end_lsn: Option<u64>,
    lsn: Option<u64>,
    flags: Option<i8>,
    content: Option<Content>,
    rel_id: Option<u32>,
    id: Option<u32>,
    tuple: Option<IgnoredAny>,
    new_tuple: Option<IgnoredAny>,
    rel_ids: Option<IgnoredAny>,
    columns: Option<IgnoredAny>,
    #[serde(rename = "old_tuple")]
    _old_tuple: Option<IgnoredAny>,
    #[serde(rename = "key_tuple")]
    _key_tuple: Option<IgnoredAny>,
    timestamp: Option<i64>,
    #[serde(rename = "options")]
    _options: Option<i8>,
    #[serde(rename = "namespace")]
    _namespace: Option<IgnoredAny>,
    #[serde(rename = "name")]
    _name: Option<IgnoredAny>,
    prefix: Option<Text>,
    #[serde(rename = "replica_identity")]
    _replica_identity: Option<IgnoredAny>,
}

impl Message {
    fn record(&self) -> Option<Record> {
        Some(match self.event_type {
            EventType::Begin => Record::Begin {
                final_lsn: Lsn(self.final_lsn?),
                timestamp: self.timestamp?,
                xid: self.xid?,
            },
            EventType::Commit => Record::Commit {
                commit_lsn: Lsn(self.commit_lsn?),
                end_lsn: Lsn(self.end_lsn?),
                timestamp: self.timestamp?,
            },
            EventType::Insert => self.tuple.and(self.row())?,
            EventType::Update => self.new_tuple.and(self.row())?,
            EventType::Delete => self.row()?,
            EventType::Truncate => self.rel_ids.map(|_| Record::Truncate)?,
            EventType::Relation => self
                .columns
                .and(self.rel_id)
                .map(|rel_id| Record::Relation { rel_id })?,
            EventType::Type => self.id.map(|_| Record::Type)?,
            EventType::Origin => self.commit_lsn.map(|_| Record::Origin)?,
            EventType::Message => self.message()?,
        })
    }

    fn message(&self) -> Option<Record> {
        Some(Record::Message {
            lsn: Lsn(self.lsn?),
            transactional: self.flags? & 1 != 0,
            content: Checksum {
                prefix: self.prefix.as_ref()?.0,
                content: self.content.as_ref()?.checksum(),
            },
        })
    }

    fn row(&self) -> Option<Record> {
        self.rel_id.map(|rel_id| Record::Row { rel_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(message: &str) -> Option<Record> {
        let json = format!(r#"{{"wal_start":1,"wal_end":2,"timestamp":3,"message":{message}}}"#);
        Record::parse(json.as_bytes())
    }

    #[test]
    fn positions() {
        assert_eq!(
            parse(r#"{"type":"begin","final_lsn":7,"timestamp":1,"xid":9}"#),
            Some(Record::Begin {
                final_lsn: Lsn(7),
                timestamp: 1,
                xid: 9
            })
        );
        assert_eq!(
            parse(r#"{"type":"commit","flags":0,"commit_lsn":7,"end_lsn":8,"timestamp":1}"#),
            Some(Record::Commit {
                commit_lsn: Lsn(7),
                end_lsn: Lsn(8),
                timestamp: 1
            })
        );
        let insert = r#"{"type":"insert","rel_id":4294967295,"tuple":[{"String":"x"},"Null"]}"#;
        assert_eq!(parse(insert), Some(Record::Row { rel_id: u32::MAX }));
        assert_eq!(
            parse(r#"{"type":"truncate","options":1,"rel_ids":[1]}"#),
            Some(Record::Truncate)
        );
        assert!(parse(insert).unwrap().counts() && !Record::Origin.counts());
        let message =
            r#"{"type":"message","flags":1,"lsn":7,"prefix":"p","content":{"RawText":[]}}"#;
        assert_eq!(
            parse(message),
            Some(Record::Message {
                lsn: Lsn(7),
                transactional: true,
                content: Checksum::of("p", b"")
            })
        );
    }

    #[test]
    fn a_checksum_is_of_the_bytes_and_not_of_their_form() {
        let of = |content: &str| {
            let message = r#"{"type":"message","flags":0,"lsn":7,"prefix":"p","content":"#;
            match parse(&format!("{message}{content}}}")) {
                Some(Record::Message { content, .. }) => content,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(of(r#"{"RawText":[120,10]}"#), Checksum::of("p", b"x\n"));
        assert_eq!(of(r#"{"String":"x\n"}"#), Checksum::of("p", b"x\n"));
        let long = vec![7; 3 * PART_BYTES + 1];
        let numbers = serde_json::to_string(&long).unwrap();
        assert_eq!(
            of(&format!(r#"{{"RawText":{numbers}}}"#)),
            Checksum::of("p", &long)
        );
        let another = Checksum::of("q", b"x");
        assert_ne!(another, Checksum::of("p", b"x"));
        assert_ne!(another, Checksum::of("q", b"y"));
    }

    #[test]
    fn what_this_program_did_not_write() {
        for json in [
            &b""[..],
            b"{}",
            b"hello",
            b"\xFF",
            br#"{"wal_start":1,"wal_end":2,"timestamp":3,"message":{"type":"upsert"}}"#,
            br#"{"wal_start":1,"wal_end":2,"timestamp":3,"message":{"type":"begin"}}"#,
            br#"{"wal_start":1,"wal_end":2,"timestamp":3}"#,
        ] {
            assert_eq!(Record::parse(json), None);
        }
        let more = r#"{"type":"begin","final_lsn":7,"timestamp":1,"xid":9,"op":"c"}"#;
        assert_eq!(parse(more), None);
    }
}
