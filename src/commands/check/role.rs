//! The user: whether the server lets it in, and whether it may replicate.

use super::condition::Condition;
use super::report::{Mend, Report};
use super::server::ExaminedServer;
use crate::base::error::{Error, Kind, Reason};
use crate::pg::connection::quote_identifier;
use crate::pg::params::ConnectParams;
use crate::pg::replication::ReplicationConnection;
use crate::pg::wire::server_error::refused_address;

/// Reports that the server cannot be reached, or does not want us.
pub fn not_let_in(report: &mut Report, params: &ConnectParams, error: &Error) {
    let (user, database) = (params.user(), params.database());
    let (user, database) = (quote_identifier(user), quote_identifier(database));
    let message = error.message();
    let mend = match (refused_address(&message), error.hint()) {
        (Some(address), _) => {
            let bits = if address.contains(':') { 128 } else { 32 };
            Some(Mend::advice(format!(
                "add a line to pg_hba.conf, \"host {database} {user} {address}/{bits} \
                 scram-sha-256\", and SELECT pg_reload_conf();"
            )))
        }
        (None, Some(hint)) => Some(Mend::advice(hint)),
        (None, None) if error.kind() == Kind::Permission => Some(Mend::sql(format!(
            "GRANT CONNECT ON DATABASE {database} TO {user};"
        ))),
        (None, None) => None,
    };
    report.failure(Condition::Postgres, error.kind(), message, mend);
}

/// Tries the right to replicate, by using it.
pub fn replication(
    report: &mut Report,
    params: &ConnectParams,
    server: &ExaminedServer,
) -> Option<ReplicationConnection> {
    if !server.has_free_sender() {
        untried(report, params, server);
        return None;
    }
    // A pooler may take the connection and leave the wish for replication out.
    let connected = ReplicationConnection::connect(params)
        .and_then(|mut connection| connection.lift_timeouts().map(|()| connection));
    match connected {
        Ok(connection) => {
            report.ok(Condition::Pooler, "none");
            let found = format!("{} opened a replication connection", params.user());
            report.ok(Condition::RoleReplication, found);
            return Some(connection);
        }
        Err(error) if error.reason() == Some(Reason::Pooler) => {
            let (kind, found) = (error.kind(), error.message());
            report.failure(Condition::Pooler, kind, found, [server.own_port()]);
            untried(report, params, server);
        }
        Err(error) if error.kind() == Kind::Permission && !server.may_replicate() => {
            let mend = [server.provider().grant_replication(params.user())];
            report.failure(
                Condition::RoleReplication,
                error.kind(),
                error.message(),
                mend,
            );
        }
        Err(error) => report.error(Condition::RoleReplication, &error),
    }
    None
}

/// Reports a right to replicate that could not be tried: what the catalog says must do.
fn untried(report: &mut Report, params: &ConnectParams, server: &ExaminedServer) {
    let (condition, user) = (Condition::RoleReplication, params.user());
    match server.may_replicate() {
        true => report.ok(
            condition,
            format!("{user} has the right; it could not be tried"),
        ),
        false => report.failure(
            condition,
            Kind::Permission,
            format!("{user} has not the right to replicate"),
            [server.provider().grant_replication(user)],
        ),
    }
}
