//! What the system knows about a process.
#![allow(dead_code)]

use std::fs;
use std::process::Command;

/// The most memory that the process has had in RAM so far, in KiB.
pub fn peak_rss_kb(pid: u32) -> u64 {
    status_kb(pid, "VmHWM:")
}

/// The same, as long as the process lives.
pub fn peak_rss_kb_alive(pid: u32) -> Option<u64> {
    field_kb(
        &fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
        "VmHWM:",
    )
}

/// The memory that the process has in RAM, in KiB.
pub fn rss_kb(pid: u32) -> u64 {
    status_kb(pid, "VmRSS:")
}

/// The time on a CPU so far, user and system, in ticks of 10 ms.
pub fn cpu_ticks(pid: u32) -> u64 {
    stat_field(pid, 14) + stat_field(pid, 15)
}

/// When the process started, in ticks since boot: with it a process id is unique.
pub fn start_time(pid: u32) -> u64 {
    stat_field(pid, 22)
}

/// Sends a signal such as `TERM`.
pub fn signal(pid: u32, signal: &str) {
    // The `kill` of the shell needs no package.
    let status = Command::new("sh")
        .args(["-c", r#"kill -"$1" "$2""#, "kill", signal])
        .arg(pid.to_string())
        .status()
        .expect("sh runs");
    assert!(status.success(), "{signal} cannot be sent to {pid}");
}

fn status_kb(pid: u32, name: &str) -> u64 {
    let status = read(pid, "status");
    field_kb(&status, name)
        .unwrap_or_else(|| panic!("process {pid} has no {name} (has it ended?)\n{status}"))
}

fn field_kb(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// A field of /proc/PID/stat, numbered as in proc(5).
fn stat_field(pid: u32, number: usize) -> u64 {
    let stat = read(pid, "stat");
    // The name of the program, field 2, may contain anything; the last parenthesis ends it.
    let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
    let field = fields.split(' ').nth(number - 3);
    field
        .and_then(|field| field.parse().ok())
        .unwrap_or_else(|| panic!("process {pid} has no field {number}: {stat}"))
}

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}"))
        .unwrap_or_else(|error| panic!("process {pid} cannot be looked at: {error}"))
}
