//! Rows of two tables, spread by their keys over the partitions of a topic each, on three servers.
#![allow(dead_code)]

use serde_json::Value;
use tempfile::TempDir;

use super::connector::{ConfigFile, run_to_end, temp_dir};
use super::fluvio::{Cluster, FluvioServer};
use super::pipeline::{DEADLINE, Pipeline};
use super::postgres::Postgres;
use super::stopped::{Outcome, run_verb};

/// How many partitions each topic has.
pub const PARTITIONS: u32 = 4;

/// The first major whose messages are written.
const MESSAGES: u32 = 14;

/// The tables `pets` and `toys`, and a connector that runs until everything is delivered.
pub struct Spread {
    pub pipeline: Pipeline,
    state: TempDir,
}

impl Spread {
    /// Everything is made, and nothing is in the tables.
    pub fn new(name: &str) -> Spread {
        Spread::on(Postgres::shared(), name)
    }

    /// The same on a PostgreSQL of the test's own.
    pub fn on(postgres: &Postgres, name: &str) -> Spread {
        let cluster = Cluster::InProcess(FluvioServer::start_with_spus(3));
        let pipeline = Pipeline::on(postgres, name).with_cluster(cluster);
        pipeline.database.execute(
            "CREATE TABLE pets (id int8 PRIMARY KEY, name text);
             CREATE TABLE toys (id int8 PRIMARY KEY, name text)",
        );
        let state = temp_dir("state-");
        let spread = Spread { pipeline, state };
        spread.drain();
        spread
    }

    /// What the connector runs with.
    pub fn config(&self) -> ConfigFile {
        let state_dir = self.state.path().display().to_string();
        self.without_state().set("state_dir", &state_dir)
    }

    pub fn without_state(&self) -> ConfigFile {
        let config = self.pipeline.config().fluvio("timeout", "5s");
        let config = match self.topics().len() {
            3 => config.parameter("messages", "[p]"),
            _ => config,
        };
        config
            .set("format", "rows")
            .set("topic", "\"cdc-{table}\"")
            .set("partitions", &PARTITIONS.to_string())
            .set("partition", "key")
    }

    /// The topics, with that of the messages.
    pub fn topics(&self) -> &'static [&'static str] {
        match self.pipeline.database.major() >= MESSAGES {
            true => &["cdc-message", "cdc-pets", "cdc-toys"],
            false => &["cdc-pets", "cdc-toys"],
        }
    }

    /// How many partitions the topics have together.
    pub fn lanes(&self) -> usize {
        self.topics().len() * PARTITIONS as usize
    }

    /// Changes of every kind in both tables, of which some move a row to another partition.
    pub fn fill(&self) {
        self.pipeline.database.execute(
            "INSERT INTO pets SELECT id, 'Polly' FROM generate_series(1, 40) id;
             INSERT INTO toys SELECT id, 'ball' FROM generate_series(1, 10) id",
        );
        self.pipeline.database.execute(
            "UPDATE pets SET id = id + 1000 WHERE id <= 20; DELETE FROM pets WHERE id > 1010",
        );
        self.pipeline.database.execute(
            "SELECT pg_logical_emit_message(false, 'p', 'between two');
             SELECT pg_logical_emit_message(true, 'p', 'in one')",
        );
        self.pipeline.database.execute(
            "BEGIN; SELECT pg_logical_emit_message(true, 'p', 'before a truncate'); TRUNCATE toys;
             INSERT INTO toys VALUES (11, 'bone'); COMMIT",
        );
    }

    /// Runs until everything is delivered and confirmed.
    #[track_caller]
    pub fn drain(&self) {
        self.drain_with(&self.config());
    }

    /// Runs with a config until everything is delivered and confirmed.
    #[track_caller]
    pub fn drain_with(&self, config: &ConfigFile) {
        let outcome = self.run_with(config);
        assert_eq!(outcome.0, 0, "{}", outcome.1);
        let database = &self.pipeline.database;
        database.wait_slot_inactive(&self.pipeline.slot);
    }

    /// Runs with a config until everything is delivered, or to its end.
    #[track_caller]
    pub fn run_with(&self, config: &ConfigFile) -> Outcome {
        let url = self.pipeline.database.url();
        run_to_end(&config.path(), &url, &["--once-drained"], DEADLINE)
    }

    /// Runs a verb to its end.
    #[track_caller]
    pub fn run_verb(&self, verb: &str, config: &ConfigFile, more: &[&str]) -> Outcome {
        run_verb(verb, config, &self.pipeline.database.url(), more)
    }

    /// Runs a verb that prints JSON: its exit code, and what it printed.
    #[track_caller]
    pub fn report(&self, verb: &str, config: &ConfigFile, more: &[&str]) -> (i32, Value) {
        let (code, log, lines) = self.run_verb(verb, config, &[&["--json"], more].concat());
        let json = lines.join("\n");
        let report = serde_json::from_str(&json);
        let report = report.unwrap_or_else(|error| panic!("{error}: {json}{log}"));
        (code, report)
    }

    /// The topics and partitions, with how many records each has.
    pub fn ends(&self) -> Vec<(&'static str, u32, i64)> {
        let server = self.pipeline.server();
        let partitions = self
            .topics()
            .iter()
            .flat_map(|topic| (0..PARTITIONS).map(|partition| (*topic, partition)));
        partitions
            .map(|(topic, partition)| (topic, partition, server.end_offset(topic, partition)))
            .collect()
    }

    /// A partition of `pets` that has records.
    pub fn filled(&self) -> u32 {
        let ends = self.ends();
        let mut filled = ends
            .iter()
            .filter(|(topic, _, end)| *topic == "cdc-pets" && *end > 0);
        filled.next().expect("one has records").1
    }
}
