//! What is stored is confirmed at once, whatever the interval of reports is.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::certificates::{Authority, Files};
use crate::support::connector::{ConfigFile, Connector, temp_dir};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::Postgres;

/// So much later the position would be confirmed by a report that is due.
const INTERVAL: Duration = Duration::from_secs(30);

/// Commits that are made one after the other, each when the last one is confirmed.
const COMMITS: i64 = 50;

/// Half of them are confirmed in less, on a machine that has nothing else to do.
const MEDIAN: Duration = Duration::from_millis(100);

/// A busy machine gives a confirmation as many turns: each of the two threads, the walsender and the
/// server of the topic have several.
const TURNS: u32 = 20;

fn config(pipeline: &Pipeline) -> ConfigFile {
    pipeline.config().set("status_interval", "30s")
}

#[track_caller]
fn assert_prompt(pipeline: &Pipeline, config: &ConfigFile, url: &str, disk: Option<&Path>) {
    pipeline.database.execute("CREATE TABLE t (id int8)");
    let connector = Connector::spawn_config(config, url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    pipeline.wait_caught_up();
    let (mut took, mut turns) = (Vec::new(), Vec::new());
    for id in 0..COMMITS {
        let begun = Instant::now();
        pipeline.database.execute("SELECT 1");
        if let Some(directory) = disk {
            write_to_disk(directory);
        }
        turns.push(begun.elapsed());
        let begun = Instant::now();
        let insert = format!("INSERT INTO t VALUES ({id})");
        pipeline.database.execute(&insert);
        pipeline.wait_caught_up();
        took.push(begun.elapsed());
    }
    let (median, longest) = (median(&mut took), took[took.len() - 1]);
    let turn = self::median(&mut turns);
    assert!(median < MEDIAN.max(TURNS * turn), "{turn:?}: {took:?}");
    assert!(longest < INTERVAL / 3, "{took:?}");
}

/// What a position costs that is written down before it is confirmed.
fn write_to_disk(directory: &Path) {
    let mut file = File::create(directory.join("yardstick")).expect("a file can be made");
    file.write_all(b"a position").expect("it can be written");
    file.sync_all().expect("it reaches the disk");
    let directory = File::open(directory).expect("a directory can be opened");
    directory.sync_all().expect("its entry reaches the disk");
}

/// Sorts, and returns what is in the middle.
fn median(took: &mut [Duration]) -> Duration {
    took.sort();
    took[took.len() / 2]
}

#[test]
fn what_is_stored() {
    let pipeline = Pipeline::new("prompt");
    let url = pipeline.database.url();
    assert_prompt(&pipeline, &config(&pipeline), &url, None);
}

#[test]
fn what_is_stored_and_written_down() {
    let pipeline = Pipeline::new("prompt_file");
    let state = temp_dir("state-");
    let directory = state.path().display().to_string();
    let config = config(&pipeline).set("state_dir", &directory);
    let url = pipeline.database.url();
    assert_prompt(&pipeline, &config, &url, Some(state.path()));
}

#[test]
fn what_came_over_tls() {
    let ca = Authority::new("the CA of the tests");
    let server = ca.server(&["127.0.0.1"]);
    let postgres = Postgres::start_with(
        &[("ssl", "on")],
        "hostssl all all 127.0.0.1/32 trust\n",
        &[("server.crt", &server.cert), ("server.key", &server.key)],
    );
    let files = Files::new();
    let roots = files.write("ca.crt", &ca.cert);
    let pipeline = Pipeline::on(&postgres, "prompt_tls");
    let roots = roots.display();
    let url = format!(
        "{}?sslmode=verify-ca&sslrootcert={roots}",
        pipeline.database.url()
    );
    assert_prompt(&pipeline, &config(&pipeline), &url, None);
}

/// WAL of tables that are not published.
#[test]
fn what_is_not_for_us() {
    let pipeline = Pipeline::new("prompt_other");
    pipeline.database.execute("CREATE TABLE t (id int8)");
    let publish = format!("CREATE PUBLICATION {} FOR TABLE t", pipeline.publication);
    pipeline.database.execute(&publish);
    let connector = pipeline.start_with(&config(&pipeline));
    connector.wait_log("streaming from", DEADLINE);
    let begun = Instant::now();
    pipeline.database.execute("CREATE TABLE other (id int8)");
    for id in 0..10 {
        let insert = format!("INSERT INTO other VALUES ({id})");
        pipeline.database.execute(&insert);
    }
    pipeline.wait_caught_up();
    let took = begun.elapsed();
    assert!(took < INTERVAL / 3, "{took:?}");
}

#[test]
fn a_drain_ends_when_all_is_stored() {
    let pipeline = Pipeline::new("prompt_drain");
    pipeline.database.execute("CREATE TABLE t (id int8)");
    let (config, url) = (config(&pipeline), pipeline.database.url());
    for id in 0..3 {
        let insert = format!("INSERT INTO t VALUES ({id})");
        pipeline.database.execute(&insert);
        let begun = Instant::now();
        let mut drain = Connector::spawn_config(&config, &url, &["--once-drained"]);
        assert_eq!(drain.wait_exit(DEADLINE), 0, "{}", drain.log());
        let took = begun.elapsed();
        assert!(took < INTERVAL / 3, "{took:?}");
    }
}
