//! The ways of records to their lanes: what may change, and what is noticed.

use crate::support::connector::{ConfigFile, Connector, run_to_end, temp_dir};
use crate::support::outcome::{FAIL_DEADLINE, assert_end};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::row_lanes::{fold, lanes};

/// A table, and a config of rows with a state file.
struct Ways {
    pipeline: Pipeline,
    state: tempfile::TempDir,
}

impl Ways {
    fn new() -> Ways {
        let pipeline = Pipeline::new("ways").in_process();
        pipeline
            .database
            .execute("CREATE TABLE t (id int PRIMARY KEY, v text)");
        let state = temp_dir("state-");
        Ways { pipeline, state }
    }

    fn config(&self) -> ConfigFile {
        let state_dir = self.state.path().display().to_string();
        let config = self.pipeline.config().set("format", "rows");
        config.set("state_dir", &state_dir)
    }

    /// Runs until rows up to `last` are stored, and stops.
    fn run(&self, config: &ConfigFile, first: i32, last: i32) {
        let mut connector = self.pipeline.start_with(config);
        self.insert(first, last);
        self.stop(&mut connector, i64::from(last));
    }

    fn insert(&self, first: i32, last: i32) {
        self.pipeline.database.execute(&format!(
            "INSERT INTO t SELECT i, 'a' FROM generate_series({first}, {last}) i"
        ));
    }

    fn stop(&self, connector: &mut Connector, records: i64) {
        let ends = || -> i64 {
            let lanes = lanes(&self.pipeline, &self.pipeline.topic, 5);
            lanes.iter().map(|lane| lane.len() as i64).sum()
        };
        crate::support::wait_until("the rows are stored", DEADLINE, || ends() >= records);
        connector.sigterm();
        assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
        self.pipeline
            .database
            .wait_slot_inactive(&self.pipeline.slot);
    }

    #[track_caller]
    fn ends(&self, config: &ConfigFile, more: &[&str], code: i32, says: &[&str]) {
        let url = self.pipeline.database.url();
        let outcome = run_to_end(&config.path(), &url, more, FAIL_DEADLINE);
        assert_end(outcome, code, says);
    }
}

#[test]
fn more_partitions_are_taken_once_everything_is_confirmed() {
    let ways = Ways::new();
    let topic = &ways.pipeline.topic;
    ways.pipeline
        .server()
        .create_topic_with_partitions(topic, 5);
    let three = ways.config().set("partition", "key").set("partitions", "3");
    let five = ways.config().set("partition", "key").set("partitions", "5");
    ways.run(&three.clone().set("confirm_delay", "1h"), 1, 50);
    ways.ends(
        &five,
        &[],
        76,
        &[
            "partitions were changed while",
            "run --once-drained",
            "accept-gap",
        ],
    );
    ways.ends(&three, &["--once-drained"], 0, &[]);
    ways.run(&five, 51, 100);
    let read = lanes(&ways.pipeline, topic, 5);
    assert_eq!(fold(&read[..3]).len() + fold(&read[3..]).len(), 100);
    assert!(read.iter().all(|lane| !lane.is_empty()));
}

#[test]
fn a_topic_has_one_format() {
    let ways = Ways::new();
    let events = ways.config().without("format");
    ways.run(&ways.config(), 1, 3);
    let without_state = events.clone().without("state_dir");
    let says = ["rows", "events", "name a new topic"];
    ways.ends(&without_state, &[], 78, &says);
    let topic = format!("{}-events", ways.pipeline.topic);
    let mut connector = ways
        .pipeline
        .start_with(&events.clone().set("topic", &topic));
    ways.insert(4, 4);
    ways.pipeline.wait_caught_up();
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0);
    let rows = ways.config().without("state_dir").set("topic", &topic);
    ways.ends(&rows, &[], 78, &says);
}

#[test]
fn a_lane_whose_topic_was_deleted_is_noticed() {
    let ways = Ways::new();
    let prefix = ways.pipeline.topic.clone();
    ways.pipeline
        .database
        .execute("CREATE TABLE u (id int PRIMARY KEY)");
    let config = ways
        .config()
        .set("topic", &format!("\"{prefix}-{{table}}\""));
    let mut connector = ways.pipeline.start_with(&config);
    ways.insert(1, 3);
    ways.pipeline.database.execute("INSERT INTO u VALUES (1)");
    ways.pipeline.wait_caught_up();
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0);
    let topic = format!("{prefix}-u");
    ways.pipeline.server().delete_topic(&topic);
    ways.ends(
        &config,
        &[],
        76,
        &[&topic, "deleted or emptied", "accept-gap"],
    );
}

#[test]
fn a_topic_with_fewer_partitions_is_refused() {
    let ways = Ways::new();
    let topic = &ways.pipeline.topic;
    ways.pipeline
        .server()
        .create_topic_with_partitions(topic, 2);
    let config = ways.config().set("partition", "key").set("partitions", "3");
    ways.ends(
        &config,
        &[],
        78,
        &[topic, "has 2 partitions", "the config has 3"],
    );
}

#[test]
fn two_tables_of_one_topic_by_their_names_are_refused() {
    let ways = Ways::new();
    let prefix = &ways.pipeline.topic;
    ways.pipeline.database.execute(
        "CREATE TABLE a_b (id int PRIMARY KEY); CREATE TABLE \"A-b\" (id int PRIMARY KEY);
         INSERT INTO a_b VALUES (1)",
    );
    let config = ways
        .config()
        .set("topic", &format!("\"{prefix}-{{table}}\""));
    let connector = ways
        .pipeline
        .start_with(&config.clone().parameter("tables", "[t]"));
    drop(connector);
    let publication = &ways.pipeline.publication;
    ways.pipeline.database.execute(&format!(
        "ALTER PUBLICATION {publication} ADD TABLE a_b, \"A-b\""
    ));
    ways.pipeline
        .database
        .wait_slot_inactive(&ways.pipeline.slot);
    ways.ends(&config, &[], 78, &["a_b", "A-b"]);
}
