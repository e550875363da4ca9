//! Process 1 of a container waits for what others leave behind, and for its own children as ever.

use std::fs;
use std::process::Command;

use crate::config::{Home, with};
use crate::support::connector::{Connector, URL_VARIABLE, program};
use crate::support::outcome::FAIL_DEADLINE;
use crate::support::wait_until;

/// No password is in it.
const URL: &str = "postgres://u@127.0.0.1:1/db";

/// The children of a process, with their states.
fn children(parent: u32) -> Vec<(u32, char)> {
    let child = |stat: String| {
        let (pid, _) = stat.split_once(' ')?;
        let mut fields = stat.rsplit(") ").next()?.split(' ');
        let state = fields.next()?.chars().next()?;
        let is_child = fields.next()? == parent.to_string();
        is_child.then_some((pid.parse().ok()?, state))
    };
    let processes = fs::read_dir("/proc").expect("Linux has it");
    let stats = processes.filter_map(|process| {
        let stat = process.ok()?.path().join("stat");
        fs::read_to_string(stat).ok()
    });
    stats.filter_map(child).collect()
}

#[test]
fn process_1_waits_for_what_others_leave_behind() {
    let home = Home::new();
    // It is left behind when the command ends, and ends a little later.
    let command = "sleep 0.1 >/dev/null 2>&1 & exit 3";
    let text = with(&format!("password_command: '{command}'"));
    let config = home.write("config.yaml", &text, 0o600);
    let mut as_process_1 = Command::new("unshare");
    as_process_1.args(["--map-root-user", "--pid", "--fork", "--kill-child"]);
    as_process_1.arg(program());
    let config = config.display().to_string();
    let args = ["run", "--config", &config, "--stdout"];
    let connector = Connector::spawn_by(as_process_1, &args, &[(URL_VARIABLE, URL)]);
    let says = "password_command ended with exit code 3";
    connector.wait_log_count(says, 3, FAIL_DEADLINE);
    let [(program, _)] = children(connector.pid())[..] else {
        panic!("unshare starts the program alone");
    };
    wait_until("nobody who has ended is left", FAIL_DEADLINE, || {
        !children(program).iter().any(|(_, state)| *state == 'Z')
    });
}
