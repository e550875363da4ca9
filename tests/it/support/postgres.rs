//! Real PostgreSQL servers for the tests: throw-away clusters and databases.
#![allow(dead_code)]

mod account;
mod database;
mod guardian;

pub use account::write_private;
pub use database::Database;

use super::{lock, ports, wait_until};
use account::{Account, clear_environment};
use guardian::Guardian;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The superuser's password. It is odd enough that a test can search logs for it.
pub const PASSWORD: &str = "hush-Zq7-never-in-a-log";

/// What [`Postgres::start`] lets in: everybody with a password over TCP.
pub const DEFAULT_HBA: &str = "host all all 127.0.0.1/32 scram-sha-256\n\
                               host replication all 127.0.0.1/32 scram-sha-256\n";

/// The helpers themselves come in over the Unix socket, whatever a test's rules say.
const HELPERS_HBA: &str = "local all postgres trust\n";

/// Only settings that every major from 10 on knows.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("wal_level", "logical"),
    ("max_connections", "300"),
    ("max_replication_slots", "50"),
    ("max_wal_senders", "50"),
    ("max_prepared_transactions", "20"),
    ("fsync", "off"),
    // Up to version 14 its transactions come too, empty, when nobody expects them.
    ("autovacuum", "off"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("log_line_prefix", "%m [%p] %a %d: "),
    ("log_replication_commands", "on"),
    ("logging_collector", "off"),
];

const START_DEADLINE: Duration = Duration::from_secs(60);
/// A fast stop waits until every receiver has confirmed all of the WAL.
const STOP_DEADLINE: Duration = Duration::from_secs(60);
/// How often another port is tried when somebody was faster.
const PORT_TRIES: usize = 5;

/// How a server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Sessions end, walsenders send the rest of the WAL first, then a checkpoint.
    Fast,
    /// As in a crash: everything ends at once and the next start recovers from the WAL.
    Immediate,
}

/// A cluster in a temporary directory, on a port of 127.0.0.1 and a Unix socket.
///
/// It ends on drop and also when the test process dies in any other way.
pub struct Postgres {
    home: PathBuf,
    account: Account,
    port: u16,
    major: u32,
    guardian: Mutex<Guardian>,
}

