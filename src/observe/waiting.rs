//! What our statements wait for on the server: told in the log and to the service manager while it
//! lasts, and ended by a stop.
//!
//! Whom a statement waits for is asked over another connection and by another thread, which may have
//! to wait itself; the main thread goes on looking for a stop.

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

/// A statement that takes longer waits for somebody: those of setup do next to nothing.
const FIRST: Duration = Duration::from_millis(500);

/// Who wants to know what is waited for, and who ends it.
#[derive(Debug, Clone)]
pub struct Onlookers {
    /// What asks for a stop.
    pub signals: Signals,
    /// Who hears of it.
    pub notify: Notify,
}

impl Onlookers {
    /// Looks on at what `connection` waits for, from now on. A signal ends its statement and not the
    /// process, as long as what is returned lives.
    pub fn look_on(&self, connection: &mut Connection, params: &ConnectParams) -> Deferred {
        let deferred = self.signals.deferred();
        self.watch(connection, params);
        deferred
    }

    /// The same while signals are deferred already.
    pub fn watch(&self, connection: &mut Connection, params: &ConnectParams) {
        let asker = connection
            .process()
            .and_then(|pid| Asker::spawn(pid, connection.endpoint(), params));
        connection.watch(Box::new(Looking {
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

/// The watch over a connection.
struct Looking {
    onlookers: Onlookers,
    server: String,
    asker: Option<Asker>,
    /// When to ask next, after the begin of the statement.
    next: Duration,
    /// How long it had waited at the last look.
    before: Duration,
    /// Whom it waits for.
    known: Option<String>,
}

impl Watch for Looking {
    fn look(&mut self, waited: Duration) -> Result<()> {
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
            self.tell(answer, waited);
        }
        Ok(())
    }
}

impl Looking {
    fn tell(&mut self, answer: Result<Option<Blocked>>, waited: Duration) {
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

/// A thread that asks whom a process of the server waits for. It ends with this.
struct Asker {
    ask: Sender<()>,
    answers: Receiver<Result<Option<Blocked>>>,
}

impl Asker {
    /// None where there is no thread to be had: then nothing is told.
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

/// Asks over a connection that is kept as long as it is of use.
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
