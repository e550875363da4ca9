//! What is made on the server, or removed: first the SQL of it, and then it is done.

use std::fmt;

use crate::base::error::Result;
use crate::config::Config;
use crate::pg::connection::Connection;
use crate::pg::params::ConnectParams;

/// Statements in the order that they are run in, as a script for `psql`.
pub struct Plan {
    pub params: ConnectParams,
    pub connection: Connection,
    pub steps: Vec<PlannedStatement>,
}

pub struct PlannedStatement {
    pub sql: String,
    /// What is given up by the statement.
    pub gives_up: String,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return f.write_str("-- there is nothing to do");
        }
        for (index, PlannedStatement { sql, gives_up }) in self.steps.iter().enumerate() {
            let end = if index > 0 { "\n" } else { "" };
            write!(f, "{end}-- gives up {gives_up}\n{sql};")?;
        }
        Ok(())
    }
}

/// Connects for the questions that a plan is made of, and its statements.
pub fn connect(config: &Config) -> Result<(ConnectParams, Connection)> {
    let params = config.params()?;
    let connection = Connection::connect_for_sql(&params)?;
    Ok((params, connection))
}
