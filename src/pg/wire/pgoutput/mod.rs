//! The messages of the `pgoutput` plugin, protocol version 1, borrowed from the frame they came in.
//!
//! Layouts:
//! [logical replication message formats](https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html).
//! A message is checked whole when it is decoded: every length, every tag, and that nothing follows.

mod relation;
mod tuple;

pub use self::relation::{Column, Relation, ReplicaIdentity};
pub use self::tuple::{OldTuple, Tuple, Value};

use std::borrow::Cow;

use crate::base::error::{Context, Error, Result};
use crate::base::lsn::Lsn;
use crate::pg::wire::cursor::Cursor;

/// The most columns of a table
/// ([`MaxHeapAttributeNumber`](https://www.postgresql.org/docs/current/limits.html)).
const MAX_COLUMNS: u16 = 1600;

/// One message of the stream.
#[derive(Debug, Clone)]
pub enum Message<'a> {
    /// `B`: a transaction begins.
    Begin(Begin),
    /// `C`: a transaction ends, committed.
    Commit(Commit),
    /// `O`: the transaction came from another server.
    Origin(Origin<'a>),
    /// `R`: a table as the rows that follow have it.
    Relation(Relation<'a>),
    /// `Y`: a type that is not built in.
    Type(Type<'a>),
    /// `I`: a new row.
    Insert {
        /// The table, described before.
        rel_id: u32,
        /// The row.
        new: Tuple<'a>,
    },
    /// `U`: a changed row.
    Update {
        /// The table, described before.
        rel_id: u32,
        /// The values that identified the row before, when the server sent them.
        old: Option<OldTuple<'a>>,
        /// The row as it is now.
        new: Tuple<'a>,
    },
    /// `D`: a row is gone.
    Delete {
        /// The table, described before.
        rel_id: u32,
        /// The values that identified the row.
        old: OldTuple<'a>,
    },
    /// `T`: tables were emptied.
    Truncate(Truncate<'a>),
    /// `M`: what somebody wrote into the WAL with `pg_logical_emit_message` (14+, when asked for).
    Logical(Logical<'a>),
}

/// `B` · Int64 final_lsn · Int64 timestamp · Int32 xid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The position of the commit record of this transaction.
    pub final_lsn: Lsn,
    /// The time of the commit: microseconds since 2000-01-01 UTC.
    pub timestamp: i64,
    /// The transaction's id.
    pub xid: u32,
}

/// `C` · Int8 flags (0) · Int64 commit_lsn · Int64 end_lsn · Int64 timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Unused so far.
    pub flags: i8,
    /// The position of the commit record; equals the begin's final_lsn.
    pub commit_lsn: Lsn,
    /// The end of the commit record: the position to confirm.
    pub end_lsn: Lsn,
    /// The time of the commit: microseconds since 2000-01-01 UTC.
    pub timestamp: i64,
}

/// `O` · Int64 commit_lsn · String name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The commit's position on the origin server.
    pub commit_lsn: Lsn,
    /// The origin's name.
    pub name: Cow<'a, str>,
}

/// `Y` · Int32 id · String namespace (empty for `pg_catalog`) · String name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type<'a> {
    /// The type's OID.
    pub id: u32,
    /// The schema of the type.
    pub namespace: Cow<'a, str>,
    /// The name of the type.
    pub name: Cow<'a, str>,
}

/// `T` · Int32 number of relations · Int8 options · Int32 rel_id each.
#[derive(Debug, Clone, Copy)]
pub struct Truncate<'a> {
    /// 1 for CASCADE, 2 for RESTART IDENTITY.
    pub options: i8,
    rel_id_bytes: &'a [u8],
}

/// `M` · Int8 flags (1: transactional) · Int64 lsn · String prefix · Int32 length · content.
///
/// A transactional message is part of its transaction. Any other comes between transactions, in its
/// place in the WAL, whatever becomes of the transaction that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logical<'a> {
    /// 1 when the message is transactional.
    pub flags: i8,
    /// The end of the message's WAL record: no other message, row or commit has this position and kind.
    pub lsn: Lsn,
    /// The prefix, by which programs know their messages. UTF-8 unless the database is in SQL_ASCII.
    pub prefix: &'a [u8],
    /// The content, any bytes.
    pub content: &'a [u8],
}

