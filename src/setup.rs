//! Making the publication and the slot, through SQL.
//!
//! The publication comes first: a slot that is older than its publication cannot decode what was
//! written in between. What exists is left as it is.

use postgres::Client;

use crate::config::Setup;
use crate::error::{Context, Error, Kind, Result};
use crate::pg::connection::{quote_identifier, quote_literal};
use crate::pg::encryption::Protection;
use crate::pg::server_error::from_sql;
use crate::pg::sql;
use crate::pg::target::{Endpoint, Target};

/// The oldest server that has publications.
const OLDEST_VERSION: i32 = 100_000;

/// So many tables are named in a warning; the others are counted.
const NAMED_TABLES: usize = 20;

/// Whether the table `c` of `pg_class` has no replica identity that works.
pub const WITHOUT_IDENTITY: &str = "(c.relreplident = 'n' \
    OR c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i \
       WHERE i.indrelid = c.oid AND i.indisprimary) \
    OR c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i \
       WHERE i.indrelid = c.oid AND i.indisreplident))";

/// What has to be there.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// The publication's name.
    pub publication: &'a str,
    /// The tables of a publication that is made; all when there are none.
    pub tables: &'a [String],
    /// The slot's name.
    pub slot: &'a str,
    /// What happens when one of them is missing.
    pub setup: Setup,
}

/// Makes what is missing on the server at `endpoint`, or says how to.
///
/// That server has just let a replication connection in. The SQL client knows no deadline between
/// its first packet and the end of authentication, and says little about what goes wrong there.
pub fn ensure(
    target: &Target,
    (endpoint, protection): (&Endpoint, Protection),
    plan: &Plan<'_>,
) -> Result<()> {
    let place = || format!("PostgreSQL at {endpoint}");
    let mut client = sql::connect(target, endpoint, protection).at(place)?;
    check_server(&mut client).at(place)?;
    publication(&mut client, plan)
        .map_err(|error| with_owner_hint(error, target, plan))
        .at(|| format!("publication {}", plan.publication))?;
    slot(&mut client, plan).at(|| format!("replication slot {}", plan.slot))
}

fn check_server(client: &mut Client) -> Result<()> {
    let row = client.query_one(
        "SELECT current_setting('server_version_num')::int4, current_setting('server_version'), \
         current_setting('wal_level')",
        &[],
    );
    let row = row.map_err(from_sql)?;
    let (number, version): (i32, String) = (row.get(0), row.get(1));
    if number < OLDEST_VERSION {
        return Err(
            Error::config(format!("PostgreSQL {version} has no logical replication"))
                .with_hint("version 10 is the oldest that has it"),
        );
    }
    match row.get::<_, &str>(2) {
        "logical" => Ok(()),
        level => Err(Error::config(format!(
            "the server has wal_level={level}, logical is needed"
        ))
        .with_hint("run \"ALTER SYSTEM SET wal_level = logical\" and restart the server")),
    }
}

fn publication(client: &mut Client, plan: &Plan<'_>) -> Result<()> {
    let name = plan.publication;
    let found = client.query_opt(
        "SELECT 1 FROM pg_catalog.pg_publication WHERE pubname = $1",
        &[&name],
    );
    let exists = found.map_err(from_sql)?.is_some();
    let tables = plan
        .tables
        .iter()
        .map(|table| quote_table(client, table))
        .collect::<Result<Vec<_>>>()?;
    if exists {
        return warn_of_unpublished(client, name, &tables);
    }
    let statement = create_publication(name, &tables);
    if plan.setup == Setup::Require {
        return Err(missing(&statement));
    }
    if tables.is_empty() {
        warn_of_missing_identities(client)?;
    }
    client.batch_execute(&statement).map_err(from_sql)?;
    log::info!("made the publication: {statement}");
    Ok(())
}

/// The statement that makes a publication, with tables that are quoted already; all if there are
/// none.
pub fn create_publication(name: &str, tables: &[String]) -> String {
    let name = quote_identifier(name);
    match tables.is_empty() {
        true => format!("CREATE PUBLICATION {name} FOR ALL TABLES"),
        false => format!("CREATE PUBLICATION {name} FOR TABLE {}", tables.join(", ")),
    }
}

