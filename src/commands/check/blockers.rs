//! What would be waited for by a publication that is still to be made, locks on its tables; and by a
//! slot: every transaction of the cluster that has written something and is open when it begins.

use super::condition::Condition;
use super::report::{Mend, Report};
use super::sql::Sql;
use super::warn_if_unseen;
use crate::base::error::Result;
use crate::config::{Config, Setup};
use crate::pg::catalog::blocked::{HOLDER, Holder, PREPARED, Prepared, named};
use crate::pg::connection::quote_literal;
use crate::pipeline::setup::{listed_roots, resolve};

/// An ordinary transaction is over by then.
const LONG_S: f64 = 5.0;

/// Looks for transactions with locks that a publication of the configured tables waits for. One of all
/// tables locks none.
pub fn check_publication(report: &mut Report, sql: &mut Sql<'_>, config: &Config) -> Result<()> {
    let condition = Condition::PublicationLocks;
    if config.setup == Setup::Require || config.tables.is_empty() {
        report.ok(condition, "making it locks no table");
        return Ok(());
    }
    let tables = sql.ask(|connection| resolve(connection, &config.tables))?;
    let tables = listed_roots(tables.iter().filter_map(|table| table.oid));
    // The modes that conflict with ShareUpdateExclusiveLock.
    let open: Vec<Holder> = sql.rows(&format!(
        "SELECT {HOLDER} FROM pg_stat_activity h WHERE h.pid <> pg_backend_pid() AND EXISTS (\
           SELECT FROM pg_locks l WHERE l.pid = h.pid AND l.granted AND l.locktype = 'relation' \
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
           AND l.relation IN ({tables}) \
           AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', \
             'ExclusiveLock', 'AccessExclusiveLock')) ORDER BY 2 DESC NULLS LAST"
    ))?;
    // Who hides how long a transaction is open may be one that is open for long.
    let is_long = |open: &&Holder| open.age_s.is_none_or(|age| age >= LONG_S);
    let long: Vec<&Holder> = open.iter().filter(is_long).collect();
    if long.is_empty() {
        report.ok(condition, "nobody has one for long");
        return Ok(());
    }
    let holders: Vec<String> = long.iter().map(|open| open.to_string()).collect();
    report.warning(
        condition,
        format!(
            "making the publication waits for {}, which has a lock on a table",
            named(&holders)
        ),
        long.iter().map(|open| terminate(open)),
    );
    Ok(())
}

/// Looks for transactions that a slot waits for: open ones, and prepared ones.
pub fn check(report: &mut Report, sql: &mut Sql<'_>, user: &str) {
    let open = open(report, sql, user);
    warn_if_unseen(report, Condition::Transactions, open);
    let prepared = prepared(report, sql);
    warn_if_unseen(report, Condition::PreparedTransactions, prepared);
}

/// Looks for open transactions. Everybody sees who holds a transaction number, only some how old the
/// transaction is.
fn open(report: &mut Report, sql: &mut Sql<'_>, user: &str) -> Result<()> {
    let open: Vec<Holder> = sql.rows(&format!(
        "SELECT {HOLDER} FROM pg_stat_activity h WHERE h.pid <> pg_backend_pid() AND EXISTS (\
           SELECT FROM pg_locks l WHERE l.pid = h.pid AND l.locktype = 'transactionid' \
           AND l.mode = 'ExclusiveLock' AND l.granted) ORDER BY 2 DESC NULLS LAST"
    ))?;
    let (condition, user) = (
        Condition::Transactions,
        crate::pg::connection::quote_identifier(user),
    );
    let long: Vec<&Holder> = open.iter().filter(is_long).collect();
    let hidden = open.iter().filter(|open| open.age_s.is_none()).count();
    if !long.is_empty() {
        let holders: Vec<String> = long.iter().map(|open| open.to_string()).collect();
        let mend = long.iter().map(|open| terminate(open));
        report.warning(
            condition,
            format!("the slot waits for {}", named(&holders)),
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

fn is_long(open: &&Holder) -> bool {
    open.age_s.is_some_and(|age| age >= LONG_S)
}

fn terminate(open: &Holder) -> Mend {
    Mend::sql(format!("SELECT pg_terminate_backend({});", open.pid))
        .giving_up("what that transaction has done")
}

/// Looks for prepared transactions, which have no process.
fn prepared(report: &mut Report, sql: &mut Sql<'_>) -> Result<()> {
    let prepared: Vec<Prepared> = sql.rows(&format!(
        "SELECT {PREPARED} FROM pg_prepared_xacts x ORDER BY x.prepared"
    ))?;
    let is_long = |prepared: &&Prepared| prepared.age_s >= LONG_S;
    let long: Vec<&Prepared> = prepared.iter().filter(is_long).collect();
    let condition = Condition::PreparedTransactions;
    if long.is_empty() {
        report.ok(condition, "none is left for long");
        return Ok(());
    }
    let holders: Vec<String> = long.iter().map(|prepared| prepared.to_string()).collect();
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
        format!("the slot waits for {}", holders.join("; ")),
        mend,
    );
    Ok(())
}
