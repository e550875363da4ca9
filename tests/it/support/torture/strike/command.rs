//! The commands that kill the SPU of a real cluster and start it again.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::super::super::POLL_INTERVAL;
use super::Result;

pub const SPU_DOWN: &str = "TORTURE_SPU_DOWN";
pub const SPU_UP: &str = "TORTURE_SPU_UP";

const COMMAND_DEADLINE: Duration = Duration::from_secs(120);

/// Runs the command that a variable holds, which must succeed.
pub fn run(variable: &str) -> Result {
    let command = std::env::var(variable).map_err(|_| format!("{variable} is not set"))?;
    let child = Command::new("sh")
        .args(["-c", &command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let mut child = child.map_err(|error| format!("{variable}: {error}"))?;
    match wait(&mut child) {
        Some(true) => Ok(()),
        Some(false) => Err(format!("{variable} failed: {command}")),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            Err(format!("{variable} does not end: {command}"))
        }
    }
}

fn wait(child: &mut Child) -> Option<bool> {
    let until = Instant::now() + COMMAND_DEADLINE;
    while Instant::now() < until {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status.success());
        }
        thread::sleep(POLL_INTERVAL);
    }
    None
}
