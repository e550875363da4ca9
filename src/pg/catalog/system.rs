//! A server and a replication slot, as the server describes them.

use serde::Deserialize;

use crate::base::lsn::Lsn;

/// The replication slot as the server describes it
/// ([`pg_replication_slots`](https://www.postgresql.org/docs/current/view-pg-replication-slots.html)).
/// Older servers do not have all of its columns.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Slot {
    /// The output plugin; `None` for a physical slot.
    pub plugin: Option<String>,
    /// The database that the slot belongs to.
    pub database: Option<String>,
    /// Whether the slot ends with the session that made it.
    pub temporary: bool,
    /// Whether somebody streams from the slot.
    #[serde(default)]
    pub active: bool,
    /// The server's process that streams from the slot.
    pub active_pid: Option<i64>,
    /// The position up to which everything was confirmed.
    confirmed_flush_lsn: Option<String>,
    /// The position from which on the WAL is kept for the slot.
    restart_lsn: Option<String>,
    /// Whether prepared transactions are sent when they are prepared (14+).
    pub two_phase: Option<bool>,
    /// The position of the first WAL that the slot needs and the server has not, as far as that was asked.
    #[serde(skip)]
    pub missing_wal: Option<Lsn>,
    /// `lost` when WAL that the slot needs was removed (13+).
    pub wal_status: Option<String>,
    /// The reason why the slot cannot be used any more (17+).
    pub invalidation_reason: Option<String>,
    /// Whether the server is a standby, where the question asks for that.
    #[serde(default)]
    is_standby: bool,
    /// Whether standbys keep the slot too (17+).
    pub failover: Option<bool>,
}

/// The meaning of each reason of an invalidation.
const WAL_REMOVED: &str = "it held back more WAL than max_slot_wal_keep_size allows";
const ROWS_REMOVED: &str = "the primary removed rows of the catalog that it needs, which \
    hot_standby_feedback = on at this standby, and a physical slot for it, prevent";
const WAL_LEVEL: &str = "the primary's wal_level is no longer logical";
const IDLE: &str = "nobody streamed from it for longer than idle_replication_slot_timeout";
const LOST_ON_STANDBY: &str = "the primary removed rows of the catalog that it needs, which \
    hot_standby_feedback = on at this standby, and a physical slot for it, prevent; or the primary's \
    wal_level is no longer logical; or it held back more WAL than max_slot_wal_keep_size allows";

impl Slot {
    /// The position up to which everything was confirmed.
    pub fn confirmed(&self) -> Lsn {
        let lsn = self.confirmed_flush_lsn.as_deref();
        lsn.and_then(|lsn| lsn.parse().ok()).unwrap_or_default()
    }

    /// Whether the slot has been made: until then it may go away again with the session that makes it.
    pub fn is_made(&self) -> bool {
        self.confirmed_flush_lsn.is_some()
    }

    /// The position from which on the WAL is kept for the slot, unless it has lost that.
    pub fn restart(&self) -> Option<Lsn> {
        self.restart_lsn.as_deref().and_then(|lsn| lsn.parse().ok())
    }

    /// The reason why nothing can be streamed from the slot any more.
    pub fn invalidated(&self) -> Option<&str> {
        let lost = self
            .wal_status
            .as_deref()
            .filter(|status| *status == "lost");
        self.invalidation_reason.as_deref().or(lost)
    }

    /// The reason of [`Slot::invalidated`] with the setting that is behind it.
    pub fn invalidation(&self) -> Option<String> {
        let reason = self.invalidated()?;
        let cause = match reason {
            "wal_removed" => Some(WAL_REMOVED),
            "rows_removed" => Some(ROWS_REMOVED),
            "wal_level_insufficient" => Some(WAL_LEVEL),
            "idle_timeout" => Some(IDLE),
            // Before 17 a server does not say why; before 16 there is one reason, and on a primary too.
            "lost" if self.is_standby => Some(LOST_ON_STANDBY),
            "lost" => Some(WAL_REMOVED),
            _ => None,
        };
        Some(match cause {
            Some(cause) => format!("{reason}: {cause}"),
            None => reason.to_owned(),
        })
    }
}

/// The hint for a standby that is found where a primary may be meant.
pub const NAME_THE_PRIMARY: &str = "this server is a standby: what is missing here may not be replayed \
    yet; if its primary is meant, name that in FLUVIO_PG_DATABASE_URL, or add \
    target_session_attrs=read-write, which finds it among several hosts";

/// The answer to IDENTIFY_SYSTEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The cluster's identifier.
    pub identifier: String,
    /// The timeline of the cluster.
    pub timeline: u32,
    /// The position up to which the WAL is written.
    pub wal_flush: Lsn,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_invalidation_names_its_setting() {
        let invalidation = |columns: &str| {
            let slot = format!("{{\"plugin\":\"pgoutput\",\"temporary\":false{columns}}}");
            let slot: Slot = serde_json::from_str(&slot).unwrap();
            slot.invalidation()
        };
        let lost = ",\"wal_status\":\"lost\"";
        for (columns, says) in [
            (lost.to_owned(), WAL_REMOVED),
            (format!("{lost},\"is_standby\":true"), LOST_ON_STANDBY),
            (
                format!("{lost},\"invalidation_reason\":\"idle_timeout\""),
                "idle_timeout: nobody",
            ),
            (
                format!("{lost},\"invalidation_reason\":\"wal_level_insufficient\""),
                WAL_LEVEL,
            ),
            (
                format!("{lost},\"invalidation_reason\":\"rows_removed\""),
                "rows_removed: the primary removed rows",
            ),
            (
                format!("{lost},\"invalidation_reason\":\"of_a_later_version\""),
                "of_a_later_version",
            ),
        ] {
            let invalidation = invalidation(&columns).unwrap();
            assert!(invalidation.contains(says), "{columns}: {invalidation}");
        }
        assert_eq!(invalidation(",\"wal_status\":\"unreserved\""), None);
    }
}
