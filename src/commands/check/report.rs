//! What was found, for people, for programs, and for `psql`.

use std::fmt;

use serde::Serialize;

use super::condition::{CONDITIONS, Condition};
use crate::base::error::{Error, Kind, Result};
use crate::base::printable::{self, Printable};

/// How a condition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// The condition is as it should be.
    Ok,
    /// The program works, and something will hurt later or elsewhere.
    Warning,
    /// The program does not work.
    Failure,
}

/// What mends a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mend {
    /// What `text` is.
    pub kind: MendKind,
    /// The statement, the command, the line of the config, or the advice.
    pub text: String,
    /// Whether the server has to be restarted afterwards.
    pub restart: bool,
    /// What is lost by mending, if anything is.
    pub gives_up: Option<String>,
}

/// What to do with a [`Mend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MendKind {
    /// One statement for the server, in the database of the URL, as a superuser or the owner.
    Sql,
    /// A command for a shell.
    Shell,
    /// Keys of the config file.
    Config,
    /// Words that say what to do.
    Advice,
}

/// A condition and how it stands.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// The condition.
    pub condition: Condition,
    /// How the condition stands.
    pub status: Standing,
    /// What was found.
    pub found: String,
    /// What `run` would end with because of it.
    pub exit_code: Option<u8>,
    /// What mends the condition, in this order.
    pub mend: Vec<Mend>,
    #[serde(skip)]
    kind: Option<Kind>,
}

/// Everything that was found, in the order of the conditions.
#[derive(Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
}

/// The report as JSON.
#[derive(Serialize)]
struct Document<'a> {
    status: Standing,
    exit_code: u8,
    conditions: &'a [Finding],
    not_checked: Vec<&'static str>,
}

impl Mend {
    /// A statement for the server.
    pub fn sql(text: impl Into<String>) -> Mend {
        Mend::new(MendKind::Sql, text)
    }

    /// A command for a shell.
    pub fn shell(text: impl Into<String>) -> Mend {
        Mend::new(MendKind::Shell, text)
    }

    /// Keys of the config file.
    pub fn config(text: impl Into<String>) -> Mend {
        Mend::new(MendKind::Config, text)
    }

    /// Advice in words.
    pub fn advice(text: impl Into<String>) -> Mend {
        Mend::new(MendKind::Advice, text)
    }

    /// Adds a restart of the server afterwards.
    pub fn and_restart(self) -> Mend {
        Mend {
            restart: true,
            ..self
        }
    }

    /// Adds what is lost by it.
    pub fn giving_up(self, what: impl Into<String>) -> Mend {
        let what = what.into();
        let kind = match what.contains(char::is_control) {
            true => MendKind::Advice,
            false => self.kind,
        };
        Mend {
            kind,
            gives_up: Some(escaped(&what)),
            ..self
        }
    }

    /// Who makes a database, a table or a prepared transaction gives it its name; one with a line
    /// break in it would go on where a script's comment ends. No script is given for such names.
    fn new(kind: MendKind, text: impl Into<String>) -> Mend {
        let text = text.into();
        let (kind, text) = match text.contains(char::is_control) {
            true if kind != MendKind::Advice => (
                MendKind::Advice,
                format!(
                    "a name has control characters, shown escaped: {}",
                    escaped(&text)
                ),
            ),
            true => (kind, escaped(&text)),
            false => (kind, text),
        };
        Mend {
            kind,
            text,
            restart: false,
            gives_up: None,
        }
    }
}

impl Report {
    /// Adds a condition that holds.
    pub fn ok(&mut self, condition: Condition, found: impl Into<String>) {
        self.add(condition, Standing::Ok, None, found.into(), Vec::new());
    }

    /// Adds a condition that will hurt.
    pub fn warning(
        &mut self,
        condition: Condition,
        found: impl Into<String>,
        mend: impl IntoIterator<Item = Mend>,
    ) {
        let mend = mend.into_iter().collect();
        self.add(condition, Standing::Warning, None, found.into(), mend);
    }

    /// Adds a condition because of which the program ends, with an error of `kind`.
    pub fn failure(
        &mut self,
        condition: Condition,
        kind: Kind,
        found: impl Into<String>,
        mend: impl IntoIterator<Item = Mend>,
    ) {
        let mend = mend.into_iter().collect();
        self.add(condition, Standing::Failure, Some(kind), found.into(), mend);
    }

