//! What the server sends in CopyData while it streams
//! ([streaming replication protocol](https://www.postgresql.org/docs/current/protocol-replication.html)).

use crate::base::error::{Context, Error, Result};
use crate::base::lsn::Lsn;
use crate::pg::wire::cursor::Cursor;

/// The header of XLogData, about the message that it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// The position at which the message's WAL begins.
    pub wal_start: Lsn,
    /// The position at which it ends; 0 for a message that is not the last of its change.
    pub wal_end: Lsn,
    /// The time at which the server sent it: microseconds since 2000-01-01 UTC.
    pub timestamp: i64,
}

/// A message of the stream.
#[derive(Debug)]
pub enum StreamMessage<'a> {
    /// `w` · Int64 dataStart · Int64 walEnd · Int64 send time · the plugin's message.
    XLogData {
        /// The header of the message.
        envelope: Envelope,
        /// The plugin's message.
        data: &'a [u8],
    },
    /// `k` · Int64 walEnd · Int64 send time · Byte1 reply requested.
    Keepalive {
        /// The position before which everything has been sent.
        wal_end: Lsn,
        /// The time at which the server sent it: microseconds since 2000-01-01 UTC.
        timestamp: i64,
        /// Whether the server wants a status at once.
        reply: bool,
    },
}

impl<'a> StreamMessage<'a> {
    /// Decodes the payload of one CopyData.
    pub fn decode(payload: &'a [u8]) -> Result<Self> {
        let mut c = Cursor::new(payload);
        match c.u8("stream message type")? {
            b'w' => {
                let envelope = Envelope {
                    wal_start: c.lsn("dataStart")?,
                    wal_end: c.lsn("walEnd")?,
                    timestamp: c.i64("send time")?,
                };
                Ok(StreamMessage::XLogData {
                    envelope,
                    data: c.rest(),
                })
            }
            b'k' => {
                let wal_end = c.lsn("walEnd")?;
                let timestamp = c.i64("send time")?;
                let reply = c.u8("reply requested")? != 0;
                c.end().at(|| "keepalive".into())?;
                Ok(StreamMessage::Keepalive {
                    wal_end,
                    timestamp,
                    reply,
                })
            }
            tag => Err(Error::undeliverable(format!(
                "unknown stream message type '{}'",
                tag.escape_ascii()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keepalives_and_data() {
        let keepalive = [&b"k"[..], &7u64.to_be_bytes(), &0u64.to_be_bytes(), &[1]].concat();
        assert!(matches!(
            StreamMessage::decode(&keepalive).unwrap(),
            StreamMessage::Keepalive {
                wal_end: Lsn(7),
                timestamp: 0,
                reply: true
            }
        ));
        let data = [
            &b"w"[..],
            &7u64.to_be_bytes(),
            &8u64.to_be_bytes(),
            &9u64.to_be_bytes(),
            b"B",
        ]
        .concat();
        assert!(matches!(
            StreamMessage::decode(&data).unwrap(),
            StreamMessage::XLogData {
                envelope: Envelope {
                    wal_start: Lsn(7),
                    wal_end: Lsn(8),
                    timestamp: 9
                },
                data: b"B"
            }
        ));
    }

    #[test]
    fn every_prefix_is_an_error() {
        let keepalive = [&b"k"[..], &[0; 17]].concat();
        for end in 0..keepalive.len() {
            assert!(StreamMessage::decode(&keepalive[..end]).is_err());
        }
        assert!(StreamMessage::decode(&[keepalive.as_slice(), b"x"].concat()).is_err());
        assert!(StreamMessage::decode(b"x").is_err());
    }
}
