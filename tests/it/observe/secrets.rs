//! What may be told by nobody: the password and the values of rows. Every way in which the program
//! fails is taken at the loudest log level.

use std::fs;
use std::time::Duration;

use fluvio_protocol::link::ErrorCode;

use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE};
use crate::support::fluvio::{Close, Fault, When};
use crate::support::outcome::FAIL_DEADLINE;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::ports::free_port;
use crate::support::postgres::{PASSWORD, Postgres};
use crate::support::script::{Peer, Script, frames};

/// A password that is none of a real server's.
const OTHER_PASSWORD: &str = "hunter2";

/// What stands in every row.
const VALUE: &str = "marked-value-of-a-row";

/// The same as a date and as bytes, in which it could be told too.
const DATE: &str = "4077-13-77";
const HEX: &str = "6d61726b65642d76616c7565";

/// The forms of a log line.
const FORMATS: [&str; 3] = ["text", "json", "journal"];

/// Starts the program with everything that it and its libraries log.
fn spawn(config: &ConfigFile, url: &str, args: &[&str]) -> Connector {
    spawn_in("text", config, url, args)
}

fn spawn_in(format: &str, config: &ConfigFile, url: &str, args: &[&str]) -> Connector {
    let variables = [
        (URL_VARIABLE, url),
        ("RUST_LOG", "trace"),
        ("FLUVIO_PG_LOG_FORMAT", format),
    ];
    Connector::spawn_with(&config.path(), args, &variables)
}

/// Asserts that nothing of it is told: in the log, or where every user can look.
#[track_caller]
fn assert_silent(connector: &Connector) -> String {
    let log = connector.log();
    for secret in [PASSWORD, OTHER_PASSWORD, VALUE, DATE, HEX] {
        let told = log.lines().find(|line| line.contains(secret));
        assert!(told.is_none(), "{told:?}");
    }
    // Bytes as a library would show them: [109, 97, 114, 107, 101, 100, ...
    assert!(!log.contains("109, 97, 114, 107, 101, 100"));
    log
}

#[track_caller]
fn assert_fails_silently(config: &ConfigFile, url: &str, args: &[&str], code: i32, says: &str) {
    for format in FORMATS {
        let connector = spawn_in(format, config, url, args);
        assert_ends_silently(connector, code, says);
    }
}

#[track_caller]
fn assert_ends_silently(mut connector: Connector, code: i32, says: &str) {
    let ended = connector.wait_exit(FAIL_DEADLINE);
    assert_eq!(ended, code, "{}", connector.log());
    let log = assert_silent(&connector);
    assert!(log.contains(says), "{says:?} is not in\n{log}");
}

fn config() -> ConfigFile {
    ConfigFile::new("t", "p", "s")
}

#[test]
fn a_url_that_is_broken_in_any_way() {
    let port = free_port();
    for url in [
        "postgres://u:hunter2@127.0.0.1:PORT/db?hunter2=1",
        "postgres://u:hunter2@127.0.0.1:PORT/db?sslmode=hunter2",
        "postgres://u:hunter2@127.0.0.1:PORT/db?connect_timeout=hunter2",
        "postgres://u:hunter2@127.0.0.1:PORT/db?target_session_attrs=hunter2",
        "postgres://u:hunter2@127.0.0.1:hunter2/db",
        "postgres://u:hunter2@[::1/db",
        "postgres:/u:hunter2@127.0.0.1:PORT/db",
        "mysql://u:hunter2@127.0.0.1:PORT/db",
        "u:hunter2@127.0.0.1:PORT",
        "host=127.0.0.1 port=PORT user=u password='hunter2",
        "host=127.0.0.1 port=PORT user=u password=hunter2 hunter2",
        "host=127.0.0.1 port=PORT user=u passwort=hunter2",
        "hunter2",
    ] {
        let url = url.replace("PORT", &port.to_string());
        assert_fails_silently(&config(), &url, &["--stdout", "--once"], 78, "database URL");
    }
    // Without a name it is that of the account, as in libpq.
    for user in ["u", ""] {
        let url = format!("postgres://{user}:hunter2@127.0.0.1:{port}/db");
        let says = "cannot connect to 127.0.0.1";
        assert_fails_silently(&config(), &url, &["--stdout", "--once"], 69, says);
    }
}

#[test]
fn a_password_that_is_not_taken() {
    let database = Postgres::shared().database("secrets");
    let url = database.url().replace(PASSWORD, OTHER_PASSWORD);
    let says = "password authentication failed";
    assert_fails_silently(&config(), &url, &["--stdout", "--once"], 77, says);
}

/// A server that gets the password in one form or another, and goes wrong then.
#[test]
fn a_server_that_fails_once_it_has_the_password() {
    let requests = [
        frames::authentication_cleartext(),
        frames::authentication_md5([1, 2, 3, 4]),
        frames::authentication_sasl(&["SCRAM-SHA-256"]),
    ];
    for (request, format) in requests.into_iter().zip(FORMATS) {
        let script = Script::start(move |peer: &mut Peer| {
            peer.expect_startup()?;
            peer.send(&request)?;
            peer.expect(b'p')?;
            peer.send(&frames::frame(b'?', b"what"))?;
            peer.expect_closed()
        });
        let url = script.url("db").replace(":secret@", ":hunter2@");
        let config = config();
        let connector = spawn_in(format, &config, &url, &["--stdout", "--once"]);
        assert_ends_silently(connector, 65, "unexpected message '?'");
        script.finish();
    }
}

