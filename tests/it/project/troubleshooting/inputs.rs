//! Files and variables that are not what they should be.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::row::Row;
use super::site;
use crate::config::Home;
use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE, temp_dir};
use crate::support::outcome::FAIL_DEADLINE;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::Postgres;
use crate::support::stopped::{Stopped, run_verb};
use crate::support::wait_until;

/// Names a file that has the URL.
const URL_FILE: &str = "FLUVIO_PG_DATABASE_URL_FILE";

pub fn state_file_of_another_connector(row: &Row) {
    let stopped = Stopped::new("theirs");
    let server = Postgres::start(&[]);
    let other = site::on(&server, "ours").in_process();
    let (database, url) = (&other.database, other.database.url());
    let state_dir = stopped.state_dir().display().to_string();
    let config = other.config().parameter("slot", &stopped.pipeline.slot);
    let config = config.set("state_dir", &state_dir);
    site::ends_with(row, &config, &[(URL_VARIABLE, &url)], 78, &[]);
    let key = row.code("state_dir");
    let own = temp_dir("state-");
    arrives(&other, &config.set(key, &own.path().display().to_string()));
    // The other one is as it was.
    stopped.goes_on(&stopped.with_state(), 4);

    let config = other.config().parameter("slot", "third");
    let config = config.set("state_dir", &state_dir);
    let file = stopped.state_dir().join("third.json");
    let text = fs::read_to_string(stopped.state_file()).expect("there is one");
    fs::write(&file, text.replace(&stopped.pipeline.slot, "third")).expect("it is ours");
    // A topic that has records already would need a slot that has sent them.
    let config = config.set("topic", &format!("{}-third", other.topic));
    site::ends_with(row, &config, &[(URL_VARIABLE, &url)], 78, &[]);
    row.advises("Remove the file");
    fs::remove_file(&file).expect("it is there");
    let connector = Connector::spawn_config(&config, &url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    database.execute("INSERT INTO t VALUES (3)");
    database.wait_slot_confirmed("third", database.current_wal_lsn());
}

/// A row of the other server arrives in its topic.
#[track_caller]
fn arrives(other: &Pipeline, config: &ConfigFile) {
    let mut connector = Connector::spawn_config(config, &other.database.url(), &[]);
    connector.wait_log("streaming from", DEADLINE);
    other.database.execute("INSERT INTO t VALUES (1)");
    other.wait_kind("insert", 1);
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
}

pub fn state_file_of_another_cluster(row: &Row) {
    let stopped = Stopped::new("moved_away");
    let server = Postgres::start(&[]);
    let other = server.database("new");
    other.execute("CREATE TABLE t (id int8 PRIMARY KEY)");
    let (config, url) = (stopped.with_state(), other.url());
    site::ends_with(row, &config, &[(URL_VARIABLE, &url)], 76, &[]);
    row.advises("the database URL is wrong");
    stopped.goes_on(&config, 4);

    row.advises("a new server took the place of the old one");
    let (verb, reason) = (row.code("accept-gap"), ["--reason", "a test"]);
    let (code, log, _) = run_verb(verb, &config, &url, &reason);
    assert_eq!(code, 0, "{log}");
    let connector = Connector::spawn_config(&config, &url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    other.execute("INSERT INTO t VALUES (71)");
    wait_until("the row of the new server arrives", DEADLINE, || {
        stopped.rows() == [1, 2, 3, 4, 71]
    });
}

pub fn empty_url(row: &Row) {
    let pipeline = site::shared("empty");
    let (database, config) = (&pipeline.database, pipeline.config());
    let home = Home::new();
    let file = home.write("url", "\n", 0o600).display().to_string();
    let (url, of_file) = (database.url(), (URL_FILE, file.as_str()));
    site::ends_with(row, &config, &[of_file], 78, &["--stdout"]);
    row.advises("fill it");
    home.write("url", &format!("{url}\n"), 0o600);
    site::streams_with(database, &config, &[of_file]);

    let both = [(URL_VARIABLE, ""), of_file];
    database.wait_slot_inactive(&pipeline.slot);
    site::ends_with(row, &config, &both, 78, &["--stdout"]);
    row.advises("or take it away");
    site::streams_with(database, &config, &[of_file]);
}

pub fn utf_16(row: &Row) {
    let pipeline = site::shared("wide");
    let (database, config) = (&pipeline.database, pipeline.config());
    let home = Home::new();
    let narrow = home.write("config.yaml", &config.yaml(), 0o600);
    let wide = home.path("wide.yaml");
    convert("iconv -f UTF-8 -t UTF-16", &narrow, &wide);
    let url = database.url();
    let mut connector = Connector::spawn(&wide, &url, &["--stdout"]);
    assert_eq!(
        connector.wait_exit(FAIL_DEADLINE),
        78,
        "{}",
        connector.log()
    );
    row.assert_said(&connector.log());
    convert(row.code("iconv"), &wide, &narrow);
    site::goes_on(database, Connector::spawn(&narrow, &url, &["--stdout"]));
}

/// Runs the command from one file to the other.
#[track_caller]
fn convert(command: &str, from: &Path, to: &Path) {
    let mut words = command.split(' ');
    let mut command = Command::new(words.next().expect("a program"));
    let from = fs::File::open(from).expect("it is there");
    let to = fs::File::create(to).expect("it can be made");
    let status = command.args(words).stdin(from).stdout(to).status();
    assert!(status.expect("it runs").success(), "{command:?}");
}
