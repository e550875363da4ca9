//! A program whose line to Fluvio is cut below TCP, and whose line to PostgreSQL is not.
#![allow(dead_code)]

use std::time::Duration;

use super::connector::{ConfigFile, Connector};
use super::load::assert_same_rows;
use super::namespace::{Namespace, Unacknowledged, unacknowledged};
use super::pipeline::{DEADLINE, Pipeline};
use super::ports::port;
use super::record::inserted;
use super::wait_until;

/// A pipeline whose Fluvio is in a namespace, and whose PostgreSQL no cut reaches.
pub struct Cut<'a> {
    network: &'a Namespace,
    pub pipeline: Pipeline,
    spu: u16,
}

impl<'a> Cut<'a> {
    pub fn new(network: &'a Namespace, pipeline: Pipeline) -> Cut<'a> {
        pipeline
            .database
            .execute("CREATE TABLE t (id int8 PRIMARY KEY)");
        let spu = port(&pipeline.server().spu_addr());
        Cut {
            network,
            pipeline,
            spu,
        }
    }

    pub fn on_the_shared_server(network: &'a Namespace, name: &str) -> Cut<'a> {
        Cut::new(network, Pipeline::new(name).in_process())
    }

    #[track_caller]
    pub fn start(&self, config: &ConfigFile) -> Connector {
        let url = self.pipeline.database.socket_url();
        let connector = Connector::spawn_config(config, &url, &[]);
        connector.wait_log("streaming from", DEADLINE);
        connector
    }

    pub fn insert(&self, id: i64) {
        let database = &self.pipeline.database;
        database.execute(&format!("INSERT INTO t VALUES ({id})"));
    }

    /// A row that is written now arrives, and the program goes on.
    #[track_caller]
    pub fn arrives(&self, id: i64, connector: &Connector) {
        self.insert(id);
        let Pipeline { database, slot, .. } = &self.pipeline;
        let written = database.current_wal_lsn();
        wait_until("the row is confirmed", DEADLINE, || {
            !connector.is_running() || database.slot_confirmed_lsn(slot) >= Some(written)
        });
        assert_runs(connector);
    }

    /// The network is cut, and the program has sent this row in vain.
    #[track_caller]
    pub fn send_in_vain(&self, id: i64) {
        self.network.cut();
        self.insert(id);
        wait_until("it was sent", DEADLINE, || !self.in_flight().is_empty());
    }

    pub fn in_flight(&self) -> Vec<Unacknowledged> {
        unacknowledged(self.spu)
    }

    /// Heals the network at a moment from which on nothing is sent again for so long.
    #[track_caller]
    pub fn heal_before(&self, silence: Duration) {
        wait_until("nothing is sent again for long", DEADLINE, || {
            let sockets = self.in_flight();
            sockets.iter().all(|socket| socket.sent_again_in >= silence)
        });
        self.network.heal();
    }

    /// Waits until the kernel has got rid of all that was sent.
    #[track_caller]
    pub fn wait_for_the_kernel(&self) {
        wait_until("the kernel has sent everything", DEADLINE, || {
            self.in_flight().is_empty()
        });
    }

    /// The topic has the rows up to this one, each once and in order.
    #[track_caller]
    pub fn assert_rows(&self, last: i64) {
        let expected: Vec<i64> = (1..=last).collect();
        assert_same_rows(&inserted(&self.pipeline.records()), &expected);
    }
}

#[track_caller]
pub fn assert_runs(connector: &Connector) {
    assert_eq!(connector.exit_code(), None, "{}", connector.log());
}
