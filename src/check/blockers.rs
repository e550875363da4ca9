//! What a slot that is still to be made would wait for: every transaction of the cluster that has
//! written something and is open when it begins.

use serde::Deserialize;

use super::condition::Condition;
use super::report::{Mend, Report};
use super::sql::Sql;
use super::unless_unseen;
use crate::error::Result;
use crate::pg::connection::quote_literal;

/// An ordinary transaction is over by then.
const LONG_S: f64 = 5.0;

#[derive(Debug, Deserialize)]
struct Open {
    pid: i64,
    /// `None` when the role may not see it.
    age_s: Option<f64>,
    user: Option<String>,
    application: Option<String>,
    database: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Prepared {
    gid: String,
    owner: String,
    database: String,
    age_s: f64,
}

/// Looks for both kinds.
pub fn check(report: &mut Report, sql: &mut Sql<'_>, user: &str) {
    let seen = open(report, sql, user);
    unless_unseen(report, Condition::Transactions, seen);
    let seen = prepared(report, sql);
    unless_unseen(report, Condition::PreparedTransactions, seen);
}

/// Everybody sees who holds a transaction number, only some how old the transaction is.
fn open(report: &mut Report, sql: &mut Sql<'_>, user: &str) -> Result<()> {
    let open: Vec<Open> = sql.rows(
        "SELECT l.pid, extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age_s, \
         a.usename AS user, a.application_name AS application, a.datname AS database \
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted \
         AND l.pid <> pg_backend_pid() GROUP BY 1, 2, 3, 4, 5 ORDER BY 2 DESC NULLS LAST",
    )?;
    let (condition, user) = (
        Condition::Transactions,
        crate::pg::connection::quote_identifier(user),
    );
    let is_long = |open: &&Open| open.age_s.is_some_and(|age| age >= LONG_S);
    let long: Vec<&Open> = open.iter().filter(is_long).collect();
    let hidden = open.iter().filter(|open| open.age_s.is_none()).count();
    if !long.is_empty() {
        let told: Vec<String> = long.iter().map(|open| open.to_string()).collect();
        let mend = long.iter().map(|open| {
            Mend::sql(format!("SELECT pg_terminate_backend({});", open.pid))
                .giving_up("what that transaction has done")
        });
        report.warning(
            condition,
            format!("the slot waits for {}", told.join("; ")),
            mend,
        );
    } else if hidden > 0 {
        report.ok(
            condition,
            format!(
                "{hidden} open; their age can be seen after GRANT pg_read_all_stats TO {user};"
            ),
        );
    } else {
        report.ok(condition, "none is open for long");
    }
    Ok(())
}

fn prepared(report: &mut Report, sql: &mut Sql<'_>) -> Result<()> {
    let prepared: Vec<Prepared> = sql.rows(
        "SELECT gid, owner, database, extract(epoch FROM clock_timestamp() - prepared)::float8 \
         AS age_s FROM pg_prepared_xacts ORDER BY prepared",
    )?;
    let is_long = |prepared: &&Prepared| prepared.age_s >= LONG_S;
    let long: Vec<&Prepared> = prepared.iter().filter(is_long).collect();
    let condition = Condition::PreparedTransactions;
    if long.is_empty() {
        report.ok(condition, "none is left for long");
        return Ok(());
    }
    let told: Vec<String> = long.iter().map(|prepared| prepared.to_string()).collect();
    let mend = long.iter().map(|prepared| {
        Mend::sql(format!(
            "ROLLBACK PREPARED {};",
            quote_literal(&prepared.gid)
        ))
        .giving_up(format!(
            "what that transaction has done (in the database {}; or COMMIT PREPARED)",
            prepared.database
        ))
    });
    report.warning(
        condition,
        format!("the slot waits for {}", told.join("; ")),
        mend,
    );
    Ok(())
}

impl std::fmt::Display for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
        write!(
            f,
            "PID {} ({}, {:?}, database {}), open for {:.0} s",
            self.pid,
            or_none(&self.user),
            or_none(&self.application),
            or_none(&self.database),
            self.age_s.unwrap_or_default()
        )
    }
}

impl std::fmt::Display for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Prepared {
            gid,
            owner,
            database,
            age_s,
        } = self;
        write!(
            f,
            "{gid:?} of {owner} in {database}, prepared {age_s:.0} s ago"
        )
    }
}
