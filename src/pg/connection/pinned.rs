//! What a session is pinned to, so that it never depends on who connects: what ALTER ROLE and ALTER
//! DATABASE have set for others neither changes what our statements mean nor how long they wait.
//!
//! In the startup packet a setting wins over those of the role, of the database, and of `options`;
//! there `role` comes early enough to win, too. A pooler may refuse what it does not know, or leave it
//! out without a word, so what decides *which* functions our SQL calls is set again in each
//! transaction: see [`Pinned::begin`].
//!
//! Not pinned is what changes nothing of ours, whatever its value: how strings and arrays are read
//! that we do not write, what new tables are like, how the planner goes about it, what is logged; and
//! what is somebody's decision: `event_triggers`, `session_replication_role`, `wal_sender_timeout`.

use crate::pg::params::{ConnectParams, SessionAttrs};

/// The schemas in which names without one are looked up. Anybody who may create something in a schema of the
/// path can put a better match for an unqualified function or operator there: a call of it runs with
/// the rights of whoever calls. What a session may have of temporary tables comes last.
const SEARCH_PATH: &str = "pg_catalog, pg_temp";

/// The settings that the text of values, the meaning of our statements and their waits depend on.
/// `search_path` is not among them, because the names under `tables` are looked up as for the user.
const AT_START: [(&str, &str); 15] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("quote_all_identifiers", "off"),
    ("standard_conforming_strings", "on"),
    // A server from 18 on only warns of changes that it leaves out.
    ("client_min_messages", "notice"),
    // A standby refuses every statement of a serializable transaction.
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    // Those that older servers do not have are lifted later; see `LIMITS`.
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
];

/// The settings that are pinned unless the URL says otherwise. A role that the server sets has not the
/// rights of the user; and our questions need no temporary files, of which there may be a limit.
const UNLESS_NAMED: [(&str, &str); 2] = [("role", "none"), ("work_mem", "64MB")];

/// The setting of connections for SQL, unless the URL says otherwise: what setup commits is there on this
/// server, and a standby that is away must not hold it.
const OF_SQL: (&str, &str) = ("synchronous_commit", "local");

/// The limits of time that end a session or a statement, and do not mean us. To the server, decoding
/// one transaction of the stream is a transaction, however long we take to read it:
/// `transaction_timeout` (17+) ends it, with 25P04, and would end it again at each attempt.
/// `idle_session_timeout` (14+) ends a connection that waits for its slot to be made. While it
/// streams, a walsender is neither idle nor in a statement, and the others do not touch it; but they
/// do end what waits for a slot: that is a statement, and a lock on each transaction that is open.
const LIMITS: [&str; 5] = [
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    IDLE_SESSION,
    "transaction_timeout",
];

/// The setting against compiling a long question about the catalog, which takes seconds, and to run it
/// milliseconds (11+).
const WITHOUT_COMPILING: (&str, &str) = ("jit", "off");

/// The only limit that counts between transactions.
const IDLE_SESSION: &str = "idle_session_timeout";

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The commands of the replication protocol, and questions whose answers depend on nothing else.
    Replication,
    /// Questions in SQL.
    Sql,
}

/// The access that a transaction has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// All that the server lets it do.
    Any,
    /// Reading.
    ReadOnly,
}

/// The time at which a session is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// The start of the session.
    AtStart,
    /// Each transaction: a pooler takes no more than the encoding at the start.
    InTransactions,
}

impl Pinned {
    /// The parameters of the startup packet, beside those that say who connects to what.
    pub fn at_start(
        self,
        purpose: Purpose,
        params: &ConnectParams,
        wanted: SessionAttrs,
    ) -> Vec<(&'static str, &'static str)> {
        if self == Pinned::InTransactions {
            return vec![AT_START[0]];
        }
        let mut parameters = AT_START.to_vec();
        // Which server is meant may be told by this setting of it.
        if !matches!(wanted, SessionAttrs::ReadWrite | SessionAttrs::ReadOnly) {
            parameters.push(("default_transaction_read_only", "off"));
        }
        parameters.extend(UNLESS_NAMED.iter().filter(|(name, _)| !names(params, name)));
        match purpose {
            // Here SQL is run as it is, while the plugin and the row filters of a publication, which
            // are kept as they were understood, look for no names. It decides how `regclass`,
            // `regtype` and their like name things, and under this path an output function cannot be
            // led to a function of somebody else's.
            Purpose::Replication => parameters.push(("search_path", "pg_catalog")),
            Purpose::Sql => {
                parameters.extend([OF_SQL].iter().filter(|(name, _)| !names(params, name)))
            }
        }
        parameters
    }

