//! A program that is itself the synchronous standby: it must not wait for itself, and a commit waits no
//! longer than its records take to the topic.

use std::time::{Duration, Instant};

use crate::support::check::check;
use crate::support::connector::Connector;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Database, Postgres};
use crate::support::record::inserted;
use crate::support::wait_until;

const COMMITS: i64 = 100;

/// No commit takes as long, although nothing but the interval makes the program report a position.
const LIMIT: Duration = Duration::from_secs(5);
const STATUS_INTERVAL: &str = "10s";

/// What a round trip takes, with room for a busy machine.
const MEDIAN: Duration = Duration::from_millis(200);

/// Commits wait as long as it lives: those that clean up must not.
struct Waiting<'a> {
    server: &'a Postgres,
    database: &'a Database,
}

impl Waiting<'_> {
    fn begin<'a>(server: &'a Postgres, database: &'a Database, names: &str) -> Waiting<'a> {
        let waiting = Waiting { server, database };
        waiting.set(names);
        waiting
    }

    fn set(&self, names: &str) {
        self.database.execute(&format!(
            "ALTER SYSTEM SET synchronous_standby_names = '{names}'"
        ));
        self.server.reload();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.set("");
    }
}

/// On a database in which nothing is made yet, with `names` for synchronous_standby_names, of which
/// `check` says something.
fn starts_and_commits(names: &str, says: &str) {
    let server = Postgres::start(&[]);
    let pipeline = Pipeline::on(&server, "sync").in_process();
    let database = &pipeline.database;
    database.execute("CREATE TABLE t (id int8 PRIMARY KEY)");
    let config = pipeline
        .config()
        .set("name", "sync")
        .set("status_interval", STATUS_INTERVAL);
    let _waiting = Waiting::begin(&server, database, names);
    let checked = check(&config, &database.url());
    checked.assert_says("synchronous_standbys", says);

    let connector = Connector::spawn_config(&config, &database.url(), &[]);
    connector.wait_log("streaming from", DEADLINE);
    wait_until("it is the synchronous standby", DEADLINE, || {
        database.walsender(&pipeline.slot, "sync_state").as_deref() == Some("sync")
    });
    let mut client = database.client();
    let mut took = Vec::new();
    for id in 1..=COMMITS {
        let since = Instant::now();
        client
            .execute("INSERT INTO t VALUES ($1)", &[&id])
            .expect("it is stored");
        let one = since.elapsed();
        assert!(one < LIMIT, "row {id}: {one:?}\n{}", connector.log());
        took.push(one);
    }
    // What has been committed is in the topic, and not only on its way.
    let stored = inserted(&pipeline.records());
    assert_eq!(stored, (1..=COMMITS).collect::<Vec<_>>());
    took.sort();
    let median = took[took.len() / 2];
    assert!(median < MEDIAN, "{median:?}\n{}", connector.log());
}

#[test]
fn as_anybody() {
    starts_and_commits("*", "'*' means this program too");
}

#[test]
fn by_its_name() {
    starts_and_commits(
        "FIRST 1 (\"postgres-source/sync\")",
        "\"postgres-source/sync\" is one: a commit waits",
    );
}
