//! The first start of several processes on a server and a cluster that have nothing yet.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::pipeline::setup::making::Place;
use crate::support::connector::{ConfigFile, Connector, temp_dir};
use crate::support::fluvio::FluvioServer;
use crate::support::pipeline::DEADLINE;
use crate::support::postgres::unique;
use crate::support::record::{Record, inserted};
use crate::support::wait_until;

/// Two connectors of one publication, one directory of state and one cluster; several processes have the
/// config of each.
struct Start {
    place: Place,
    fluvio: FluvioServer,
    state: TempDir,
    slots: [String; 2],
    topics: [String; 2],
}

/// A file that is written once.
struct Config {
    path: PathBuf,
    _file: ConfigFile,
}

impl Start {
    fn new(name: &str) -> Start {
        let place = Place::new(name);
        place
            .database
            .execute("CREATE TABLE t (id int8 PRIMARY KEY)");
        Start {
            place,
            fluvio: FluvioServer::start(),
            state: temp_dir("state-"),
            slots: [unique(name), unique(name)],
            topics: [unique(name), unique(name)].map(|topic| topic.replace('_', "-")),
        }
    }

    fn configs(&self) -> [Config; 2] {
        [0, 1].map(|connector| {
            let file = self.config(connector);
            let path = file.path();
            Config { path, _file: file }
        })
    }

    fn config(&self, connector: usize) -> ConfigFile {
        let Place { publication, .. } = &self.place;
        ConfigFile::new(&self.topics[connector], publication, &self.slots[connector])
            .fluvio("endpoint", &self.fluvio.sc_addr())
            .set("state_dir", &self.state.path().display().to_string())
            .set("retry", "{ min: 50ms, max: 100ms }")
            .parameter("tables", "[t]")
    }

    /// Starts a process, whose config is as it was written: others may read it at this moment.
    fn start(&self, config: &Config) -> Connector {
        Connector::spawn(&config.path, &self.place.database.url(), &[])
    }

    /// One process streams each slot, the others wait, and each row arrives once.
    #[track_caller]
    fn assert_won(&self, connectors: &[Connector]) {
        for slot in &self.slots {
            self.place.database.wait_slot_active(slot);
        }
        let said = |text: &str| {
            let logs = connectors.iter().map(Connector::log);
            logs.filter(|log| log.contains(text)).count()
        };
        let waiting = connectors.len() - self.slots.len();
        wait_until("one of each streams, and the others wait", DEADLINE, || {
            let streams = said("streaming from") == self.slots.len();
            streams && said("is active for PID") >= waiting
        });
        for connector in connectors {
            assert_eq!(connector.exit_code(), None, "{}", connector.log());
        }
        self.place
            .database
            .execute("INSERT INTO t SELECT generate_series(1, 20)");
        let written = self.place.database.current_wal_lsn();
        for (slot, topic) in self.slots.iter().zip(&self.topics) {
            self.place.database.wait_slot_confirmed(slot, written);
            let records = Record::parse_all(&self.fluvio.records(topic, 0));
            assert_eq!(inserted(&records), (1..=20).collect::<Vec<_>>());
        }
    }
}

/// At the same moment, again and again.
#[test]
fn all_at_once() {
    for round in 0..3 {
        let start = Start::new(&format!("at_once_{round}"));
        let configs = start.configs();
        let all = configs.iter().chain(&configs).chain(&configs);
        let connectors: Vec<Connector> = all.map(|config| start.start(config)).collect();
        start.assert_won(&connectors);
    }
}

/// Each when the one before has come so far.
#[test]
fn one_after_the_other() {
    for so_far in [
        "created the topic",
        "made the publication",
        "making the replication slot",
        "streaming from",
    ] {
        let start = Start::new("in_turn");
        let configs = start.configs();
        let mut connectors = vec![start.start(&configs[0])];
        connectors[0].wait_log(so_far, DEADLINE);
        connectors.extend([1, 0, 1].map(|connector| start.start(&configs[connector])));
        start.assert_won(&connectors);
    }
}

/// The one that makes the slot fails while others see it already.
#[test]
fn a_slot_that_was_seen_and_is_never_made() {
    let start = Start::new("unmade");
    let database = &start.place.database;
    let mut client = database.client();
    let mut blocker = client.transaction().expect("a transaction begins");
    blocker
        .execute("INSERT INTO t VALUES (0)", &[])
        .expect("it has an id");
    let configs = start.configs();
    let mut connectors = vec![start.start(&configs[0])];
    let slot = &start.slots[0];
    let maker = format!(
        "SELECT coalesce(max(active_pid), 0) FROM pg_replication_slots WHERE slot_name = '{slot}'"
    );
    let mut pid = String::new();
    wait_until("the slot is being made", DEADLINE, || {
        pid = database.query_one_text(&maker);
        pid != "0"
    });
    connectors.push(start.start(&configs[0]));
    connectors[1].wait_log("is active for PID", DEADLINE);
    connectors.push(start.start(&configs[1]));
    database.query_one_text(&format!("SELECT pg_terminate_backend({pid})"));
    wait_until("somebody else makes it", DEADLINE, || {
        let now = database.query_one_text(&maker);
        now != "0" && now != pid
    });
    blocker.rollback().expect("it ends");
    start.assert_won(&connectors);
}

/// Somebody makes the publication in a transaction that is rolled back.
#[test]
fn a_publication_that_was_hidden_for_a_while() {
    let start = Start::new("hidden");
    let database = &start.place.database;
    let mut client = database.client();
    let mut hidden = client.transaction().expect("a transaction begins");
    let make = format!("CREATE PUBLICATION {} FOR TABLE t", start.place.publication);
    hidden.batch_execute(&make).expect("it is made");
    let configs = start.configs();
    let connectors: Vec<Connector> = configs.iter().map(|config| start.start(config)).collect();
    wait_until("each waits for it", DEADLINE, || {
        let waiting = database.query_one_text(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'",
        );
        waiting == connectors.len().to_string()
    });
    hidden.rollback().expect("it ends");
    start.assert_won(&connectors);
}
