//! Questions in SQL whose answers are read by the names of their columns.

use serde::de::DeserializeOwned;

use super::connection::{Connection, Row, quote_literal};
use super::system::Slot;
use crate::error::{Error, Result};
use crate::lsn::Lsn;

/// The same SELECT with each row as JSON, so that what a server does not have, in a view of an older
/// version, is simply not there.
pub fn as_json(select: &str) -> String {
    format!("SELECT pg_catalog.row_to_json(r) FROM ({select}) r")
}

/// Reads the rows of [`as_json`].
pub fn decode<T: DeserializeOwned>(rows: Vec<Row>) -> Result<Vec<T>> {
    rows.into_iter()
        .filter_map(|row| row.into_iter().next().flatten())
        .map(|json| {
            serde_json::from_str(&json).map_err(|e| {
                Error::undeliverable("the server's catalog has not the columns expected")
                    .with_source(e)
            })
        })
        .collect()
}

impl Connection {
    /// The rows of a SELECT.
    pub fn select<T: DeserializeOwned>(&mut self, select: &str) -> Result<Vec<T>> {
        decode(self.query(&as_json(select))?)
    }

    /// The first of them.
    pub fn select_first<T: DeserializeOwned>(&mut self, select: &str) -> Result<Option<T>> {
        Ok(self.select(select)?.into_iter().next())
    }

    /// The OIDs of these tables, for those that there are. What a name without a schema means is
    /// decided by the user's own `search_path`; nothing else is asked under it.
    pub fn table_oids(&mut self, tables: &[String]) -> Result<Vec<Option<u32>>> {
        let oid = |table: &String| {
            let name = quote_literal(table);
            format!("(pg_catalog.to_regclass({name})::pg_catalog.oid)")
        };
        let oids: Vec<String> = tables.iter().map(oid).collect();
        let rows = self.look_as_user(&format!("VALUES {}", oids.join(", ")))?;
        let oids = rows.into_iter().map(|row| row.into_iter().next().flatten());
        Ok(oids.map(|oid| oid?.parse().ok()).collect())
    }

    /// The slot, if there is one of this name.
    pub fn slot(&mut self, name: &str) -> Result<Option<Slot>> {
        self.select_first(&format!(
            "SELECT * FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
            quote_literal(name)
        ))
    }

    /// The OID of the publication, if there is one of this name.
    pub fn publication(&mut self, name: &str) -> Result<Option<u32>> {
        let oid = self.value(&format!(
            "SELECT oid FROM pg_catalog.pg_publication WHERE pubname = {}",
            quote_literal(name)
        ))?;
        Ok(oid.and_then(|oid| oid.parse().ok()))
    }

    /// Whether the server follows another one, or replays what it had written before a crash.
    pub fn is_standby(&mut self) -> Result<bool> {
        let answer = self.value("SELECT pg_catalog.pg_is_in_recovery()")?;
        Ok(answer.as_deref() == Some("t"))
    }

    /// How far the server's WAL goes, as IDENTIFY_SYSTEM says it too.
    pub fn wal_flush(&mut self) -> Result<Lsn> {
        let end = self.value(
            "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() \
             THEN GREATEST(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()) \
             ELSE pg_catalog.pg_current_wal_flush_lsn() END",
        )?;
        Ok(end.and_then(|lsn| lsn.parse().ok()).unwrap_or_default())
    }
}
