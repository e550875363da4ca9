//! The PostgreSQL that the program reads: a primary, or a standby and the primary that it follows.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::super::postgres::{Database, PASSWORD, Postgres, Stop};
use super::super::{POLL_INTERVAL, wait_until};
use super::plan;

/// How long a walsender waits for a sign of life.
pub const WAL_SENDER_TIMEOUT: Duration = Duration::from_secs(2);

/// The role of the program.
const ROLE: &str = "tortured";

/// The physical slot of the standby on its primary.
const STANDBY_SLOT: &str = "standby";

/// A standby tells its primary what it needs every second.
const FEEDBACK_DEADLINE: Duration = Duration::from_secs(20);
/// A primary that stops has sent everything by then, unless the standby was not connected.
const RECEIVE_DEADLINE: Duration = Duration::from_secs(10);
/// How often a primary is stopped in vain before a promotion.
const PROMOTE_TRIES: usize = 5;
/// What was written on the primary is replayed on the standby much sooner.
const REPLAY_DEADLINE: Duration = Duration::from_secs(60);

type Result<T = ()> = std::result::Result<T, String>;

/// The servers and the tortured database on each, in the order in which they are dropped.
pub struct Source {
    /// The one that the program reads.
    pub database: Database,
    pub postgres: Postgres,
    primary: Option<Primary>,
    is_promoted: AtomicBool,
}

struct Primary {
    database: Database,
    postgres: Postgres,
}

impl Source {
    /// A server that is read and written.
    pub fn primary(writers: usize) -> Source {
        let primary = Primary::start(writers);
        Source {
            database: primary.database,
            postgres: primary.postgres,
            primary: None,
            is_promoted: AtomicBool::new(false),
        }
    }

    /// A standby that is read, and its primary, which has the publication.
    pub fn standby(writers: usize, publication: &str) -> Source {
        let primary = Primary::start(writers);
        let database = &primary.database;
        database.execute(&format!("CREATE PUBLICATION {publication} FOR ALL TABLES"));
        database.execute(&format!(
            "SELECT pg_create_physical_replication_slot('{STANDBY_SLOT}')"
        ));
        // The primary keeps the rows of the catalog that the standby decodes with, also while that
        // one is away.
        let standby = primary.postgres.standby_with(&[
            ("hot_standby_feedback", "on"),
            ("primary_slot_name", STANDBY_SLOT),
            ("wal_receiver_status_interval", "1s"),
            ("wal_retrieve_retry_interval", "100ms"),
        ]);
        // The copy has the slot too, which would keep all of the WAL.
        let of_standby = standby.database_named(primary.database.name());
        of_standby.execute(&format!(
            "SELECT pg_drop_replication_slot('{STANDBY_SLOT}')"
        ));
        Source {
            database: of_standby,
            postgres: standby,
            primary: Some(primary),
            is_promoted: AtomicBool::new(false),
        }
    }

    /// Whether it is a standby now.
    pub fn is_standby(&self) -> bool {
        self.followed().is_some()
    }

    /// Where the writers write.
    pub fn writable(&self) -> &Database {
        self.followed().map_or(&self.database, |it| &it.database)
    }

    /// The role that the program connects as gets a setting.
    pub fn set_role(&self, name: &str, value: &str) -> std::result::Result<(), postgres::Error> {
        let set = format!("ALTER ROLE {ROLE} SET {name} = '{value}'");
        self.writable().try_execute(&set)
    }

    /// Where the program connects to, as a role of its own.
    pub fn url_at(&self, port: u16) -> String {
        let url = self.database.url_at(port);
        let (_, place) = url.rsplit_once('@').expect("a URL with a user");
        format!("postgres://{ROLE}:{PASSWORD}@{place}")
    }

    /// All that is written by now; on a standby it is replayed.
    pub fn written(&self) -> Result<u64> {
        let written = self.writable().current_wal_lsn();
        if self.is_standby() {
            self.wait_at_least("pg_last_wal_replay_lsn()", written, REPLAY_DEADLINE)?;
        }
        Ok(written)
    }

    /// What the making of a slot on a standby waits for.
    pub fn help_slot(&self) {
        if let Some(primary) = self.followed() {
            let snapshot = "SELECT pg_log_standby_snapshot()";
            // With other faults it may be away.
            let _ = primary.database.try_execute(snapshot);
        }
    }

