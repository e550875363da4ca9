//! Whom a process of the server waits for, as its catalog tells it
//! ([`pg_locks`](https://www.postgresql.org/docs/current/view-pg-locks.html),
//! [`pg_stat_activity`](https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-ACTIVITY-VIEW)).

use std::fmt;

use serde::Deserialize;

/// The number of those who are waited for that are named; the others are counted.
const NAMED: usize = 5;

/// A process of the server with a statement, and whom it waits for.
#[derive(Debug, Deserialize)]
pub struct Blocked {
    /// The process.
    pub pid: i64,
    /// The time that the statement of the process has been under way.
    pub since_s: Option<f64>,
    /// The event that the process waits on, as the server calls it: `Lock`, `IPC: SyncRep`.
    event: Option<String>,
    /// The lock that the process has not got.
    lock: Option<String>,
    /// Whether the lock is another transaction's end.
    waits_for_end: bool,
    blockers: Vec<Holder>,
    prepared: Vec<Prepared>,
    /// The number of other transactions that have written something and are open.
    others: usize,
    makes_slot: bool,
    is_standby: bool,
    /// The standbys that a commit waits for.
    synchronous: Option<String>,
    /// The standbys that the stream of a failover slot waits for (17+).
    synchronized: Option<String>,
}

/// A session that another one waits for.
#[derive(Debug, Deserialize)]
pub struct Holder {
    /// The process of the session.
    pub pid: i64,
    /// The time that the transaction is open; `None` when there is none or the role may not see it.
    pub age_s: Option<f64>,
    user: Option<String>,
    application: Option<String>,
    database: Option<String>,
}

/// A transaction that is prepared for a commit in two phases, and has no process.
#[derive(Debug, Deserialize)]
pub struct Prepared {
    /// The name of the transaction.
    pub gid: String,
    owner: String,
    /// The database in which the transaction has to be ended.
    pub database: String,
    /// The time since the transaction was prepared.
    pub age_s: f64,
}

/// The columns of a [`Holder`], from `pg_stat_activity h`.
pub const HOLDER: &str = "h.pid, extract(epoch FROM pg_catalog.clock_timestamp() - h.xact_start)::float8 \
    AS age_s, h.usename AS user, h.application_name AS application, h.datname AS database";

/// The columns of a [`Prepared`], from `pg_prepared_xacts x`.
pub const PREPARED: &str = "x.gid, x.owner, x.database, \
    extract(epoch FROM pg_catalog.clock_timestamp() - x.prepared)::float8 AS age_s";

/// The SELECT of what [`Blocked`] has to tell of the rows `a` of `pg_stat_activity` that are so.
pub fn blocked(are: &str) -> String {
    // What is prepared has no process: `pg_blocking_pids` gives 0 for it.
    let same = |one: &str, other: &str| {
        let tag = |of: &str| {
            [
                "locktype",
                "database",
                "relation",
                "page",
                "tuple",
                "virtualxid",
                "transactionid",
                "classid",
                "objid",
                "objsubid",
            ]
            .map(|column| format!("{of}.{column}"))
            .join(", ")
        };
        format!("({}) IS NOT DISTINCT FROM ({})", tag(one), tag(other))
    };
    format!(
        "SELECT a.pid, \
         extract(epoch FROM pg_catalog.clock_timestamp() - a.query_start)::float8 AS since_s, \
         concat_ws(': ', a.wait_event_type, a.wait_event) AS event, \
         a.query ~ 'pg_create_logical_replication_slot' AS makes_slot, \
         pg_catalog.pg_is_in_recovery() AS is_standby, \
         pg_catalog.current_setting('synchronous_standby_names') AS synchronous, \
         pg_catalog.current_setting('synchronized_standby_slots', true) AS synchronized, \
         w.mode || coalesce(' on ' || w.relation::regclass::text, ' on a ' || w.locktype) AS lock, \
         coalesce(w.locktype IN ('transactionid', 'virtualxid'), false) AS waits_for_end, \
         (SELECT coalesce(json_agg(b), '[]') FROM (SELECT {HOLDER} \
           FROM pg_catalog.pg_stat_activity h WHERE h.pid = ANY (p.pids) \
           ORDER BY h.xact_start NULLS LAST) b) AS blockers, \
         (SELECT coalesce(json_agg(b), '[]') FROM (SELECT {PREPARED} \
           FROM pg_catalog.pg_prepared_xacts x WHERE 0 = ANY (p.pids) AND EXISTS (\
             SELECT FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_locks o \
               ON o.virtualtransaction = l.virtualtransaction AND o.pid IS NULL \
             WHERE l.granted AND l.pid IS NULL AND o.transactionid = x.transaction AND {same}) \
           ORDER BY x.prepared) b) AS prepared, \
         (SELECT count(*) FROM pg_catalog.pg_locks l WHERE l.locktype = 'transactionid' \
           AND l.mode = 'ExclusiveLock' AND l.granted AND l.pid IS DISTINCT FROM a.pid \
           AND l.transactionid IS DISTINCT FROM w.transactionid) AS others \
         FROM pg_catalog.pg_stat_activity a \
         LEFT JOIN pg_catalog.pg_locks w ON w.pid = a.pid AND NOT w.granted, \
         LATERAL (SELECT pg_catalog.pg_blocking_pids(a.pid) AS pids) p WHERE {are}",
        same = same("l", "w")
    )
}

