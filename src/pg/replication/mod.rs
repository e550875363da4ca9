//! The replication stream: START_REPLICATION, what comes, and what we report back.
//!
//! [Streaming replication protocol](https://www.postgresql.org/docs/current/protocol-replication.html)

pub(crate) mod peek;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bytes::BufMut;
use postgres_protocol::message::frontend;

use crate::base::clock::postgres_now_us;
use crate::base::error::{Context, Error, Kind, Result};
use crate::base::lsn::Lsn;
use crate::pg::catalog::system::{Slot, System};
use crate::pg::connection::{Connection, lost, quote_identifier, unexpected};
use crate::pg::params::{ConnectParams, Endpoint};
pub use crate::pg::transport::stream::Arrived;
use crate::pg::wire::cursor::Cursor;
use crate::pg::wire::frames::Frame;
use crate::pg::wire::server_error::{ServerError, pooler};

/// The time that a clean end may take: the server sends what it has in its buffers before it answers.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The time that one read waits, which decides how soon a signal, or a sink that ended, is noticed.
pub const POLL: Duration = Duration::from_millis(100);

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

/// The options of a stream. What a server knows from a later version on is only named when it
/// differs from what every server does.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The publication.
    pub publication: &'a str,
    /// Whether messages of `pg_logical_emit_message` come too (14+).
    pub messages: bool,
    /// The changes that come, by where they were made.
    pub origins: Origins,
    /// The time that one read waits, at most `POLL`.
    pub poll: Duration,
}

impl<'a> Wanted<'a> {
    /// The options that every server has.
    pub fn of(publication: &'a str) -> Self {
        Wanted {
            publication,
            messages: false,
            origins: Origins::Any,
            poll: POLL,
        }
    }
}

/// The changes that come, by where they were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origins {
    /// All changes.
    #[default]
    Any,
    /// Only changes that were made on this server, and not replicated to it (16+).
    None,
}

/// A connection that can become a [`ReplicationStream`].
pub struct ReplicationConnection {
    pub(super) connection: Connection,
}

/// The stream of one slot. Nobody else can stream from the slot while it lives.
pub struct ReplicationStream {
    connection: Connection,
    poll: Duration,
}

impl ReplicationConnection {
    /// Connects to `params` in replication mode.
    pub fn connect(params: &ConnectParams) -> Result<Self> {
        let connection =
            Connection::connect(params).map_err(|error| with_role_hint(error, params))?;
        Ok(ReplicationConnection { connection })
    }

    /// The server's address.
    pub fn endpoint(&self) -> &Endpoint {
        self.connection.endpoint()
    }

    /// Runs one statement; its result does not matter.
    pub fn query(&mut self, sql: &str) -> Result<()> {
        self.connection.query(sql).map(drop)
    }

    /// Lifts the limits of time that the server has for this user, but not before it is known that
    /// nobody else has this connection: a pooler may have left the wish for replication out.
    pub fn lift_timeouts(&mut self) -> Result<()> {
        self.identify_system()?;
        self.connection
            .lift_timeouts()
            .at(|| "lifting timeouts".into())
    }

    /// Runs IDENTIFY_SYSTEM.
    pub fn identify_system(&mut self) -> Result<System> {
        let rows = self
            .connection
            .query("IDENTIFY_SYSTEM")
            .map_err(|error| match error.kind() {
                // It is bad SQL for a pooler that made an ordinary connection of this one.
                Kind::Config => pooler(&error.message()),
                _ => error,
            })
            .at(|| "IDENTIFY_SYSTEM".into())?;
        let system = rows.first().and_then(|row| {
            Some(System {
                identifier: row.first()?.clone()?,
                timeline: row.get(1)?.as_ref()?.parse().ok()?,
                wal_flush: row.get(2)?.as_ref()?.parse().ok()?,
            })
        });
        system.ok_or_else(|| Error::undeliverable("IDENTIFY_SYSTEM: no system in the answer"))
    }

    /// Whether the server follows another one.
    pub fn is_standby(&mut self) -> Result<bool> {
        self.connection.is_standby()
    }

    /// The position up to which a standby has replayed the WAL.
    pub fn replayed(&mut self) -> Result<Lsn> {
        let answer = self
            .connection
            .value("SELECT pg_catalog.pg_last_wal_replay_lsn()")?;
        Ok(answer.and_then(|lsn| lsn.parse().ok()).unwrap_or_default())
    }

    /// The time that the server waits for a sign of life; `None` when it waits for ever.
    pub fn wal_sender_timeout(&mut self) -> Result<Option<Duration>> {
        let setting =
            "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'";
        let ms = self
            .connection
            .value(setting)
            .at(|| "wal_sender_timeout".into())?;
        let ms = ms.and_then(|ms| ms.parse().ok()).filter(|ms| *ms > 0);
        Ok(ms.map(Duration::from_millis))
    }

