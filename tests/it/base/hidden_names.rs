//! Names of others with everything in them that makes a line of its own, moves a cursor or turns text
//! around: no log, in any of its forms, and no report has any of it.

use std::process::{Command, Stdio};

use crate::config::{Home, with};
use crate::support::connector::{URL_VARIABLE, run_command};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::script::{Peer, Script, frames};
use crate::support::stopped::Stopped;

/// What a low user of the database calls a table: a line that is not there, and another colour for it.
const NAME: &str = "a\nERROR forged\u{1b}[31m\r\u{7f}\u{9b}\u{85}\u{2028}\u{202e}\u{2066}";

/// Asserts that whoever looks at the text sees all of it, and the name in it.
#[track_caller]
fn assert_seen(text: &str) {
    let is_hidden = |c: char| {
        let turns = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c != '\n' && (c.is_control() || turns)
    };
    let hidden: Vec<char> = text.chars().filter(|c| is_hidden(*c)).collect();
    assert!(hidden.is_empty(), "{hidden:?}: {text:?}");
    assert!(
        text.contains("ERROR forged"),
        "the name is not there: {text}"
    );
    let forged = text.lines().find(|line| line.starts_with("ERROR forged"));
    assert_eq!(forged, None, "{text}");
}

/// The program's words in each form of the log.
const FORMATS: [&str; 3] = ["text", "json", "journal"];

#[test]
fn a_table_of_such_a_name() {
    let pipeline = Pipeline::new("hidden");
    let url = pipeline.database.url();
    // Without an identity, so that there is something to warn of.
    let make = format!("CREATE TABLE \"{NAME}\" (id int)");
    pipeline.database.execute(&make);
    let config = pipeline.config();
    let path = config.path();
    let path = path.to_str().expect("a path in UTF-8");
    for format in FORMATS {
        let slot = format!("{}_{format}", pipeline.slot);
        let variables = [
            (URL_VARIABLE, url.as_str()),
            ("FLUVIO_PG_LOG_FORMAT", format),
            ("FLUVIO_PG_SLOT", &slot),
            ("FLUVIO_PG_PUBLICATION", &slot),
        ];
        let args = ["run", "--stdout", "--once-drained", "--config", path];
        let (code, log, _) = run_command(&args, &variables, DEADLINE);
        assert_eq!(code, 0, "{log}");
        assert_seen(&log);
        for args in [&[][..], &["--json"]] {
            let args = [&["check", "--config", path], args].concat();
            let (_, log, lines) = run_command(&args, &variables, DEADLINE);
            assert_seen(&format!("{log}\n{}", lines.join("\n")));
        }
        let args = ["teardown", "--yes", "--config", path];
        let (code, log, _) = run_command(&args, &variables, DEADLINE);
        assert_eq!(code, 0, "{log}");
    }
}

#[test]
fn a_server_that_says_so() {
    for format in FORMATS {
        let script = Script::start(move |peer: &mut Peer| {
            peer.expect_startup()?;
            peer.send(&frames::error_response("28000", NAME))?;
            peer.expect_closed()
        });
        let home = Home::new();
        let config = home.write("config.yaml", &with(""), 0o600);
        let path = config.to_str().expect("a path in UTF-8");
        let url = script.url("db");
        let variables = [
            (URL_VARIABLE, url.as_str()),
            ("FLUVIO_PG_LOG_FORMAT", format),
        ];
        let args = ["run", "--stdout", "--once", "--config", path];
        let (code, log, _) = run_command(&args, &variables, DEADLINE);
        assert_eq!(code, 77, "{log}");
        assert_seen(&log);
        for verb in ["check", "status"] {
            let (_, log, lines) = run_command(&[verb, "--config", path], &variables, DEADLINE);
            assert_seen(&format!("{log}\n{}", lines.join("\n")));
        }
        script.finish();
    }
}

/// What an editor, or somebody who may write it, put into the state file.
#[test]
fn a_state_file_that_says_so() {
    let stopped = Stopped::new("hidden_state");
    let mut state = stopped.state();
    state["gap"] = NAME.into();
    let text = serde_json::to_string(&state).expect("it is JSON");
    std::fs::write(stopped.state_file(), text).expect("it is ours");
    let (code, log, lines) = stopped.run_verb("status", &stopped.with_state(), &[]);
    assert_eq!(code, 2, "{log}");
    assert_seen(&lines.join("\n"));
    let (_, log, lines) = stopped.run_verb("status", &stopped.with_state(), &["--json"]);
    assert_seen(&format!("{log}\n{}", lines.join("\n")));
    stopped.refused(&stopped.with_state(), &["ERROR forged"]);
}

/// On a terminal: anywhere else a record is what it is.
#[test]
fn a_row_that_is_looked_at() {
    let pipeline = Pipeline::new("hidden_row");
    let config = pipeline.config();
    let path = config.path();
    let path = path.to_str().expect("a path in UTF-8");
    let url = pipeline.database.url();
    let variables = [(URL_VARIABLE, url.as_str())];
    let (code, log, _) = run_command(&["setup", "--config", path], &variables, DEADLINE);
    assert_eq!(code, 0, "{log}");
    pipeline.database.execute("CREATE TABLE t (v text)");
    let insert = format!("INSERT INTO t VALUES ('{NAME}')");
    pipeline.database.execute(&insert);
    let program = env!("CARGO_BIN_EXE_postgres-source");
    // The log has colours of its own there.
    let peek = format!("{program} peek --config {path} 2>/dev/null");
    let output = Command::new("script")
        .args(["-qec", &peek, "/dev/null"])
        .env(URL_VARIABLE, &url)
        .stdin(Stdio::null())
        .output()
        .expect("script is a part of every Debian");
    let shown = String::from_utf8(output.stdout).expect("text");
    // The terminal has line ends of its own.
    assert_seen(&shown.replace('\r', ""));
    assert!(shown.contains("\\u009b"), "{shown}");
    let (code, log, lines) = run_command(&["peek", "--config", path], &variables, DEADLINE);
    assert_eq!(code, 0, "{log}");
    assert!(lines.join("\n").contains('\u{9b}'), "{lines:?}");
}
