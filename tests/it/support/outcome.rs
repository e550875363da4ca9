//! The end of a program that cannot begin, or go on: what it says of it, and what it must not say.
#![allow(dead_code)]

use super::connector::run_to_end;
use super::postgres::PASSWORD;
use std::path::Path;
use std::time::Duration;

/// A failure is told at once, or when a deadline of a second or two has passed.
pub const FAIL_DEADLINE: Duration = Duration::from_secs(30);

/// Asserts that the program ended with `code` and that its last line has each of `says`; returns
/// the whole log.
///
/// The last line is the error, whatever was logged before it.
#[track_caller]
pub fn assert_end(outcome: (i32, String, Vec<String>), code: i32, says: &[&str]) -> String {
    let (found, log, stdout) = outcome;
    assert_eq!(found, code, "{log}");
    let last = log.lines().last().unwrap_or_default();
    for part in says {
        assert!(
            last.contains(part),
            "{part:?} is not in the last line of\n{log}"
        );
    }
    for words in ["panicked", "panic at"] {
        assert!(!log.contains(words), "{log}");
    }
    for secret in [PASSWORD, "hunter2"] {
        assert!(!log.contains(secret), "{log}");
        assert!(!stdout.iter().any(|line| line.contains(secret)));
    }
    log
}

/// Runs the program with records going to standard output and asserts how it ends, as
/// [`assert_end`] does. Only a failure that cannot mend itself ends it without `--once`.
#[track_caller]
pub fn assert_fails(config: &Path, url: &str, code: i32, says: &[&str]) -> String {
    let outcome = run_to_end(config, url, &["--stdout"], FAIL_DEADLINE);
    assert_end(outcome, code, says)
}

/// The same with `--once`, for failures that would be tried again.
#[track_caller]
pub fn assert_fails_once(config: &Path, url: &str, code: i32, says: &[&str]) -> String {
    let outcome = run_to_end(config, url, &["--stdout", "--once"], FAIL_DEADLINE);
    assert_end(outcome, code, says)
}