    /// Adds an error that the program would end with, and what it advises.
    pub fn error(&mut self, condition: Condition, error: &Error) {
        let advice = error.hint().map(Mend::advice);
        self.failure(condition, error.kind(), error.message(), advice);
    }

    /// Adds an error about what was found to be well before.
    pub fn error_after_all(&mut self, condition: Condition, error: &Error) {
        self.take_back(condition);
        self.error(condition, error);
    }

    /// Adds what will hurt of what was found to be well before.
    pub fn warning_after_all(
        &mut self,
        condition: Condition,
        found: impl Into<String>,
        mend: impl IntoIterator<Item = Mend>,
    ) {
        self.take_back(condition);
        self.warning(condition, found, mend);
    }

    fn take_back(&mut self, condition: Condition) {
        self.findings
            .retain(|found| found.condition != condition || found.status != Standing::Ok);
    }

    fn add(
        &mut self,
        condition: Condition,
        status: Standing,
        kind: Option<Kind>,
        found: String,
        mend: Vec<Mend>,
    ) {
        let finding = Finding {
            condition,
            status,
            found,
            exit_code: kind.map(Kind::exit_code),
            mend,
            kind,
        };
        // They may be found in another order than they are reported in.
        let at = self
            .findings
            .partition_point(|other| other.condition <= condition);
        self.findings.insert(at, finding);
    }

    /// The error of the first failure, which names all failures; none if nothing fails.
    pub fn result(&self) -> Result<()> {
        let failed = || self.findings.iter().filter(|found| found.kind.is_some());
        let Some(kind) = failed().next().and_then(|first| first.kind) else {
            return Ok(());
        };
        let names: Vec<&str> = failed().map(|found| found.condition.name()).collect();
        Err(Error::new(
            kind,
            format!("not as they should be: {}", names.join(", ")),
        ))
    }

    /// The report as JSON.
    pub fn json(&self) -> Result<String> {
        let document = Document {
            status: self.status(),
            exit_code: self.result().map_or_else(|e| e.kind().exit_code(), |()| 0),
            conditions: &self.findings,
            not_checked: self.not_checked(),
        };
        serde_json::to_string_pretty(&document)
            .map(|json| printable::json(&json))
            .map_err(|e| Error::new(Kind::Bug, "cannot write the report").with_source(e))
    }

    /// The SQL alone, in the order to run them. One that gives something up is for somebody
    /// to decide: it stands in a comment.
    pub fn sql(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        let mut restart = false;
        let statements = self.findings.iter().flat_map(|found| &found.mend);
        for mend in statements.filter(|mend| mend.kind == MendKind::Sql) {
            if restart && !mend.restart {
                lines.push(RESTART.to_owned());
            }
            restart = mend.restart;
            let line = match &mend.gives_up {
                Some(what) => comment(&format!("gives up {what}: {}", mend.text)),
                None => mend.text.clone(),
            };
            // Once is enough, after all that it is to follow: a reload, for example.
            lines.retain(|other| *other != line);
            lines.push(line);
        }
        if restart {
            lines.push(RESTART.to_owned());
        }
        lines.join("\n")
    }

    fn status(&self) -> Standing {
        let has = |status| self.findings.iter().any(|found| found.status == status);
        match (has(Standing::Failure), has(Standing::Warning)) {
            (true, _) => Standing::Failure,
            (false, true) => Standing::Warning,
            (false, false) => Standing::Ok,
        }
    }

    /// The conditions that could not be looked at, or are not there to be looked at.
    fn not_checked(&self) -> Vec<&'static str> {
        let is_missing = |condition| {
            !self
                .findings
                .iter()
                .any(|found| found.condition == condition)
        };
        CONDITIONS
            .iter()
            .filter(|(condition, ..)| is_missing(*condition))
            .map(|(_, name, _)| *name)
            .collect()
    }
}

const RESTART: &str = "-- restart the server here";

/// A comment of a script for `psql`, of which each line is one.
fn comment(text: &str) -> String {
    let lines: Vec<String> = text
        .split(['\n', '\r'])
        .map(|line| format!("-- {line}"))
        .collect();
    lines.join("\n")
}

