//! What a server is, and how it is set.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::base::error::{Error, Result};
use crate::pg::connection::Connection;

/// The oldest major that has publications.
const OLDEST: u32 = 10;

/// The first major whose standbys decode.
const STANDBY_DECODES: u32 = 16;

/// What a server is, and the settings that logical replication from it depends on.
#[derive(Debug, Deserialize)]
pub struct ServerFacts {
    /// The major version.
    pub major: u32,
    /// The version in the server's own words.
    pub version: String,
    /// Whether the server is in recovery.
    pub is_standby: bool,
    /// By name, in the units of `pg_settings`. A version that does not have one leaves it out.
    settings: BTreeMap<String, String>,
}

impl ServerFacts {
    /// Asks the server for all of them at once.
    pub fn ask(connection: &mut Connection) -> Result<ServerFacts> {
        let facts = connection.select_first(
            "SELECT current_setting('server_version_num')::int4 / 10000 AS major, \
             current_setting('server_version') AS version, \
             pg_catalog.pg_is_in_recovery() AS is_standby, \
             (SELECT json_object_agg(name, setting) FROM pg_catalog.pg_settings WHERE name IN \
               ('wal_level', 'max_replication_slots', 'max_wal_senders', 'max_slot_wal_keep_size', \
                'max_wal_size', 'wal_sender_timeout', 'hot_standby_feedback', 'port', \
                'idle_replication_slot_timeout', 'synchronous_standby_names')) AS settings",
        )?;
        facts.ok_or_else(|| Error::undeliverable("the server's answer has no row"))
    }

    /// Whether the version has logical replication of its own.
    pub fn has_publications(&self) -> bool {
        self.major >= OLDEST
    }

    /// Whether a server of this version in this state decodes: not every standby does.
    pub fn decodes(&self) -> bool {
        !self.is_standby || self.major >= STANDBY_DECODES
    }

    /// What is set under `name`, if the version has such a setting.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// The number that is set under `name`, if the version has such a setting.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.setting(name)?.parse().ok()
    }
}
