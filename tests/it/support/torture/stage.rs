//! Everything that is tortured: PostgreSQL, Fluvio, the lines between them, and the program.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use super::super::connector::{ConfigFile, Connector, URL_VARIABLE, run_command, temp_dir};
use super::super::fluvio::{Cluster, FluvioServer};
use super::super::postgres::{Database, Postgres};
use super::super::proxy::Proxy;
use super::super::random::Random;
use super::super::{POLL_INTERVAL, lock};
use super::plan;

/// What the program logs when a session begins.
pub const STREAMS: &str = "streaming from";

/// How long a walsender waits for a sign of life.
pub const WAL_SENDER_TIMEOUT: Duration = Duration::from_secs(1);

/// A stop takes up to 8 s when neither side answers.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const START_DEADLINE: Duration = Duration::from_secs(60);
const VERIFY_DEADLINE: Duration = Duration::from_secs(300);

const STOPPED: i32 = 0;
/// SIGTERM has no handler in the first moments of a process.
const TERMINATED: i32 = 128 + 15;
const KILLED: i32 = 128 + 9;

/// So much of the program's log is shown.
const LOG_TAIL: usize = 40;

/// The servers, the lines and the program, in the order in which they are dropped.
pub struct Stage {
    connector: Mutex<Held>,
    pub lines: Lines,
    pub database: Database,
    pub postgres: Postgres,
    pub cluster: Cluster,
    pub settings: Settings,
    pub slot: String,
    pub publication: String,
    pub topic: String,
    config: ConfigFile,
    state: TempDir,
}

/// The proxies. A real cluster tells its clients where the SPU is, so nothing stands in front of
/// that one.
pub struct Lines {
    pub postgres: Proxy,
    pub sc: Proxy,
    pub spu: Option<Proxy>,
}

/// What differs from round to round.
#[derive(Clone, Debug)]
pub struct Settings {
    pub timeout: Duration,
    pub confirm_delay: Duration,
    pub batch_size: &'static str,
    pub compression: &'static str,
    pub linger: &'static str,
    /// How long the SPU leads nothing after each start.
    pub not_leader: Option<Duration>,
}

/// The program, while it runs, and what those before it logged.
#[derive(Default)]
struct Held {
    running: Option<Connector>,
    logs: Vec<String>,
}

impl Settings {
    pub fn draw(random: &mut Random) -> Settings {
        Settings {
            timeout: Duration::from_secs(random.pick(&[1, 1, 2])),
            confirm_delay: Duration::from_millis(random.pick(&[0, 0, 300, 2000])),
            batch_size: random.pick(&["1MB", "64KB", "16KB", "4KB"]),
            compression: random.pick(&["none", "none", "lz4", "zstd", "snappy", "gzip"]),
            linger: random.pick(&["0ms", "0ms", "5ms"]),
            not_leader: random.pick(&[None, Some(Duration::from_millis(400))]),
        }
    }
}

impl Stage {
    /// Starts everything but the program.
    pub fn new(seed: u64, writers: usize, settings: Settings) -> Stage {
        let timeout_ms = WAL_SENDER_TIMEOUT.as_millis().to_string();
        let postgres = Postgres::start(&[("wal_sender_timeout", &timeout_ms)]);
        let database = postgres.database("torture");
        database.execute(&plan::definitions(writers));
        let cluster = Cluster::start();
        let lines = Lines {
            postgres: Proxy::start(format!("127.0.0.1:{}", postgres.port())),
            sc: Proxy::start(cluster.sc_addr()),
            spu: cluster.server().map(|server| {
                let proxy = Proxy::start(server.spu_addr());
                server.advertise_spu(proxy.port());
                server.set_not_leader_after_restart(settings.not_leader);
                proxy
            }),
        };
        // The topics of a real cluster outlive this process.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_ms = now.map_or(0, |now| now.as_millis());
        let topic = format!("torture-{seed:x}-{now_ms:x}");
        let (slot, publication) = ("torture_slot", "torture_publication");
        let state = temp_dir("state-");
        let ms = |duration: Duration| format!("{}ms", duration.as_millis());
        let config = ConfigFile::new(&topic, publication, slot)
            .fluvio("endpoint", &lines.sc.addr())
            .fluvio("timeout", &ms(settings.timeout))
            .set("retry", "{ min: 50ms, max: 500ms }")
            .set("status_interval", "100ms")
            .set("confirm_delay", &ms(settings.confirm_delay))
            .set("state_dir", &state.path().display().to_string())
            .producer("batch_size", settings.batch_size)
            .producer("compression", settings.compression)
            .producer("linger", settings.linger);
        Stage {
            connector: Mutex::default(),
            lines,
            database,
            postgres,
            cluster,
            settings,
            slot: slot.to_owned(),
            publication: publication.to_owned(),
            topic,
            config,
            state,
        }
    }

