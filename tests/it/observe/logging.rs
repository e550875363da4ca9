//! Log lines as text, as JSON and for the journal, from the first error to the last word.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use postgres_source::base::Lsn;
use serde_json::Value;

use crate::config::{Home, URL, with};
use crate::support::connector::{Connector, URL_VARIABLE, program};
use crate::support::outcome::FAIL_DEADLINE;
use crate::support::pipeline::{DEADLINE, Pipeline};

const FORMAT: &str = "FLUVIO_PG_LOG_FORMAT";

/// What a run with this config and these variables says until it ends.
fn said(yaml: &str, args: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let home = Home::new();
    let path = home.write("config.yaml", yaml, 0o600);
    let mut connector = Connector::spawn_with(&path, args, variables);
    let code = connector.wait_exit(FAIL_DEADLINE);
    (code, connector.log())
}

fn objects(log: &str) -> Vec<Value> {
    let parsed = log.lines().map(serde_json::from_str);
    parsed
        .collect::<Result<_, _>>()
        .unwrap_or_else(|e| panic!("{e} in {log}"))
}

#[test]
fn an_error_of_the_config_is_told_in_the_form_that_it_names() {
    let (code, log) = said(&with("log_format: json\nno_such_key: 1\n"), &[], &[]);
    assert_eq!(code, 78);
    let lines = objects(&log);
    let last = lines.last().expect("an error");
    assert_eq!(
        (&last["level"], &last["exit_code"]),
        (&"error".into(), &78.into())
    );
    assert!(
        last["message"].as_str().unwrap().contains("no_such_key"),
        "{last}"
    );
}

#[test]
fn the_environment_goes_before_the_config() {
    let yaml = with("log_format: json\nno_such_key: 1\n");
    let (code, log) = said(&yaml, &[], &[(FORMAT, "journal")]);
    assert_eq!(code, 78);
    assert!(log.lines().all(|line| line.starts_with("<3>")), "{log}");
    let (code, log) = said(&with(""), &[], &[(FORMAT, "xml"), (URL_VARIABLE, URL)]);
    assert_eq!(code, 78);
    assert!(log.contains(FORMAT) && log.contains("json"), "{log}");
}

#[test]
fn a_wrong_command_line_is_told_in_the_form_of_the_environment() {
    let mut connector = Connector::spawn_command(&["run", "--no-such"], &[(FORMAT, "json")]);
    assert_eq!(connector.wait_exit(FAIL_DEADLINE), 64);
    let lines = objects(&connector.log());
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["exit_code"], 64);
}

#[test]
fn the_journal_is_known_by_its_own_stream() {
    let home = Home::new();
    let path = home.write("config.yaml", "nonsense", 0o600);
    let log = home.path("journal");
    // A file in place of the journal's socket: what counts is that it is the same as standard error.
    for (inode, is_journal) in [(0, true), (1, false)] {
        let stderr = File::create(&log).unwrap();
        let metadata = stderr.metadata().unwrap();
        let named = format!("{}:{}", metadata.dev(), metadata.ino() + inode);
        let mut child = Command::new(program())
            .args(["run", "--config"])
            .arg(&path)
            .env("JOURNAL_STREAM", named)
            .env_remove(FORMAT)
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        // It cannot do more than read a file.
        assert_eq!(child.wait().unwrap().code(), Some(78));
        let said = fs::read_to_string(&log).unwrap();
        assert_eq!(said.starts_with("<3>"), is_journal, "{said}");
    }
}

#[test]
fn a_stream_in_json_and_a_reload_to_priorities() {
    let pipeline = Pipeline::new("logging");
    let config = pipeline
        .config()
        .set("log_format", "json")
        .set("log", "debug");
    let connector = pipeline.start_with(&config);
    connector.wait_log("streaming from", DEADLINE);
    let before = connector.log();
    let lines = objects(&before);
    assert!(lines.iter().any(|line| line["level"] == "info"));
    for line in &lines {
        for key in ["time", "level", "target", "message"] {
            assert!(line[key].is_string(), "{key} of {line}");
        }
    }
    let config = config.set("log_format", "journal");
    config.path();
    connector.signal("HUP");
    connector.wait_log_count("streaming from", 2, DEADLINE);
    let log = connector.log();
    let last = log.lines().rfind(|line| line.contains("streaming from"));
    assert!(last.is_some_and(|line| line.starts_with("<6>")), "{log}");
}

