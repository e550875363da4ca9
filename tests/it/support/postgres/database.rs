//! A database of a test: SQL in one line, and what its replication slots are doing.
#![allow(dead_code)]

use super::super::{lock, wait_until};
use super::{PASSWORD, unique};
use postgres::config::TargetSessionAttrs;
use postgres::error::SqlState;
use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The first major that shows when a walsender got its last status.
const REPLY_TIME: u32 = 12;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// No statement of a test is meant to wait; a lock that never comes must fail the test.
const SESSION_OPTIONS: &str = "-c statement_timeout=60s";
const CLEAN_UP_OPTIONS: &str = "-c statement_timeout=5s";
const CLEAN_UP_DEADLINE: Duration = Duration::from_secs(10);
const SLOT_DEADLINE: Duration = Duration::from_secs(60);

/// A database with a unique name. On drop its slots and then itself are dropped, unless somebody else
/// has made it.
///
/// The helpers come in as superuser over the Unix socket, so they also work while the
/// program under test talks to the server through a proxy.
pub struct Database {
    socket_dir: PathBuf,
    port: u16,
    name: String,
    session: Mutex<Option<Client>>,
    is_ours: bool,
}

impl Database {
    #[track_caller]
    pub(super) fn create(socket_dir: &Path, port: u16, prefix: &str, options: &str) -> Database {
        let database = Database {
            socket_dir: socket_dir.to_owned(),
            port,
            name: unique(prefix),
            session: Mutex::new(None),
            is_ours: true,
        };
        database
            .connect("postgres", SESSION_OPTIONS)
            .and_then(|mut client| {
                client.batch_execute(&format!("CREATE DATABASE {} {options}", database.name))
            })
            .unwrap_or_else(|error| panic!("no database can be made: {}", explain(&error)));
        if database.major() < REPLY_TIME {
            let name = &database.name;
            database.execute(&format!(
                "ALTER DATABASE {name} SET log_min_messages = debug2"
            ));
        }
        database
    }

