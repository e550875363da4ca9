//! The choice among several servers and their addresses.

use super::Connection;
use super::pinned::Purpose;
use crate::base::error::{Context, Error, Result};
use crate::pg::params::{ConnectParams, SessionAttrs};
use crate::pg::transport::resolve::{arrange, resolve};

impl Connection {
    /// Connects in replication mode to the first server of `params` that takes us.
    ///
    /// One that cannot be reached, or is not what is wanted, is passed over; one that refuses us ends
    /// the search, as in libpq: the next one would be asked with the same password.
    pub fn connect(params: &ConnectParams) -> Result<Connection> {
        Self::connect_for(Purpose::Replication, params)
    }

    /// Connects without replication mode, to the first server of `params` that takes us. That asks for no
    /// right but that to connect.
    pub fn connect_for_sql(params: &ConnectParams) -> Result<Connection> {
        Self::connect_for(Purpose::Sql, params)
    }

    fn connect_for(purpose: Purpose, params: &ConnectParams) -> Result<Connection> {
        let mut search = Search {
            purpose,
            failure: None,
            is_over: false,
        };
        let found = match params.session_attrs() {
            SessionAttrs::PreferStandby => search
                .pass(params, SessionAttrs::Standby)
                .or_else(|| search.pass(params, SessionAttrs::Any)),
            wanted => search.pass(params, wanted),
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
    fn pass(&mut self, params: &ConnectParams, wanted: SessionAttrs) -> Option<Connection> {
        for endpoint in arrange(params.endpoints().to_vec(), params.order()) {
            let place = || format!("PostgreSQL at {endpoint}");
            let addresses = match resolve(&endpoint, params.connect_timeout()).at(place) {
                Ok(addresses) => arrange(addresses, params.order()),
                Err(error) => {
                    self.failed(error);
                    continue;
                }
            };
            for address in &addresses {
                if self.is_over {
                    return None;
                }
                match Connection::connect_to(address, self.purpose, params, wanted).at(place) {
                    Ok(connection) => return Some(connection),
                    Err(error) => self.failed(error),
                }
            }
        }
        None
    }

    /// Keeps the failure that is reported: the first, but one that may mend itself goes before one that
    /// cannot. The others are logged.
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