    /// The id of the server's process, which has the slot once we stream from it.
    pub fn walsender(&mut self) -> Result<i64> {
        let pid = self
            .connection
            .value("SELECT pg_catalog.pg_backend_pid()")?;
        pid.and_then(|pid| pid.parse().ok())
            .ok_or_else(|| Error::undeliverable("the server does not name its process"))
    }

    /// The slot, if there is one of this name.
    pub fn slot(&mut self, name: &str) -> Result<Option<Slot>> {
        self.connection.slot(name)
    }

    /// The slot, if there is one of this name, with what is missing of its WAL.
    pub fn slot_with_wal(&mut self, name: &str) -> Result<Option<Slot>> {
        self.connection.slot_with_wal(name)
    }

    /// The OID of the publication, if there is one of this name.
    pub fn publication(&mut self, name: &str) -> Result<Option<u32>> {
        self.connection.publication(name)
    }

    /// The position at which the cluster left `timeline` on its way to its own, `current`; `None` when
    /// it never was on it
    /// ([TIMELINE_HISTORY](https://www.postgresql.org/docs/current/protocol-replication.html)).
    pub fn left_timeline_at(&mut self, timeline: u32, current: u32) -> Result<Option<Lsn>> {
        let rows = self
            .connection
            .query(&format!("TIMELINE_HISTORY {current}"))?;
        let history = rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().nth(1))
            .flatten();
        // The file comes as bytea: a line for each timeline left, "1\t0/16B3748\treason".
        let history = history
            .map(|text| unescape_bytea(&text))
            .unwrap_or_default();
        let history = String::from_utf8_lossy(&history);
        Ok(history.lines().find_map(|line| {
            let mut fields = line.split('\t');
            let left: u32 = fields.next()?.trim().parse().ok()?;
            (left == timeline)
                .then(|| fields.next()?.trim().parse().ok())
                .flatten()
        }))
    }

    /// Starts streaming where the slot was confirmed last.
    pub fn start(mut self, slot: &str, wanted: Wanted<'_>) -> Result<ReplicationStream> {
        // The grammar of these commands has no escapes in strings but the doubled quote.
        let publications = quote_identifier(wanted.publication).replace('\'', "''");
        let mut options = format!("proto_version '1', publication_names '{publications}'");
        if wanted.messages {
            options.push_str(", messages 'true'");
        }
        if wanted.origins == Origins::None {
            options.push_str(", origin 'none'");
        }
        let slot = quote_identifier(slot);
        self.connection.copy_both(&format!(
            "START_REPLICATION SLOT {slot} LOGICAL 0/0 ({options})"
        ))?;
        let poll = wanted.poll.min(POLL);
        self.connection.set_read_timeout(poll)?;
        Ok(ReplicationStream {
            connection: self.connection,
            poll,
        })
    }
}

impl ReplicationStream {
    /// The server's address.
    pub fn endpoint(&self) -> &Endpoint {
        self.connection.endpoint()
    }

