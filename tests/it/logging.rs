//! Log lines as text, as JSON and for the journal, from the first error to the last word.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

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
    let mut after = log.lines().filter(|line| line.contains("streaming from"));
    let last = after.next_back().unwrap();
    assert!(last.starts_with("<6>"), "{last}");
}
