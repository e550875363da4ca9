//! The publication: what it sends, and what it does to the tables it has.

use serde::Deserialize;

use super::condition::Condition;
use super::identity::{self, named};
use super::keys;
use super::report::{Mend, Report};
use super::sql::Sql;
use super::{DatabaseChecks, warn_if_unseen};
use crate::base::error::{Kind, Result};
use crate::config::Setup;
use crate::pg::connection::{quote_identifier, quote_literal};
use crate::pipeline::setup::{
    ASKED_TABLES, Publication, all_roots, create_publication_statement, listed, listed_roots,
    membership, resolve,
};

/// The publication as it was found.
#[derive(Debug, Deserialize)]
pub struct ExaminedPublication {
    /// The OID of the publication.
    pub publication_oid: u32,
    #[serde(flatten)]
    publication: Publication,
    /// How many transactions ago the publication was made, or altered.
    pub age: i64,
}

/// A configured table.
#[derive(Debug, Deserialize)]
struct Table {
    name: String,
    #[serde(default)]
    quoted: String,
    /// `None` when there is none of this name.
    oid: Option<u32>,
    /// Whether the user may publish it.
    publishable: bool,
    published: bool,
}

/// Looks at the publication; returns what was found, if there is one.
pub fn check(
    report: &mut Report,
    sql: &mut Sql<'_>,
    context: &DatabaseChecks<'_>,
) -> Result<Option<ExaminedPublication>> {
    let name = quote_literal(&context.config.publication);
    let found: Option<ExaminedPublication> = sql.first(&format!(
        "SELECT p.oid::int8 AS publication_oid, age(p.xmin) AS age, p.* \
         FROM pg_publication p WHERE pubname = {name}"
    ))?;
    let Some(found) = found else {
        missing(report, sql, context)?;
        return Ok(None);
    };
    report.ok(
        Condition::Publication,
        format!("{} exists", context.config.publication),
    );
    let published = published(report, sql, context);
    warn_if_unseen(report, Condition::PublicationTables, published);
    found.actions(report, context);
    found.options(report, context);
    let (roots, major) = (
        listed(&context.config.publication),
        context.server.facts.major,
    );
    let identities = identity::check(report, sql, &roots, None, major);
    warn_if_unseen(report, Condition::PublicationIdentity, identities);
    let partitions = identity::partitions(report, sql, &roots);
    warn_if_unseen(report, Condition::PublicationPartitions, partitions);
    let keys = keys::check(report, sql, context.config);
    warn_if_unseen(report, Condition::PublicationKeys, keys);
    Ok(Some(found))
}

/// The configured tables, resolved by the rules of the server.
fn tables(sql: &mut Sql<'_>, context: &DatabaseChecks<'_>) -> Result<Vec<Table>> {
    let config = context.config;
    let named = sql.ask(|connection| resolve(connection, &config.tables))?;
    let mut tables = Vec::new();
    for named in named.chunks(ASKED_TABLES) {
        let mut found: Vec<Table> = sql.rows(&format!(
            "SELECT t.name, t.published, t.oid::int8 AS oid, \
             coalesce(pg_has_role(c.relowner, 'USAGE') \
               AND has_schema_privilege(c.relnamespace, 'USAGE'), false) AS publishable \
             FROM ({}) t LEFT JOIN pg_class c ON c.oid = t.oid",
            membership(&config.publication, named)
        ))?;
        for (table, named) in found.iter_mut().zip(named) {
            table.quoted.clone_from(&named.quoted);
        }
        tables.extend(found);
    }
    Ok(tables)
}

