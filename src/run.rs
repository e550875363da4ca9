//! One session, and the only retry loop.
//!
//! A session opens the sink, then the source, so that a dead sink does not hold the slot; runs the
//! two threads; and is thrown away whole when anything fails. The next one begins where the slot
//! was confirmed.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::{Config, Retry};
use crate::error::{Context, Error, Kind, Result};
use crate::event::Batch;
use crate::lsn::Lsn;
use crate::pg::replication::{ReplicationConnection, ReplicationStream};
use crate::pg::target::Target;
use crate::producer::Producer;
use crate::progress::Progress;
use crate::reader::{Drained, Ending, Reader};
use crate::setup::{self, Plan};
use crate::signals::Signals;
use crate::sink::Sink;
use crate::sink::fluvio::Fluvio;
use crate::sink::stdout::Lines;

/// Batches that may wait between the threads. One is being filled and one worked on besides.
const CHANNEL_BATCHES: usize = 2;

/// Where the records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The configured topic.
    Topic,
    /// Standard output.
    Stdout,
}

/// What happens when a session fails in a way that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempts {
    /// It is tried again, for as long as it takes.
    Unlimited,
    /// The program ends.
    Once,
}

/// Runs sessions until a signal asks for a stop or an error cannot be mended by trying again.
pub fn run(config: &Config, output: Output, attempts: Attempts, signals: &Signals) -> Result<()> {
    let application = format!("postgres-source/{}", config.name);
    let target = Target::parse(config.database_url.expose(), &application)?;
    let mut program = Program {
        config,
        output,
        target,
        is_set_up: false,
    };
    let mut backoff = Backoff::new(config.retry);
    loop {
        let (error, progressed) = match program.session(signals) {
            (Ok(()), _) => return Ok(()),
            (Err(error), progressed) => (error, progressed),
        };
        if !error.kind().is_transient() {
            return Err(error);
        }
        if signals.stop_requested() {
            log::warn!("{error}; stopping: what is not confirmed will be sent again");
            return Ok(());
        }
        if attempts == Attempts::Once {
            return Err(error);
        }
        if progressed {
            backoff = Backoff::new(config.retry);
        }
        let pause = backoff.next();
        log::warn!("{error}; trying again in {:.1} s", pause.as_secs_f64());
        thread::sleep(pause);
    }
}

struct Program<'a> {
    config: &'a Config,
    output: Output,
    target: Target,
    /// Only the first session makes what is missing: a slot that vanishes later took changes with
    /// it, and a new one in its place would hide that.
    is_set_up: bool,
}

