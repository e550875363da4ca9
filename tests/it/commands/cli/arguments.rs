//! Arguments, outputs, log levels and exit codes of the program.

use std::net::TcpListener;

use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE, run_command, run_to_end};
use crate::support::outcome::{FAIL_DEADLINE, assert_end, assert_fails};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::ports::free_port;
use crate::support::postgres::{Postgres, unique};

fn run(args: &[&str]) -> (i32, String, Vec<String>) {
    run_command(args, &[], FAIL_DEADLINE)
}

#[test]
fn a_wrong_command_line_ends_with_64_and_says_what_is_wrong() {
    let cases: [(&[&str], &str); 8] = [
        (&[], "One of the following subcommands must be present"),
        (&["stream"], "Unrecognized argument: stream"),
        (&["--frobnicate"], "Unrecognized argument: --frobnicate"),
        (&["run"], "Required options not provided:"),
        (
            &["run", "--config"],
            "No value provided for option '--config'",
        ),
        (&["run", "-c", "a", "-c", "b"], "duplicate values provided"),
        (
            &["run", "-c", "a", "--twice"],
            "Unrecognized argument: --twice",
        ),
        (&["version", "now"], "Unrecognized argument: now"),
    ];
    for (args, says) in cases {
        let (code, log, stdout) = run(args);
        assert_eq!(code, 64, "{args:?}: {log}");
        assert!(log.contains(says), "{args:?}: {log}");
        assert!(stdout.is_empty(), "{args:?}: {stdout:?}");
    }
}

#[test]
fn the_version_and_the_help_of_each_verb() {
    let cases: [(&[&str], &[&str]); 11] = [
        (&["setup", "--help"], &["--config", "--dry-run", "missing"]),
        (
            &["teardown", "--help"],
            &["--yes", "--keep-publication", "given up"],
        ),
        (&["status", "--help"], &["--json", "exit code"]),
        (&["config", "--help"], &["--config", "without secrets"]),
        (
            &["version"],
            &[concat!("postgres-source ", env!("CARGO_PKG_VERSION"))],
        ),
        (&["--help"], &["Usage: postgres-source", "run ", "version "]),
        (&["help"], &["Usage: postgres-source", "run ", "version "]),
        (
            &["run", "--help"],
            &["--config", "-c", "--stdout", "--once", "until stopped"],
        ),
        (&["version", "--help"], &["Print the version"]),
        (&["--version"], &["postgres-source "]),
        (&["-V"], &["postgres-source "]),
    ];
    for (args, says) in cases {
        assert_prints(args, says);
    }
    let (_, _, usage) = run(&["--help"]);
    let verbs = usage.iter().skip_while(|line| *line != "Commands:").skip(1);
    let verbs = verbs.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let verbs: Vec<&str> = verbs.filter(|verb| !verb.is_empty()).collect();
    assert!(verbs.contains(&"accept-gap"), "{usage:?}");
    for verb in verbs {
        assert_prints(&[verb, "--help"], &["EXIT STATUS"]);
    }
}

#[track_caller]
fn assert_prints(args: &[&str], says: &[&str]) {
    let (code, log, stdout) = run(args);
    let stdout = stdout.join("\n");
    assert_eq!((code, log.trim()), (0, ""), "{args:?}");
    for part in says {
        assert!(stdout.contains(part), "{part} of {args:?}: {stdout}");
    }
}

fn config_to(endpoint: &str) -> ConfigFile {
    ConfigFile::new("t", "p", "s")
        .fluvio("endpoint", endpoint)
        .fluvio("timeout", "500ms")
        .set("retry", "{ min: 10ms, max: 50ms }")
}

/// Takes connections, as the kernel does for it, and never says a word.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    (listener, port)
}

#[test]
fn an_unreachable_postgres_ends_once_with_69() {
    let (_silent, port) = silent();
    let cases = [
        (free_port(), "Connection refused"),
        (port, "the server did not answer in time"),
    ];
    for (port, says) in cases {
        let url = format!("postgres://u:hunter2@127.0.0.1:{port}/db?connect_timeout=1");
        let config = config_to("127.0.0.1:1");
        let outcome = run_to_end(&config.path(), &url, &["--once", "--stdout"], FAIL_DEADLINE);
        assert_end(
            outcome,
            69,
            &[&format!("PostgreSQL at 127.0.0.1:{port}"), says],
        );
    }
}

