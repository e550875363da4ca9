//! Everything that is tortured: PostgreSQL, Fluvio, the lines between them, and the program.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use postgres_source::sink::LanePlace;
use tempfile::TempDir;

use super::super::connector::{ConfigFile, URL_VARIABLE, run_command, temp_dir};
use super::super::fluvio::{Cluster, FluvioServer};
use super::super::namespace::Namespace;
use super::super::proxy::{Direction, Proxy};
use super::super::random::Random;
use super::fault::Line;
use super::lanes::Layout;
use super::program::Program;
use super::source::Source;
use super::{Reading, Round, SPU_PORT};

/// How many SPUs lead the lanes, where there are several.
const SPUS: usize = 3;

const VERIFY_DEADLINE: Duration = Duration::from_secs(300);

/// The servers, the lines and the program, in the order in which they are dropped.
pub struct Stage<'a> {
    pub program: Program,
    pub lines: Lines<'a>,
    pub source: Source,
    pub cluster: Cluster,
    pub settings: Settings,
    pub slot: String,
    pub publication: String,
    pub topic: String,
    state: TempDir,
}

/// The proxies. A real cluster tells its clients where the SPU is, so nothing stands in front of
/// that one.
pub struct Lines<'a> {
    pub postgres: Proxy,
    pub sc: Proxy,
    /// One for each SPU in this process.
    pub spus: Vec<Proxy>,
    /// The network that all of this is in, if it can be cut.
    network: Option<&'a Namespace>,
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
    pub has_state_dir: bool,
    /// How many instances of the program run all the time.
    pub instances: usize,
    pub reading: Reading,
    pub layout: Layout,
}

impl Settings {
    /// A standby is drawn only if the servers decode on one.
    pub fn draw(random: &mut Random, round: &Round, decodes_on_standbys: bool) -> Self {
        let mut settings = Settings {
            timeout: Duration::from_secs(random.pick(&[1, 1, 2])),
            confirm_delay: Duration::from_millis(random.pick(&[0, 0, 300, 2000])),
            batch_size: random.pick(&["1MB", "64KB", "16KB", "4KB"]),
            compression: random.pick(&["none", "none", "lz4", "zstd", "snappy", "gzip"]),
            linger: random.pick(&["0ms", "0ms", "5ms"]),
            not_leader: random.pick(&[None, Some(Duration::from_millis(400))]),
            has_state_dir: !random.one_in(3),
            instances: random.pick(&[1, 1, 1, 2]),
            reading: random.pick(&[Reading::Primary, Reading::Primary, Reading::Standby]),
            layout: Layout::draw(random, round.wanted),
        };
        if !decodes_on_standbys {
            settings.reading = Reading::Primary;
        }
        settings.reading = round.reading.unwrap_or(settings.reading);
        settings
    }
}