    /// The next message that has arrived whole; `None` when more has to be read first.
    pub fn message(&mut self) -> Result<Option<StreamMessage<'_>>> {
        while let Some(frame) = self.connection.next_frame()? {
            if !self.is_void(&frame) {
                return self.decode(&frame).map(Some);
            }
        }
        Ok(None)
    }

    /// The error by which the server has ended the stream, if it did; what comes before that is passed over.
    pub fn why_it_ended(&mut self) -> Option<Error> {
        loop {
            let went_on = match self.message() {
                Ok(Some(_)) => Ok(1),
                Ok(None) => self.wait(),
                Err(error) => Err(error),
            };
            match went_on {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(error),
            }
        }
    }

    /// Gives up the memory that ends with the last message: a large one need not be
    /// copied to be kept.
    pub fn give_up(&mut self) -> Vec<u8> {
        self.connection.give_up()
    }

    /// Whether a message has nothing in it. Up to version 13 the server sends such XLogData where it
    /// should name an origin that it does not find, because it was dropped or is as new as the transaction.
    fn is_void(&self, frame: &Frame) -> bool {
        frame.tag == b'd'
            && matches!(self.connection.body(frame), [b'w', header @ ..] if header.len() == 24)
    }

    /// Reads once, and waits for no longer than the `poll` of the start: how many bytes came.
    pub fn wait(&mut self) -> Result<usize> {
        self.connection.fill()
    }

    /// Waits until [`ReplicationStream::wait`] would not, until the bell can be read, or until
    /// `timeout` or the `poll` of the start is over.
    pub fn wait_beside(&mut self, bell: BorrowedFd<'_>, timeout: Duration) -> Result<Arrived> {
        let timeout = timeout.min(self.poll);
        let arrived = self.connection.stream.wait_beside(bell, timeout);
        arrived.map_err(|e| lost(&e))
    }

    fn decode(&self, frame: &Frame) -> Result<StreamMessage<'_>> {
        match frame.tag {
            b'd' => StreamMessage::decode(self.connection.body(frame)),
            b'E' => Err(ServerError::decode(self.connection.body(frame)).into_stream_error()),
            // CopyDone, CommandComplete: the server ends the stream when it shuts down.
            b'c' | b'C' => Err(Error::unreachable("the server ended the stream")),
            tag => Err(unexpected("the stream", tag)),
        }
    }

    /// Reports that everything before `confirmed` is stored: `r` · Int64 written · Int64 flushed ·
    /// Int64 applied · Int64 time · Byte1 reply requested. All three positions are the same: what is
    /// not stored yet must not count as written either, or a synchronous commit on the server would
    /// mean nothing.
    pub fn send_status(&mut self, confirmed: Lsn) -> Result<()> {
        self.write_status(confirmed, 0)
    }

    /// Reports that everything before `confirmed` is stored, and asks the server for a keepalive.
    pub fn send_status_and_ask(&mut self, confirmed: Lsn) -> Result<()> {
        self.write_status(confirmed, 1)
    }

    fn write_status(&mut self, confirmed: Lsn, reply: u8) -> Result<()> {
        let mut status = Vec::with_capacity(34);
        status.put_u8(b'r');
        status.put_u64(confirmed.0);
        status.put_u64(confirmed.0);
        status.put_u64(confirmed.0);
        status.put_i64(postgres_now_us());
        status.put_u8(reply);
        frontend::CopyData::new(&status[..])
            .map_err(|e| Error::new(Kind::Bug, "a status of 34 bytes").with_source(e))?
            .write(self.connection.out());
        self.connection.send()
    }

    /// The socket, for another thread that watches it.
    pub fn socket(&self) -> Result<OwnedFd> {
        self.connection.stream.duplicate().map_err(|e| lost(&e))
    }

    /// Makes the stream fail once the server has not taken what was sent for `timeout`, or earlier if that
    /// was agreed.
    pub fn give_up_after(&self, timeout: Duration) -> Result<()> {
        let given_up = self.connection.stream.give_up_after(timeout);
        given_up.map_err(|e| lost(&e))
    }

    /// Ends the session in the midst of whatever the server sends, and with it what was made for the
    /// session only.
    pub fn leave(mut self) {
        self.connection.terminate();
    }

    /// Ends the stream: CopyDone, what is still under way, ReadyForQuery, Terminate. What still
    /// comes is not confirmed and will come again.
    pub fn end(&mut self) -> Result<()> {
        frontend::copy_done(self.connection.out());
        self.connection.send()?;
        let deadline = Instant::now() + END_TIMEOUT;
        self.connection.set_read_timeout(POLL)?;
        loop {
            while let Some(frame) = self.connection.next_frame()? {
                match frame.tag {
                    b'Z' => {
                        self.connection.terminate();
                        return Ok(());
                    }
                    b'E' => {
                        let error = ServerError::decode(self.connection.body(&frame));
                        return Err(error.without_rows().into_error());
                    }
                    _ => {}
                }
            }
            if Instant::now() >= deadline {
                return Err(Error::unreachable(
                    "the server did not end the stream in time",
                ));
            }
            self.connection.fill()?;
        }
    }
}

/// Adds the hint of a missing right to the errors of authentication that have none of their own.
fn with_role_hint(error: Error, params: &ConnectParams) -> Error {
    let is_missing_a_right = error.kind() == Kind::Permission && error.reason().is_none();
    if !is_missing_a_right || error.hint().is_some() {
        return error;
    }
    let (user, database) = (params.user(), params.database());
    error.with_hint(format!(
        "run as a superuser: ALTER ROLE {} REPLICATION; (on a managed server, grant its \
         replication role); the user also needs CONNECT on the database {}",
        quote_identifier(user),
        quote_identifier(database),
    ))
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

/// Decodes a bytea in hex form, or takes one that was sent as it is.
pub(super) fn unescape_bytea(text: &str) -> Vec<u8> {
    let Some(hex) = text.strip_prefix("\\x") else {
        return text.as_bytes().to_vec();
    };
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | pair.get(1).map_or(0, |b| digit(*b)))
        .collect()
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
