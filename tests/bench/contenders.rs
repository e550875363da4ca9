//! Who reads the WAL, and where to.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use postgres_source::base::Lsn;
use tempfile::TempDir;

use crate::Result;
use crate::fluvio::Fluvio;
use crate::support::connector::leash::{Leash, temp_dir};
use crate::support::connector::{ConfigFile, URL_VARIABLE, program};
use crate::support::postgres::{Database, PASSWORD, Postgres};

/// The publication of all tables, in each database.
pub const PUBLICATION: &str = "bench";

/// A reader of a replication slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// PostgreSQL's own client, which writes the messages of pgoutput as they come.
    RecvLogical,
    /// The same with the plugin that makes JSON within the server.
    Wal2json,
    /// This program, to standard output.
    Stdout,
    /// The same in the row format.
    StdoutRows,
    /// This program, into a topic.
    Topic,
    /// The same in the row format.
    TopicRows,
    /// The same over many partitions, by the keys of the rows.
    Lanes,
}

/// The partitions of [`Contender::Lanes`].
pub const LANES: u32 = 16;

/// What it reads.
pub struct Source<'a> {
    pub database: &'a Database,
    pub slot: &'a str,
    /// Where pg_recvlogical ends; it goes on without.
    pub end: Option<u64>,
}

/// Where its records go.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    /// Standard output goes here.
    pub stdout: Output,
    pub fluvio: Option<&'a Fluvio>,
    pub topic: &'a str,
    /// Other keys of the config file, such as how often the stored position is reported.
    pub settings: &'a [(&'a str, &'a str)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Null,
    Pipe,
}

/// A contender that runs. It is killed on drop and also when this process dies.
pub struct Running {
    pub child: Child,
    dir: TempDir,
    _config: ConfigFile,
    _leash: Leash,
}

impl Contender {
    pub const ALL: [Contender; 7] = [
        Contender::RecvLogical,
        Contender::Wal2json,
        Contender::Stdout,
        Contender::StdoutRows,
        Contender::Topic,
        Contender::TopicRows,
        Contender::Lanes,
    ];

    /// Its name on the command line and in the names of slots.
    pub fn name(self) -> &'static str {
        match self {
            Contender::RecvLogical => "pg_recvlogical",
            Contender::Wal2json => "wal2json",
            Contender::Stdout => "stdout",
            Contender::StdoutRows => "stdout_rows",
            Contender::Topic => "topic",
            Contender::TopicRows => "topic_rows",
            Contender::Lanes => "lanes",
        }
    }

    /// Its name in the results.
    pub fn title(self) -> &'static str {
        match self {
            Contender::RecvLogical => "pg_recvlogical, pgoutput raw",
            Contender::Wal2json => "pg_recvlogical, wal2json format 2",
            Contender::Stdout => "postgres-source to standard output",
            Contender::StdoutRows => "postgres-source to standard output, rows",
            Contender::Topic => "postgres-source into Fluvio",
            Contender::TopicRows => "postgres-source into Fluvio, rows",
            Contender::Lanes => "postgres-source into Fluvio, rows over 16 lanes by key",
        }
    }

    /// The plugin of its slot.
    pub fn plugin(self) -> &'static str {
        match self {
            Contender::Wal2json => "wal2json",
            _ => "pgoutput",
        }
    }

    /// Whether it is this program, which has read everything when the slot says so and then waits
    /// for more. The others end when they have.
    pub fn is_ours(self) -> bool {
        !matches!(self, Contender::RecvLogical | Contender::Wal2json)
    }

    /// Whether it writes into a cluster.
    pub fn is_into_topic(self) -> bool {
        matches!(
            self,
            Contender::Topic | Contender::TopicRows | Contender::Lanes
        )
    }

    /// Whether it writes a record a change, and nothing else.
    pub fn is_of_rows(self) -> bool {
        matches!(
            self,
            Contender::StdoutRows | Contender::TopicRows | Contender::Lanes
        )
    }

    /// The one that differs from it in one thing only.
    pub fn sibling(self) -> Option<Contender> {
        match self {
            Contender::StdoutRows => Some(Contender::Stdout),
            Contender::TopicRows => Some(Contender::Topic),
            Contender::Lanes => Some(Contender::TopicRows),
            _ => None,
        }
    }

    /// How many partitions its topic has.
    pub fn partitions(self) -> u32 {
        match self {
            Contender::Lanes => LANES,
            _ => 1,
        }
    }

    /// What its config has that those of the others have not.
    fn settings(self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        if self.is_of_rows() {
            settings.push(("format", "rows".to_owned()));
        }
        if self.partitions() > 1 {
            settings.push(("partition", "key".to_owned()));
            settings.push(("partitions", self.partitions().to_string()));
        }
        settings
    }

    /// Starts it. All come over TCP on the loopback interface, with the same password.
    pub fn start(self, source: &Source<'_>, destination: &Destination<'_>) -> Result<Running> {
        let dir = temp_dir("contender-");
        let mut config = ConfigFile::new(destination.topic, PUBLICATION, source.slot);
        for (key, value) in self.settings() {
            config = config.set(key, &value);
        }
        for (key, value) in destination.settings {
            config = config.set(key, value);
        }
        if let Some(fluvio) = destination.fluvio {
            config = config.fluvio("endpoint", &fluvio.sc_addr);
        }
        let mut command = match self {
            Contender::RecvLogical | Contender::Wal2json => self.recvlogical(source),
            _ => self.postgres_source(source, &config),
        };
        let log = log_file(&dir);
        let log = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let child = command
            .env("HOME", dir.path())
            .stdin(Stdio::null())
            .stdout(match destination.stdout {
                Output::Null => Stdio::null(),
                Output::Pipe => Stdio::piped(),
            })
            .stderr(log)
            .spawn()
            .map_err(|e| format!("{}: {e}", command.get_program().display()))?;
        let leash = Leash::hold(child.id());
        Ok(Running {
            child,
            dir,
            _config: config,
            _leash: leash,
        })
    }

    fn recvlogical(self, source: &Source<'_>) -> Command {
        let mut command = without_settings(Postgres::bin_dir().join("pg_recvlogical"));
        command
            .env("PGPASSWORD", PASSWORD)
            .args(["--start", "--no-loop", "--file=-"])
            .args(["--host=127.0.0.1", "--username=postgres"])
            .arg(format!("--port={}", source.database.port()))
            .arg(format!("--dbname={}", source.database.name()))
            .arg(format!("--slot={}", source.slot));
        match self {
            Contender::Wal2json => command.arg("--option=format-version=2"),
            _ => command
                .arg("--option=proto_version=1")
                .arg(format!("--option=publication_names={PUBLICATION}")),
        };
        if let Some(end) = source.end {
            command.arg(format!("--endpos={}", Lsn(end)));
        }
        command
    }

    fn postgres_source(self, source: &Source<'_>, config: &ConfigFile) -> Command {
        let mut command = without_settings(program());
        command
            .env(URL_VARIABLE, source.database.url())
            .args(["run", "--once", "--config"])
            .arg(config.path());
        if !self.is_into_topic() {
            command.arg("--stdout");
        }
        command
    }
}

impl Running {
    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(log_file(&self.dir)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_file(dir: &TempDir) -> PathBuf {
    dir.path().join("log")
}

/// A command that the settings of whoever measures do not reach.
fn without_settings(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_setting = ["PG", "FLUVIO", "FLV", "RUST_LOG"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        if is_setting {
            command.env_remove(&name);
        }
    }
    command
}