/// A text with each control character in the form that Rust and C have for it.
fn escaped(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = CONDITIONS.iter().map(|(_, name, _)| name.len()).max();
        let width = widest.unwrap_or_default();
        for finding in &self.findings {
            let name = finding.condition.name();
            let found = Printable(&finding.found);
            writeln!(f, "{:7}  {name:width$}  {found}", finding.status)?;
            for mend in &finding.mend {
                let indent = 7 + 2 + width + 2;
                writeln!(f, "{:indent$}{}", "", Printable(mend))?;
            }
        }
        let count = |status| self.findings.iter().filter(|f| f.status == status).count();
        write!(
            f,
            "ok: {}, warnings: {}, failures: {}",
            count(Standing::Ok),
            count(Standing::Warning),
            count(Standing::Failure)
        )?;
        match self.not_checked() {
            names if names.is_empty() => Ok(()),
            names => write!(f, "; not checked: {}", names.join(", ")),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Standing::Ok => "ok",
            Standing::Warning => "warning",
            Standing::Failure => "FAILURE",
        })
    }
}

impl fmt::Display for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            MendKind::Sql => "SQL:    ",
            MendKind::Shell => "shell:  ",
            MendKind::Config => "config: ",
            MendKind::Advice => "to do:  ",
        })?;
        f.write_str(&self.text)?;
        if self.restart {
            f.write_str(" -- and restart the server")?;
        }
        match &self.gives_up {
            Some(what) => write!(f, " -- gives up {what}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        let drop = Mend::sql("DROP;").giving_up("changes");
        report.failure(Condition::SlotWalStatus, Kind::Gap, "lost", [drop]);
        let set = Mend::sql("SET;").and_restart();
        report.failure(Condition::WalLevel, Kind::Config, "replica", [set.clone()]);
        report.warning(Condition::MaxWalSenders, "0", [set, Mend::advice("more")]);
        report.ok(Condition::Tls, "on");
        report
    }

    #[test]
    fn the_statements_in_order_and_no_loss_by_pasting() {
        let sql = report().sql();
        assert_eq!(sql, format!("SET;\n{RESTART}\n-- gives up changes: DROP;"));
        assert_eq!(Report::default().sql(), "");

        let mut report = Report::default();
        let reload = || Mend::sql("RELOAD;");
        report.warning(
            Condition::MaxSlotWalKeepSize,
            "",
            [Mend::sql("A;"), reload()],
        );
        report.warning(Condition::WalSenderTimeout, "", [Mend::sql("B;"), reload()]);
        assert_eq!(report.sql(), "A;\nB;\nRELOAD;");
    }

    #[test]
    fn no_name_makes_a_line_of_a_script() {
        for hostile in ["x\n\\! id", "x\r\\! id", "x\0y", "x\x1b[2Jy", "x\u{85}y"] {
            let in_statement = Mend::sql(format!("ROLLBACK PREPARED '{hostile}';")).giving_up("it");
            let in_comment = Mend::sql("DROP;").giving_up(hostile);
            let in_command = Mend::shell(format!("psql '{hostile}'"));
            for mend in [in_statement, in_comment, in_command] {
                let mut report = Report::default();
                assert_eq!(mend.kind, MendKind::Advice, "{mend}");
                assert!(!mend.to_string().contains(char::is_control), "{mend}");
                report.warning(Condition::PreparedTransactions, "", [mend]);
                assert_eq!(report.sql(), "", "{hostile:?}");
            }
        }
        assert_eq!(comment("a\nb\rc"), "-- a\n-- b\n-- c");
    }

    #[test]
    fn the_first_failure_decides() {
        let error = report().result().unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert_eq!(
            error.to_string(),
            "not as they should be: wal_level, slot.wal_status"
        );
        Report::default().result().unwrap();
    }

    #[test]
    fn the_text_is_aligned() {
        let text = report().to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("ok       tls  "), "{text}");
        assert!(lines[1].starts_with("FAILURE  wal_level  "), "{text}");
        let column = lines[1].find("replica");
        assert_eq!(lines[2].find("SQL:    SET; -- and restart"), column);
        assert!(
            text.contains("ok: 1, warnings: 1, failures: 2; not checked: config.permissions, ")
        );
    }
}