    /// Makes sure that the primary keeps the rows of the catalog that the new slot needs: it knows of
    /// it, and does so after a crash too.
    pub fn protect_slot(&self) {
        let Some(primary) = self.followed() else {
            return;
        };
        let known = format!(
            "SELECT count(catalog_xmin) FROM pg_replication_slots WHERE slot_name = '{STANDBY_SLOT}'"
        );
        wait_until("the primary hears of the slot", FEEDBACK_DEADLINE, || {
            primary.database.query_one_text(&known) == "1"
        });
        primary.database.execute("CHECKPOINT");
    }

    /// Stops the primary of the standby and starts it again.
    pub fn restart_primary(&self, mode: Stop, away: Duration) {
        let primary = self.followed().expect("the source is a standby");
        primary.postgres.stop(mode);
        thread::sleep(away);
        primary.postgres.start_again();
    }

    /// Makes the standby the primary. Nothing is lost by that: the old one has stopped in order, and
    /// the standby has all that was written there.
    pub fn promote(&self) -> Result {
        let primary = self.followed().expect("the source is a standby");
        for _ in 0..PROMOTE_TRIES {
            primary.postgres.stop(Stop::Fast);
            let checkpoint = primary.shutdown_checkpoint();
            // A position is where something ends: the checkpoint is received when more than its
            // beginning is.
            let received = "pg_last_wal_receive_lsn()";
            let is_received = self.wait_at_least(received, checkpoint + 1, RECEIVE_DEADLINE);
            if is_received.is_err() {
                primary.postgres.start_again();
                continue;
            }
            let promoted = self.database.query_one_text("SELECT pg_promote(true, 60)");
            if promoted != "t" {
                return Err("the standby is not promoted".to_owned());
            }
            self.is_promoted.store(true, Ordering::SeqCst);
            return Ok(());
        }
        Err("the standby does not receive what its primary sends at its end".to_owned())
    }

    /// What the servers logged, each with the name of a file.
    pub fn logs(&self) -> Vec<(&'static str, String)> {
        let mut logs = vec![("postgres.log", self.postgres.log())];
        let primary = self.primary.as_ref();
        logs.extend(primary.map(|primary| ("primary.log", primary.postgres.log())));
        logs
    }

    fn followed(&self) -> Option<&Primary> {
        let is_promoted = self.is_promoted.load(Ordering::SeqCst);
        self.primary.as_ref().filter(|_| !is_promoted)
    }

    /// Waits until a position on the standby is at least that.
    fn wait_at_least(&self, position: &str, goal: u64, deadline: Duration) -> Result {
        let sql = format!("SELECT coalesce({position}, '0/0') - '0/0'::pg_lsn");
        let until = Instant::now() + deadline;
        loop {
            let is_late = Instant::now() >= until;
            let found = self.database.query_one_text(&sql);
            if found.parse::<u64>().is_ok_and(|found| found >= goal) {
                return Ok(());
            }
            if is_late {
                return Err(format!("{position} is {found}, not {goal}"));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Primary {
    fn start(writers: usize) -> Primary {
        let timeout_ms = WAL_SENDER_TIMEOUT.as_millis().to_string();
        let postgres = Postgres::start(&[("wal_sender_timeout", &timeout_ms)]);
        let database = postgres.database("torture");
        database.execute(&plan::definitions(writers));
        let role = format!("CREATE ROLE {ROLE} LOGIN SUPERUSER REPLICATION PASSWORD '{PASSWORD}'");
        database.execute(&role);
        Primary { database, postgres }
    }

    /// Where the last checkpoint of the stopped server begins.
    ///
    /// It stands in global/pg_control behind the system identifier (8 bytes), the versions of the
    /// file and of the catalog (4 each), the state (4, and 4 of padding) and the time (8).
    fn shutdown_checkpoint(&self) -> u64 {
        let control = self.postgres.data_dir().join("global/pg_control");
        let control = fs::read(control).expect("a stopped server leaves its control file");
        let bytes = control[32..40].try_into().expect("8 bytes");
        u64::from_ne_bytes(bytes)
    }
}
