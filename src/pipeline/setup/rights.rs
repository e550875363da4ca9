//! The rights that it takes to make the publication.

use serde::Deserialize;

use super::SideQuestions;
use super::names::Table;
use super::publication::{create_statement, quoted, roots};
use crate::base::error::{Error, Kind, Reason, Result};
use crate::config::Config;
use crate::pg::connection::Connection;

/// A right that is missing, of those that it takes to publish tables by name.
#[derive(Deserialize)]
struct Right {
    statement: String,
    /// Whether it is that to use a schema: what is in there does not exist for the user.
    opens_schema: bool,
}

/// The rights that the user has not, as the statements that give them. Another one's table can be
/// published by whoever owns it, and has a way to it.
fn missing_rights(connection: &mut Connection, tables: &[Table]) -> Result<Vec<Right>> {
    let user = "pg_catalog.quote_ident(current_user)";
    connection.select(&format!(
        "WITH named AS (SELECT c.relowner, c.relname, n.oid AS namespace, n.nspname FROM ({}) t(oid) \
           JOIN pg_catalog.pg_class c ON c.oid = t.oid \
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace) \
         SELECT 'GRANT CREATE ON DATABASE ' || pg_catalog.quote_ident(pg_catalog.current_database()) \
           || ' TO ' || {user} || ';' AS statement, false AS opens_schema \
           WHERE NOT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') \
         UNION ALL (SELECT DISTINCT 'GRANT USAGE ON SCHEMA ' || pg_catalog.quote_ident(nspname) || ' TO ' \
           || {user} || ';', true FROM named WHERE NOT pg_catalog.has_schema_privilege(namespace, 'USAGE') \
         ORDER BY 1) \
         UNION ALL SELECT pg_catalog.format('ALTER TABLE %I.%I OWNER TO ', nspname, relname) || {user} \
           || ';', false FROM named WHERE NOT pg_catalog.pg_has_role(relowner, 'USAGE')",
        roots(tables)
    ))
}

/// Adds what the user lacks to make the publication. A table in a schema that is closed to the user does
/// not exist for it, as the server puts it.
pub(super) fn with_rights_hint(
    error: Error,
    aside: &SideQuestions<'_>,
    config: &Config,
    tables: &[Table],
) -> Error {
    let is_of_rights = matches!(error.kind(), Kind::Permission | Kind::Config);
    // A trigger has said what it wants.
    if !is_of_rights || error.reason() == Some(Reason::Trigger) {
        return error;
    }
    if tables.is_empty() {
        return match error.kind() {
            Kind::Permission => error.with_hint(
                "only a superuser can publish all tables: let one make the publication, or name the \
                 tables to publish, which the user must own, under \"tables\"",
            ),
            _ => error,
        };
    }
    let mut rights = Vec::new();
    aside.ask("which rights are missing", |connection| {
        rights = missing_rights(connection, tables)?;
        Ok(())
    });
    let is_closed = rights.iter().any(|right| right.opens_schema);
    let error = match error.kind() {
        Kind::Config if !is_closed => return error,
        Kind::Config => Error::new(Kind::Permission, error.message()),
        _ => error,
    };
    let statement = create_statement(&config.publication, &quoted(tables), &config.publishing);
    let statements: Vec<String> = rights.into_iter().map(|right| right.statement).collect();
    let missing = match statements.is_empty() {
        true => "; a superuser has them all,".to_owned(),
        false => format!(
            "; a superuser gives what is missing: {}",
            statements.join(" ")
        ),
    };
    error.with_hint(format!(
        "the user needs CREATE on the database, USAGE on the schemas, and must own the tables{missing} \
         or runs: {statement};"
    ))
}
