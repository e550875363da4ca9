//! Reading a record back without its values.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::base::lsn::Lsn;
use crate::change::EventType;
use crate::record::readback::{Checksum, Placed, Record};

/// Reads a record; `None` when this program did not write it.
pub fn parse(json: &[u8]) -> Option<Placed> {
    let written = serde_json::from_slice::<Written>(json).ok()?;
    Some(Placed {
        wal_start: Lsn(written.wal_start),
        time_us: written.message.timestamp.unwrap_or(written.timestamp),
        record: written.message.record()?,
    })
}

/// The record as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    wal_start: u64,
    #[serde(rename = "wal_end")]
    _wal_end: u64,
    timestamp: i64,
    message: Keys,
}

/// The keys of all types. An enum by `type` would copy every value before it is skipped.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
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
    prefix: Option<TextSum>,
    #[serde(rename = "replica_identity")]
    _replica_identity: Option<IgnoredAny>,
}

impl Keys {
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

/// The checksum of `{"RawText":[...]}` or `{"String":"..."}`, which is not held.
#[derive(Deserialize)]
enum Content {
    RawText(BytesSum),
    String(TextSum),
}

impl Content {
    fn checksum(&self) -> u32 {
        let (Content::RawText(BytesSum(checksum)) | Content::String(TextSum(checksum))) = self;
        *checksum
    }
}

/// The checksum of a list of bytes as numbers.
struct BytesSum(u32);

impl<'de> Deserialize<'de> for BytesSum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BytesSum, D::Error> {
        deserializer.deserialize_seq(Sum).map(BytesSum)
    }
}

/// The checksum of a string.
struct TextSum(u32);

impl<'de> Deserialize<'de> for TextSum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TextSum, D::Error> {
        deserializer.deserialize_str(Sum).map(TextSum)
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

/// The bytes that are summed up together.
const PART_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(message: &str) -> Option<Placed> {
        let json = format!(r#"{{"wal_start":1,"wal_end":2,"timestamp":3,"message":{message}}}"#);
        parse(json.as_bytes())
    }

    fn record(message: &str) -> Option<Record> {
        placed(message).map(|placed| placed.record)
    }

    #[test]
    fn positions() {
        assert_eq!(
            record(r#"{"type":"begin","final_lsn":7,"timestamp":1,"xid":9}"#),
            Some(Record::Begin {
                final_lsn: Lsn(7),
                timestamp: 1,
                xid: 9
            })
        );
        assert_eq!(
            record(r#"{"type":"commit","flags":0,"commit_lsn":7,"end_lsn":8,"timestamp":1}"#),
            Some(Record::Commit {
                commit_lsn: Lsn(7),
                end_lsn: Lsn(8),
                timestamp: 1
            })
        );
        let insert = r#"{"type":"insert","rel_id":4294967295,"tuple":[{"String":"x"},"Null"]}"#;
        assert_eq!(record(insert), Some(Record::Row { rel_id: u32::MAX }));
        assert_eq!(
            record(r#"{"type":"truncate","options":1,"rel_ids":[1]}"#),
            Some(Record::Truncate)
        );
        assert!(record(insert).unwrap().counts() && !Record::Origin.counts());
        let message =
            r#"{"type":"message","flags":1,"lsn":7,"prefix":"p","content":{"RawText":[]}}"#;
        assert_eq!(
            record(message),
            Some(Record::Message {
                lsn: Lsn(7),
                transactional: true,
                content: Checksum::of("p", b"")
            })
        );
    }

    #[test]
    fn the_time_is_of_the_commit_or_else_of_sending() {
        let time_us = |message: &str| placed(message).unwrap().time_us;
        let begin = r#"{"type":"begin","final_lsn":7,"timestamp":1,"xid":9}"#;
        assert_eq!(time_us(begin), 1);
        let truncate = r#"{"type":"truncate","options":1,"rel_ids":[1]}"#;
        assert_eq!(time_us(truncate), 3);
    }

    #[test]
    fn a_checksum_is_of_the_bytes_and_not_of_their_form() {
        let of = |content: &str| {
            let message = r#"{"type":"message","flags":0,"lsn":7,"prefix":"p","content":"#;
            match record(&format!("{message}{content}}}")) {
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
            assert_eq!(parse(json), None);
        }
        let more = r#"{"type":"begin","final_lsn":7,"timestamp":1,"xid":9,"op":"c"}"#;
        assert_eq!(record(more), None);
    }
}
