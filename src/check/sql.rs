//! Asking the server, without changing it.

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::pg::connection::Connection;
use crate::pg::target::{Endpoint, Target};

/// Each question is a transaction of its own that the server lets change nothing. Behind a pooler
/// a setting must not outlive it, so it is local.
const BEGIN: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = '30s'; \
    SET LOCAL lock_timeout = '5s'; SET LOCAL standard_conforming_strings = on";

/// A connection for questions in SQL.
pub struct Sql<'a> {
    target: &'a Target,
    connection: Option<Connection>,
    endpoint: Endpoint,
}

impl<'a> Sql<'a> {
    /// Connects.
    pub fn open(target: &'a Target) -> Result<Self> {
        let connection = Connection::connect_for_sql(target)?;
        Ok(Sql {
            target,
            endpoint: connection.endpoint().clone(),
            connection: Some(connection),
        })
    }

    /// The server's address.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The rows of a SELECT. They come as JSON with the names of their columns, so that what a
    /// server does not have, in a view of an older version, is simply not there.
    pub fn rows<T: DeserializeOwned>(&mut self, select: &str) -> Result<Vec<T>> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            // After an error a connection is of no use.
            None => Connection::connect_for_sql(self.target)?,
        };
        let question =
            format!("{BEGIN}; SELECT pg_catalog.row_to_json(r) FROM ({select}) r; COMMIT");
        let rows = connection.query(&question)?;
        self.connection = Some(connection);
        rows.into_iter()
            .filter_map(|row| row.into_iter().next().flatten())
            .map(|json| {
                serde_json::from_str(&json).map_err(|e| {
                    Error::undeliverable("the server's catalog has not the columns expected")
                        .with_source(e)
                })
            })
            .collect()
    }

    /// The only row of a SELECT that has one.
    pub fn row<T: DeserializeOwned>(&mut self, select: &str) -> Result<T> {
        let row = self.rows(select)?.into_iter().next();
        row.ok_or_else(|| Error::undeliverable("the server's answer has no row"))
    }
}

impl Drop for Sql<'_> {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.terminate();
        }
    }
}
