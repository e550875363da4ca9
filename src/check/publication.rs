//! The publication: what it sends, and what it does to the tables it has.

use serde::Deserialize;

use super::Context;
use super::condition::Condition;
use super::report::{Mend, Report};
use super::sql::Sql;
use crate::config::Setup;
use crate::error::{Kind, Result};
use crate::pg::connection::{quote_identifier, quote_literal};
use crate::setup::{WITHOUT_IDENTITY, create_publication_statement};

/// So many names are shown in one line; there is a statement for each all the same.
const NAMED: usize = 10;

/// The publication as it is found.
#[derive(Debug, Deserialize)]
pub struct Found {
    /// Its OID.
    pub publication_oid: u32,
    pubinsert: bool,
    pubupdate: bool,
    pubdelete: bool,
    /// 11+.
    pubtruncate: Option<bool>,
    /// How many transactions ago it was made, or altered.
    pub age: i64,
}

/// A configured table.
#[derive(Debug, Deserialize)]
struct Table {
    name: String,
    quoted: String,
    exists: bool,
    owned: bool,
    published: bool,
}

#[derive(Debug, Deserialize)]
struct Identity {
    name: String,
    /// An index that could be the identity.
    index: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Leaf {
    name: String,
    parent: String,
    /// The parent's: d, f or i.
    wanted: char,
    index: Option<String>,
}

/// Looks at it; what was found, if it is there.
pub fn check(
    report: &mut Report,
    sql: &mut Sql<'_>,
    context: &Context<'_>,
) -> Result<Option<Found>> {
    let name = quote_literal(&context.config.publication);
    let found: Option<Found> = sql
        .rows(&format!(
            "SELECT p.oid::int8 AS publication_oid, age(p.xmin) AS age, p.* \
             FROM pg_publication p WHERE pubname = {name}"
        ))
        .map(|mut rows| rows.pop())?;
    let tables = tables(sql, context)?;
    let Some(found) = found else {
        missing(report, sql, context, &tables)?;
        return Ok(None);
    };
    report.ok(
        Condition::Publication,
        format!("{} exists", context.config.publication),
    );
    published(report, sql, context, &tables)?;
    found.actions(report, context);
    let roots = format!(
        "SELECT c.oid FROM pg_publication_tables t JOIN pg_namespace n ON n.nspname = t.schemaname \
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename \
         WHERE t.pubname = {name}"
    );
    match found.pubupdate || found.pubdelete {
        true => identity(report, sql, &roots)?,
        false => report.ok(Condition::PublicationIdentity, "not needed for inserts"),
    }
    partitions(report, sql, &roots)?;
    Ok(Some(found))
}

/// The configured tables, resolved by the rules of the server.
fn tables(sql: &mut Sql<'_>, context: &Context<'_>) -> Result<Vec<Table>> {
    let config = context.config;
    if config.tables.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = config
        .tables
        .iter()
        .map(|name| quote_literal(name))
        .collect();
    sql.rows(&format!(
        "SELECT t.name, c.oid IS NOT NULL AS exists, \
         (SELECT string_agg(quote_ident(part), '.' ORDER BY n) \
           FROM unnest(parse_ident(t.name)) WITH ORDINALITY AS parts(part, n)) AS quoted, \
         coalesce(pg_has_role(c.relowner, 'USAGE'), false) AS owned, \
         EXISTS (SELECT FROM pg_publication_tables p WHERE p.pubname = {} \
           AND (p.schemaname, p.tablename) = (n.nspname, c.relname)) AS published \
         FROM unnest(ARRAY[{}]) AS t(name) \
         LEFT JOIN pg_class c ON c.oid = to_regclass(t.name) \
         LEFT JOIN pg_namespace n ON n.oid = c.relnamespace",
        quote_literal(&config.publication),
        names.join(", ")
    ))
}

/// There is none: it is made, if the config and the user's rights allow it.
fn missing(
    report: &mut Report,
    sql: &mut Sql<'_>,
    context: &Context<'_>,
    tables: &[Table],
) -> Result<()> {
    let (config, condition) = (context.config, Condition::Publication);
    let quoted: Vec<String> = tables.iter().map(|table| table.quoted.clone()).collect();
    let statement = Mend::sql(format!(
        "{};",
        create_publication_statement(&config.publication, &quoted, &config.publishing)
    ));
    let name = &config.publication;
    if let Some(table) = tables.iter().find(|table| !table.exists) {
        let found = format!(
            "{name} is to be made for {}, which does not exist",
            table.name
        );
        let mend = Mend::config("parameters: { tables: [TABLES THAT EXIST] }");
        report.failure(condition, Kind::Config, found, [mend]);
        return Ok(());
    }
    let roots = match tables {
        [] => "SELECT c.oid FROM pg_class c WHERE c.relkind = 'r' \
               AND pg_relation_is_publishable(c.oid)"
            .to_owned(),
        tables => {
            let names: Vec<String> = tables
                .iter()
                .map(|table| quote_literal(&table.name))
                .collect();
            let names = names.join(", ");
            format!("SELECT to_regclass(name)::oid FROM unnest(ARRAY[{names}]) AS t(name)")
        }
    };
    identity(report, sql, &roots)?;
    #[derive(Deserialize)]
    struct Rights {
        create: bool,
    }
    let rights: Rights =
        sql.row("SELECT has_database_privilege(current_database(), 'CREATE') AS create")?;
    let may = match tables {
        [] => context.server.superuser,
        tables => rights.create && tables.iter().all(|table| table.owned),
    };
    if context.server.is_standby() {
        let found = format!("{name} does not exist, and a standby has what its primary has");
        let mend = Mend::advice(format!("on the primary: {}", statement.text));
        report.failure(condition, Kind::Config, found, [mend]);
        return Ok(());
    }
    match (config.setup, may) {
        (Setup::Require, _) => report.failure(
            condition,
            Kind::Config,
            format!("{name} does not exist, and skip_setup is true"),
            [statement],
        ),
        (Setup::Create, true) => report.ok(condition, format!("{name} is made at the first run")),
        (Setup::Create, false) => report.failure(
            condition,
            Kind::Permission,
            format!(
                "{name} does not exist, and {} may not make it: all tables can only be published by \
                 a superuser, others by their owner with CREATE on the database",
                context.target.user()
            ),
            [statement],
        ),
    }
    Ok(())
}

/// Whether it has what the config names, or anything.
fn published(
    report: &mut Report,
    sql: &mut Sql<'_>,
    context: &Context<'_>,
    tables: &[Table],
) -> Result<()> {
    #[derive(Deserialize)]
    struct Count {
        count: i64,
    }
    let (condition, publication) = (Condition::PublicationTables, &context.config.publication);
    let alter = format!("ALTER PUBLICATION {}", quote_identifier(publication));
    let unpublished: Vec<&Table> = tables.iter().filter(|table| !table.published).collect();
    let Count { count } = sql.row(&format!(
        "SELECT count(*) FROM pg_publication_tables WHERE pubname = {}",
        quote_literal(publication)
    ))?;
    if !unpublished.is_empty() {
        let names: Vec<&str> = unpublished.iter().map(|table| &*table.name).collect();
        let mend = unpublished.iter().map(|table| match table.exists {
            true => Mend::sql(format!("{alter} ADD TABLE {};", table.quoted)),
            false => Mend::advice(format!("{} does not exist", table.name)),
        });
        let found = format!("has not all that the config names: {}", named(&names));
        report.warning(condition, found, mend);
    } else if count == 0 {
        let mend = Mend::advice(format!("{alter} ADD TABLE ...;"));
        report.warning(condition, "has no tables: nothing is sent", [mend]);
    } else {
        report.ok(condition, format!("{count}"));
    }
    Ok(())
}

impl Found {
    fn actions(&self, report: &mut Report, context: &Context<'_>) {
        let truncate = self.pubtruncate;
        let kinds = [
            ("insert", Some(self.pubinsert)),
            ("update", Some(self.pubupdate)),
            ("delete", Some(self.pubdelete)),
            ("truncate", truncate),
        ];
        let all: Vec<&str> = kinds
            .iter()
            .filter(|kind| kind.1.is_some())
            .map(|kind| kind.0)
            .collect();
        // What the config names is what a publication would be made with.
        let configured = &context.config.publishing.operations;
        let wanted = if configured.is_empty() {
            all
        } else {
            configured.clone()
        };
        let left_out: Vec<&str> = kinds
            .iter()
            .filter(|kind| kind.1 == Some(false) && wanted.contains(&kind.0))
            .map(|kind| kind.0)
            .collect();
        if left_out.is_empty() {
            return report.ok(Condition::PublicationActions, wanted.join(", "));
        }
        report.warning(
            Condition::PublicationActions,
            format!("leaves out {}", left_out.join(", ")),
            [Mend::sql(format!(
                "ALTER PUBLICATION {} SET (publish = '{}');",
                quote_identifier(&context.config.publication),
                wanted.join(", ")
            ))],
        );
    }
}

/// The ordinary tables among those that `roots` selects: of a partitioned one, its leaves.
fn leaves(roots: &str) -> String {
    format!(
        "WITH RECURSIVE tree(oid) AS ({roots} \
           UNION SELECT i.inhrelid FROM tree t JOIN pg_class c ON c.oid = t.oid AND c.relkind = 'p' \
           JOIN pg_inherits i ON i.inhparent = t.oid), \
         leaf AS (SELECT c.oid AS oid, c.relreplident, format('%I.%I', n.nspname, c.relname) AS name \
           FROM tree t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
           WHERE c.relkind = 'r')"
    )
}