fn marked(pipeline: &Pipeline) {
    pipeline
        .database
        .execute("CREATE TABLE marked (id int PRIMARY KEY, t text, b bytea)");
}

fn insert(pipeline: &Pipeline, id: u32) {
    pipeline.database.execute(&format!(
        "INSERT INTO marked VALUES ({id}, '{VALUE}', '\\x{HEX}')"
    ));
}

/// Fluvio refuses, is silent, goes away and comes back; the log has all of it but no row.
#[test]
fn rows_that_are_written_late_or_again() {
    // Nothing is silent that could not speak: the libraries do log at this level.
    for (format, loud) in [
        ("text", "DEBUG"),
        ("json", "\"level\":\"debug\""),
        ("journal", "<7>"),
    ] {
        let log = written_late_or_again(format);
        assert!(log.contains("trying again"), "{log}");
        assert!(log.contains(loud), "{log}");
    }
}

fn written_late_or_again(format: &str) -> String {
    let pipeline = Pipeline::new("secrets_rows").in_process();
    marked(&pipeline);
    let config = pipeline.config().fluvio("timeout", "1s");
    let url = pipeline.database.url();
    let connector = spawn_in(format, &config, &url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    assert_nowhere_else(&connector);
    let faults = [
        Fault::Error(ErrorCode::StorageError),
        Fault::SilenceAfter,
        Fault::CloseBefore(Close::Reset),
        Fault::CloseAfter(Close::Fin),
    ];
    for (id, fault) in (1..).zip(faults) {
        pipeline.server().inject(fault, When::Next);
        insert(&pipeline, id);
        pipeline.wait_kind("insert", id as usize);
    }
    pipeline.wait_caught_up();
    assert_silent(&connector)
}

/// A row that no topic takes ends the program.
#[test]
fn a_row_that_cannot_be_delivered() {
    let pipeline = Pipeline::new("secrets_large");
    marked(&pipeline);
    let config = pipeline.config().producer("compression", "none");
    let url = pipeline.database.url();
    let mut connector = spawn(&config, &url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    pipeline.database.execute(&format!(
        "INSERT INTO marked SELECT 1, repeat('{VALUE}', 2000000)"
    ));
    assert_eq!(connector.wait_exit(DEADLINE), 65, "{}", connector.log());
    let log = assert_silent(&connector);
    assert!(log.contains("insert into public.marked"), "{log}");
}

/// A row filter that fails on a row: the server quotes the row to us.
#[test]
fn a_row_that_the_server_cannot_decode() {
    let postgres = Postgres::shared();
    if postgres.major() < 15 {
        // Before it, publications have no row filters.
        return;
    }
    let pipeline = Pipeline::new("secrets_filter");
    let publication = &pipeline.publication;
    pipeline
        .database
        .execute("CREATE TABLE dates (y int, m int, d int)");
    pipeline.database.execute(&format!(
        "CREATE PUBLICATION {publication} FOR TABLE dates WHERE (make_date(y, m, d) > '2000-01-01')"
    ));
    let url = pipeline.database.url();
    let config = pipeline.config();
    let mut connector = spawn(&config, &url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    pipeline
        .database
        .execute("INSERT INTO dates VALUES (4077, 13, 77)");
    assert_eq!(connector.wait_exit(DEADLINE), 65, "{}", connector.log());
    let log = assert_silent(&connector);
    assert!(log.contains("[SQLSTATE 22008]"), "{log}");
}

/// Where other users, or a crash, could find what the program has in its memory.
#[track_caller]
fn assert_nowhere_else(connector: &Connector) {
    let of_process = |file: &str| {
        let path = format!("/proc/{}/{file}", connector.pid());
        fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let cmdline = of_process("cmdline");
    assert!(!String::from_utf8_lossy(&cmdline).contains(PASSWORD));
    let limits = String::from_utf8(of_process("limits")).expect("text");
    let cores = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let cores: Vec<_> = cores.expect("a limit").split_whitespace().collect();
    assert_eq!(cores[4..6], ["0", "0"], "{limits}");
    let threads = format!("/proc/{}/task", connector.pid());
    for thread in fs::read_dir(threads).expect("it runs") {
        let name = fs::read_to_string(thread.expect("it runs").path().join("comm"));
        assert!(!name.unwrap_or_default().contains(PASSWORD));
    }
}

/// A server that ends while the program waits makes no difference.
#[test]
fn a_server_that_is_not_there_any_more() {
    let pipeline = Pipeline::new("secrets_gone").in_process();
    marked(&pipeline);
    let url = pipeline.database.url();
    let config = pipeline.config();
    let connector = spawn(&config, &url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    pipeline.server().stop();
    insert(&pipeline, 1);
    connector.wait_log("trying again", DEADLINE);
    pipeline.database.terminate_walsender(&pipeline.slot);
    pipeline.server().restart();
    pipeline.wait_kind("insert", 1);
    // What is logged once a session has begun again is looked at too.
    connector.wait_log_count("streaming from", 2, DEADLINE + Duration::from_secs(1));
    assert_silent(&connector);
}
