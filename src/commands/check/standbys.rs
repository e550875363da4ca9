//! The synchronous standbys of the server: commits wait for them, and this program may be one.

use serde::Deserialize;

use super::condition::Condition;
use super::report::{Mend, Report};
use super::sql::Sql;
use crate::base::error::Result;
use crate::pg::catalog::server_facts::ServerFacts;

/// Who is connected, as far as the server tells this user.
#[derive(Debug, Deserialize)]
struct Connections {
    /// The name of this program, as the server has it.
    own: String,
    /// How many synchronous standbys are connected.
    connected: usize,
    /// How many connections there are whose part in it the role may not see.
    hidden: usize,
}

/// Looks at who the synchronous standbys are, and what that means for commits.
pub fn check(report: &mut Report, sql: &mut Sql<'_>, server: &ServerFacts) -> Result<()> {
    let connections: Connections = sql.row(
        "SELECT current_setting('application_name') AS own, \
         (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) \
           AS connected, \
         (SELECT count(*) FROM pg_stat_replication WHERE sync_state IS NULL) AS hidden",
    )?;
    let names = server.setting("synchronous_standby_names");
    connections.judge(report, names.filter(|_| !server.is_standby));
    Ok(())
}

impl Connections {
    /// Judges what `names`, the setting, means for commits; there are none on a standby.
    fn judge(&self, report: &mut Report, names: Option<&str>) {
        let (condition, own) = (Condition::SynchronousStandbys, &self.own);
        let names = names.unwrap_or_default();
        let listed = listed(names);
        if listed.is_empty() {
            return report.ok(condition, "none: no commit waits for one");
        }
        if listed.iter().any(|name| name.eq_ignore_ascii_case(own)) {
            return report.ok(
                condition,
                format!("{own:?} is one: a commit waits until its records are in the topic"),
            );
        }
        if listed.iter().any(|name| name == "*") {
            return report.warning(
                condition,
                "'*' means this program too: commits may wait until their records are in the topic, and \
                 without an end while it is stopped and nobody else is one",
                [Mend::advice(format!(
                    "name in synchronous_standby_names who is meant; if it is this program: '\"{own}\"'"
                ))],
            );
        }
        if self.connected == 0 && self.hidden == 0 {
            return report.warning(
                condition,
                format!(
                    "none of {names} is connected: commits of others wait, those of this program do not"
                ),
                [Mend::advice(
                    "start one of them, or take it out of synchronous_standby_names",
                )],
            );
        }
        report.ok(condition, names);
    }
}

/// The names in the setting: `a, "b"`, `2 (a, b)`, `FIRST 2 (a, b)`, `ANY 1 (*)`.
fn listed(setting: &str) -> Vec<String> {
    let setting = setting.trim();
    let list = match setting.split_once('(') {
        Some((method, list)) if !method.contains('"') => list.strip_suffix(')').unwrap_or(list),
        _ => setting,
    };
    let (mut names, mut name, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut chars = list.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.next_if_eq(&'"').is_some() => name.push('"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => names.push(std::mem::take(&mut name)),
            c if c.is_whitespace() && !is_quoted => {}
            c => name.push(c),
        }
    }
    names.push(name);
    names.retain(|name| !name.is_empty());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_setting() {
        for (setting, names) in [
            ("", &[][..]),
            ("a", &["a"]),
            (" a , b", &["a", "b"]),
            ("2 (a, \"b c\")", &["a", "b c"]),
            ("FIRST 1 (a,b)", &["a", "b"]),
            ("ANY 1 (*)", &["*"]),
            ("\"postgres-source/a(b,c)\"", &["postgres-source/a(b,c)"]),
            ("x, \"a\"\"b(\"", &["x", "a\"b("]),
        ] {
            assert_eq!(listed(setting), names, "{setting}");
        }
    }

    #[test]
    fn who_is_one_and_who_is_not() {
        let judged = |names: &str, connected, hidden| {
            let mut report = Report::default();
            let connections = Connections {
                own: "postgres-source/a".to_owned(),
                connected,
                hidden,
            };
            connections.judge(&mut report, Some(names));
            report.to_string()
        };
        assert!(judged("", 0, 0).starts_with("ok"));
        let own = judged("FIRST 1 (\"Postgres-Source/a\")", 0, 0);
        assert!(own.starts_with("ok") && own.contains("is one"), "{own}");
        let all = judged("*", 0, 0);
        assert!(all.starts_with("warning") && all.contains("'\"postgres-source/a\"'"));
        assert!(judged("b", 0, 0).starts_with("warning"));
        for (connected, hidden) in [(1, 0), (0, 1)] {
            assert!(judged("b", connected, hidden).starts_with("ok"));
        }
    }
}
