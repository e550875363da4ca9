//! Which of several servers, and which of their addresses, is taken.

use super::connection::Connection;
use super::pinned::Purpose;
use super::resolve::{arrange, resolve};
use super::target::{SessionAttrs, Target};
use crate::error::{Context, Error, Result};

impl Connection {
    /// Connects in replication mode to the first server of `target` that takes us.
    ///
    /// One that cannot be reached, or is not what is wanted, is passed over; one that refuses us ends
    /// the search, as in libpq: the next one would be asked with the same password.
    pub fn connect(target: &Target) -> Result<Connection> {
        Self::connect_for(Purpose::Replication, target)
    }

    /// The same without replication mode, which asks for no right but that to connect.
    pub fn connect_for_sql(target: &Target) -> Result<Connection> {
        Self::connect_for(Purpose::Sql, target)
    }

    fn connect_for(purpose: Purpose, target: &Target) -> Result<Connection> {
        let mut search = Search {
            purpose,
            failure: None,
            is_over: false,
        };
        let found = match target.session_attrs() {
            SessionAttrs::PreferStandby => search
                .pass(target, SessionAttrs::Standby)
                .or_else(|| search.pass(target, SessionAttrs::Any)),
            wanted => search.pass(target, wanted),
        };
        match (found, search.failure) {
            (Some(connection), failure) => {
                if let Some(passed_over) = failure {
                    log::info!("{passed_over}");
                }
                Ok(connection)
            }
            (None, failure) => {
                Err(failure.unwrap_or_else(|| Error::config("the database URL names no host")))
            }
        }
    }
}

/// The search for a server, and why none was taken so far.
struct Search {
    purpose: Purpose,
    failure: Option<Error>,
    is_over: bool,
}

impl Search {
    /// Tries every address of every server once.
    fn pass(&mut self, target: &Target, wanted: SessionAttrs) -> Option<Connection> {
        for endpoint in arrange(target.endpoints().to_vec(), target.order()) {
            let place = || format!("PostgreSQL at {endpoint}");
            let addresses = match resolve(&endpoint, target.connect_timeout()).at(place) {
                Ok(addresses) => arrange(addresses, target.order()),
                Err(error) => {
                    self.failed(error);
                    continue;
                }
            };
            for address in &addresses {
                if self.is_over {
                    return None;
                }
                match Connection::connect_to(address, self.purpose, target, wanted).at(place) {
                    Ok(connection) => return Some(connection),
                    Err(error) => self.failed(error),
                }
            }
        }
        None
    }

    /// The first failure is reported, but one that may mend itself goes before one that cannot. The
    /// others are only logged.
    fn failed(&mut self, error: Error) {
        self.is_over = !error.is_transient();
        let Some(first) = self.failure.take() else {
            self.failure = Some(error);
            return;
        };
        let (reported, other) = match first.is_transient() {
            false if !self.is_over => (error, first),
            _ => (first, error),
        };
        log::info!("{other}");
        self.failure = Some(reported);
    }
}
