//! The replication stream: START_REPLICATION, what comes, and what we report back.
//!
//! [Streaming replication protocol](https://www.postgresql.org/docs/current/protocol-replication.html)

mod message;
pub(crate) mod peek;
mod stream;

pub use self::message::{Envelope, StreamMessage};
pub use self::stream::ReplicationStream;
pub use crate::pg::transport::stream::Arrived;

use std::time::Duration;

use crate::base::error::{Context, Error, Kind, Result};
use crate::base::lsn::Lsn;
use crate::pg::catalog::system::{Slot, System};
use crate::pg::connection::{Connection, quote_identifier};
use crate::pg::params::{ConnectParams, Endpoint};
use crate::pg::wire::server_error::pooler;

/// The time that one read waits, which decides how soon a signal, or a sink that ended, is noticed.
pub const POLL: Duration = Duration::from_millis(100);

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
