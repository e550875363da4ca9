//! What was done to one of several topics is noticed as it is of the only one, and what only the state file
//! can tell goes unseen without it: each of these cases is pinned too.

use tempfile::TempDir;

use crate::support::connector::{ConfigFile, Connector, run_to_end, temp_dir};
use crate::support::outcome::{FAIL_DEADLINE, assert_end};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::unique;

/// Tables in topics of their own, `a` and `b`, each of whose rows is confirmed.
struct Tables {
    pipeline: Pipeline,
    state: Option<TempDir>,
}

impl Tables {
    /// With a state file, and without.
    fn both(name: &str) -> [Tables; 2] {
        let with = Tables::new(name, Some(temp_dir("state-")));
        [with, Tables::new(name, None)]
    }

    fn new(name: &str, state: Option<TempDir>) -> Tables {
        let pipeline = Pipeline::new(name).in_process();
        let sql = "CREATE TABLE a (id serial PRIMARY KEY); CREATE TABLE b (id serial PRIMARY KEY)";
        pipeline.database.execute(sql);
        let tables = Tables { pipeline, state };
        tables.goes_on();
        tables.insert("a", 1);
        tables.insert("b", 1);
        tables.goes_on();
        assert_eq!((tables.end("a"), tables.end("b")), (1, 1));
        tables
    }

    fn config(&self) -> ConfigFile {
        let topic = format!("{}-{{table}}", self.pipeline.topic);
        let config = self.pipeline.config().set("format", "rows");
        let config = config.set("topic", &topic);
        match &self.state {
            Some(dir) => config.set("state_dir", &dir.path().display().to_string()),
            None => config,
        }
    }

    fn topic(&self, table: &str) -> String {
        format!("{}-{table}", self.pipeline.topic)
    }

    fn end(&self, table: &str) -> i64 {
        self.pipeline.server().end_offset(&self.topic(table), 0)
    }

    /// So many rows, in one transaction.
    fn insert(&self, table: &str, rows: u32) {
        let sql = format!("INSERT INTO {table} SELECT FROM generate_series(1, {rows})");
        self.pipeline.database.execute(&sql);
    }

    fn run(&self, config: &ConfigFile) -> (i32, String, Vec<String>) {
        let url = self.pipeline.database.url();
        run_to_end(&config.path(), &url, &["--once-drained"], FAIL_DEADLINE)
    }

    /// What is pending is delivered.
    #[track_caller]
    fn goes_on(&self) {
        let (code, log, _) = self.run(&self.config());
        assert_eq!(code, 0, "{log}");
    }

    /// A row of the table is delivered, as the first of its topic or behind the others.
    #[track_caller]
    fn delivers(&self, table: &str) {
        let before = self.end(table);
        self.insert(table, 1);
        self.goes_on();
        assert_eq!(self.end(table), before + 1);
    }

    /// It ends with 76 and says so, as often as it is started.
    #[track_caller]
    fn is_refused(&self, says: &str) {
        for _ in 0..2 {
            assert_end(self.run(&self.config()), 76, &[says]);
        }
    }

    fn drop_slot(&self) {
        let slot = &self.pipeline.slot;
        let sql = format!("SELECT pg_drop_replication_slot('{slot}')");
        self.pipeline.database.execute(&sql);
    }
}

#[test]
fn one_topic_was_deleted() {
    let [with_state, without] = Tables::both("deleted");
    for tables in [&with_state, &without] {
        tables.pipeline.server().delete_topic(&tables.topic("a"));
    }
    with_state.is_refused("it was deleted or emptied");
    without.delivers("a");
}

#[test]
fn one_topic_lost_whole_transactions_at_its_end() {
    let [with_state, without] = Tables::both("shorter");
    for tables in [&with_state, &without] {
        tables.insert("a", 2);
        tables.goes_on();
        tables.pipeline.server().truncate(&tables.topic("a"), 0, 1);
    }
    with_state.is_refused("its end is gone");
    without.delivers("a");
}

#[test]
fn one_topic_lost_a_part_of_a_transaction() {
    let [with_state, without] = Tables::both("cut");
    for tables in [&with_state, &without] {
        tables.insert("a", 3);
        tables.goes_on();
        tables.pipeline.server().truncate(&tables.topic("a"), 0, 3);
    }
    with_state.is_refused("its end is gone");
    without.is_refused("it ends inside the transaction at");
}

#[test]
fn retention_emptied_one_that_was_quiet() {
    let [with_state, without] = Tables::both("quiet");
    for tables in [&with_state, &without] {
        tables.pipeline.server().evict(&tables.topic("a"), 0, 1);
        tables.insert("b", 1);
    }
    with_state.delivers("a");
    without.is_refused("removed by its retention: it cannot be told what it had");
}

#[test]
fn one_topic_ends_with_what_somebody_else_wrote() {
    for tables in Tables::both("foreign") {
        let topic = tables.topic("a");
        tables.pipeline.cluster().produce(&topic, &[b"x".to_vec()]);
        tables.is_refused("was not written by this program");
    }
}

/// It is noticed when that topic is written to, and the others go on until then.
#[test]
fn somebody_else_writes_to_one_topic_meanwhile() {
    for tables in Tables::both("meanwhile") {
        let url = tables.pipeline.database.url();
        let config = tables.config();
        let mut connector = Connector::spawn_config(&config, &url, &[]);
        connector.wait_log("streaming from", DEADLINE);
        let topic = tables.topic("a");
        tables.pipeline.cluster().produce(&topic, &[b"x".to_vec()]);
        tables.insert("b", 1);
        tables.pipeline.wait_caught_up();
        assert_eq!(tables.end("b"), 2);
        tables.insert("a", 1);
        assert_eq!(connector.wait_exit(DEADLINE), 76, "{}", connector.log());
        assert!(connector.log().contains(&topic), "{}", connector.log());
    }
}

#[test]
fn a_second_connector_begins_with_a_topic_that_the_first_has() {
    for tables in Tables::both("second") {
        let second = tables.config().without("state_dir");
        let second = second.parameter("slot", &unique("second"));
        let says =
            "does not exist any more: the changes since it was confirmed last are lost to it";
        assert_end(tables.run(&second), 76, &[says]);
        tables.delivers("a");
    }
}

#[test]
fn the_slot_is_gone() {
    let [with_state, without] = Tables::both("gone");
    for tables in [&with_state, &without] {
        tables.drop_slot();
        tables.pipeline.server().delete_topic(&tables.topic("a"));
        tables.is_refused("does not exist any more");
        tables.pipeline.server().delete_topic(&tables.topic("b"));
    }
    with_state.is_refused("does not exist any more");
    without.goes_on();
    without.delivers("b");
}

#[test]
fn a_table_is_new() {
    for tables in Tables::both("new") {
        let sql = "CREATE TABLE c (id serial PRIMARY KEY)";
        tables.pipeline.database.execute(sql);
        tables.delivers("c");
        tables.delivers("a");
    }
}

/// Everything was confirmed before.
#[test]
fn the_ways_are_others() {
    for tables in Tables::both("ways") {
        let topic = format!("{}-all", tables.pipeline.topic);
        let config = tables.config().set("topic", &topic);
        tables.insert("a", 1);
        tables.goes_on();
        tables.insert("b", 1);
        let (code, log, _) = tables.run(&config);
        assert_eq!(code, 0, "{log}");
        assert_eq!(tables.pipeline.server().end_offset(&topic, 0), 1);
        assert_eq!(tables.end("b"), 1);
    }
}
