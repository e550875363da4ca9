//! Asking the server, without changing it.

use serde::de::DeserializeOwned;

use crate::base::error::{Error, Result};
use crate::pg::catalog::wal_files::WalFiles;
use crate::pg::connection::Connection;
use crate::pg::params::{ConnectParams, Endpoint};
use crate::pg::transport::encryption::Protection;

/// A connection for questions in SQL. Each is a transaction of its own that the server lets change
/// nothing.
pub struct Sql<'a> {
    params: &'a ConnectParams,
    connection: Option<Connection>,
    endpoint: Endpoint,
    protection: Protection,
}

impl<'a> Sql<'a> {
    /// Connects to the server of `params`.
    pub fn open(params: &'a ConnectParams) -> Result<Self> {
        let connection = connect(params)?;
        Ok(Sql {
            params,
            endpoint: connection.endpoint().clone(),
            protection: connection.protection(),
            connection: Some(connection),
        })
    }

    /// The server's address.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How far the connection to the server is protected.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// The files of `pg_wal`, if this user may know. A connection of its own has no limit of time: to list
    /// a large directory on a slow disk takes what it takes. It goes to the server that the other
    /// questions go to, of whichever the URL names.
    pub fn wal_files(&self) -> Result<Option<WalFiles>> {
        let mut connection = Connection::connect_for_sql_to(&self.endpoint, self.params)?;
        let found = WalFiles::list(&mut connection)?;
        connection.terminate();
        Ok(found)
    }

    /// Takes the connection. After an error it is of no use, and the next question makes a new one.
    fn connection(&mut self) -> Result<Connection> {
        let connection = self.connection.take().map(Ok);
        connection.unwrap_or_else(|| connect(self.params))
    }

    /// The rows of a SELECT.
    pub fn rows<T: DeserializeOwned>(&mut self, select: &str) -> Result<Vec<T>> {
        self.ask(|connection| connection.select(select))
    }

    /// The answer to a question that takes the connection.
    pub fn ask<T>(&mut self, question: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let mut connection = self.connection()?;
        let found = question(&mut connection)?;
        self.connection = Some(connection);
        Ok(found)
    }

    /// The first row of a SELECT.
    pub fn first<T: DeserializeOwned>(&mut self, select: &str) -> Result<Option<T>> {
        self.ask(|connection| connection.select_first(select))
    }

    /// The only row of a SELECT that has one.
    pub fn row<T: DeserializeOwned>(&mut self, select: &str) -> Result<T> {
        let row = self.first(select)?;
        row.ok_or_else(|| Error::undeliverable("the server's answer has no row"))
    }
}

fn connect(params: &ConnectParams) -> Result<Connection> {
    let mut connection = Connection::connect_for_sql(params)?;
    connection.only_read();
    Ok(connection)
}

impl Drop for Sql<'_> {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.terminate();
        }
    }
}