impl Program<'_> {
    /// One session; and whether it stored anything.
    fn session(&mut self, signals: &Signals) -> (Result<()>, bool) {
        let opened = self
            .open_sink()
            .and_then(|sink| Ok((sink, self.open_source()?)));
        let (sink, source) = match opened {
            Ok(opened) => opened,
            Err(error) => return (Err(error), false),
        };
        let _under_way = signals.under_way();
        let progress = Arc::new(Progress::starting_at(source.confirmed));
        let result = self.stream(
            sink,
            source.stream,
            source.status_interval,
            &progress,
            signals,
        );
        (result, progress.stored() > source.confirmed)
    }

    fn open_sink(&self) -> Result<Box<dyn Sink>> {
        Ok(match self.output {
            Output::Topic => Box::new(Fluvio::open(self.config.fluvio.clone())?),
            Output::Stdout => Box::new(Lines::on_stdout()?),
        })
    }

    fn open_source(&mut self) -> Result<Source> {
        let Config {
            publication, slot, ..
        } = self.config;
        // First of all, because this connection is needed in any case and its errors are exact.
        let connection = ReplicationConnection::connect(&self.target)?;
        if !self.is_set_up {
            let Config { tables, setup, .. } = self.config;
            setup::ensure(
                &self.target,
                connection.endpoint(),
                &Plan {
                    publication,
                    tables,
                    slot,
                    setup: *setup,
                },
            )?;
            self.is_set_up = true;
        }
        self.start(connection)
            .at(|| format!("replication slot {slot}"))
    }

    fn start(&self, mut connection: ReplicationConnection) -> Result<Source> {
        let Config {
            publication, slot, ..
        } = self.config;
        let confirmed = match connection.slot(slot)? {
            Some(found) => found.usable_in(self.target.database())?,
            None => return Err(no_slot()),
        };
        let timeout = connection.wal_sender_timeout()?;
        let endpoint = connection.endpoint().clone();
        let stream = connection.start(slot, publication)?;
        log::info!(
            "streaming from {endpoint}, slot {slot}, publication {publication}, from {confirmed} to {}",
            match self.output {
                Output::Topic => format!("topic {}", self.config.fluvio.topic),
                Output::Stdout => "standard output".to_owned(),
            }
        );
        Ok(Source {
            stream,
            confirmed,
            status_interval: self.status_interval(timeout),
        })
    }

    /// As configured, but always well before the server would give us up.
    fn status_interval(&self, wal_sender_timeout: Option<Duration>) -> Duration {
        let limit = wal_sender_timeout.map_or(Duration::MAX, |timeout| timeout / 3);
        self.config.status_interval.min(limit)
    }

    /// Runs the two threads until one of them ends.
    fn stream(
        &self,
        sink: Box<dyn Sink>,
        stream: ReplicationStream,
        status_interval: Duration,
        progress: &Arc<Progress>,
        signals: &Signals,
    ) -> Result<()> {
        let (batches, inbox) = bounded(CHANNEL_BATCHES);
        let (running, ended) = bounded(0);
        let producer = self.spawn_producer(sink, Arc::clone(progress), inbox, running)?;
        let mut reader = Reader::new(stream, batches, ended, progress, status_interval);
        match reader.run(signals) {
            Ok(Ending::Stopped) => match reader.finish()? {
                Drained::Whole => join(producer),
                // Whatever the producer still waits for ends with the process.
                Drained::InPart => Ok(()),
            },
            Ok(Ending::ProducerEnded) => {
                drop(reader);
                join(producer)?;
                Err(Error::new(Kind::Bug, "the producer ended without an error"))
            }
            Err(error) => {
                let error = error.at(format!("replication slot {}", self.config.slot));
                // The producer stores what it has; no session may begin before it is done.
                drop(reader);
                if let Err(also) = join(producer) {
                    log::warn!("{also}");
                }
                Err(error)
            }
        }
    }

    fn spawn_producer(
        &self,
        sink: Box<dyn Sink>,
        progress: Arc<Progress>,
        inbox: Receiver<Batch>,
        running: Sender<()>,
    ) -> Result<JoinHandle<Result<()>>> {
        let (raw_text, linger) = (self.config.raw_text, self.config.linger);
        let producer = move || {
            let _running = running;
            Producer {
                sink,
                raw_text,
                linger,
                progress: &progress,
            }
            .run(&inbox)
        };
        let thread = thread::Builder::new().name("producer".to_owned());
        thread
            .spawn(producer)
            .map_err(|e| Error::unreachable("cannot start a thread").with_source(e))
    }
}

/// An open source.
struct Source {
    stream: ReplicationStream,
    confirmed: Lsn,
    status_interval: Duration,
}

fn join(producer: JoinHandle<Result<()>>) -> Result<()> {
    producer
        .join()
        .unwrap_or_else(|_| Err(Error::new(Kind::Bug, "the producer panicked")))
}

fn no_slot() -> Error {
    Error::config("does not exist").with_hint(
        "it was dropped: changes since then are not in the stream; start the program again to make \
         a new slot, after copying the tables if consumers need them",
    )
}

/// The pauses between attempts: doubling from the shortest to the longest, each shortened by up to
/// a quarter at random, so that many connectors do not come back at once.
struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    fn new(retry: Retry) -> Self {
        Backoff {
            next: retry.min,
            max: retry.max,
        }
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        let random = RandomState::new().hash_one(0) % 1000;
        pause.mul_f64(1.0 - random as f64 / 4000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry {
            min: Duration::from_millis(500),
            max: Duration::from_secs(3),
        };
        let mut backoff = Backoff::new(retry);
        for longest_ms in [500, 1000, 2000, 3000, 3000] {
            let pause = backoff.next().as_millis();
            assert!(
                (longest_ms * 3 / 4..=longest_ms).contains(&pause),
                "{pause} of {longest_ms}"
            );
        }
    }
}
