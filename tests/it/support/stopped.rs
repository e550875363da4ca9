//! A topic and a slot that met when the program stopped, and what the next run makes of what was
//! done to them since.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::connector::{ConfigFile, Connector, URL_VARIABLE, run_command, run_to_end, temp_dir};
use super::outcome::{FAIL_DEADLINE, assert_end};
use super::pipeline::{DEADLINE, Pipeline};
use super::record::inserted;

/// What every gap says besides what it is.
const WAYS_OUT: [&str; 2] = [
    "undo it and start again; else accept",
    "postgres-source accept-gap --config FILE --reason TEXT",
];

/// The rows 1 to 3 of table `t` were streamed with a state file, each in a transaction of its own,
/// and everything is confirmed.
pub struct Stopped {
    pub pipeline: Pipeline,
    state: TempDir,
}

impl Stopped {
    pub fn new(name: &str) -> Stopped {
        Stopped::on(Pipeline::new(name).in_process())
    }

    /// On a pipeline of the test's own.
    pub fn on(pipeline: Pipeline) -> Stopped {
        pipeline
            .database
            .execute("CREATE TABLE t (id int8 PRIMARY KEY)");
        let state = temp_dir("state-");
        let stopped = Stopped { pipeline, state };
        let connector = stopped.start(&stopped.with_state());
        (1..=3).for_each(|id| stopped.insert(id));
        stopped.stop(connector);
        stopped
    }

    pub fn with_state(&self) -> ConfigFile {
        let state_dir = self.state_dir().display().to_string();
        self.without_state().set("state_dir", &state_dir)
    }

    pub fn without_state(&self) -> ConfigFile {
        self.pipeline.config().fluvio("timeout", "2s")
    }

    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    pub fn state_file(&self) -> PathBuf {
        self.state_dir()
            .join(format!("{}.json", self.pipeline.slot))
    }

    /// What the state file says.
    pub fn state(&self) -> Value {
        let text = fs::read_to_string(self.state_file()).expect("there is a state file");
        serde_json::from_str(&text).expect("it is JSON")
    }

    pub fn insert(&self, id: i64) {
        let database = &self.pipeline.database;
        database.execute(&format!("INSERT INTO t VALUES ({id})"));
    }

    pub fn rows(&self) -> Vec<i64> {
        inserted(&self.pipeline.records())
    }

    /// Runs a function of the server on the slot.
    pub fn on_slot(&self, function: &str, argument: &str) {
        let slot = &self.pipeline.slot;
        self.pipeline
            .database
            .query_texts(&format!("SELECT {function}('{slot}'{argument})"));
    }

    pub fn drop_slot(&self) {
        self.on_slot("pg_drop_replication_slot", "");
    }

    pub fn make_slot(&self) {
        self.pipeline.database.create_slot(&self.pipeline.slot);
    }

    pub fn advance_slot(&self) {
        if self.pipeline.database.major() >= 11 {
            return self.on_slot("pg_replication_slot_advance", ", pg_current_wal_lsn()");
        }
        // Before, a slot only moved when somebody took what it had. A session decodes once: what pgoutput
        // leaves behind in one may break the next time.
        let Pipeline {
            database,
            slot,
            publication,
            ..
        } = &self.pipeline;
        let take = format!(
            "SELECT pg_logical_slot_get_binary_changes('{slot}', NULL, NULL, 'proto_version', '1', \
             'publication_names', '{publication}')"
        );
        let taken = database.client().batch_execute(&take);
        taken.unwrap_or_else(|error| panic!("{error}\nin: {take}"));
    }

    pub fn truncate(&self, end: i64) {
        let topic = &self.pipeline.topic;
        self.pipeline.server().truncate(topic, 0, end);
    }

    /// Starts the program and waits until it streams.
    #[track_caller]
    pub fn start(&self, config: &ConfigFile) -> Connector {
        self.pipeline.start_with(config)
    }

    /// Waits until everything is confirmed, and stops the program.
    #[track_caller]
    pub fn stop(&self, mut connector: Connector) {
        self.pipeline.wait_caught_up();
        connector.sigterm();
        assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
        self.wait_free();
    }

