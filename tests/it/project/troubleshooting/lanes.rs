//! The ways of tables to topics and partitions, and the format of what goes there.

use super::row::Row;
use super::site;
use crate::support::connector::{ConfigFile, Connector, run_to_end, temp_dir};
use crate::support::fluvio::TopicReader;
use crate::support::outcome::FAIL_DEADLINE;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::wait_until;

/// `run` ends with this code and says what the row says, in one of its messages.
#[track_caller]
fn ends(row: &Row, pipeline: &Pipeline, config: &ConfigFile, code: i32, message: usize) {
    let url = pipeline.database.url();
    let (found, log, _) = run_to_end(&config.path(), &url, &[], FAIL_DEADLINE);
    assert_eq!(found, code, "{log}");
    row.assert_says(message, &log);
}

/// Everything that is pending is delivered and confirmed.
#[track_caller]
fn drained(pipeline: &Pipeline, config: &ConfigFile) {
    let url = pipeline.database.url();
    let (code, log, _) = run_to_end(&config.path(), &url, &["--once-drained"], DEADLINE);
    assert_eq!(code, 0, "{log}");
}

/// What is written from now on arrives, in some partition of the topic.
#[track_caller]
fn arrives(pipeline: &Pipeline, config: &ConfigFile, topic: &str) {
    drained(pipeline, config);
    let before = records(pipeline, topic);
    let sql = "INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t";
    pipeline.database.execute(sql);
    drained(pipeline, config);
    assert!(records(pipeline, topic) > before);
}

/// How many records the first three partitions of a topic have, as far as there are any.
fn records(pipeline: &Pipeline, topic: &str) -> usize {
    let cluster = pipeline.cluster().sc_addr();
    let of_partition = |partition| {
        let mut reader = TopicReader::new(&cluster, topic).partition(partition);
        reader.read(usize::MAX).expect("the partition can be read");
        reader.values().len()
    };
    (0..3).map(of_partition).sum()
}

pub fn topic_of_the_other_format(row: &Row) {
    let pipeline = site::shared("format");
    let (events, topic) = (pipeline.config(), &pipeline.topic);
    arrives(&pipeline, &events, topic);
    let rows = pipeline.config().set("format", "rows");
    ends(row, &pipeline, &rows, 78, 0);
    row.advises("set `format` back");
    arrives(&pipeline, &events, topic);
    row.advises("name a new topic");
    let topic = format!("{topic}-rows");
    arrives(&pipeline, &rows.set("topic", &topic), &topic);
}

pub fn topic_with_fewer_partitions(row: &Row) {
    let pipeline = site::shared("fewer");
    let topic = &pipeline.topic;
    pipeline.cluster().create_topic(topic);
    let config = |partitions| {
        let config = pipeline.config().set("format", "rows");
        config
            .set("partition", "key")
            .set(row.code("partitions"), partitions)
    };
    ends(row, &pipeline, &config("3"), 78, 0);
    row.advises("as many as it has");
    arrives(&pipeline, &config("1"), topic);
    row.advises("name another topic");
    let topic = format!("{topic}-more");
    arrives(&pipeline, &config("3").set("topic", &topic), &topic);
}

/// With a state file and without: the keys of a topic with three partitions are spread over all of them, while
/// what is in two is not confirmed.
pub fn other_ways_while_something_is_unconfirmed(row: &Row) {
    for (message, has_state) in [true, false].into_iter().enumerate() {
        let pipeline = site::shared("ways").in_process();
        let topic = &pipeline.topic;
        pipeline.server().create_topic_with_partitions(topic, 3);
        let state = temp_dir("state-");
        let state = state.path().display().to_string();
        let config = |partitions: &str| {
            let config = pipeline.config().set("format", "rows");
            let config = config.set("partition", "key").set("partitions", partitions);
            match has_state {
                true => config.set("state_dir", &state),
                false => config,
            }
        };
        drained(&pipeline, &config("2"));
        let held = config("2").set("confirm_delay", "1h");
        let connector = Connector::spawn_config(&held, &pipeline.database.url(), &[]);
        connector.wait_log("streaming from", DEADLINE);
        let sql = "INSERT INTO t SELECT generate_series(1, 20)";
        pipeline.database.execute(sql);
        wait_until("the rows are in the topic", DEADLINE, || {
            records(&pipeline, topic) == 20
        });
        connector.kill();
        pipeline.database.wait_slot_inactive(&pipeline.slot);

        ends(row, &pipeline, &config("3"), 76, message);
        let former = row.code("run");
        row.advises("with the config that it had");
        assert_eq!(former, "run --once-drained");
        drained(&pipeline, &config("2"));
        assert_eq!(records(&pipeline, topic), 20, "each of them once");
        arrives(&pipeline, &config("3"), topic);
    }
}

pub fn tables_that_would_be_in_one_topic(row: &Row) {
    let pipeline = site::shared("one_topic");
    let sql = "CREATE TABLE a_b (id int PRIMARY KEY); CREATE TABLE \"A b\" (id int PRIMARY KEY)";
    pipeline.database.execute(sql);
    drained(&pipeline, &pipeline.config());
    let topic = &pipeline.topic;
    let config = pipeline
        .config()
        .set("topic", &format!("\"{topic}-{{table}}\""));
    ends(row, &pipeline, &config, 78, 0);
    let long = "x".repeat(60);
    let table = format!("CREATE TABLE {long} (id int PRIMARY KEY); DROP TABLE a_b");
    pipeline.database.execute(&table);
    ends(row, &pipeline, &config, 78, 1);
    let routes = format!("[{{ tables: [public.{long}], topic: {topic}-long }}]");
    let config = config.set(row.code("routes"), &routes);
    arrives(&pipeline, &config, &format!("{topic}-t"));
}

pub fn keys_that_deletes_do_not_tell(row: &Row) {
    let pipeline = site::shared("keys");
    let database = &pipeline.database;
    database.execute("ALTER TABLE t ADD name text");
    let topic = &pipeline.topic;
    let config = |keys: &str| {
        let config = pipeline.config().set("format", "rows");
        config.set(row.code("keys"), keys)
    };
    let config_without = pipeline.config().set("format", "rows");
    drained(&pipeline, &config_without);
    database.execute("INSERT INTO t VALUES (1, 'a')");
    ends(row, &pipeline, &config("{ public.t: [other] }"), 78, 0);
    ends(row, &pipeline, &config("{ public.t: [name] }"), 78, 1);
    row.advises("columns of its replica identity");
    arrives(&pipeline, &config("{ public.t: [id] }"), topic);
    let full = row.code("REPLICA IDENTITY FULL");
    database.execute(&format!("ALTER TABLE t {full}"));
    arrives(&pipeline, &config("{ public.t: [name] }"), topic);
}
