//! A PostgreSQL that is there and silent: its connections stay open, and nothing comes any more.

use std::time::{Duration, Instant};

use crate::support::connector::process::signal;
use crate::support::connector::{ConfigFile, Connector};
use crate::support::http::{address, get, scrape};
use crate::support::load::assert_same_rows;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::Postgres;
use crate::support::proxy::{Direction, Proxy};
use crate::support::record::inserted;
use crate::support::wait_until;

/// A session whose server is silent for so long ends.
const WAL_SENDER_TIMEOUT: Duration = Duration::from_secs(10);

/// Whom the program waits for is said well before anybody has to ask: a server is asked for an answer
/// after half of its time, and is waited for when that has taken some seconds.
const SAID_WITHIN: Duration = Duration::from_secs(15);

/// So long a session may take to end that has heard nothing.
const ENDED_WITHIN: Duration = Duration::from_secs(20);

pub struct Silence {
    pub pipeline: Pipeline,
    pub line: Proxy,
    pub postgres: Postgres,
}

impl Silence {
    pub fn new(name: &str) -> Silence {
        let timeout_ms = WAL_SENDER_TIMEOUT.as_millis().to_string();
        let postgres = Postgres::start(&[("wal_sender_timeout", &timeout_ms)]);
        let pipeline = Pipeline::on(&postgres, name).in_process();
        pipeline
            .database
            .execute("CREATE TABLE t (id int8 PRIMARY KEY)");
        let line = Proxy::start(format!("127.0.0.1:{}", postgres.port()));
        Silence {
            pipeline,
            line,
            postgres,
        }
    }

    fn config(&self) -> ConfigFile {
        let config = self.pipeline.config();
        config.set("metrics", "{ listen: 127.0.0.1:0 }")
    }

    fn start(&self) -> Connector {
        self.start_on(&self.pipeline.database.url_at(self.line.port()))
    }

    pub fn start_on(&self, url: &str) -> Connector {
        let config = self.config();
        let connector = Connector::spawn_config(&config, url, &[]);
        connector.wait_log("streaming from", DEADLINE);
        connector
    }

    pub fn insert(&self, id: i64) {
        let database = &self.pipeline.database;
        database.execute(&format!("INSERT INTO t VALUES ({id})"));
    }

    #[track_caller]
    pub fn assert_rows(&self, last: i64) {
        self.pipeline.wait_caught_up();
        let expected: Vec<i64> = (1..=last).collect();
        assert_same_rows(&inserted(&self.pipeline.records()), &expected);
    }
}

/// More than any of the lines here passes on in the time.
const LARGE: &str =
    "INSERT INTO large SELECT 1, string_agg(md5(n::text), '') FROM generate_series(1, 4000) n";

/// Everybody who asks is told, the log says so once, and the session ends and is tried again.
#[track_caller]
pub fn assert_said(connector: &Connector) {
    let (begun, http) = (Instant::now(), address(connector));
    let says = |path: &str| {
        let (status, body) = get(http, path);
        let waits = body.starts_with("waiting for postgres for ");
        waits.then_some(status)
    };
    wait_until("the health says whom it waits for", SAID_WITHIN, || {
        says("/healthz") == Some(200)
    });
    assert_eq!(says("/readyz"), Some(503));
    assert!(scrape(http)["blocked_seconds{peer=\"postgres\"}"] > 0.0);
    connector.wait_log("waiting for PostgreSQL at", SAID_WITHIN);
    let left = ENDED_WITHIN.saturating_sub(begun.elapsed());
    connector.wait_log("trying again in", left);
    assert_eq!(connector.exit_code(), None, "{}", connector.log());
}

#[track_caller]
pub fn wait_ready(connector: &Connector) {
    let http = address(connector);
    wait_until("it is ready again", DEADLINE, || {
        get(http, "/readyz") == (200, "ok\n".to_owned())
    });
    assert_eq!(scrape(http)["blocked_seconds{peer=\"postgres\"}"], 0.0);
}

#[test]
fn a_line_that_passes_nothing_on() {
    let silence = Silence::new("silent_line");
    let connector = silence.start();
    silence.insert(1);
    silence.assert_rows(1);
    silence.line.freeze();
    silence.insert(2);
    assert_said(&connector);
    silence.line.thaw();
    silence.insert(3);
    silence.assert_rows(3);
    wait_ready(&connector);
}

/// Each byte is a sign of life, but nothing gets on.
#[test]
fn a_line_that_trickles() {
    let silence = Silence::new("trickling_line");
    let database = &silence.pipeline.database;
    database.execute("CREATE TABLE large (id int8 PRIMARY KEY, v text)");
    let connector = silence.start();
    silence.insert(1);
    silence.assert_rows(1);
    silence.line.slow(Direction::ToClient, 1);
    database.execute(LARGE);
    assert_said(&connector);
    let says = "bytes in 10 s, and not the reply that was asked for";
    assert_eq!(connector.log_count(says), 1, "{}", connector.log());
    silence.line.pass();
    silence.pipeline.wait_caught_up();
    wait_ready(&connector);
}

/// The reply comes long after the session would have ended, because of what is before it.
#[test]
fn a_slow_line_is_none_that_trickles() {
    let silence = Silence::new("slow_line");
    let database = &silence.pipeline.database;
    database.execute("CREATE TABLE large (id int8 PRIMARY KEY, v text)");
    let connector = silence.start();
    silence.insert(1);
    silence.assert_rows(1);
    let begun = Instant::now();
    silence.line.slow(Direction::ToClient, 100);
    database.execute(LARGE);
    silence.pipeline.wait_caught_up();
    assert!(begun.elapsed() > WAL_SENDER_TIMEOUT, "it was not slow");
    let log = connector.log();
    assert_eq!(connector.log_count("trying again"), 0, "{log}");
    assert_eq!(connector.log_count("waiting for PostgreSQL"), 0, "{log}");
}

#[test]
fn a_walsender_that_is_stopped() {
    let silence = Silence::new("silent_walsender");
    let connector = silence.start();
    silence.insert(1);
    silence.assert_rows(1);
    let walsender = silence
        .pipeline
        .database
        .wait_slot_active(&silence.pipeline.slot);
    signal(walsender, "STOP");
    silence.insert(2);
    assert_said(&connector);
    // It still has the slot.
    connector.wait_log("is active for PID", DEADLINE);
    signal(walsender, "CONT");
    silence.insert(3);
    silence.assert_rows(3);
    wait_ready(&connector);
}

/// A server with nothing to send is not a silent one.
#[test]
fn a_quiet_server_answers() {
    let silence = Silence::new("quiet");
    let connector = silence.start();
    silence.insert(1);
    silence.assert_rows(1);
    let (http, begun) = (address(&connector), Instant::now());
    wait_until("the time is over", DEADLINE, || {
        assert_eq!(get(http, "/readyz"), (200, "ok\n".to_owned()));
        begun.elapsed() > WAL_SENDER_TIMEOUT + Duration::from_secs(2)
    });
    assert_eq!(
        connector.log_count("trying again"),
        0,
        "{}",
        connector.log()
    );
    silence.insert(2);
    silence.assert_rows(2);
}
