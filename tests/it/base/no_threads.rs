//! A system that has no thread left for us: that passes, and is no bug of this program.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use crate::config::{Home, with};
use crate::support::connector::URL_VARIABLE;
use crate::support::ports::free_port;

/// A user who runs nothing, so that the limit is reached by the program itself.
const NOBODY_ELSE: &str = "54321";

/// How `run --once` ends where only one thread may be, and what it says.
fn run_alone(more: &str, url: &str) -> (Option<i32>, String) {
    let home = Home::new();
    let directory = fs::Permissions::from_mode(0o755);
    fs::set_permissions(home.0.path(), directory).expect("it is ours");
    let config = home.write("config.yaml", &with(more), 0o644);
    // Another user may not reach where the program was built.
    let program = home.path("postgres-source");
    fs::copy(env!("CARGO_BIN_EXE_postgres-source"), &program).expect("it can be copied");
    let is_root = fs::metadata("/proc/self").expect("Linux has it").uid() == 0;
    let user = [
        "setpriv",
        &format!("--reuid={NOBODY_ELSE}"),
        &format!("--regid={NOBODY_ELSE}"),
        "--clear-groups",
    ];
    let limit = ["prlimit", "--nproc=1:1"];
    let words = match is_root {
        true => [&user[..], &limit].concat(),
        false => limit.to_vec(),
    };
    let output = Command::new(words[0])
        .args(&words[1..])
        .arg(program)
        .args(["run", "--stdout", "--once", "--config"])
        .arg(config)
        .env(URL_VARIABLE, url)
        .output()
        .expect("it can be run");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), log)
}

#[test]
fn no_thread_to_be_had_is_tried_again() {
    let by_name = "postgres://u@localhost:1/db";
    let metrics = format!("metrics: {{ listen: '127.0.0.1:{}' }}", free_port());
    let by_address = "postgres://u@127.0.0.1:1/db";
    let cannot_run = "password_command: cannot run /bin/sh: ";
    for (more, url, says) in [
        (
            "",
            by_name,
            "cannot resolve localhost: cannot start a thread",
        ),
        (metrics.as_str(), by_address, "cannot start a thread"),
        ("password_command: 'echo x'", by_address, cannot_run),
    ] {
        let (code, log) = run_alone(more, url);
        assert_eq!(code, Some(69), "{log}");
        assert!(log.contains(says) && !log.contains("panic"), "{log}");
    }
}
