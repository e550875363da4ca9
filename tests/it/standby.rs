//! A standby as the source: from version 16 on it can be one, before the program says so.

use postgres::{Client, NoTls};

use crate::support::connector::{ConfigFile, Connector, run_to_end, temp_dir};
use crate::support::outcome::{FAIL_DEADLINE, assert_end};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::Postgres;
use crate::support::record::{Record, inserted};
use crate::support::stopped::run_verb;
use crate::support::wait_until;
use tempfile::TempDir;

/// The first major whose standbys decode.
const DECODES: u32 = 16;

/// A primary with a table `t`, its standby, and a topic.
struct Pair {
    pipeline: Pipeline,
    state: TempDir,
    standby: Postgres,
    _primary: Postgres,
}

impl Pair {
    fn new(name: &str) -> Pair {
        let primary = Postgres::start(&[("checkpoint_timeout", "1h")]);
        let pipeline = Pipeline::on(&primary, name).in_process();
        let table = "CREATE TABLE t (id int8 PRIMARY KEY)";
        pipeline.database.execute(table);
        let standby = primary.standby();
        Pair {
            pipeline,
            state: temp_dir("state-"),
            standby,
            _primary: primary,
        }
    }

    fn config(&self) -> ConfigFile {
        let state_dir = self.state.path().display().to_string();
        self.pipeline.config().set("state_dir", &state_dir)
    }

    fn url(&self) -> String {
        self.standby.url(self.pipeline.database.name())
    }

    fn publish(&self) {
        let publication = &self.pipeline.publication;
        let publish = format!("CREATE PUBLICATION {publication} FOR ALL TABLES");
        self.pipeline.database.execute(&publish);
        let published = format!("SELECT 1 FROM pg_publication WHERE pubname = '{publication}'");
        self.wait_standby("the publication arrives", &published);
    }

    /// The first column of the only row, if there is one, on the standby.
    fn ask(&self, sql: &str) -> Option<String> {
        let mut client = Client::connect(&self.url(), NoTls).expect("the standby takes sessions");
        let rows = client.query(&format!("SELECT x::text FROM ({sql}) AS s(x)"), &[]);
        let rows = rows.unwrap_or_else(|error| panic!("{error:?} in {sql}"));
        rows.first().and_then(|row| row.get(0))
    }

    fn wait_standby(&self, what: &str, sql: &str) {
        wait_until(what, DEADLINE, || self.ask(sql).is_some());
    }

    /// Starts the program; the primary helps where the standby waits for it.
    fn start(&self, config: &ConfigFile) -> Connector {
        let connector = Connector::spawn_config(config, &self.url(), &[]);
        wait_until("it streams", DEADLINE, || {
            let log = connector.log();
            if log.contains("making the replication slot") && !log.contains("streaming from") {
                let database = &self.pipeline.database;
                database.execute("SELECT pg_log_standby_snapshot()");
            }
            log.contains("streaming from")
        });
        connector
    }

    fn wait_rows(&self, rows: &[i64]) {
        wait_until("the rows arrive", DEADLINE, || {
            inserted(&self.pipeline.records()) == rows
        });
    }

    fn fails(&self, code: i32, says: &[&str]) -> String {
        let outcome = run_to_end(&self.config().path(), &self.url(), &[], FAIL_DEADLINE);
        assert_end(outcome, code, says)
    }
}

#[test]
fn it_is_read_and_goes_on_when_it_is_promoted() {
    let pair = Pair::new("standby");
    if pair.standby.major() < DECODES {
        let says = [
            "it is a standby, and PostgreSQL",
            "decodes on a primary only",
            "target_session_attrs=read-write finds it",
        ];
        pair.fails(78, &says);
        return;
    }
    let says = [
        "does not exist, and this server is a standby",
        "run: CREATE PUBLICATION",
    ];
    pair.fails(78, &says);
    pair.publish();

    let database = &pair.pipeline.database;
    let mut connector = pair.start(&pair.config());
    let log = connector.log();
    assert!(log.contains("SELECT pg_log_standby_snapshot()"), "{log}");
    database.execute("INSERT INTO t VALUES (1)");
    pair.wait_rows(&[1]);

    // A new session finds slot and topic as they were.
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    database.execute("INSERT INTO t VALUES (2)");
    pair.wait_standby("row 2 arrives", "SELECT 2 FROM t WHERE id = 2");
    let (code, log, pending) = run_verb("peek", &pair.config(), &pair.url(), &[]);
    assert_eq!(code, 0, "{log}");
    let pending: Vec<Vec<u8>> = pending.into_iter().map(String::into_bytes).collect();
    assert_eq!(inserted(&Record::parse_all(&pending)), [2]);
    let mut connector = pair.start(&pair.config());
    pair.wait_rows(&[1, 2]);

    assert_eq!(pair.ask("SELECT pg_promote()").as_deref(), Some("true"));
    let insert = |id: i64| {
        pair.ask(&format!("SELECT {id}")).map(|_| {
            let mut client = Client::connect(&pair.url(), NoTls).expect("it takes sessions");
            client
                .execute("INSERT INTO t VALUES ($1)", &[&id])
                .expect("it is a primary now")
        })
    };
    insert(3);
    pair.wait_rows(&[1, 2, 3]);
    // It is on another timeline, and its history is the topic's all the same.
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    let _connector = pair.start(&pair.config());
    insert(4);
    pair.wait_rows(&[1, 2, 3, 4]);
}

/// The primary removes rows of the catalog that the slot needs, and the standby has to follow.
#[test]
fn a_conflict_with_the_primary_is_a_gap() {
    let pair = Pair::new("conflict");
    if pair.standby.major() < DECODES {
        pair.fails(78, &["it is a standby"]);
        return;
    }
    pair.publish();
    let mut connector = pair.start(&pair.config());
    let database = &pair.pipeline.database;
    database.execute("INSERT INTO t VALUES (1)");
    pair.wait_rows(&[1]);
    database.execute("CREATE TABLE gone (id int)");
    database.execute("DROP TABLE gone");
    database.execute("VACUUM pg_class");
    database.execute("SELECT pg_log_standby_snapshot()");
    let code = connector.wait_exit(DEADLINE);
    let outcome = (code, connector.log(), Vec::new());
    assert_end(
        outcome,
        76,
        &["was invalidated by the server (", "hot_standby_feedback"],
    );
}