impl<'a> Message<'a> {
    /// Decodes one message; `bytes` is the payload of one XLogData.
    pub fn decode(bytes: &'a [u8]) -> Result<Self> {
        let mut c = Cursor::new(bytes);
        let tag = c.u8("message type")?;
        let (name, message) = match tag {
            b'B' => ("begin", Begin::decode(&mut c).map(Message::Begin)),
            b'C' => ("commit", Commit::decode(&mut c).map(Message::Commit)),
            b'O' => ("origin", Origin::decode(&mut c).map(Message::Origin)),
            b'R' => ("relation", Relation::decode(&mut c).map(Message::Relation)),
            b'Y' => ("type", Type::decode(&mut c).map(Message::Type)),
            b'I' => ("insert", insert(&mut c)),
            b'U' => ("update", update(&mut c)),
            b'D' => ("delete", delete(&mut c)),
            b'T' => ("truncate", Truncate::decode(&mut c).map(Message::Truncate)),
            b'M' => ("message", Logical::decode(&mut c).map(Message::Logical)),
            _ => return Err(unknown_tag("message type", tag)),
        };
        message
            .and_then(|message| c.end().map(|()| message))
            .at(|| name.to_owned())
    }
}

impl Begin {
    fn decode(c: &mut Cursor<'_>) -> Result<Self> {
        Ok(Begin {
            final_lsn: c.lsn("final_lsn")?,
            timestamp: c.i64("timestamp")?,
            xid: c.u32("xid")?,
        })
    }
}

impl Commit {
    fn decode(c: &mut Cursor<'_>) -> Result<Self> {
        Ok(Commit {
            flags: c.i8("flags")?,
            commit_lsn: c.lsn("commit_lsn")?,
            end_lsn: c.lsn("end_lsn")?,
            timestamp: c.i64("timestamp")?,
        })
    }
}

impl<'a> Origin<'a> {
    fn decode(c: &mut Cursor<'a>) -> Result<Self> {
        Ok(Origin {
            commit_lsn: c.lsn("commit_lsn")?,
            name: c.str("name")?,
        })
    }
}

impl Type<'_> {
    /// The description with its names copied.
    pub fn to_static(&self) -> Type<'static> {
        Type {
            id: self.id,
            namespace: self.namespace.clone().into_owned().into(),
            name: self.name.clone().into_owned().into(),
        }
    }
}

impl<'a> Type<'a> {
    fn decode(c: &mut Cursor<'a>) -> Result<Self> {
        Ok(Type {
            id: c.u32("type id")?,
            namespace: namespace(c)?,
            name: c.str("name")?,
        })
    }
}

/// Reads a schema: the server writes an empty string for `pg_catalog`.
fn namespace<'a>(c: &mut Cursor<'a>) -> Result<Cow<'a, str>> {
    let name = c.str("namespace")?;
    Ok(if name.is_empty() {
        Cow::Borrowed("pg_catalog")
    } else {
        name
    })
}

fn insert<'a>(c: &mut Cursor<'a>) -> Result<Message<'a>> {
    let rel_id = c.u32("rel_id")?;
    match c.u8("tuple kind")? {
        b'N' => Ok(Message::Insert {
            rel_id,
            new: Tuple::decode(c).at(|| "new tuple".into())?,
        }),
        other => Err(unknown_tag("tuple kind", other)),
    }
}

fn update<'a>(c: &mut Cursor<'a>) -> Result<Message<'a>> {
    let rel_id = c.u32("rel_id")?;
    let mut kind = c.u8("tuple kind")?;
    let mut old = None;
    if kind != b'N' {
        old = Some(OldTuple::decode(kind, c)?);
        kind = c.u8("tuple kind")?;
    }
    match kind {
        b'N' => Ok(Message::Update {
            rel_id,
            old,
            new: Tuple::decode(c).at(|| "new tuple".into())?,
        }),
        other => Err(unknown_tag("tuple kind", other)),
    }
}

fn delete<'a>(c: &mut Cursor<'a>) -> Result<Message<'a>> {
    let rel_id = c.u32("rel_id")?;
    let kind = c.u8("tuple kind")?;
    Ok(Message::Delete {
        rel_id,
        old: OldTuple::decode(kind, c)?,
    })
}

impl<'a> Truncate<'a> {
    fn decode(c: &mut Cursor<'a>) -> Result<Self> {
        let relations = c.u32("number of relations")? as usize;
        let options = c.i8("options")?;
        let bytes = relations.saturating_mul(4);
        Ok(Truncate {
            options,
            rel_id_bytes: c.bytes(bytes, "relation ids")?,
        })
    }