impl<'a> Stage<'a> {
    /// Starts everything but the program.
    pub fn new(round: &Round, settings: Settings, network: Option<&'a Namespace>) -> Stage<'a> {
        let (slot, publication) = ("torture_slot", "torture_publication");
        let source = match settings.reading {
            Reading::Primary => Source::primary(super::WRITERS),
            Reading::Standby => Source::standby(super::WRITERS, publication),
        };
        let cluster = Cluster::start_with_spus(match settings.layout.is_one_lane() {
            true => 1,
            false => SPUS,
        });
        let lines = Lines {
            postgres: Proxy::start(format!("127.0.0.1:{}", source.postgres.port())),
            sc: Proxy::start(cluster.sc_addr()),
            spus: cluster.server().map_or_else(Vec::new, |server| {
                server.set_not_leader_after_restart(settings.not_leader);
                let proxy = |(number, addr): (usize, String)| {
                    let proxy = Proxy::start(addr);
                    server.advertise(number, proxy.port());
                    proxy
                };
                server
                    .spu_addrs()
                    .into_iter()
                    .enumerate()
                    .map(proxy)
                    .collect()
            }),
            network,
        };
        // The topics of a real cluster outlive this process.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_ms = now.map_or(0, |now| now.as_millis());
        let topic = format!("torture-{:x}-{now_ms:x}", round.seed);
        let state = temp_dir("state-");
        let config_file = ConfigFile::new(&topic, publication, slot);
        let mut config = config(&settings, settings.layout.config(config_file, &topic))
            .fluvio("endpoint", &lines.sc.addr());
        if settings.has_state_dir {
            config = config.set("state_dir", &state.path().display().to_string());
        }
        let url = source.url_at(lines.postgres.port());
        Stage {
            program: Program::new(config, url, settings.instances),
            lines,
            source,
            cluster,
            settings,
            slot: slot.to_owned(),
            publication: publication.to_owned(),
            topic,
            state,
        }
    }

    /// The server in this process, for the faults that only it has.
    pub fn server(&self) -> Option<&FluvioServer> {
        self.cluster.server()
    }

    /// The lanes that the program may write.
    pub fn lanes(&self) -> Vec<LanePlace> {
        self.settings.layout.lanes(&self.topic, super::WRITERS)
    }

    /// Runs `verify` over the topic.
    pub fn verify(&self) -> Result<(), String> {
        let config = self.program.config().path().display().to_string();
        let args = ["verify", "--config", &config, "--json"];
        let url = self.source.database.url();
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
        for (number, log) in self.program.logs().iter().enumerate() {
            fs::write(directory.join(format!("connector-{number:03}.log")), log)?;
        }
        for (name, log) in self.source.logs() {
            fs::write(directory.join(name), log)?;
        }
        fs::write(directory.join("config.yaml"), self.program.config().yaml())?;
        for file in fs::read_dir(self.state.path())?.flatten() {
            fs::copy(file.path(), directory.join(file.file_name()))?;
        }
        Ok(())
    }
}

fn config(settings: &Settings, config: ConfigFile) -> ConfigFile {
    let ms = |duration: Duration| format!("{}ms", duration.as_millis());
    config
        .fluvio("timeout", &ms(settings.timeout))
        .set("retry", "{ min: 50ms, max: 500ms }")
        .set("status_interval", "100ms")
        .set("confirm_delay", &ms(settings.confirm_delay))
        .producer("batch_size", settings.batch_size)
        .producer("compression", settings.compression)
        .producer("linger", settings.linger)
}

impl Lines<'_> {
    pub fn proxy(&self, line: Line) -> Option<&Proxy> {
        match line {
            Line::Postgres => Some(&self.postgres),
            Line::Sc => Some(&self.sc),
            Line::Spu(number) => self.spus.get(number),
        }
    }

    /// Whether packets can be lost on them.
    pub fn can_be_unplugged(&self) -> bool {
        self.network.is_some()
    }

    /// From the return of this call on no packet arrives.
    pub fn unplug(&self, line: Line, direction: Option<Direction>) {
        let (network, port) = self.network_and_port(line);
        if direction != Some(Direction::ToClient) {
            network.cut_to(port);
        }
        if direction != Some(Direction::ToServer) {
            network.cut_from(port);
        }
    }

    pub fn plug_in(&self, line: Line) {
        let (network, port) = self.network_and_port(line);
        network.heal_port(port);
    }

    /// Ends whatever is left of a fault.
    pub fn heal(&self) {
        for proxy in [&self.postgres, &self.sc].into_iter().chain(&self.spus) {
            proxy.pass();
        }
        if let Some(network) = self.network {
            network.heal();
        }
    }

    fn network_and_port(&self, line: Line) -> (&Namespace, u16) {
        let network = self.network.expect("the network can be cut");
        let port = match self.proxy(line) {
            Some(proxy) => Some(proxy.port()),
            None => spu_port(),
        };
        (network, port.expect("the line has a port"))
    }
}

/// The port of a real cluster's SPU, to which there is no proxy.
pub fn spu_port() -> Option<u16> {
    std::env::var(SPU_PORT).ok()?.parse().ok()
}