/// Whoever collects the lines of many connectors can tell them apart and add them up.
#[test]
fn the_lines_of_a_stream_have_fields() {
    let pipeline = Pipeline::new("logging");
    let config = pipeline.config().set("log_format", "json");
    let mut connector = pipeline.start_with(&config);
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0);
    let lines = objects(&connector.log());
    let line = |says: &str| {
        let said = |line: &&Value| line["message"].as_str().unwrap().contains(says);
        lines.iter().find(said).expect("it is said")
    };
    let start = line("streaming from");
    assert_eq!(start["slot"], pipeline.slot);
    assert_eq!(start["offset"], 0);
    for line in [start, line("stopped; confirmed up to")] {
        let lsn = line["confirmed_lsn"].as_str().expect("a text");
        assert!(lsn.parse::<Lsn>().is_ok(), "{line}");
    }
}

#[test]
fn each_level_has_its_priority() {
    let pipeline = Pipeline::new("logging");
    let url = pipeline.database.url();
    let variables = [
        (URL_VARIABLE, url.as_str()),
        (FORMAT, "journal"),
        ("RUST_LOG", "trace"),
    ];
    let config = pipeline.config();
    let mut connector = Connector::spawn_with(&config.path(), &["--once"], &variables);
    connector.wait_log("streaming from", DEADLINE);
    // A change of the config that needs a restart is a warning, and the end of the server an error.
    let config = config.set("raw_text", "string");
    config.path();
    connector.signal("HUP");
    connector.wait_log_count("streaming from", 2, DEADLINE);
    assert!(pipeline.database.terminate_walsender(&pipeline.slot));
    assert_eq!(connector.wait_exit(DEADLINE), 69);
    let log = connector.log();
    for (says, priority) in [
        ("streaming from", "<6>"),
        (
            "has the OID",
            "<7>postgres_source::pipeline::session::taking: ",
        ),
        ("raw_text has changed", "<4>"),
        ("SQLSTATE 57P01", "<3>"),
    ] {
        let line = log.lines().find(|line| line.contains(says));
        assert!(
            line.is_some_and(|line| line.starts_with(priority)),
            "{says}\n{log}"
        );
    }
    for line in log.lines() {
        let known = ["<3>", "<4>", "<6>", "<7>"].iter();
        assert!(
            known.into_iter().any(|known| line.starts_with(known)),
            "{line}"
        );
    }
}

#[test]
fn every_line_of_a_long_message_has_its_priority() {
    let mut connector = Connector::spawn_command(&["run"], &[(FORMAT, "journal")]);
    assert_eq!(connector.wait_exit(FAIL_DEADLINE), 64);
    let log = connector.log();
    assert!(log.lines().count() > 1, "{log}");
    assert!(log.lines().all(|line| line.starts_with("<3>")), "{log}");
}

/// The last word is said at every level, and in the same form.
/// The journal makes two of a longer line, and the second says what priority it has.
#[test]
fn a_line_is_no_longer_than_the_journal_takes() {
    const LINE_MAX_BYTES: usize = 48 * 1024;
    let long = "<0>forged ".repeat(10_000);
    let yaml = with(&format!("metrics: {{ textfile: \"/{long}\" }}\n"));
    for format in ["journal", "text", "json"] {
        let variables = [(FORMAT, format), (URL_VARIABLE, URL)];
        let (code, log) = said(&yaml, &["--stdout", "--once"], &variables);
        assert_ne!(code, 0);
        let longest = log.lines().map(str::len).max();
        assert!(longest > Some(10_000), "{longest:?} of {log}");
        assert!(longest < Some(LINE_MAX_BYTES), "{longest:?}");
    }
}

#[test]
fn a_log_that_is_off() {
    let (code, log) = said(
        &with("log: off\nlog_format: json\n"),
        &["--once", "--stdout"],
        &[("RUST_LOG", ""), (URL_VARIABLE, URL)],
    );
    assert_eq!(code, 69, "{log}");
    let lines = objects(&log);
    assert_eq!(
        (lines.len(), &lines[0]["exit_code"]),
        (1, &69.into()),
        "{log}"
    );
}