#[test]
fn an_unreachable_fluvio_ends_once_with_69() {
    let (_silent, port) = silent();
    for (port, says) in [(free_port(), "Connection refused"), (port, "in time")] {
        let config = config_to(&format!("127.0.0.1:{port}"));
        let url = "postgres://u:hunter2@127.0.0.1:1/db";
        let outcome = run_to_end(&config.path(), url, &["--once"], FAIL_DEADLINE);
        assert_end(outcome, 69, &[&format!("Fluvio at 127.0.0.1:{port}"), says]);
    }
}

#[test]
fn without_once_it_tries_again_until_a_signal_ends_it() {
    let port = free_port();
    let config = config_to(&format!("127.0.0.1:{port}"));
    for signal in ["TERM", "INT"] {
        let mut connector =
            Connector::spawn_config(&config, "postgres://u:hunter2@127.0.0.1:1/db", &[]);
        let line = connector.wait_log_count("trying again in", 3, DEADLINE);
        assert!(
            line.contains("WARN") && line.contains("Connection refused"),
            "{line}"
        );
        connector.signal(signal);
        assert_eq!(connector.wait_exit(FAIL_DEADLINE), 0);
    }
}

#[test]
fn one_line_when_streaming_starts_names_everything() {
    let pipeline = Pipeline::new("start_line");
    pipeline
        .database
        .execute("CREATE TABLE t (id int PRIMARY KEY)");
    let connector = pipeline.start();
    let confirmed = pipeline.database.slot_confirmed_lsn(&pipeline.slot);
    let confirmed = confirmed.expect("the slot exists");
    let line = connector.wait_log("streaming from", DEADLINE);
    for part in [
        format!("slot {}", pipeline.slot),
        format!("publication {}", pipeline.publication),
        format!("topic {}", pipeline.topic),
    ] {
        assert!(line.contains(&part), "{part}: {line}");
    }
    // The slot may have moved on since; it never moves back.
    let (_, start) = line.split_once(", from ").expect("the start");
    let (start, _) = start.split_once(' ').expect("and where to");
    let start: postgres_source::base::Lsn = start.parse().expect("a position");
    assert!(start.0 > 0 && start.0 <= confirmed, "{line}");
    assert_eq!(connector.log_count("streaming from"), 1);
}

/// The level of the log and whether the line of the start is in it.
#[test]
fn the_log_level_comes_from_the_environment_or_the_config() {
    let database = Postgres::shared().database("levels");
    database.execute("CREATE TABLE t (id int)");
    // RUST_LOG, the key, whether it informs, whether it debugs.
    let cases = [
        ("", None, true, false),
        ("", Some("info"), true, false),
        ("", Some("warn"), false, false),
        ("", Some("off"), false, false),
        ("", Some("debug"), true, true),
        ("warn", Some("debug"), false, false),
        ("debug", Some("off"), true, true),
        ("postgres_source=info", None, true, false),
    ];
    for (environment, key, informs, debugs) in cases {
        let slot = unique("levels");
        let mut config = ConfigFile::new("t", &slot, &slot);
        if let Some(level) = key {
            config = config.set("log", level);
        }
        let variables = [
            (URL_VARIABLE, database.url()),
            ("RUST_LOG", environment.to_owned()),
        ];
        let variables = variables
            .each_ref()
            .map(|(name, url)| (*name, url.as_str()));
        let mut connector = Connector::spawn_with(&config.path(), &["--stdout"], &variables);
        database.wait_slot_active(&slot);
        database.execute("INSERT INTO t VALUES (1)");
        connector.wait_stdout(DEADLINE, |lines| !lines.is_empty());
        connector.sigterm();
        assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
        let log = connector.log();
        let case = format!("RUST_LOG={environment} log: {key:?}\n{log}");
        assert_eq!(log.contains("streaming from"), informs, "{case}");
        assert_eq!(log.contains("DEBUG"), debugs, "{case}");
        assert!(!log.contains("hush-Zq7-never-in-a-log"), "{case}");
        database.wait_slot_inactive(&slot);
    }
}

#[test]
fn the_last_error_is_told_at_every_level() {
    let config = config_to("127.0.0.1:1").set("log", "off");
    let url = "postgres://u:hunter2@127.0.0.1:1/db?sslmode=no-such-mode";
    let log = assert_fails(&config.path(), url, 78, &["sslmode"]);
    assert!(!log.contains("INFO"), "{log}");
    let variables = [(URL_VARIABLE, url), ("RUST_LOG", "off")];
    let mut connector = Connector::spawn_with(&config.path(), &["--stdout"], &variables);
    assert_eq!(connector.wait_exit(FAIL_DEADLINE), 78);
    let log = connector.log();
    assert!(
        log.starts_with("postgres-source: FLUVIO_PG_DATABASE_URL: the database URL: sslmode"),
        "{log}"
    );
}