/// UPDATE and DELETE are refused on a published table that has none.
fn identity(report: &mut Report, sql: &mut Sql<'_>, roots: &str) -> Result<()> {
    let without: Vec<Identity> = sql.rows(&format!(
        "{} SELECT c.name, (SELECT quote_ident(k.relname) FROM pg_index i \
           JOIN pg_class k ON k.oid = i.indexrelid \
           WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid \
           AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS (SELECT FROM pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND NOT a.attnotnull) \
           ORDER BY i.indnatts, k.relname LIMIT 1) AS index \
         FROM leaf c WHERE {WITHOUT_IDENTITY} ORDER BY c.name",
        leaves(roots)
    ))?;
    let condition = Condition::PublicationIdentity;
    if without.is_empty() {
        report.ok(condition, "each table has one");
        return Ok(());
    }
    let names: Vec<&str> = without.iter().map(|table| &*table.name).collect();
    let found = format!("UPDATE and DELETE are refused on {}", named(&names));
    let mend = without
        .iter()
        .map(|table| replica_identity(&table.name, 'f', table.index.as_deref()));
    report.warning(condition, found, mend);
    Ok(())
}

/// What is set on a partitioned table does not reach the partitions that it has.
fn partitions(report: &mut Report, sql: &mut Sql<'_>, roots: &str) -> Result<()> {
    let differing: Vec<Leaf> = sql.rows(&format!(
        "{} SELECT c.name, format('%I.%I', n.nspname, p.relname) AS parent, \
           p.relreplident AS wanted, (SELECT quote_ident(k.relname) FROM pg_index parent \
             JOIN pg_inherits i ON i.inhparent = parent.indexrelid \
             JOIN pg_index own ON own.indexrelid = i.inhrelid AND own.indrelid = c.oid \
             JOIN pg_class k ON k.oid = own.indexrelid \
             WHERE parent.indrelid = p.oid AND parent.indisreplident) AS index \
         FROM leaf c JOIN pg_inherits i ON i.inhrelid = c.oid \
         JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'p' \
         JOIN pg_namespace n ON n.oid = p.relnamespace \
         WHERE c.relreplident <> p.relreplident AND p.relreplident <> 'n' ORDER BY c.name",
        leaves(roots)
    ))?;
    let condition = Condition::PublicationPartitions;
    let Some(first) = differing.first() else {
        report.ok(condition, "as their parents");
        return Ok(());
    };
    let names: Vec<&str> = differing.iter().map(|leaf| &*leaf.name).collect();
    let found = format!(
        "the old rows of {} come in another form than the rest of {} has",
        named(&names),
        first.parent
    );
    let mend = differing.iter().map(|leaf| {
        let index = leaf.index.as_deref().filter(|_| leaf.wanted == 'i');
        replica_identity(&leaf.name, leaf.wanted, index)
    });
    report.warning(condition, found, mend);
    Ok(())
}

fn replica_identity(table: &str, identity: char, index: Option<&str>) -> Mend {
    let identity = match (index, identity) {
        (Some(index), _) => format!("USING INDEX {index}"),
        (None, 'd') => "DEFAULT".to_owned(),
        (None, _) => "FULL".to_owned(),
    };
    Mend::sql(format!("ALTER TABLE {table} REPLICA IDENTITY {identity};"))
}

fn named(names: &[&str]) -> String {
    let first = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
