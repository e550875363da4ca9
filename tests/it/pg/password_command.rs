//! What `password_command` starts ends with the program, however that ends, and has nothing of what is
//! the program's alone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{Home, with};
use crate::support::connector::{Connector, URL_VARIABLE};
use crate::support::outcome::{FAIL_DEADLINE, assert_end};
use crate::support::pipeline::DEADLINE;
use crate::support::wait_until;

const URL: &str = "postgres://u@127.0.0.1:1/db";

/// The number in a file, once it is there whole.
fn process(file: &Path) -> String {
    let number = || fs::read_to_string(file).unwrap_or_default();
    wait_until("the command runs", DEADLINE, || number().ends_with('\n'));
    number().trim().to_owned()
}

/// Whether the process is there; one that nobody waited for yet is not.
fn is_there(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// A program whose command hangs, with the processes that it is made of.
struct Hanging {
    _home: Home,
    connector: Connector,
    processes: [String; 2],
}

impl Hanging {
    fn start() -> Hanging {
        let home = Home::new();
        let (shell, child) = (home.path("shell"), home.path("child"));
        let show = |path: &PathBuf| path.display().to_string();
        // One of them does not listen to what is said to it.
        let command = format!(
            "trap \"\" TERM INT HUP; echo $$ >{}; sleep 600 & echo $! >{}; wait",
            show(&shell),
            show(&child)
        );
        let text = with(&format!("password_command: '{command}'"));
        let config = home.write("config.yaml", &text, 0o600);
        let connector = Connector::spawn_with(&config, &["--stdout"], &[(URL_VARIABLE, URL)]);
        let processes = [process(&shell), process(&child)];
        assert!(processes.iter().all(|process| is_there(process)));
        Hanging {
            _home: home,
            connector,
            processes,
        }
    }

    #[track_caller]
    fn assert_gone(&self) {
        wait_until("the command is ended", DEADLINE, || {
            !self.processes.iter().any(|process| is_there(process))
        });
    }
}

#[test]
fn a_command_is_ended_with_the_program() {
    let mut hanging = Hanging::start();
    hanging.connector.sigterm();
    assert_eq!(hanging.connector.wait_exit(FAIL_DEADLINE), 0);
    hanging.assert_gone();

    // Nobody can do anything any more, and still it is.
    let hanging = Hanging::start();
    hanging.connector.signal("KILL");
    hanging.assert_gone();
}

#[test]
fn a_command_does_not_inherit_what_is_ours_alone() {
    let home = Home::new();
    let shown = home.path("environment");
    let command = format!("env >{}; exit 3", shown.display());
    let text = with(&format!("password_command: '{command}'"));
    let config = home.write("config.yaml", &text, 0o600);
    let credentials = home.path("credentials").display().to_string();
    let socket = home.path("notify").display().to_string();
    let variables = [
        (URL_VARIABLE, URL),
        ("PGPASSWORD", "hunter2"),
        ("NOTIFY_SOCKET", &socket),
        ("WATCHDOG_USEC", "60000000"),
        ("CREDENTIALS_DIRECTORY", &credentials),
        ("MINE", "kept"),
    ];
    let mut connector = Connector::spawn_with(&config, &["--stdout", "--once"], &variables);
    let code = connector.wait_exit(FAIL_DEADLINE);
    let says = "password_command ended with exit code 3";
    assert_end((code, connector.log(), Vec::new()), 69, &[says]);
    let environment = fs::read_to_string(shown).expect("the command has run");
    for secret in ["hunter2", URL_VARIABLE, "NOTIFY_SOCKET", "WATCHDOG_USEC"] {
        assert!(!environment.contains(secret), "{secret}: {environment}");
    }
    // It may well read a credential of its own.
    for kept in ["CREDENTIALS_DIRECTORY=", "MINE=kept", "PGUSER=u", "PATH="] {
        assert!(environment.contains(kept), "{kept}: {environment}");
    }
}
