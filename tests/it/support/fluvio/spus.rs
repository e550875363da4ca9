//! Several SPUs: each stopped and frozen by itself.

use fluvio_sc_schema::Status;

use super::{Close, FluvioServer, Side};

impl FluvioServer {
    /// Listens on free ports of the loopback interface, with so many SPUs, which lead the partitions of a topic
    /// in turn.
    pub fn start_with_spus(spus: usize) -> Self {
        Self::start_on(0, 0, spus).expect("the loopback interface has free ports")
    }

    /// How many requests of a key came to one of the two sides, to whichever SPU.
    pub fn requests(&self, side: Side, key: u16) -> usize {
        let requests = self.shared.requests.lock().unwrap();
        requests.get(&(side, key)).copied().unwrap_or_default()
    }

    /// Closes the listener and every connection of one SPU.
    pub fn stop_spu(&self, number: usize) {
        self.spus[number].close_listener();
        self.spus[number].close_connections(Close::Fin);
    }

    /// Lets one SPU listen again.
    pub fn restart_spu(&self, number: usize) {
        self.spus[number].listen_again(&self.shared);
    }

    /// Freezes one SPU, or lets it go on.
    pub fn freeze_spu(&self, number: usize, is_frozen: bool) {
        self.spus_frozen[number].send_replace(is_frozen);
    }

    /// Adds partitions to a topic until it has so many.
    pub fn add_partitions(&self, topic: &str, partitions: u32) {
        self.shared.change_topics(|topics| {
            topics.add_partitions(topic, partitions);
            Status::new_ok(topic.to_owned())
        });
    }
}