impl Blocked {
    /// Whether it waits for somebody, and is not only slow.
    pub fn is_waiting(&self) -> bool {
        let waits = !self.blockers.is_empty() || !self.prepared.is_empty() || self.lock.is_some();
        waits || self.waits_for_standbys() || self.waits_for_primary()
    }

    fn waits_for_standbys(&self) -> bool {
        let event = self.event.as_deref().unwrap_or_default();
        ["SyncRep", "WaitForStandbyConfirmation"]
            .iter()
            .any(|wait| event.ends_with(wait))
    }

    /// A slot on a standby begins where the primary logs which transactions are open.
    fn waits_for_primary(&self) -> bool {
        self.is_standby && self.makes_slot
    }
}

/// Names the one whom the process waits for.
impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holders = self.blockers.iter().map(ToString::to_string);
        let all: Vec<String> = holders
            .chain(self.prepared.iter().map(ToString::to_string))
            .collect();
        if !all.is_empty() {
            f.write_str(&named(&all))?;
            return match (&self.lock, self.makes_slot && self.waits_for_end) {
                (_, true) if self.others > 0 => {
                    write!(f, " to end, and after that for {} more", self.others)
                }
                (_, true) | (None, _) => f.write_str(" to end"),
                (Some(_), _) if self.waits_for_end => f.write_str(" to end"),
                (Some(lock), _) => write!(f, ", for {lock}"),
            };
        }
        let names = |names: &Option<String>| names.clone().unwrap_or_default();
        match &self.event {
            Some(event) if event.ends_with("SyncRep") => write!(
                f,
                "a standby of synchronous_standby_names = '{}'",
                names(&self.synchronous)
            ),
            Some(event) if event.ends_with("WaitForStandbyConfirmation") => write!(
                f,
                "the standbys of synchronized_standby_slots = '{}'",
                names(&self.synchronized)
            ),
            _ if self.waits_for_primary() => f.write_str(
                "the primary, until it logs which transactions are open: at its next checkpoint, or when \
                 somebody runs there: SELECT pg_log_standby_snapshot()",
            ),
            Some(event) if !event.is_empty() => write!(f, "the server ({event})"),
            _ => f.write_str("the server, which is at work"),
        }
    }
}

/// Names some of many, and counts those there are besides.
pub fn named(all: &[String]) -> String {
    let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>();
    let more = match all.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{}{more}", named.join("; "))
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
        write!(
            f,
            "PID {} ({}, {:?}, database {})",
            self.pid,
            or_none(&self.user),
            or_none(&self.application),
            or_none(&self.database),
        )?;
        match self.age_s {
            Some(age_s) => write!(f, ", open for {age_s:.0} s"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prepared {
            gid,
            owner,
            database,
            age_s,
        } = self;
        write!(
            f,
            "the prepared transaction {gid:?} of {owner} in {database}, prepared {age_s:.0} s ago"
        )
    }
}
