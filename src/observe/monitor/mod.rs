//! What goes on beside the sessions: what others see of a running program, its
//! [`crate::observe::metrics`] over [`http`] and in a text file, and what the server says of the slot;
//! and the end of [`crate::base::orphans`].
//!
//! A thread for each, and only when the config asks for them, or the place. They end with the process.

pub(crate) mod http;

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::error::{Context, Error, Result};
use crate::base::orphans;
use crate::base::replace::{self, Readers};
use crate::observe::metrics::{Kept, Metrics, text};
use crate::observe::peer::Side;
use crate::pg::catalog::slot_state::{SlotState, slot_state};
use crate::pg::params::ConnectParams;

/// How often the text file is written.
const WRITE_INTERVAL: Duration = Duration::from_secs(10);

/// How often the server is asked. The replication connection cannot be asked while it streams, so
/// it takes a connection of its own.
const ASK_INTERVAL: Duration = Duration::from_secs(30);

/// How often the thread checks whether something is due.
const TICK: Duration = Duration::from_secs(1);

/// Where metrics are shown, if anywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The address of the HTTP listener.
    pub listen: Option<SocketAddr>,
    /// The file for the node exporter.
    pub textfile: Option<PathBuf>,
}

/// The connector whose metrics are shown.
#[derive(Debug, Clone)]
pub struct Connector {
    /// The name of the connector.
    pub name: String,
    /// The slot of the connector.
    pub slot: String,
}

/// The work of a thread, which can be tried again when there is no thread to be had.
type ThreadWork = Arc<dyn Fn() + Send + Sync>;

/// The threads that show a running program and keep its place clean.
pub struct Monitor {
    params: Arc<Mutex<ConnectParams>>,
    /// The threads that do not run yet, by their names.
    to_start: Vec<(&'static str, ThreadWork)>,
}

impl Monitor {
    /// Changes where the slot is asked about.
    pub fn use_params(&self, params: &ConnectParams) {
        *lock(&self.params) = params.clone();
    }

    /// Starts the threads that do not run yet. Where there is no thread to be had, there may be one later.
    pub fn begin(&mut self) -> Result<()> {
        while let Some((name, run)) = self.to_start.last() {
            let run = Arc::clone(run);
            let thread = thread::Builder::new().name((*name).to_owned());
            thread
                .spawn(move || run())
                .map_err(|e| Error::unreachable("cannot start a thread").with_source(e))?;
            self.to_start.pop();
        }
        Ok(())
    }
}

/// Prepares to show `metrics` in `places`; whatever cannot work is an error at once.
pub fn prepare(
    places: &Places,
    connector: Connector,
    params: &ConnectParams,
    metrics: &Arc<Metrics>,
) -> Result<Monitor> {
    let Places { listen, textfile } = places;
    let params = Arc::new(Mutex::new(params.clone()));
    let mut monitor = Monitor {
        params: Arc::clone(&params),
        to_start: Vec::new(),
    };
    if orphans::are_ours() {
        let wait: ThreadWork = Arc::new(orphans::wait_for_ever);
        monitor.to_start.push(("orphans", wait));
    }
    if let Some(address) = listen {
        let place = || format!("metrics.listen: {address}");
        let listener = TcpListener::bind(address)
            .map_err(|e| Error::config("cannot listen").with_source(e))
            .at(place)?;
        let bound = listener.local_addr().unwrap_or(*address);
        log::info!("metrics are at http://{bound}/metrics");
        let (name, metrics) = (connector.name.clone(), Arc::clone(metrics));
        let serve = move || http::serve(&listener, &metrics, &name);
        monitor.to_start.push(("http", Arc::new(serve)));
    }
    if let Some(file) = textfile {
        write(file, metrics, &connector.name)?;
    }
    if listen.is_none() && textfile.is_none() {
        return Ok(monitor);
    }
    let metrics_thread = MetricsThread {
        metrics: Arc::clone(metrics),
        params,
        connector,
        textfile: textfile.clone(),
    };
    monitor
        .to_start
        .push(("metrics", Arc::new(move || metrics_thread.run())));
    Ok(monitor)
}

fn lock(params: &Mutex<ConnectParams>) -> MutexGuard<'_, ConnectParams> {
    params.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The work of the thread that asks about the slot and writes the text file.
struct MetricsThread {
    metrics: Arc<Metrics>,
    params: Arc<Mutex<ConnectParams>>,
    connector: Connector,
    textfile: Option<PathBuf>,
}

impl MetricsThread {
    fn run(&self) {
        let (mut asked, mut written) = (None, Instant::now());
        let mut write_failed = false;
        loop {
            thread::sleep(TICK);
            let due = asked.is_none_or(|asked: Instant| asked.elapsed() >= ASK_INTERVAL);
            if due && self.may_ask() {
                self.ask();
                asked = Some(Instant::now());
            }
            if let Some(file) = &self.textfile
                && written.elapsed() >= WRITE_INTERVAL
            {
                let result = write(file, &self.metrics, &self.connector.name);
                // One line is enough for a disk that stays full.
                if let Err(error) = &result
                    && !write_failed
                {
                    log::warn!("{error}");
                }
                (write_failed, written) = (result.is_err(), Instant::now());
            }
        }
    }

    /// Whether the server may be asked. While the session waits for PostgreSQL, that may be away or may
    /// not let us in: one that asks in vain is enough. While it waits for Fluvio, nobody else sees the
    /// slot grow.
    fn may_ask(&self) -> bool {
        self.metrics.is_streaming() || self.metrics.waits.of(Side::Sink).is_some()
    }

    /// Asks the server about the slot. What is not known any more is not shown any more.
    fn ask(&self) {
        let params = lock(&self.params).clone();
        match slot_state(&params, &self.connector.slot) {
            Ok(Some(state)) => self.show(&state),
            // It may be still to be made.
            Ok(None) => self.metrics.set_kept(Kept {
                is_lost: self.metrics.has_streamed().then_some(true),
                ..Kept::default()
            }),
            Err(error) => {
                log::debug!("the slot could not be asked about: {error}");
                self.metrics.set_kept(Kept::default());
            }
        }
    }

    fn show(&self, state: &SlotState) {
        self.metrics
            .slot_is_at(state.slot.confirmed(), state.wal_end());
        self.metrics.set_kept(Kept {
            retained_bytes: state.retained_bytes(),
            safe_bytes: state.safe_bytes(),
            is_lost: Some(state.slot.invalidated().is_some()),
        });
    }
}

/// Puts a new file in the place of the old one, so that nobody ever reads a part of it.
fn write(file: &Path, metrics: &Metrics, connector: &str) -> Result<()> {
    let mut name = file.as_os_str().to_owned();
    // The node exporter reads what ends with `.prom`.
    name.push(".tmp");
    // For the user of the node exporter.
    replace::create(Path::new(&name), Readers::Everybody)
        .and_then(|mut new| new.write_all(text::render_metrics(metrics, connector).as_bytes()))
        .and_then(|()| fs::rename(&name, file))
        .map_err(|e| Error::config("cannot write the file").with_source(e))
        .at(|| format!("metrics.textfile: {}", file.display()))
}
