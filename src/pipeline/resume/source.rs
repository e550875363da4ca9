//! What continuity is proved of on the side of PostgreSQL.

use super::state_file::Known;
use crate::base::error::Result;
use crate::base::lsn::Lsn;
use crate::pg::catalog::system::{Slot, System};
use crate::pg::replication::ReplicationConnection;

/// The slot, the publication and the cluster that they are of, at one moment.
#[derive(Debug, Clone)]
pub struct Source {
    /// The cluster that the slot is of.
    pub system: System,
    /// Whether the server is a standby.
    pub is_standby: bool,
    /// The slot.
    pub slot: Slot,
    /// The publication's OID.
    pub publication_oid: u32,
    /// Where the cluster left the timeline that is known, if it is on a later one; at zero when it
    /// never was on it.
    pub left_timeline_at: Option<Lsn>,
    /// How far it can be decoded now: to the end of the WAL, on a standby to what is replayed of it.
    pub decodable: Lsn,
}

impl Source {
    /// Asks the server of a slot and a publication, which have been found there, for the rest.
    pub fn ask(
        connection: &mut ReplicationConnection,
        slot: Slot,
        publication_oid: u32,
        known: Option<&Known>,
    ) -> Result<Source> {
        let system = connection.identify_system()?;
        let is_standby = connection.is_standby()?;
        let decodable = match is_standby {
            true => connection.replayed()?,
            false => system.wal_flush,
        };
        let left_timeline_at = match known {
            Some(known) if known.timeline < system.timeline => {
                let left = connection.left_timeline_at(known.timeline, system.timeline)?;
                Some(left.unwrap_or_default())
            }
            _ => None,
        };
        Ok(Source {
            system,
            is_standby,
            slot,
            publication_oid,
            left_timeline_at,
            decodable,
        })
    }
}