    /// One that somebody else has made, and drops.
    pub(super) fn existing(socket_dir: &Path, port: u16, name: &str) -> Database {
        Database {
            socket_dir: socket_dir.to_owned(),
            port,
            name: name.to_owned(),
            session: Mutex::new(None),
            is_ours: false,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port of its server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's URL over TCP.
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The superuser's URL through a proxy on `port`.
    pub fn url_at(&self, port: u16) -> String {
        format!(
            "postgres://postgres:{PASSWORD}@127.0.0.1:{port}/{}",
            self.name
        )
    }

    /// The superuser's connection string over the unix socket, which no cut of a network reaches.
    pub fn socket_url(&self) -> String {
        format!(
            "host={} port={} user=postgres dbname={}",
            self.socket_dir.display(),
            self.port,
            self.name
        )
    }

    /// A session of its own, for transactions that stay open.
    #[track_caller]
    pub fn client(&self) -> Client {
        self.connect(&self.name, SESSION_OPTIONS)
            .unwrap_or_else(|error| panic!("{} cannot be reached: {}", self.name, explain(&error)))
    }

    /// The same while the server may be down.
    pub fn try_client(&self) -> Result<Client, postgres::Error> {
        self.connect(&self.name, SESSION_OPTIONS)
    }

    /// The same, and a server that takes no writes counts as one that is down.
    pub fn try_writing_client(&self) -> Result<Client, postgres::Error> {
        self.config(&self.name, SESSION_OPTIONS)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect(NoTls)
    }

    /// Runs statements, all in one transaction unless they say otherwise.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        self.try_execute(sql)
            .unwrap_or_else(|error| panic!("{}\nin: {sql}", explain(&error)));
    }

    /// Runs each of `statements` in a transaction of its own, all in one round trip.
    #[track_caller]
    pub fn execute_each(&self, statements: impl IntoIterator<Item = String>) {
        let each = |sql| format!("BEGIN; {sql}; COMMIT;\n");
        self.execute(&statements.into_iter().map(each).collect::<String>());
    }

    pub fn try_execute(&self, sql: &str) -> Result<(), postgres::Error> {
        self.with_session(|client| client.batch_execute(sql))
    }

    /// Installs an extension; false when this server has no such extension.
    #[track_caller]
    pub fn create_extension(&self, name: &str, schema: &str) -> bool {
        // Not pg_available_extensions: one control file that is damaged hides all of them.
        match self.try_execute(&format!("CREATE EXTENSION {name} SCHEMA {schema}")) {
            Ok(()) => true,
            Err(error) => {
                let is_missing = matches!(
                    error.code(),
                    Some(&SqlState::UNDEFINED_FILE | &SqlState::FEATURE_NOT_SUPPORTED)
                );
                assert!(is_missing, "{name}: {}", explain(&error));
                false
            }
        }
    }

    /// The first column of the only row as the server writes it.
    #[track_caller]
    pub fn query_one_text(&self, sql: &str) -> String {
        let mut rows = self.query_texts(sql);
        assert_eq!(rows.len(), 1, "not one row but {rows:?}\nfrom: {sql}");
        rows.remove(0).unwrap_or_else(|| panic!("null from: {sql}"))
    }

    /// The first column of every row.
    #[track_caller]
    pub fn query_texts(&self, sql: &str) -> Vec<Option<String>> {
        self.with_session(|client| client.simple_query(sql))
            .unwrap_or_else(|error| panic!("{}\nin: {sql}", explain(&error)))
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
                _ => None,
            })
            .collect()
    }

    #[track_caller]
    pub fn current_wal_lsn(&self) -> u64 {
        self.query_one_text("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
            .parse()
            .expect("a difference of positions is a number")
    }

    /// Makes a slot for pgoutput. It waits for the open transactions of the whole cluster.
    #[track_caller]
    pub fn create_slot(&self, slot: &str) {
        self.query_one_text(&format!(
            "SELECT lsn FROM pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        ));
    }

    #[track_caller]
    pub fn slot_exists(&self, slot: &str) -> bool {
        self.slot_column(slot, "'yes'").is_some()
    }

    /// What the slot has confirmed; none when there is no such slot.
    #[track_caller]
    pub fn slot_confirmed_lsn(&self, slot: &str) -> Option<u64> {
        let lsn = self.slot_column(slot, "confirmed_flush_lsn - '0/0'::pg_lsn")?;
        Some(lsn.parse().expect("a difference of positions is a number"))
    }

    /// The process id of the walsender that reads the slot.
    #[track_caller]
    pub fn slot_active_pid(&self, slot: &str) -> Option<u32> {
        let pid = self.slot_column(slot, "active_pid")?;
        Some(pid.parse().expect("a process id is a number"))
    }

    /// Waits until somebody reads the slot and returns the walsender's process id. While the slot is
    /// being made it belongs to a session that is no walsender, and does not have every change yet.
    #[track_caller]
    pub fn wait_slot_active(&self, slot: &str) -> u32 {
        let mut pid = None;
        wait_until(&format!("slot {slot} is read"), SLOT_DEADLINE, || {
            let walsender = "(SELECT pid FROM pg_stat_replication WHERE pid = active_pid)";
            pid = self.slot_column(slot, walsender);
            pid.is_some()
        });
        let pid = pid.expect("the wait ended with one");
        pid.parse().expect("a process id is a number")
    }

    #[track_caller]
    pub fn wait_slot_inactive(&self, slot: &str) {
        wait_until(&format!("slot {slot} is free"), SLOT_DEADLINE, || {
            self.slot_active_pid(slot).is_none()
        });
    }

    /// Waits until the slot has confirmed `lsn` or more.
    #[track_caller]
    pub fn wait_slot_confirmed(&self, slot: &str, lsn: u64) {
        wait_until(
            &format!("slot {slot} confirms {lsn}"),
            SLOT_DEADLINE,
            || self.slot_confirmed_lsn(slot) >= Some(lsn),
        );
    }

    /// An expression over the row of pg_stat_replication of the walsender that reads the slot.
    #[track_caller]
    pub fn walsender(&self, slot: &str, expression: &str) -> Option<String> {
        let sql = format!(
            "SELECT {expression} FROM pg_stat_replication \
             WHERE pid = (SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{slot}')"
        );
        self.query_texts(&sql).pop().flatten()
    }

    /// Something that changes whenever the walsender that reads the slot gets a status.
    #[track_caller]
    pub fn status_mark(&self, slot: &str) -> Option<String> {
        if self.major() >= REPLY_TIME {
            return self.walsender(slot, "coalesce(reply_time::text, 'none yet')");
        }
        // What older servers tell nobody but their log: see `create`.
        let log = fs::read_to_string(self.socket_dir.join("log")).expect("the server has a log");
        let status = format!(" {}: DEBUG:  write ", self.name);
        Some(log.matches(&status).count().to_string())
    }

    /// The server's major version.
    #[track_caller]
    pub fn major(&self) -> u32 {
        let number = self.query_one_text("SHOW server_version_num");
        number.parse::<u32>().expect("a number") / 10_000
    }

    /// Ends the walsender that reads the slot; false when there is none.
    #[track_caller]
    pub fn terminate_walsender(&self, slot: &str) -> bool {
        self.slot_column(slot, "pg_terminate_backend(active_pid)")
            .as_deref()
            == Some("t")
    }

    /// An expression over the slot's row of pg_replication_slots.
    #[track_caller]
    fn slot_column(&self, slot: &str, expression: &str) -> Option<String> {
        let sql =
            format!("SELECT {expression} FROM pg_replication_slots WHERE slot_name = '{slot}'");
        self.query_texts(&sql).pop().flatten()
    }

    /// Keeps one session for the short questions, because waiting asks them often.
    fn with_session<T>(
        &self,
        ask: impl FnOnce(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T, postgres::Error> {
        let mut session = lock(&self.session);
        // A restarted server has closed the session of before.
        let kept = session
            .take()
            .and_then(|mut client| client.is_valid(CONNECT_TIMEOUT).ok().map(|()| client));
        let mut client = match kept {
            Some(client) => client,
            None => self.connect(&self.name, SESSION_OPTIONS)?,
        };
        let answer = ask(&mut client)?;
        // A session whose statement failed may be in a failed transaction: it is not kept.
        *session = Some(client);
        Ok(answer)
    }

    fn connect(&self, database: &str, options: &str) -> Result<Client, postgres::Error> {
        self.config(database, options).connect(NoTls)
    }

    fn config(&self, database: &str, options: &str) -> Config {
        let mut config = Config::new();
        config
            .host_path(&self.socket_dir)
            .port(self.port)
            .user("postgres")
            .dbname(database)
            .application_name("test-helper")
            .options(options)
            .connect_timeout(CONNECT_TIMEOUT);
        config
    }

    /// One try to drop everything. A slot or session that is in use makes it fail.
    fn drop_all(&self) -> Result<(), postgres::Error> {
        let name = &self.name;
        let mut client = self.connect("postgres", CLEAN_UP_OPTIONS)?;
        // A prepared transaction would block every new slot of the cluster from now on.
        let prepared = format!("SELECT gid FROM pg_prepared_xacts WHERE database = '{name}'");
        for row in client.query(&prepared, &[])? {
            let gid: String = row.get(0);
            let mut own = self.connect(name, CLEAN_UP_OPTIONS)?;
            own.batch_execute(&format!("ROLLBACK PREPARED '{gid}'"))?;
        }
        // A program that is still running must not come back in between.
        client.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"))?;
        client.batch_execute(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        ))?;
        client.batch_execute(&format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
             WHERE database = '{name}' AND NOT temporary"
        ))?;
        client.batch_execute(&format!("DROP DATABASE {name}"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        *lock(&self.session) = None;
        if !self.is_ours {
            return;
        }
        let end = Instant::now() + CLEAN_UP_DEADLINE;
        while let Err(error) = self.drop_all() {
            // Without an SQLSTATE there is no server any more, and so nothing to drop.
            let is_gone = matches!(error.code(), None | Some(&SqlState::UNDEFINED_DATABASE));
            if is_gone || Instant::now() >= end {
                return;
            }
            std::thread::sleep(super::super::POLL_INTERVAL);
        }
    }
}

/// The server's own words, which the error's own text leaves out.
fn explain(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}: {}", db.severity(), db.code().code(), db.message()),
        None => format!("{error} {:?}", std::error::Error::source(error)),
    }
}
