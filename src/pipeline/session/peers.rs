//! Whom opening and streaming wait for, by name, and how long that may take.
//!
//! Each single wait has a deadline of its own, and fails when it passes. These are limits for all
//! that is done in a row, so wide that only a hang exceeds them.

use std::time::Duration;

use super::Program;
use crate::observe::peer::{Peer, Side};
use crate::sink::fluvio::Leaders;

/// The most requests that follow each other until the leader of a partition is known.
const LOOK_UP_REQUESTS: u32 = 10;

/// The most requests that follow each other until the leader of a partition must have shown some progress.
const WRITE_REQUESTS: u32 = 4;

/// How often one address is connected to at the most: without TLS and with it, for several addresses of a name.
const CONNECTS: u32 = 8;

/// The time for what is asked of a server once it is connected to, and for a command that tells the
/// password.
const QUESTIONS: Duration = Duration::from_secs(600);

impl Program<'_> {
    /// The main thread begins something that does not go on without this peer.
    pub(super) fn wait_for(&self, peer: &Peer) {
        self.metrics.waits.begin(peer.side);
        self.notify.waits_for(peer);
    }

    /// The cluster, while it is asked where the partition is.
    pub(super) fn cluster(&self) -> Peer {
        let fluvio = &self.config.fluvio;
        let name = match &fluvio.endpoint {
            Some(endpoint) => format!("Fluvio at {endpoint}"),
            None => "Fluvio, the cluster of the current profile".to_owned(),
        };
        Peer {
            side: Side::Sink,
            name,
            patience: fluvio.timeout.saturating_mul(LOOK_UP_REQUESTS),
        }
    }

    /// The servers that lead the lanes.
    pub(super) fn leader(&self, leaders: &Leaders) -> Peer {
        let addresses: Vec<_> = leaders.addresses().collect();
        Peer {
            side: Side::Sink,
            name: format!("Fluvio at {}", addresses.join(", ")),
            patience: self.config.fluvio.timeout.saturating_mul(WRITE_REQUESTS),
        }
    }

    /// The database server. That a slot is made has no limit: it waits for open transactions.
    pub(super) fn server(&self) -> Peer {
        let endpoints = self.params.endpoints();
        let names: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
        let connects = CONNECTS.saturating_mul(u32::try_from(names.len()).unwrap_or(u32::MAX));
        let patience = match self.is_set_up {
            false => Duration::MAX,
            true => self.params.connect_timeout().saturating_mul(connects),
        };
        Peer {
            side: Side::Postgres,
            name: format!("PostgreSQL at {}", names.join(", ")),
            patience: patience.saturating_add(QUESTIONS),
        }
    }
}
