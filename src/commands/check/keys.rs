//! The keys of rows: which rows can be told apart, and spread by it.

use serde::Deserialize;

use super::condition::Condition;
use super::identity::named;
use super::report::{Mend, Report};
use super::sql::Sql;
use crate::base::error::{Kind, Result};
use crate::config::Config;
use crate::config::routes::Partitioning;
use crate::pg::connection::quote_identifier;
use crate::pipeline::setup::listed;
use crate::record::Format;

/// A published table.
#[derive(Debug, Deserialize)]
struct Table {
    schema: String,
    name: String,
    /// The kind of replica identity: d, f, i or n.
    identity: char,
    columns: Vec<String>,
    /// The columns of the replica identity, if that is an index.
    key: Vec<String>,
}

/// What is wrong with the keys of a table.
enum Fault {
    /// The config names a column that there is not.
    NoColumn(String),
    /// The config names a column that deletes do not tell.
    NotOfIdentity(String),
    /// The rows are to be spread by a key and have none.
    NoKey,
}

/// The published tables with their columns and keys. An index has columns that are no part of its key since
/// version 11.
fn tables(publication: &str) -> String {
    format!(
        "SELECT n.nspname::text AS schema, c.relname::text AS name, c.relreplident AS identity, \
           ARRAY(SELECT a.attname::text FROM pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns, \
           ARRAY(SELECT a.attname::text FROM pg_index i, \
             unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n), pg_attribute a \
             WHERE i.indrelid = c.oid AND a.attrelid = c.oid AND a.attnum = k.attnum \
             AND k.n <= coalesce((to_jsonb(i) ->> 'indnkeyatts')::int, i.indnatts) \
             AND (c.relreplident = 'd' AND i.indisprimary \
               OR c.relreplident = 'i' AND i.indisreplident)) AS key \
         FROM ({}) l JOIN pg_class c ON c.oid = l.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
         ORDER BY 1, 2",
        listed(publication)
    )
}

/// Looks at the keys of the published tables, if records have any.
pub fn check(report: &mut Report, sql: &mut Sql<'_>, config: &Config) -> Result<()> {
    let condition = Condition::PublicationKeys;
    if config.format == Format::Events {
        report.ok(condition, "\"format: events\" has none");
        return Ok(());
    }
    let tables: Vec<Table> = sql.rows(&tables(&config.publication))?;
    let faults = tables.iter().flat_map(|table| {
        let faults = table.faults(config).into_iter();
        faults.map(move |fault| (table, fault))
    });
    let (keyless, wrong): (Vec<_>, Vec<_>) =
        faults.partition(|(_, fault)| matches!(fault, Fault::NoKey));
    for (table, fault) in &wrong {
        let (found, mends) = table.failure(fault);
        report.failure(condition, Kind::Config, found, mends);
    }
    let names: Vec<String> = keyless.iter().map(|(table, _)| table.shown()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match (&names[..], &wrong[..]) {
        ([], []) => report.ok(condition, format!("{} tables", tables.len())),
        ([], _) => {}
        (names, _) => report.warning(
            condition,
            format!(
                "no key to spread their rows by, which all go to one partition of each: {}",
                named(names, names.len())
            ),
            [Mend::advice(
                "give each a primary key; under REPLICA IDENTITY FULL name its columns in the config, \
                 keys: { SCHEMA.TABLE: [COLUMNS] }",
            )],
        ),
    }
    Ok(())
}

impl Table {
    fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    fn faults(&self, config: &Config) -> Vec<Fault> {
        let named = config.keys.of_table(&self.schema, &self.name);
        let Some(named) = named else {
            let route = config.routes.of_table(&self.schema, &self.name);
            let is_spread = route.is_ok_and(|route| route.partitioning == Partitioning::Key);
            let has_key = self.identity != 'f' && !self.key.is_empty();
            return Vec::from_iter((is_spread && !has_key).then_some(Fault::NoKey));
        };
        let has = |columns: &[String], column: &str| columns.iter().any(|own| own == column);
        let is_told =
            |column: &str| self.identity == 'f' || self.key.is_empty() || has(&self.key, column);
        let faults = named.filter_map(|column| match has(&self.columns, column) {
            false => Some(Fault::NoColumn(column.to_owned())),
            true if is_told(column) => None,
            true => Some(Fault::NotOfIdentity(column.to_owned())),
        });
        faults.collect()
    }

    /// What is said of a key that the program would end because of, and what mends it.
    fn failure(&self, fault: &Fault) -> (String, Vec<Mend>) {
        let shown = self.shown();
        match fault {
            Fault::NoColumn(column) => (
                format!("keys: {shown} has no column \"{column}\""),
                vec![Mend::config(format!("keys: {{ {shown}: [ITS COLUMNS] }}"))],
            ),
            Fault::NotOfIdentity(column) => (
                format!(
                    "keys: column \"{column}\" of {shown} is not part of its replica identity, so deletes \
                     would not tell it"
                ),
                vec![
                    Mend::config(format!("keys: without {shown}")),
                    Mend::sql(format!(
                        "ALTER TABLE {}.{} REPLICA IDENTITY FULL;",
                        quote_identifier(&self.schema),
                        quote_identifier(&self.name)
                    ))
                    .giving_up("WAL for whole old rows of each update and delete"),
                ],
            ),
            Fault::NoKey => (format!("{shown} has no key"), Vec::new()),
        }
    }
}