/// A configured table, quoted by the rules of the server.
fn quote_table(client: &mut Client, table: &str) -> Result<String> {
    let quoted = client.query_one(
        "SELECT string_agg(quote_ident(part), '.' ORDER BY n) \
         FROM unnest(parse_ident($1)) WITH ORDINALITY AS parts(part, n)",
        &[&table],
    );
    Ok(quoted
        .map_err(from_sql)
        .at(|| format!("table {table}"))?
        .get(0))
}

/// A publication that exists is somebody's decision; what it leaves out is only pointed at.
fn warn_of_unpublished(client: &mut Client, publication: &str, tables: &[String]) -> Result<()> {
    for table in tables {
        let published = client.query_opt(
            "SELECT 1 FROM pg_catalog.pg_publication_tables \
             WHERE pubname = $1 AND format('%I.%I', schemaname, tablename)::regclass = to_regclass($2)",
            &[&publication, table],
        );
        if published.map_err(from_sql)?.is_none() {
            log::warn!(
                "the publication {publication} exists and does not have the table {table}; to add it: \
                 ALTER PUBLICATION {} ADD TABLE {table}",
                quote_identifier(publication)
            );
        }
    }
    Ok(())
}

/// Once a table is published, an UPDATE or DELETE that the server cannot describe is refused.
fn warn_of_missing_identities(client: &mut Client) -> Result<()> {
    // Names in a database without an encoding may be no text that could be sent.
    let select = format!(
        "SELECT CASE getdatabaseencoding() WHEN 'SQL_ASCII' \
           THEN encode(convert_to(format('%I.%I', n.nspname, c.relname), 'SQL_ASCII'), 'escape') \
           ELSE format('%I.%I', n.nspname, c.relname) END \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND c.relpersistence = 'p' \
         AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast' \
         AND {WITHOUT_IDENTITY} ORDER BY 1"
    );
    let rows = client.query(&select, &[]);
    let tables: Vec<String> = rows
        .map_err(from_sql)?
        .iter()
        .map(|row| row.get(0))
        .collect();
    if tables.is_empty() {
        return Ok(());
    }
    let more = match tables.len().saturating_sub(NAMED_TABLES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    log::warn!(
        "publishing all tables: UPDATE and DELETE will be refused by the server on tables without a \
         replica identity: {}{more}; give each a primary key, or run \
         \"ALTER TABLE ... REPLICA IDENTITY FULL\", or name the tables to publish under \"tables\"",
        tables[..tables.len().min(NAMED_TABLES)].join(", ")
    );
    Ok(())
}

fn slot(client: &mut Client, plan: &Plan<'_>) -> Result<()> {
    let name = plan.slot;
    let found = client.query_opt(
        "SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_name = $1",
        &[&name],
    );
    if found.map_err(from_sql)?.is_some() {
        return Ok(());
    }
    if plan.setup == Setup::Require {
        return Err(missing(&format!(
            "SELECT pg_create_logical_replication_slot({}, 'pgoutput')",
            quote_literal(name)
        )));
    }
    log::info!(
        "making the replication slot {name}; this waits for the transactions that are open now"
    );
    client
        .execute(
            "SELECT pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput')",
            &[&name],
        )
        .map_err(from_sql)?;
    Ok(())
}

fn missing(statement: &str) -> Error {
    Error::config("does not exist, and skip_setup is true").with_hint(format!("run: {statement};"))
}

fn with_owner_hint(error: Error, target: &Target, plan: &Plan<'_>) -> Error {
    match error.kind() {
        Kind::Permission if plan.tables.is_empty() => error.with_hint(
            "only a superuser can publish all tables: let one make the publication, or name the \
             tables to publish, which the user must own, under \"tables\"",
        ),
        Kind::Permission => error.with_hint(format!(
            "the user needs CREATE on the database, GRANT CREATE ON DATABASE {} TO {}; and must own \
             the tables; or let their owner make the publication",
            quote_identifier(target.database()),
            quote_identifier(target.user()),
        )),
        _ => error,
    }
}