impl Postgres {
    /// The one server of this test process, started on first use.
    pub fn shared() -> &'static Postgres {
        // Statics are not dropped: the guardian ends this server when the process ends.
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Postgres::start(&[]))
    }

    /// A server of its own for a test that needs settings or stops it.
    pub fn start(settings: &[(&str, &str)]) -> Postgres {
        Postgres::start_with(settings, DEFAULT_HBA, &[])
    }

    /// A server with `hba` as its pg_hba.conf (after one line that lets the helpers in over
    /// the Unix socket) and with `files`, a name and contents each, in its data directory.
    pub fn start_with(settings: &[(&str, &str)], hba: &str, files: &[(&str, &str)]) -> Postgres {
        let bin = Postgres::bin_dir();
        let account = Account::of_the_server();
        let home = temp_home(&account);
        init_cluster(&bin, &account, home.path());
        let mut server = Postgres::of_the_data_in(home, account);
        server.set_hba(hba);
        for (name, contents) in files {
            server.write_data_file(name, contents);
        }
        let socket_dir = server.home.display().to_string();
        server.add_settings(SETTINGS);
        server.add_settings(&[("unix_socket_directories", &socket_dir)]);
        server.add_settings(settings);
        server.start_on_a_free_port();
        server
    }

    /// A standby of this server, which is stopped while its data is copied.
    pub fn standby(&self) -> Postgres {
        self.standby_with(&[])
    }

    /// The same with settings of its own.
    pub fn standby_with(&self, settings: &[(&str, &str)]) -> Postgres {
        let account = Account::of_the_server();
        let home = temp_home(&account);
        self.stop(Stop::Fast);
        self.copy(&self.data_dir(), &home.path().join("data"));
        self.start_again();
        let mut standby = Postgres::of_the_data_in(home, account);
        let socket_dir = standby.home.display().to_string();
        standby.add_settings(&[("unix_socket_directories", &socket_dir)]);
        let primary = format!(
            "host=127.0.0.1 port={} user=postgres password={PASSWORD}",
            self.port
        );
        standby.follow(&primary);
        standby.add_settings(settings);
        standby.start_on_a_free_port();
        standby
    }

    /// The next start is that of a standby of the server that `primary` connects to.
    pub fn follow(&self, primary: &str) {
        if self.major >= 12 {
            self.write_data_file("standby.signal", "");
            self.add_settings(&[("primary_conninfo", primary)]);
        } else {
            let recovery = format!("standby_mode = on\nprimary_conninfo = '{primary}'\n");
            self.write_data_file("recovery.conf", &recovery);
        }
    }

    fn of_the_data_in(home: TempDir, account: Account) -> Postgres {
        let data = home.path().join("data");
        let major = fs::read_to_string(data.join("PG_VERSION"))
            .expect("initdb writes PG_VERSION")
            .trim()
            .parse()
            .expect("a major from 10 on is one number");
        let mut postmaster = account.command(&Postgres::bin_dir().join("postgres"));
        postmaster.arg("-D").arg(&data);
        // From here on the directory is the guardian's to remove.
        let home = home.keep();
        let guardian = Guardian::new(&home, &home.join("log"), &postmaster);
        Postgres {
            home,
            account,
            port: 0,
            major,
            guardian: Mutex::new(guardian),
        }
    }

    /// Where initdb and postgres are.
    pub fn bin_dir() -> PathBuf {
        if let Some(dir) = std::env::var_os("POSTGRES_BIN") {
            let dir = PathBuf::from(dir);
            assert!(
                dir.join("initdb").exists(),
                "POSTGRES_BIN is {}, which has no initdb",
                dir.display()
            );
            return dir;
        }
        let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        installed
            .flatten()
            .filter_map(|entry| {
                let major: u32 = entry.file_name().to_str()?.parse().ok()?;
                let bin = entry.path().join("bin");
                bin.join("initdb").exists().then_some((major, bin))
            })
            .max()
            .map(|(_, bin)| bin)
            .expect(
                "no PostgreSQL server is installed: `apt-get install postgresql`, or set \
                 POSTGRES_BIN to a directory that has initdb and postgres",
            )
    }

    /// The major version of the servers in [`Self::bin_dir`].
    pub fn installed_major() -> u32 {
        let mut command = Command::new(Postgres::bin_dir().join("postgres"));
        let output = command.arg("--version").output().expect("postgres runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        let major = numbers.find_map(|number| number.parse().ok());
        major.unwrap_or_else(|| panic!("a version without a number: {text}"))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn socket_dir(&self) -> &Path {
        &self.home
    }

    pub fn data_dir(&self) -> PathBuf {
        self.home.join("data")
    }

    pub fn major(&self) -> u32 {
        self.major
    }

    /// The superuser's URL over TCP.
    pub fn url(&self, database: &str) -> String {
        self.url_at(self.port, database)
    }

    /// The superuser's URL through a proxy on `port`.
    pub fn url_at(&self, port: u16, database: &str) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/{database}")
    }

    /// A command that runs under the server's account, which is not root.
    pub fn command(&self, program: &Path) -> Command {
        self.account.command(program)
    }

    /// A fresh database whose name begins with `prefix`.
    #[track_caller]
    pub fn database(&self, prefix: &str) -> Database {
        Database::create(self.socket_dir(), self.port, prefix, "")
    }

    /// A database that is there already, as on a standby. It stays on drop.
    pub fn database_named(&self, name: &str) -> Database {
        Database::existing(self.socket_dir(), self.port, name)
    }

    /// A fresh database with an encoding of its own. The locale C goes with all of them.
    #[track_caller]
    pub fn database_in(&self, encoding: &str, prefix: &str) -> Database {
        let options =
            format!("ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
        Database::create(self.socket_dir(), self.port, prefix, &options)
    }

    /// Stops the server and waits until it has ended.
    pub fn stop(&self, mode: Stop) {
        self.begin_stop(mode);
        self.wait_stopped();
    }

    /// Tells the server to stop and does not wait.
    pub fn begin_stop(&self, mode: Stop) {
        lock(&self.guardian).signal(match mode {
            Stop::Fast => "INT",
            Stop::Immediate => "QUIT",
        });
    }

    pub fn wait_stopped(&self) {
        let end = Instant::now() + STOP_DEADLINE;
        while self.is_running() {
            assert!(
                Instant::now() < end,
                "the server did not stop:\n{}",
                self.log()
            );
        }
    }

    /// Starts the stopped server on the port that it had.
    pub fn start_again(&self) {
        assert!(!self.is_running(), "the server runs already");
        let end = Instant::now() + START_DEADLINE;
        while let Err(log) = self.launch() {
            assert!(Instant::now() < end, "the server did not start:\n{log}");
        }
    }

    pub fn restart(&self, mode: Stop) {
        self.stop(mode);
        self.start_again();
    }

    pub fn is_running(&self) -> bool {
        lock(&self.guardian).runs()
    }

    /// Keeps a copy of the data of the stopped server, as a backup of its files does.
    pub fn save_data(&self) {
        let saved = self.home.join("saved");
        let _ = fs::remove_dir_all(&saved);
        self.copy(&self.data_dir(), &saved);
    }

    /// Puts the copy in the place of the data of the stopped server.
    pub fn restore_data(&self) {
        fs::remove_dir_all(self.data_dir()).expect("the data can be removed");
        self.copy(&self.home.join("saved"), &self.data_dir());
    }

    fn copy(&self, from: &Path, to: &Path) {
        assert!(!self.is_running(), "the files of a running server change");
        let mut copy = Command::new("cp");
        let status = copy.arg("-a").arg(from).arg(to).status();
        assert!(status.expect("cp runs").success(), "{}", from.display());
    }

    /// The next start recovers to the end of the WAL that there is, and begins a new timeline
    /// there, as a standby does that is promoted.
    pub fn promote_at_next_start(&self) {
        if self.major >= 12 {
            self.write_data_file("recovery.signal", "");
            self.add_settings(&[
                ("restore_command", "false"),
                ("recovery_target_timeline", "current"),
            ]);
        } else {
            self.write_data_file("recovery.conf", "restore_command = 'false'\n");
        }
    }

    /// The next start recovers and goes on to, as a standby does that has lost its primary.
    pub fn stand_by_at_next_start(&self) {
        if self.major >= 12 {
            self.write_data_file("standby.signal", "");
        } else {
            self.write_data_file("recovery.conf", "standby_mode = 'on'\n");
        }
    }

    /// The next timeline is not this one, but one after it.
    pub fn reserve_timeline(&self, timeline: u32) {
        let name = format!("pg_wal/{timeline:08X}.history");
        self.write_data_file(&name, "1\t0/1\ta standby of another name\n");
    }

    /// Appends to the configuration; [`Self::reload`] or [`Self::restart`] makes it valid.
    pub fn add_settings(&self, settings: &[(&str, &str)]) {
        let path = self.data_dir().join("postgresql.conf");
        let mut text = fs::read_to_string(&path).expect("initdb writes postgresql.conf");
        for (name, value) in settings {
            let value = value.replace('\'', "''");
            writeln!(text, "{name} = '{value}'").expect("a string takes it");
        }
        self.write_data_file("postgresql.conf", &text);
    }

    /// Replaces pg_hba.conf; [`Self::reload`] makes it valid.
    pub fn set_hba(&self, hba: &str) {
        self.write_data_file("pg_hba.conf", &format!("{HELPERS_HBA}{hba}\n"));
    }

    /// Makes the server read its configuration again and waits until it begins to.
    pub fn reload(&self) {
        let reloads = || self.log().matches("received SIGHUP").count();
        let before = reloads();
        lock(&self.guardian).signal("HUP");
        wait_until("the server reloads", START_DEADLINE, || reloads() > before);
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.home.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn start_on_a_free_port(&mut self) {
        let mut log = String::new();
        for _ in 0..PORT_TRIES {
            self.port = ports::free_port();
            self.add_settings(&[("port", &self.port.to_string())]);
            match self.launch() {
                Ok(()) => return,
                Err(text) => log = text,
            }
            if !log.contains("could not bind") {
                break;
            }
        }
        panic!("the server did not start:\n{log}");
    }

    /// Starts the postmaster and waits until it accepts connections; otherwise the log.
    fn launch(&self) -> Result<(), String> {
        let mut guardian = lock(&self.guardian);
        let pid = guardian.start();
        let end = Instant::now() + START_DEADLINE;
        while !self.is_ready(pid) {
            if !guardian.runs() || Instant::now() >= end {
                return Err(self.log());
            }
        }
        Ok(())
    }

    /// The way pg_ctl knows it: the last line of postmaster.pid.
    fn is_ready(&self, pid: u32) -> bool {
        let path = self.data_dir().join("postmaster.pid");
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines();
        // A file that a crash left behind has another number.
        let own = lines.next() == Some(pid.to_string().as_str());
        own && matches!(lines.nth(6).map(str::trim), Some("ready" | "standby"))
    }

    /// Writes a file into the data directory that only the server may read.
    pub fn write_data_file(&self, name: &str, contents: &str) {
        let path = self.data_dir().join(name);
        account::write_private(&path, contents);
        self.account.give(&path);
    }
}

fn temp_home(account: &Account) -> TempDir {
    let home = tempfile::Builder::new()
        .prefix("postgres-source-")
        .tempdir()
        .expect("a temporary directory can be made");
    account.give(home.path());
    home
}

/// A name that is used once in this process and needs no quotes in SQL.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn init_cluster(bin: &Path, account: &Account, home: &Path) {
    let password_file = home.join("password");
    account::write_private(&password_file, PASSWORD);
    account.give(&password_file);
    let mut initdb: Command = account.command(&bin.join("initdb"));
    clear_environment(&mut initdb);
    let output = initdb
        .current_dir("/")
        .arg("-D")
        .arg(home.join("data"))
        .arg(format!("--pwfile={}", password_file.display()))
        .args(["--username=postgres", "--encoding=UTF8"])
        .args(["--locale=C.UTF-8", "--no-sync"])
        .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
        .output()
        .expect("initdb can be run");
    assert!(
        output.status.success(),
        "initdb failed as user {}: {}{}",
        account.uid(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