    /// Waits until nobody reads the slot.
    pub fn wait_free(&self) {
        self.pipeline
            .database
            .wait_slot_inactive(&self.pipeline.slot);
    }

    /// The program goes on without a complaint and a new row arrives; returns all rows of the topic.
    #[track_caller]
    pub fn goes_on(&self, config: &ConfigFile, id: i64) -> Vec<i64> {
        let connector = self.start(config);
        self.insert(id);
        self.stop(connector);
        let rows = self.rows();
        assert_eq!(rows.last(), Some(&id));
        rows
    }

    /// The run ends with 76 and one message that has each of `says` and the ways out, and has
    /// confirmed and written nothing.
    #[track_caller]
    pub fn refused(&self, config: &ConfigFile, says: &[&str]) {
        let before = self.standing();
        let url = self.pipeline.database.url();
        let outcome = run_to_end(&config.path(), &url, &[], FAIL_DEADLINE);
        let says = [says, &WAYS_OUT].concat();
        let log = assert_end(outcome, 76, &says);
        assert_eq!(log.matches(" ERROR ").count(), 1, "{log}");
        assert_eq!(self.standing(), before, "{log}");
    }

    /// The same with the state file and without it.
    #[track_caller]
    pub fn refused_always(&self, says: &[&str]) {
        self.refused(&self.with_state(), says);
        self.refused(&self.without_state(), says);
    }

    /// What a run that is refused leaves alone.
    fn standing(&self) -> (Option<u64>, i64) {
        let database = &self.pipeline.database;
        let confirmed = database.slot_confirmed_lsn(&self.pipeline.slot);
        (confirmed, self.pipeline.end_offset())
    }

    /// The program runs without a state file; `change` is done between two of its sessions, and the
    /// next one must say so: what happened before is in memory.
    #[track_caller]
    pub fn noticed_between_sessions(&self, change: impl FnOnce(), says: &[&str]) {
        let mut connector = self.start(&self.without_state());
        self.insert(90);
        self.pipeline.wait_caught_up();
        self.between_sessions(&connector, change);
        let before = self.standing();
        let code = connector.wait_exit(DEADLINE);
        let says = [says, &WAYS_OUT].concat();
        assert_end((code, connector.log(), Vec::new()), 76, &says);
        assert_eq!(self.standing(), before);
    }

    /// Fluvio is away meanwhile, so no session can begin.
    pub fn between_sessions(&self, connector: &Connector, change: impl FnOnce()) {
        let failures = connector.log_count("trying again in");
        self.pipeline.server().stop();
        // An idle program notices when it has something to write.
        let _ = self
            .pipeline
            .database
            .terminate_walsender(&self.pipeline.slot);
        connector.wait_log_count("trying again in", failures + 2, DEADLINE);
        self.wait_free();
        change();
        self.pipeline.server().restart();
    }

    /// Runs a verb to its end.
    #[track_caller]
    pub fn run_verb(&self, verb: &str, config: &ConfigFile, more: &[&str]) -> Outcome {
        run_verb(verb, config, &self.pipeline.database.url(), more)
    }

    /// Accepts the gap and returns the log.
    #[track_caller]
    pub fn accept(&self, reason: &str) -> String {
        let more = ["--reason", reason];
        let (code, log, _) = self.run_verb("accept-gap", &self.with_state(), &more);
        assert_eq!(code, 0, "{log}");
        log
    }
}

/// The exit code, standard error and the lines of standard output.
pub type Outcome = (i32, String, Vec<String>);

/// Runs a verb that takes a config to its end.
#[track_caller]
pub fn run_verb(verb: &str, config: &ConfigFile, url: &str, more: &[&str]) -> Outcome {
    let path = config.path();
    let path = path.to_str().expect("the path is UTF-8");
    let args = [&[verb, "--config", path], more].concat();
    run_command(&args, &[(URL_VARIABLE, url)], DEADLINE)
}
