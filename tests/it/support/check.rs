//! The verb `check`, as a program reads its report.
#![allow(dead_code)]

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::connector::{ConfigFile, URL_VARIABLE, run_command};
use super::outcome::FAIL_DEADLINE;
use super::postgres::{Database, PASSWORD, Postgres};

/// What `check --json` said, and how it ended.
pub struct Checked {
    pub code: i32,
    pub log: String,
    report: Value,
}

/// A server that `check` has nothing to say about.
pub fn healthy_server() -> &'static Postgres {
    static HEALTHY: OnceLock<Postgres> = OnceLock::new();
    HEALTHY.get_or_init(|| {
        let server = Postgres::start(&[]);
        if server.major() >= 13 {
            server.add_settings(&[("max_slot_wal_keep_size", "10GB")]);
            server.restart(super::postgres::Stop::Fast);
        }
        server
    })
}

/// Runs `check` in one of its forms: the exit code, standard error, standard output.
#[track_caller]
pub fn check_as(config: &Path, url: &str, args: &[&str]) -> (i32, String, String) {
    let path = config.to_str().expect("a path in UTF-8");
    let all = [&["check", "--config", path], args].concat();
    let (code, log, stdout) = run_command(&all, &[(URL_VARIABLE, url)], FAIL_DEADLINE);
    let stdout = stdout.join("\n");
    for secret in [PASSWORD, "hunter2"] {
        assert!(
            !log.contains(secret) && !stdout.contains(secret),
            "{log}{stdout}"
        );
    }
    (code, log, stdout)
}

/// Runs `check --json`.
#[track_caller]
pub fn check(config: &ConfigFile, url: &str) -> Checked {
    let (code, log, stdout) = check_as(&config.path(), url, &["--json"]);
    let report: Value =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}\n{log}"));
    let told = report["exit_code"].as_i64();
    assert_eq!(told, Some(code.into()), "{stdout}\n{log}");
    Checked { code, log, report }
}

impl Checked {
    fn conditions(&self) -> &Vec<Value> {
        self.report["conditions"].as_array().expect("a list")
    }

    fn finding(&self, condition: &str) -> Option<&Value> {
        self.conditions()
            .iter()
            .find(|finding| finding["condition"] == condition)
    }

    /// `ok`, `warning` or `failure`; nothing when it could not be checked.
    pub fn status(&self, condition: &str) -> Option<&str> {
        self.finding(condition)?["status"].as_str()
    }

    /// The names and statuses of those that are not as they should be.
    pub fn problems(&self) -> Vec<(&str, &str)> {
        self.conditions()
            .iter()
            .filter_map(|finding| {
                Some((finding["condition"].as_str()?, finding["status"].as_str()?))
            })
            .filter(|(_, status)| *status != "ok")
            .collect()
    }

    /// What was found of it.
    #[track_caller]
    pub fn found(&self, condition: &str) -> &str {
        let finding = self.finding(condition);
        let finding = finding.unwrap_or_else(|| panic!("no {condition} in {:#}", self.report));
        finding["found"].as_str().expect("a text")
    }

    /// What mends it, of one kind: `sql`, `shell`, `config` or `advice`.
    #[track_caller]
    pub fn mends(&self, condition: &str, kind: &str) -> Vec<String> {
        let finding = self.finding(condition);
        let finding = finding.unwrap_or_else(|| panic!("no {condition} in {:#}", self.report));
        let mends = finding["mend"].as_array().expect("a list").iter();
        mends
            .filter(|mend| mend["kind"] == kind)
            .map(|mend| mend["text"].as_str().expect("a text").to_owned())
            .collect()
    }

    /// Asserts that these, and nothing else, are not as they should be, and that the program ends
    /// with `code`.
    #[track_caller]
    pub fn assert_problems(&self, problems: &[(&str, &str)], code: i32) -> &Checked {
        assert_eq!(self.problems(), problems, "{:#}", self.report);
        assert_eq!(self.code, code, "{:#}", self.report);
        self
    }

    /// The same of one condition, whatever the others are.
    #[track_caller]
    pub fn assert_status(&self, condition: &str, status: &str) -> &Checked {
        assert_eq!(
            self.status(condition),
            Some(status),
            "{condition} in {:#}",
            self.report
        );
        self
    }

    /// Asserts that what was found of a condition says so.
    #[track_caller]
    pub fn assert_says(&self, condition: &str, says: &str) -> &Checked {
        let found = self.found(condition);
        assert!(
            found.contains(says),
            "{says:?} is not in {condition}: {found:?}"
        );
        self
    }

    /// Runs the statements for a condition as they are.
    #[track_caller]
    pub fn run_sql(&self, condition: &str, database: &Database) {
        let statements = self.mends(condition, "sql");
        assert!(
            !statements.is_empty(),
            "no statement for {condition}: {:#}",
            self.report
        );
        for statement in statements {
            database.execute(&statement);
        }
    }
}

/// Runs a command of the shell that mends something, with the server and its superuser in the environment,
/// where `psql` and the like find them.
#[track_caller]
pub fn run_as_superuser(server: &Postgres, command: &str) {
    let done = Command::new("sh")
        .args(["-c", command])
        .env("PGHOST", server.socket_dir())
        .env("PGPORT", server.port().to_string())
        .env("PGUSER", "postgres")
        .output()
        .expect("sh runs");
    assert!(done.status.success(), "{command}: {done:?}");
}