    /// The server in this process, for the faults that only it has.
    pub fn server(&self) -> Option<&FluvioServer> {
        self.cluster.server()
    }

    /// Starts the program.
    pub fn start(&self) {
        let mut held = lock(&self.connector);
        assert!(held.running.is_none(), "the program runs already");
        let url = self.database.url_at(self.lines.postgres.port());
        held.running = Some(Connector::spawn_config(&self.config, &url, &[]));
    }

    /// Waits until the program streams for the first time.
    pub fn wait_streaming(&self) {
        let held = lock(&self.connector);
        let connector = held.running.as_ref().expect("the program runs");
        connector.wait_log(STREAMS, START_DEADLINE);
    }

    /// Ends the program as a crash would.
    pub fn kill(&self) -> Result<(), String> {
        let mut connector = self.take()?;
        connector.end();
        self.keep(&connector, &[KILLED])
    }

    /// Asks the program to stop, and waits until it has.
    pub fn terminate(&self) -> Result<(), String> {
        let mut connector = self.take()?;
        connector.sigterm();
        connector.wait_exit(STOP_DEADLINE);
        self.keep(&connector, &[STOPPED, TERMINATED])
    }

    /// Asks the program to stop, and does not wait for long.
    pub fn terminate_and_kill(&self, patience: Duration) -> Result<(), String> {
        let mut connector = self.take()?;
        connector.sigterm();
        let asked = Instant::now();
        while connector.is_running() && asked.elapsed() < patience {
            thread::sleep(POLL_INTERVAL);
        }
        connector.end();
        self.keep(&connector, &[STOPPED, TERMINATED, KILLED])
    }

    /// Stops the program's process for a while; all of its connections stay.
    pub fn pause(&self, pause: Duration) -> Result<(), String> {
        self.check()?;
        let held = lock(&self.connector);
        let connector = held.running.as_ref().expect("the program runs");
        connector.signal("STOP");
        thread::sleep(pause);
        connector.signal("CONT");
        Ok(())
    }

    /// The program has not ended by itself.
    pub fn check(&self) -> Result<(), String> {
        let held = lock(&self.connector);
        match held.running.as_ref().and_then(Connector::exit_code) {
            Some(code) => Err(format!("the program ended by itself with the code {code}")),
            None => Ok(()),
        }
    }

    /// All that was logged, one text for each process.
    pub fn logs(&self) -> Vec<String> {
        let held = lock(&self.connector);
        let mut logs = held.logs.clone();
        logs.extend(held.running.as_ref().map(Connector::log));
        logs
    }

    /// The end of what was logged.
    pub fn log_tail(&self) -> String {
        let logs = self.logs();
        let lines: Vec<&str> = logs.iter().flat_map(|log| log.lines()).collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }

    /// Runs `verify` over the topic.
    pub fn verify(&self) -> Result<(), String> {
        let config = self.config.path().display().to_string();
        let args = ["verify", "--config", &config, "--json"];
        let url = self.database.url();
        let variables = [(URL_VARIABLE, url.as_str())];
        match run_command(&args, &variables, VERIFY_DEADLINE) {
            (0, _, _) => Ok(()),
            (code, log, report) => {
                let report = report.join("\n");
                Err(format!(
                    "verify ends with the code {code}:\n{report}\n{log}"
                ))
            }
        }
    }

    /// Writes what is known into a directory.
    pub fn save(&self, directory: &Path) -> std::io::Result<()> {
        for (number, log) in self.logs().iter().enumerate() {
            fs::write(directory.join(format!("connector-{number:03}.log")), log)?;
        }
        fs::write(directory.join("postgres.log"), self.postgres.log())?;
        fs::write(directory.join("config.yaml"), self.config.yaml())?;
        for file in fs::read_dir(self.state.path())?.flatten() {
            fs::copy(file.path(), directory.join(file.file_name()))?;
        }
        Ok(())
    }

    fn take(&self) -> Result<Connector, String> {
        self.check()?;
        let connector = lock(&self.connector).running.take();
        connector.ok_or_else(|| "the program does not run".to_owned())
    }

    fn keep(&self, connector: &Connector, allowed: &[i32]) -> Result<(), String> {
        lock(&self.connector).logs.push(connector.log());
        match connector.exit_code() {
            Some(code) if allowed.contains(&code) => Ok(()),
            code => Err(format!("the program ended with {code:?}, not {allowed:?}")),
        }
    }
}