/// Reports that there is no publication: it is made, if the config and the user's rights allow it.
fn missing(report: &mut Report, sql: &mut Sql<'_>, context: &DatabaseChecks<'_>) -> Result<()> {
    let (config, condition) = (context.config, Condition::Publication);
    let tables = &*tables(sql, context)?;
    let quoted: Vec<String> = tables.iter().map(|table| table.quoted.clone()).collect();
    let statement = Mend::sql(format!(
        "{};",
        create_publication_statement(&config.publication, &quoted, &config.publishing)
    ));
    let name = &config.publication;
    if let Some(table) = tables.iter().find(|table| table.oid.is_none()) {
        let found = format!(
            "{name} is to be made for {}, which does not exist",
            table.name
        );
        let mend = Mend::config("parameters: { tables: [TABLES THAT EXIST] }");
        report.failure(condition, Kind::Config, found, [mend]);
        return Ok(());
    }
    let roots = match tables {
        [] => all_roots(),
        tables => {
            let oids = tables.iter().filter_map(|table| table.oid);
            listed_roots(oids)
        }
    };
    let major = context.server.facts.major;
    let identities = identity::check(report, sql, &roots, Some(&config.publishing), major);
    warn_if_unseen(report, Condition::PublicationIdentity, identities);
    #[derive(Deserialize)]
    struct Rights {
        create: bool,
    }
    let rights: Rights =
        sql.row("SELECT has_database_privilege(current_database(), 'CREATE') AS create")?;
    let may = match tables {
        [] => context.server.may_publish_all(),
        tables => rights.create && tables.iter().all(|table| table.publishable),
    };
    if context.server.facts.is_standby {
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
                 a superuser, others by their owner with CREATE on the database and USAGE on their \
                 schemas",
                context.params.user()
            ),
            [statement],
        ),
    }
    Ok(())
}

/// Whether the publication has the tables that the config names, or any.
fn published(report: &mut Report, sql: &mut Sql<'_>, context: &DatabaseChecks<'_>) -> Result<()> {
    #[derive(Deserialize)]
    struct Count {
        count: i64,
    }
    let (condition, publication) = (Condition::PublicationTables, &context.config.publication);
    let alter = format!("ALTER PUBLICATION {}", quote_identifier(publication));
    let tables = tables(sql, context)?;
    let unpublished: Vec<&Table> = tables.iter().filter(|table| !table.published).collect();
    let Count { count } = sql.row(&format!("SELECT count(*) FROM ({}) t", listed(publication)))?;
    if !unpublished.is_empty() {
        let names: Vec<&str> = unpublished.iter().map(|table| &*table.name).collect();
        let mend = unpublished.iter().map(|table| match table.oid {
            Some(_) => Mend::sql(format!("{alter} ADD TABLE {};", table.quoted)),
            None => Mend::advice(format!("{} does not exist", table.name)),
        });
        let found = format!(
            "has not all that the config names: {}",
            named(&names, names.len())
        );
        report.warning(condition, found, mend);
    } else if count == 0 {
        let mend = Mend::advice(format!("{alter} ADD TABLE ...;"));
        report.warning(condition, "has no tables: nothing is sent", [mend]);
    } else {
        report.ok(condition, format!("{count}"));
    }
    Ok(())
}

impl ExaminedPublication {
    fn actions(&self, report: &mut Report, context: &DatabaseChecks<'_>) {
        let kinds = self.publication.operations();
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
        let differing = |is: bool| {
            let differs = |(kind, published): &(&'static str, Option<bool>)| {
                *published == Some(is) && wanted.contains(kind) != is
            };
            let kinds: Vec<&str> = kinds
                .iter()
                .filter(|kind| differs(kind))
                .map(|kind| kind.0)
                .collect();
            kinds.join(", ")
        };
        let found = match (differing(false), differing(true)) {
            (none, more) if none.is_empty() && more.is_empty() => {
                return report.ok(Condition::PublicationActions, wanted.join(", "));
            }
            (left_out, none) if none.is_empty() => format!("leaves out {left_out}"),
            (none, more) if none.is_empty() => format!("has {more} too"),
            (left_out, more) => format!("leaves out {left_out}, has {more} instead"),
        };
        report.warning(
            Condition::PublicationActions,
            found,
            [Mend::sql(format!(
                "ALTER PUBLICATION {} SET (publish = '{}');",
                quote_identifier(&context.config.publication),
                wanted.join(", ")
            ))],
        );
    }

    /// Compares what the publication makes of rows with the config.
    fn options(&self, report: &mut Report, context: &DatabaseChecks<'_>) {
        let config = context.config;
        let set = self.publication.differing(&config.publishing).join(", ");
        if set.is_empty() {
            return report.ok(Condition::PublicationOptions, "as the config says");
        }
        let publication = quote_identifier(&config.publication);
        report.warning(
            Condition::PublicationOptions,
            format!("the config says {set}"),
            [Mend::sql(format!(
                "ALTER PUBLICATION {publication} SET ({set});"
            ))],
        );
    }
}
