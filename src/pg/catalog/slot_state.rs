//! The slot as the server sees it.

use serde::Deserialize;

use super::system::{NAME_THE_PRIMARY, Slot};
use crate::base::error::{Context, Error, Result};
use crate::base::lsn::Lsn;
use crate::pg::connection::{Connection, quote_literal};
use crate::pg::params::ConnectParams;

/// The slot with the WAL that it keeps, and the end of the WAL.
#[derive(Debug, Deserialize)]
pub struct SlotState {
    /// The slot.
    #[serde(flatten)]
    pub slot: Slot,
    wal_end: Option<String>,
    retained: Option<i64>,
    /// The WAL that may still be written, from version 13 on, where there is a limit.
    safe_wal_size: Option<i64>,
}

/// Asks for a slot over a connection that ends with the answer.
pub fn slot_state(params: &ConnectParams, slot: &str) -> Result<Option<SlotState>> {
    let mut connection = Connection::connect_for_sql(params)?;
    let state = SlotState::ask(&mut connection, slot)?;
    connection.terminate();
    Ok(state)
}

/// Asks for the identifier of the server's cluster over a connection that ends with the answer.
pub fn system_identifier(params: &ConnectParams) -> Result<String> {
    let mut connection = Connection::connect_for_sql(params)?;
    let found = connection.value("SELECT system_identifier FROM pg_catalog.pg_control_system()")?;
    connection.terminate();
    found.ok_or_else(|| Error::undeliverable("the server has no system identifier"))
}

impl SlotState {
    /// Asks for a slot; `None` when there is none of this name. A standby without it may not be the
    /// server that is meant: then it is not known.
    pub fn ask(connection: &mut Connection, slot: &str) -> Result<Option<SlotState>> {
        let state = connection.select_first(&format!(
            "SELECT s.*, pg_catalog.pg_is_in_recovery() AS is_standby, w.wal_end, \
             pg_catalog.pg_wal_lsn_diff(w.wal_end, s.restart_lsn)::int8 AS retained \
             FROM pg_catalog.pg_replication_slots s, (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() \
               THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() \
               END AS wal_end) w \
             WHERE s.slot_name = {}",
            quote_literal(slot)
        ))?;
        if state.is_none() && connection.is_standby()? {
            let elsewhere = Error::unreachable("does not exist on this server");
            return Err(elsewhere.with_hint(NAME_THE_PRIMARY))
                .at(|| format!("replication slot {slot}"));
        }
        Ok(state)
    }

    /// The end of the server's WAL.
    pub fn wal_end(&self) -> Lsn {
        let wal_end = self.wal_end.as_deref();
        wal_end.and_then(|lsn| lsn.parse().ok()).unwrap_or_default()
    }

    /// The WAL that the slot keeps; `None` once it has lost it.
    pub fn retained_bytes(&self) -> Option<u64> {
        self.retained.map(|bytes| bytes.max(0).unsigned_abs())
    }

    /// The WAL that may still be written before the slot is lost, where there is a limit.
    pub fn safe_bytes(&self) -> Option<u64> {
        self.safe_wal_size.map(|bytes| bytes.max(0).unsigned_abs())
    }
}
