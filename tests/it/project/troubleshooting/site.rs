//! A database with a table `t`, a config, and rows that arrive.

use std::sync::atomic::{AtomicI64, Ordering};

use super::row::Row;
use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE};
use crate::support::outcome::FAIL_DEADLINE;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Database, Postgres};
use crate::support::stopped::Stopped;

/// The records go to standard output.
const STDOUT: &[&str] = &["--stdout"];

/// On a server of the scenario's own.
pub fn on(server: &Postgres, name: &str) -> Pipeline {
    let pipeline = Pipeline::on(server, name);
    make_table(&pipeline.database);
    pipeline
}

/// On the server that all tests share.
pub fn shared(name: &str) -> Pipeline {
    on(Postgres::shared(), name)
}

fn make_table(database: &Database) {
    database.execute("CREATE TABLE t (id int8 PRIMARY KEY)");
}

/// Stopped, with the rows 1 to 3 in its topic, on a server of the scenario's own.
pub fn stopped_on(server: &Postgres, name: &str) -> Stopped {
    Stopped::on(Pipeline::on(server, name).in_process())
}

/// `run` that ends with `code` and says what the row says; returns the log.
#[track_caller]
pub fn ends(row: &Row, config: &ConfigFile, url: &str, code: i32) -> String {
    ends_with(row, config, &[(URL_VARIABLE, url)], code, STDOUT)
}

/// The same where it would try again.
#[track_caller]
pub fn ends_once(row: &Row, config: &ConfigFile, url: &str, code: i32) -> String {
    let args = [STDOUT, &["--once"]].concat();
    ends_with(row, config, &[(URL_VARIABLE, url)], code, &args)
}

/// The same with an environment and arguments of the scenario's choice.
#[track_caller]
pub fn ends_with(
    row: &Row,
    config: &ConfigFile,
    variables: &[(&str, &str)],
    code: i32,
    args: &[&str],
) -> String {
    let mut connector = Connector::spawn_with(&config.path(), args, variables);
    let found = connector.wait_exit(FAIL_DEADLINE);
    let log = connector.log();
    assert_eq!(found, code, "{log}");
    row.assert_said(&log);
    log
}

/// `run` streams: a row that is written once it does arrives, and it ends in order.
#[track_caller]
pub fn streams(database: &Database, config: &ConfigFile, url: &str) {
    streams_with(database, config, &[(URL_VARIABLE, url)]);
}

/// The same with an environment of the scenario's choice.
#[track_caller]
pub fn streams_with(database: &Database, config: &ConfigFile, variables: &[(&str, &str)]) {
    let connector = Connector::spawn_with(&config.path(), STDOUT, variables);
    goes_on(database, connector);
}

/// Starts `run`, which says what the row says and goes on trying, or waits.
#[track_caller]
pub fn says(row: &Row, config: &ConfigFile, url: &str) -> Connector {
    let connector = start(config, url);
    row.wait_said(&connector);
    connector
}

/// `run` with its records on standard output.
#[track_caller]
pub fn start(config: &ConfigFile, url: &str) -> Connector {
    Connector::spawn_config(config, url, STDOUT)
}

/// A running program streams, perhaps after a while, and ends in order.
#[track_caller]
pub fn goes_on(database: &Database, mut connector: Connector) {
    connector.wait_log("streaming from", DEADLINE);
    row_arrives(database, &connector);
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
}

/// A new row of the table arrives on standard output.
#[track_caller]
pub fn row_arrives(database: &Database, connector: &Connector) {
    static NEXT: AtomicI64 = AtomicI64::new(1000);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    database.execute(&format!("INSERT INTO t VALUES ({id})"));
    let value = format!("{{\"Int8\":{id}}}");
    connector.wait_stdout(DEADLINE, |lines| {
        lines.iter().any(|line| line.contains(&value))
    });
}

/// The same once it streams.
#[track_caller]
pub fn row_arrives_once_it_streams(database: &Database, connector: &Connector) {
    connector.wait_log("streaming from", DEADLINE);
    row_arrives(database, connector);
}
