//! A database, a topic, and the program between them.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::connector::{ConfigFile, Connector};
use super::fluvio::{Cluster, FluvioServer};
use super::postgres::{Database, Postgres, unique};
use super::record::Record;
use super::wait_until;

/// What a test waits for comes much sooner, or never.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A source and a destination of a test's own.
pub struct Pipeline {
    pub database: Database,
    cluster: &'static Cluster,
    own_cluster: Option<Cluster>,
    pub topic: String,
    pub slot: String,
    pub publication: String,
    endpoint: String,
}

impl Pipeline {
    /// On the servers that all tests share.
    pub fn new(name: &str) -> Pipeline {
        Pipeline::on(Postgres::shared(), name)
    }

    /// On a PostgreSQL of the test's own.
    pub fn on(postgres: &Postgres, name: &str) -> Pipeline {
        let cluster = shared_cluster();
        Pipeline {
            database: postgres.database(name),
            cluster,
            own_cluster: None,
            topic: topic(name),
            slot: unique(name),
            publication: unique(name),
            endpoint: cluster.sc_addr(),
        }
    }

    /// With a Fluvio that the test may break.
    pub fn with_cluster(mut self, cluster: Cluster) -> Pipeline {
        self.endpoint = cluster.sc_addr();
        self.own_cluster = Some(cluster);
        self
    }

    pub fn cluster(&self) -> &Cluster {
        self.own_cluster.as_ref().unwrap_or(self.cluster)
    }

    pub fn config(&self) -> ConfigFile {
        ConfigFile::new(&self.topic, &self.publication, &self.slot)
            .fluvio("endpoint", &self.endpoint)
            .set("status_interval", "100ms")
            .set("retry", "{ min: 50ms, max: 500ms }")
    }

    /// Starts the program and waits until it streams.
    pub fn start(&self) -> Connector {
        self.start_with(&self.config())
    }

    pub fn start_with(&self, config: &ConfigFile) -> Connector {
        let connector = Connector::spawn_config(config, &self.database.url(), &[]);
        connector.wait_log("streaming from", DEADLINE);
        connector
    }

    /// How many records the topic has now.
    pub fn end_offset(&self) -> i64 {
        self.cluster().end_offset(&self.topic)
    }

    /// Waits until `count` more records than now have come.
    pub fn wait_growth(&self, count: i64) {
        let goal = self.end_offset() + count;
        wait_until("the topic grows", DEADLINE, || self.end_offset() >= goal);
    }

    /// Waits until the slot has confirmed everything that is written now.
    pub fn wait_caught_up(&self) {
        let written = self.database.current_wal_lsn();
        wait_until("the slot confirms everything", DEADLINE, || {
            self.database.slot_confirmed_lsn(&self.slot) >= Some(written)
        });
    }

    /// The server of the test's own in this process.
    pub fn server(&self) -> &FluvioServer {
        self.cluster().server().expect("a server in this process")
    }

    /// With a Fluvio in this process, whatever the others run against: for its faults, and for
    /// what only it can tell.
    pub fn in_process(self) -> Pipeline {
        self.with_cluster(Cluster::InProcess(FluvioServer::start()))
    }

    /// What is in the topic now.
    pub fn records(&self) -> Vec<Record> {
        Record::parse_all(&self.cluster().records(&self.topic))
    }

    /// Waits for so many records of a type.
    pub fn wait_kind(&self, kind: &str, count: usize) -> Vec<Record> {
        let tag = format!("\"message\":{{\"type\":\"{kind}\"");
        let is_kind = |record: &&Vec<u8>| contains(record, tag.as_bytes());
        let records = self
            .cluster()
            .wait_records(&self.topic, DEADLINE, |records| {
                records.iter().filter(is_kind).count() >= count
            });
        Record::parse_all(&records)
    }

    /// Waits until the topic has this transaction's commit.
    pub fn wait_commits(&self, count: usize) -> Vec<Record> {
        self.wait_kind("commit", count)
    }

    /// What is in the topic once everything that was committed before this call is stored. Counting
    /// commits would not do: up to version 14 a server also sends transactions without changes.
    /// The program must be running.
    #[track_caller]
    pub fn settled(&self) -> Vec<Record> {
        let lsn = self.database.current_wal_lsn();
        self.database.wait_slot_confirmed(&self.slot, lsn);
        self.records()
    }
}

/// The type stands near the front of a record, so this does not read whole rows.
fn contains(record: &[u8], part: &[u8]) -> bool {
    let head = &record[..record.len().min(200)];
    head.windows(part.len()).any(|window| window == part)
}

/// A real cluster still has the topics of earlier runs.
fn topic(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("the clock is right").as_millis();
    format!("{}-{now}", unique(name).replace('_', "-"))
}

/// The Fluvio that all tests share, started on first use.
pub fn shared_cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}