    /// The tables, in the order the server names them.
    pub fn rel_ids(&self) -> impl Iterator<Item = u32> + use<'a> {
        let (ids, _) = self.rel_id_bytes.as_chunks::<4>();
        ids.iter().map(|id| u32::from_be_bytes(*id))
    }
}

impl<'a> Logical<'a> {
    fn decode(c: &mut Cursor<'a>) -> Result<Self> {
        let flags = c.i8("flags")?;
        let lsn = c.lsn("lsn")?;
        let prefix = c.text("prefix")?;
        let len = c.u32("content length")? as usize;
        Ok(Logical {
            flags,
            lsn,
            prefix,
            content: c.bytes(len, "content")?,
        })
    }

    /// Whether the prefix of the message is one of these.
    pub fn has_prefix_of(&self, prefixes: &[String]) -> bool {
        let mut prefixes = prefixes.iter();
        prefixes.any(|prefix| prefix.as_bytes() == self.prefix)
    }

    /// Whether the message is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.flags & 1 != 0
    }
}

#[cold]
fn unknown_tag(what: &str, tag: u8) -> Error {
    Error::undeliverable(format!("unknown {what} '{}'", tag.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn begin() {
        let bytes = message(&[
            b"B",
            &7u64.to_be_bytes(),
            &(-5i64).to_be_bytes(),
            &9u32.to_be_bytes(),
        ]);
        let Message::Begin(begin) = Message::decode(&bytes).unwrap() else {
            panic!()
        };
        assert_eq!(
            begin,
            Begin {
                final_lsn: Lsn(7),
                timestamp: -5,
                xid: 9
            }
        );
    }

    #[test]
    fn an_update_with_its_key() {
        let bytes = message(&[
            b"U",
            &1u32.to_be_bytes(),
            b"K\0\x02t\0\0\0\x01an",
            b"N\0\x02t\0\0\0\x01bu",
        ]);
        let Message::Update {
            rel_id: 1,
            old: Some(OldTuple::Key(key)),
            new,
        } = Message::decode(&bytes).unwrap()
        else {
            panic!()
        };
        let key: Vec<_> = key.values().collect();
        let new: Vec<_> = new.values().collect();
        assert_eq!(key, [Value::Text(b"a"), Value::Null]);
        assert_eq!(new, [Value::Text(b"b"), Value::UnchangedToast]);
    }

    #[test]
    fn truncate_names_its_tables() {
        let bytes = message(&[
            b"T",
            &2u32.to_be_bytes(),
            b"\x03",
            &5u32.to_be_bytes(),
            &6u32.to_be_bytes(),
        ]);
        let Message::Truncate(truncate) = Message::decode(&bytes).unwrap() else {
            panic!()
        };
        assert_eq!(truncate.options, 3);
        assert_eq!(truncate.rel_ids().collect::<Vec<_>>(), [5, 6]);
    }

    #[test]
    fn a_logical_message() {
        let bytes = message(&[
            b"M",
            b"\x01",
            &7u64.to_be_bytes(),
            b"p\xFF\0",
            b"\0\0\0\x02\0x",
        ]);
        let Message::Logical(logical) = Message::decode(&bytes).unwrap() else {
            panic!()
        };
        assert!(logical.is_transactional());
        assert_eq!(
            (logical.lsn, logical.prefix, logical.content),
            (Lsn(7), &b"p\xFF"[..], &b"\0x"[..])
        );
        for end in 0..bytes.len() {
            assert!(Message::decode(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn errors_say_what_and_where() {
        for (bytes, error) in [
            (&b""[..], "message type: 1 bytes expected, 0 left"),
            (b"Z", "unknown message type 'Z'"),
            (b"I\0\0\0\x01X", "insert: unknown tuple kind 'X'"),
            (
                b"I\0\0\0\x01N\0\x02nt\0\0\0\x09abc",
                "insert: new tuple: column 2: value: 9 bytes expected, 3 left",
            ),
            (
                b"I\0\0\0\x01N\0\x01n!",
                "insert: 1 bytes after the end of the message",
            ),
            (
                b"I\0\0\0\x01N\0\x01b\0\0\0\0",
                "insert: new tuple: column 1: unknown value kind 'b'",
            ),
            (
                b"R\0\0\0\x01n\0t\0d\x27\x10",
                "relation: 10000 columns, a table has at most 1600",
            ),
            (
                b"T\xFF\xFF\xFF\xFF\0",
                "truncate: relation ids: 17179869180 bytes expected, 0 left",
            ),
        ] {
            assert_eq!(Message::decode(bytes).unwrap_err().to_string(), error);
        }
    }
}
