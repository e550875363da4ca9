//! A primary with a table `t`, its standby, and a topic.
#![allow(dead_code)]

use postgres::{Client, NoTls};
use tempfile::TempDir;

use super::connector::{ConfigFile, Connector, run_to_end, temp_dir};
use super::outcome::{FAIL_DEADLINE, assert_end};
use super::pipeline::{DEADLINE, Pipeline};
use super::postgres::{PASSWORD, Postgres, Stop};
use super::record::inserted;
use super::wait_until;

/// The first major whose standbys decode.
pub const DECODES: u32 = 16;

/// The database is on the primary; the program reads the standby, unless a test says otherwise.
pub struct Pair {
    pub pipeline: Pipeline,
    state: TempDir,
    pub standby: Postgres,
    pub primary: Postgres,
}

impl Pair {
    pub fn new(name: &str) -> Pair {
        Pair::with(name, &[], &[])
    }

    /// With settings of the primary, which its standby has too, and of the standby alone.
    pub fn with(name: &str, of_both: &[(&str, &str)], of_standby: &[(&str, &str)]) -> Pair {
        let primary = Postgres::start(&[&[("checkpoint_timeout", "1h")], of_both].concat());
        let pipeline = Pipeline::on(&primary, name).in_process();
        let table = "CREATE TABLE t (id int8 PRIMARY KEY)";
        pipeline.database.execute(table);
        let standby = primary.standby_with(of_standby);
        Pair {
            pipeline,
            state: temp_dir("state-"),
            standby,
            primary,
        }
    }

    /// Whether the standby can be a source.
    pub fn decodes(&self) -> bool {
        self.standby.major() >= DECODES
    }

    pub fn without_state(&self) -> ConfigFile {
        self.pipeline.config().fluvio("timeout", "2s")
    }

    pub fn with_state(&self) -> ConfigFile {
        let state_dir = self.state.path().display().to_string();
        self.without_state().set("state_dir", &state_dir)
    }

    /// What the state file says.
    pub fn state(&self) -> serde_json::Value {
        let file = format!("{}.json", self.pipeline.slot);
        let text = std::fs::read_to_string(self.state.path().join(file));
        serde_json::from_str(&text.expect("there is a state file")).expect("it is JSON")
    }

    pub fn url(&self) -> String {
        self.standby.url(self.pipeline.database.name())
    }

    /// The primary first, then the standby, and whichever of them answers.
    pub fn url_of_both(&self) -> String {
        let ports = [self.primary.port(), self.standby.port()];
        format!(
            "postgres://postgres:{PASSWORD}@127.0.0.1:{},127.0.0.1:{}/{}",
            ports[0],
            ports[1],
            self.pipeline.database.name()
        )
    }

    pub fn publish(&self) {
        let publication = &self.pipeline.publication;
        let publish = format!("CREATE PUBLICATION {publication} FOR ALL TABLES");
        self.pipeline.database.execute(&publish);
        self.wait_replayed();
    }

    /// On the primary.
    pub fn insert(&self, id: i64) {
        let database = &self.pipeline.database;
        database.execute(&format!("INSERT INTO t VALUES ({id})"));
    }

    /// On the standby, once that is a primary.
    pub fn insert_on_promoted(&self, id: i64) {
        let mut client = self.client();
        client
            .execute("INSERT INTO t VALUES ($1)", &[&id])
            .expect("it is a primary now");
    }

    /// On the standby.
    pub fn client(&self) -> Client {
        Client::connect(&self.url(), NoTls).expect("the standby takes sessions")
    }

    /// The first column of the only row, if there is one, on the standby.
    pub fn ask(&self, sql: &str) -> Option<String> {
        let rows = self
            .client()
            .query(&format!("SELECT x::text FROM ({sql}) AS s(x)"), &[]);
        let rows = rows.unwrap_or_else(|error| panic!("{error:?} in {sql}"));
        rows.first().and_then(|row| row.get(0))
    }

    pub fn wait_standby(&self, what: &str, sql: &str) {
        wait_until(what, DEADLINE, || self.ask(sql).is_some());
    }

    /// Waits until the standby has replayed everything that the primary has written now.
    pub fn wait_replayed(&self) {
        let written = self
            .pipeline
            .database
            .query_one_text("SELECT pg_current_wal_insert_lsn()");
        let replayed = format!("SELECT 1 WHERE pg_last_wal_replay_lsn() >= '{written}'");
        self.wait_standby("it is replayed", &replayed);
    }

    /// An expression over the slot on the standby.
    pub fn slot(&self, expression: &str) -> Option<String> {
        let slot = &self.pipeline.slot;
        let of_slot = format!("FROM pg_replication_slots WHERE slot_name = '{slot}'");
        self.ask(&format!("SELECT {expression} {of_slot}"))
    }

    pub fn wait_free(&self) {
        wait_until("nobody reads the slot", DEADLINE, || {
            self.slot("active").as_deref() == Some("false")
        });
    }

    /// Waits until the slot on the standby has confirmed what is replayed now.
    pub fn wait_confirmed(&self) {
        let replayed = self.ask("SELECT pg_last_wal_replay_lsn()");
        let replayed = replayed.expect("a standby has a position");
        self.wait_slot(&replayed);
    }

    /// Waits until the slot on the standby has confirmed so much.
    pub fn wait_slot(&self, lsn: &str) {
        wait_until("the slot confirms it", DEADLINE, || {
            let confirms = format!("confirmed_flush_lsn >= '{lsn}'");
            self.slot(&confirms).as_deref() == Some("true")
        });
    }

    /// Starts the program; the primary helps where the standby waits for it.
    #[track_caller]
    pub fn start(&self, config: &ConfigFile) -> Connector {
        let connector = Connector::spawn_config(config, &self.url(), &[]);
        wait_until("it streams", DEADLINE, || {
            let log = connector.log();
            if log.contains("making the replication slot") && !log.contains("streaming from") {
                let database = &self.pipeline.database;
                database.execute("SELECT pg_log_standby_snapshot()");
            }
            log.contains("streaming from") || !connector.is_running()
        });
        assert!(connector.is_running(), "{}", connector.log());
        connector
    }

    /// Stops the program in order.
    #[track_caller]
    pub fn stop(&self, mut connector: Connector) {
        connector.sigterm();
        assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    }

    pub fn rows(&self) -> Vec<i64> {
        inserted(&self.pipeline.records())
    }

    pub fn wait_rows(&self, rows: &[i64]) {
        wait_until("the rows arrive", DEADLINE, || self.rows() == rows);
    }

    /// The same, and the program is still there.
    #[track_caller]
    pub fn wait_rows_of(&self, connector: &Connector, rows: &[i64]) {
        wait_until("the rows arrive, or the program ends", DEADLINE, || {
            self.rows() == rows || !connector.is_running()
        });
        assert!(connector.is_running(), "{}", connector.log());
    }

    pub fn fails(&self, code: i32, says: &[&str]) -> String {
        let config = self.with_state();
        let outcome = run_to_end(&config.path(), &self.url(), &[], FAIL_DEADLINE);
        assert_end(outcome, code, says)
    }

    /// Ends the standby as a crash does, and starts it with these settings besides.
    pub fn crash_standby(&self, settings: &[(&str, &str)]) {
        self.standby.stop(Stop::Immediate);
        self.standby.add_settings(settings);
        self.standby.start_again();
    }

    /// Makes the standby a primary, and waits until it is one.
    pub fn promote(&self) {
        let promoted = self.ask("SELECT pg_promote()");
        assert_eq!(promoted.as_deref(), Some("true"));
    }
}
