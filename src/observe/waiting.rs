//! What our statements wait for on the server: reported in the log and to the service manager while
//! it lasts, and ended by a stop.
//!
//! Whom a statement waits for is asked over another connection and by another thread, which may have
//! to wait itself; the main thread goes on checking for a stop.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::long_work::INTERVAL;
use super::notify::Notify;
use crate::base::error::{Error, Result};
use crate::base::signals::{Deferred, Signals};
use crate::pg::catalog::blocked::{Blocked, blocked};
use crate::pg::connection::{Connection, Watch};
use crate::pg::params::{ConnectParams, Endpoint};

/// The time after which a statement waits for somebody: those of setup do next to nothing.
const FIRST: Duration = Duration::from_millis(500);

/// The two that a wait concerns: the signals that end it and the service manager that hears of it.
#[derive(Debug, Clone)]
pub struct Onlookers {
    /// The signals, which ask for a stop.
    pub signals: Signals,
    /// The service manager, which hears of waits.
    pub notify: Notify,
}

impl Onlookers {
    /// Watches what `connection` waits for, and defers signals: one ends the statement and not the
    /// process, as long as what is returned lives.
    pub fn watch_deferring_signals(
        &self,
        connection: &mut Connection,
        params: &ConnectParams,
    ) -> Deferred {
        let deferred = self.signals.deferred();
        self.watch(connection, params);
        deferred
    }

    /// Watches what `connection` waits for, while signals are deferred already.
    pub fn watch(&self, connection: &mut Connection, params: &ConnectParams) {
        let asker = connection
            .process()
            .and_then(|pid| Asker::spawn(pid, connection.endpoint(), params));
        connection.watch(Box::new(Wait {
            onlookers: self.clone(),
            server: format!("PostgreSQL at {}", connection.endpoint()),
            asker,
            next: FIRST,
            before: Duration::ZERO,
            known: None,
        }));
    }

    /// Fails once a stop is asked for.
    pub fn check(&self) -> Result<()> {
        match self.signals.stop_requested() {
            true => Err(Error::unreachable("stopped by a signal")),
            false => Ok(()),
        }
    }
}

/// A wait of a connection, as far as it is known.
struct Wait {
    onlookers: Onlookers,
    server: String,
    asker: Option<Asker>,
    /// The time after the begin of the statement at which is asked next.
    next: Duration,
    /// The time that it had waited when it was watched last.
    before: Duration,
    /// The one whom it waits for.
    known: Option<String>,
}

impl Watch for Wait {
    fn on_wait(&mut self, waited: Duration) -> Result<()> {
        if waited < self.before {
            (self.next, self.known) = (FIRST, None);
        }
        self.before = waited;
        if let Err(error) = self.onlookers.check() {
            return Err(match &self.known {
                Some(whom) => error.at(format!("waiting for {whom}")),
                None => error,
            });
        }
        if waited >= self.next {
            self.next = waited + INTERVAL;
            if let Some(asker) = &self.asker {
                // One that has not answered yet is asked no second time.
                let _ = asker.ask.try_send(());
            }
        }
        let answer = self
            .asker
            .as_ref()
            .and_then(|asker| asker.answers.try_recv().ok());
        if let Some(answer) = answer {
            self.report(answer, waited);
        }
        Ok(())
    }
}

impl Wait {
    /// Reports whom the statement waits for.
    fn report(&mut self, answer: Result<Option<Blocked>>, waited: Duration) {
        let whom = match answer {
            Ok(Some(found)) if found.is_waiting() || waited >= INTERVAL => found.to_string(),
            // It is done, or nearly.
            Ok(_) => return,
            Err(error) => format!(
                "{}; whom it waits for cannot be asked: {error}",
                self.server
            ),
        };
        let seconds = waited.as_secs();
        match self.known {
            None => log::info!("waiting for {whom}"),
            Some(_) => log::warn!("waiting for {seconds} s for {whom}"),
        }
        self.onlookers.notify.status(&format!("waiting for {whom}"));
        self.known = Some(whom);
    }
}

/// A thread that asks whom a process of the server waits for. It ends when this is dropped.
struct Asker {
    ask: Sender<()>,
    answers: Receiver<Result<Option<Blocked>>>,
}

impl Asker {
    /// Starts the thread; `None` where there is none to be had, and then nothing is reported.
    fn spawn(pid: i32, endpoint: &Endpoint, params: &ConnectParams) -> Option<Asker> {
        let (endpoint, params) = (endpoint.clone(), params.clone());
        let (ask, asked) = bounded::<()>(1);
        let (answer, answers) = bounded(1);
        let answer_all = move || {
            let mut connection = None;
            for () in &asked {
                let found = find(&mut connection, pid, &endpoint, &params);
                if answer.send(found).is_err() {
                    break;
                }
            }
            connection.iter_mut().for_each(Connection::terminate);
        };
        let thread = thread::Builder::new().name("onlooker".to_owned());
        thread.spawn(answer_all).ok()?;
        Some(Asker { ask, answers })
    }
}

/// Asks whom `pid` waits for, over a connection that is kept as long as it is of use.
fn find(
    kept: &mut Option<Connection>,
    pid: i32,
    endpoint: &Endpoint,
    params: &ConnectParams,
) -> Result<Option<Blocked>> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::connect_for_sql_to(endpoint, params)?,
    };
    let found = connection.select_first(&blocked(&format!("a.pid = {pid}")))?;
    *kept = Some(connection);
    Ok(found)
}
