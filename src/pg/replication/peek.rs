//! The changes that a slot has, read without taking them.

use super::{Envelope, ReplicationConnection, unescape_bytea};
use crate::base::clock::postgres_now_us;
use crate::base::error::{Error, Result};
use crate::base::lsn::Lsn;
use crate::pg::connection::{quote_identifier, quote_literal, row, unexpected};
use crate::pg::params::FOR_EVER;
use crate::pg::wire::server_error::ServerError;

impl ReplicationConnection {
    /// The server's major version.
    pub fn major(&mut self) -> Result<u32> {
        let number = "SELECT pg_catalog.current_setting('server_version_num')";
        let number = self.connection.value(number)?;
        let number = number.and_then(|number| number.parse::<u32>().ok());
        let no_version = || Error::undeliverable("the server does not say its version");
        number.map(|number| number / 10_000).ok_or_else(no_version)
    }

    /// Copies the slot, whether it is read or not, to one that ends with this session, and returns its
    /// name (12+). The copy stands where the slot does; what it confirms moves the copy alone
    /// ([`pg_copy_logical_replication_slot`](https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION)).
    pub fn copy_slot(&mut self, slot: &str) -> Result<String> {
        // A synchronous commit that waits for whoever reads the slot must not take us for that one.
        self.query(
            "SELECT pg_catalog.set_config('application_name', \
             'peek of ' || pg_catalog.current_setting('application_name'), false)",
        )?;
        // No other session has its name as long as this one lives.
        let name = self.connection.value(&format!(
            "SELECT slot_name FROM pg_catalog.pg_copy_logical_replication_slot({}, \
             ('postgres_source_peek_' || pg_catalog.pg_backend_pid())::name, true)",
            quote_literal(slot)
        ))?;
        name.ok_or_else(|| Error::undeliverable("the server does not name the copy of the slot"))
    }

    /// Calls `each` with the first messages of the slot, `most` at the most, as its stream would bring
    /// them. The server decodes whole transactions until it has so many, and nobody else can read the
    /// slot meanwhile. What was confirmed stays; what only changes before that needed (`restart_lsn`,
    /// `catalog_xmin`) the server may let go, as whenever it decodes
    /// ([`pg_logical_slot_peek_binary_changes`](https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION)).
    pub fn peek(
        mut self,
        slot: &str,
        publication: &str,
        most: u32,
        mut each: impl FnMut(Envelope, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let connection = &mut self.connection;
        let deadline = connection.command(
            &format!(
                "SELECT lsn, data FROM pg_catalog.pg_logical_slot_peek_binary_changes({}, NULL, {most}, \
                 'proto_version', '1', 'publication_names', {}) LIMIT {most}",
                quote_literal(slot),
                quote_literal(&quote_identifier(publication))
            ),
            FOR_EVER,
        )?;
        // A row holds what a message of the stream does, in hex.
        connection.frames.take_large(b'D');
        loop {
            let frame = connection.receive_any(deadline)?;
            let body = connection.body(&frame);
            match frame.tag {
                b'D' => {
                    let (envelope, data) = message(body)?;
                    each(envelope, &data)?;
                }
                b'T' | b'C' => {}
                b'Z' => break,
                b'E' => return Err(ServerError::decode(body).into_stream_error()),
                tag => return Err(unexpected("the look at the slot", tag)),
            }
        }
        connection.terminate();
        Ok(())
    }
}

/// Decodes a row of lsn and data.
fn message(body: &[u8]) -> Result<(Envelope, Vec<u8>)> {
    let row = row(body)?;
    let lsn = row.first().and_then(|lsn| lsn.as_ref()?.parse().ok());
    let data = row
        .get(1)
        .and_then(|data| Some(unescape_bytea(data.as_ref()?)));
    let (Some(lsn), Some(data)) = (lsn, data) else {
        return Err(Error::undeliverable(
            "a change without its position or its data",
        ));
    };
    // The stream says nothing of where tables and types are described.
    let lsn = match data.first() {
        Some(b'R' | b'Y') => Lsn(0),
        _ => lsn,
    };
    let envelope = Envelope {
        wal_start: lsn,
        wal_end: lsn,
        timestamp: postgres_now_us(),
    };
    Ok((envelope, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row_of(lsn: &[u8], data: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 2];
        for column in [lsn, data] {
            body.extend((column.len() as u32).to_be_bytes());
            body.extend(column);
        }
        body
    }

    #[test]
    fn rows_are_messages() {
        let (envelope, data) = message(&row_of(b"0/16B3748", b"\\x4200ff")).unwrap();
        assert_eq!(
            (envelope.wal_start, envelope.wal_end),
            (Lsn(0x16B_3748), Lsn(0x16B_3748))
        );
        assert_eq!(data, b"B\0\xFF");
        let (envelope, _) = message(&row_of(b"0/16B3748", b"\\x52")).unwrap();
        assert_eq!(envelope.wal_start, Lsn(0), "a relation");
        assert!(message(&row_of(b"here", b"\\x42")).is_err());
        assert!(message(b"\0\x01\0\0\0\x010").is_err());
    }
}