    /// The SQL that begins a transaction under our own `search_path`, in a session of the server's process
    /// `pid`. It has a result, to be passed over.
    ///
    /// Behind a pooler another client has the session afterwards: what has to outlast the transaction
    /// is only set if it is ours.
    pub fn begin(self, access: Access, pid: Option<i32>) -> String {
        let pid = pid.unwrap_or_default();
        let begin = self.begin_as_user(access);
        let pinned: Vec<(&str, &str)> = match self {
            Pinned::AtStart => Vec::new(),
            Pinned::InTransactions => [&AT_START[1..], &UNLESS_NAMED, &[OF_SQL]].concat(),
        };
        let limits = LIMITS.iter().map(|name| (*name, "0"));
        let limits = limits.chain([WITHOUT_COMPILING]);
        let lift = set(
            pinned.into_iter().chain(limits),
            &format!("name <> '{IDLE_SESSION}' OR pg_catalog.pg_backend_pid() <> {pid}"),
        );
        format!("{begin}; SET LOCAL search_path = {SEARCH_PATH}; {lift}")
    }

    /// The SQL that begins a transaction under the path of the user: what it says must call nothing
    /// without a schema, operators included.
    pub fn begin_as_user(self, access: Access) -> &'static str {
        match access {
            Access::Any => "BEGIN ISOLATION LEVEL READ COMMITTED",
            Access::ReadOnly => "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY",
        }
    }
}

/// The SELECT that lifts the limits of time for the whole session, where the path is pinned.
pub fn lift_limits() -> String {
    set(LIMITS.iter().map(|name| (*name, "0")), "false")
}

/// The SELECT that sets what this server has of `settings`.
fn set<'a>(settings: impl Iterator<Item = (&'a str, &'a str)>, is_local: &str) -> String {
    let settings: Vec<String> = settings
        .map(|(name, value)| format!("('{name}', '{value}')"))
        .collect();
    format!(
        "SELECT pg_catalog.set_config(name, value, {is_local}) FROM (VALUES {}) AS t(name, value) \
         WHERE pg_catalog.current_setting(name, true) IS NOT NULL",
        settings.join(", ")
    )
}

/// Whether the URL's `options` set `name`: `-c name=value`, `-cname=value` or `--name=value`.
fn names(params: &ConnectParams, name: &str) -> bool {
    let words = params.options().unwrap_or_default().split_whitespace();
    words.into_iter().any(|word| {
        let word = word
            .strip_prefix("--")
            .or_else(|| word.strip_prefix("-c"))
            .unwrap_or(word);
        let named = word
            .split_once('=')
            .map(|(named, _)| named.replace('-', "_"));
        named.is_some_and(|named| named.eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(options: &str) -> ConnectParams {
        let url = format!("user=u host=h options='{options}'");
        ConnectParams::parse(&url, "a").unwrap()
    }

    #[test]
    fn what_the_url_names_on_purpose_is_left_alone() {
        for options in ["-c role=app", "-crole=app", "-c work_mem=1MB --ROLE=app"] {
            let pins = Pinned::AtStart.at_start(Purpose::Sql, &params(options), SessionAttrs::Any);
            assert!(!pins.iter().any(|(name, _)| *name == "role"), "{options}");
        }
        for options in ["", "-c my.role=app", "-c work_mem=1MB"] {
            let pins = Pinned::AtStart.at_start(Purpose::Sql, &params(options), SessionAttrs::Any);
            assert!(pins.contains(&("role", "none")), "{options}");
        }
    }

    #[test]
    fn a_pooler_is_asked_for_the_encoding_and_no_more() {
        let pins = Pinned::InTransactions.at_start(Purpose::Sql, &params(""), SessionAttrs::Any);
        assert_eq!(pins, [("client_encoding", "UTF8")]);
        let begin = Pinned::InTransactions.begin(Access::Any, Some(7));
        assert!(begin.contains("('role', 'none')"), "{begin}");
        assert!(!Pinned::AtStart.begin(Access::Any, Some(7)).contains("role"));
    }
}
