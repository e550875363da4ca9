//! The publication.

use serde::Deserialize;

use super::identity::{Refused, operations, refused};
use super::names::{ASKED_TABLES, Table, resolve};
use super::rights::with_rights_hint;
use super::{SideQuestions, missing};
use crate::base::error::Result;
use crate::config::{Config, GeneratedColumns, Publishing, Setup};
use crate::pg::catalog::server_facts::ServerFacts;
use crate::pg::connection::{Connection, quote_identifier, quote_literal};

/// How many tables are named in a warning; the others are counted.
const NAMED_TABLES: usize = 20;

/// The publication as the server describes it
/// ([`pg_publication`](https://www.postgresql.org/docs/current/catalog-pg-publication.html)).
/// Older servers do not have all of its columns.
#[derive(Debug, Deserialize)]
pub struct Publication {
    pubinsert: bool,
    pubupdate: bool,
    pubdelete: bool,
    /// `None` before version 11.
    pubtruncate: Option<bool>,
    /// `None` before version 13.
    pubviaroot: Option<bool>,
    /// `None` before version 18.
    pubgencols: Option<String>,
}

pub(super) fn ensure(
    connection: &mut Connection,
    server: &ServerFacts,
    aside: &SideQuestions<'_>,
    config: &Config,
) -> Result<()> {
    let name = &config.publication;
    if let Some(found) = find(connection, name)? {
        warn_of_difference(name, &found, &config.publishing);
        if !config.tables.is_empty() {
            aside.ask(
                "whether the publication has the configured tables",
                |connection| {
                    let tables = resolve(connection, &config.tables)?;
                    warn_of_unpublished(connection, name, &tables)
                },
            );
        }
        return Ok(());
    }
    let tables = resolve(connection, &config.tables)?;
    let statement = create_statement(name, &quoted(&tables), &config.publishing);
    if server.is_standby {
        let why = "this server is a standby: it has what was made on its primary";
        return Err(missing(why, &statement));
    }
    if config.setup == Setup::Require {
        return Err(missing("skip_setup is true", &statement));
    }
    aside.ask("which tables have a replica identity", |connection| {
        warn_of_refused(connection, server.major, &tables, &config.publishing)
    });
    log::info!("making the publication {name}; this waits for locks that others hold");
    connection
        .wait_for(&statement)
        .map_err(|error| with_rights_hint(error, aside, config, &tables))?;
    log::info!("made the publication: {statement}");
    Ok(())
}

/// The statement that makes the publication, if it does not exist.
pub(super) fn missing_statement(
    connection: &mut Connection,
    config: &Config,
) -> Result<Option<String>> {
    let name = &config.publication;
    if find(connection, name)?.is_some() {
        return Ok(None);
    }
    let tables = quoted(&resolve(connection, &config.tables)?);
    Ok(Some(create_statement(name, &tables, &config.publishing)))
}

/// The names of tables as statements have them.
pub(super) fn quoted(tables: &[Table]) -> Vec<String> {
    tables.iter().map(|table| table.quoted.clone()).collect()
}

fn find(connection: &mut Connection, name: &str) -> Result<Option<Publication>> {
    connection.select_first(&format!(
        "SELECT * FROM pg_catalog.pg_publication WHERE pubname = {}",
        quote_literal(name)
    ))
}

/// The statement that makes a publication, with tables that are quoted already; all if there are none.
pub fn create_statement(name: &str, tables: &[String], publishing: &Publishing) -> String {
    let what = match tables.is_empty() {
        true => "ALL TABLES".to_owned(),
        false => format!("TABLE {}", tables.join(", ")),
    };
    let options = options(publishing);
    let with = match options.is_empty() {
        true => String::new(),
        false => format!(" WITH ({})", options.join(", ")),
    };
    let name = quote_identifier(name);
    format!("CREATE PUBLICATION {name} FOR {what}{with}")
}

/// The options of a publication that the config names, as SQL has them.
fn options(publishing: &Publishing) -> Vec<String> {
    let mut options = Vec::new();
    if !publishing.operations.is_empty() {
        let operations = publishing.operations.join(", ");
        options.push(format!("publish = '{operations}'"));
    }
    // To name what older servers do anyway would only make them fail.
    if publishing.via_partition_root == Some(true) {
        options.push("publish_via_partition_root = true".to_owned());
    }
    if publishing.generated_columns == Some(GeneratedColumns::Stored) {
        options.push("publish_generated_columns = stored".to_owned());
    }
    options
}

/// Warns where a publication that exists differs from the config: it is somebody's decision, and only
/// pointed at.
fn warn_of_difference(name: &str, found: &Publication, wanted: &Publishing) {
    let mut set = Vec::new();
    let published = found.operations();
    let is_other = |(operation, is): &(&'static str, Option<bool>)| {
        wanted.operations.contains(operation) != is.unwrap_or_default()
    };
    if !wanted.operations.is_empty() && published.iter().any(is_other) {
        set.push(format!("publish = '{}'", wanted.operations.join(", ")));
    }
    set.extend(found.differing(wanted));
    if !set.is_empty() {
        log::warn!(
            "the publication {name} exists and differs from the config; to change it: ALTER PUBLICATION \
             {} SET ({})",
            quote_identifier(name),
            set.join(", ")
        );
    }
}

impl Publication {
    /// The kinds of changes, and whether each is published, as far as the server knows of it.
    pub fn operations(&self) -> [(&'static str, Option<bool>); 4] {
        [
            ("insert", Some(self.pubinsert)),
            ("update", Some(self.pubupdate)),
            ("delete", Some(self.pubdelete)),
            ("truncate", self.pubtruncate),
        ]
    }

    /// The options of what is made of rows that the config says otherwise, as SQL has them.
    pub fn differing(&self, wanted: &Publishing) -> Vec<String> {
        let mut set = Vec::new();
        if let (Some(wanted), Some(is)) = (wanted.via_partition_root, self.pubviaroot)
            && wanted != is
        {
            set.push(format!("publish_via_partition_root = {wanted}"));
        }
        if let (Some(wanted), Some(is)) = (wanted.generated_columns, self.pubgencols.as_deref()) {
            let (code, word) = match wanted {
                GeneratedColumns::None => ("n", "none"),
                GeneratedColumns::Stored => ("s", "stored"),
            };
            if code != is {
                set.push(format!("publish_generated_columns = {word}"));
            }
        }
        set
    }
}

/// Warns of configured tables that an existing publication leaves out: that is somebody's decision too.
fn warn_of_unpublished(
    connection: &mut Connection,
    publication: &str,
    tables: &[Table],
) -> Result<()> {
    #[derive(Deserialize)]
    struct Membership {
        published: bool,
    }
    for tables in tables.chunks(ASKED_TABLES) {
        let found: Vec<Membership> = connection.select(&membership(publication, tables))?;
        let unpublished = tables
            .iter()
            .zip(found)
            .filter(|(_, found)| !found.published);
        for (Table { name, quoted, .. }, _) in unpublished {
            log::warn!(
                "the publication {publication} exists and does not have the table {name}; to add it: \
                 ALTER PUBLICATION {} ADD TABLE {quoted}",
                quote_identifier(publication)
            );
        }
    }
    Ok(())
}

/// The SELECT of the tables that a publication lists, by their OIDs. The view that has them too,
/// `pg_publication_tables`, lists them all anew for each table up to version 12.
pub fn listed(publication: &str) -> String {
    format!(
        "SELECT t.relid AS oid FROM pg_catalog.pg_publication p, \
         LATERAL pg_catalog.pg_get_publication_tables(p.pubname::text) t WHERE p.pubname = {}",
        quote_literal(publication)
    )
}

/// The SELECT that tells which of `tables` a publication has, in their order: `name`, `oid` or NULL,
/// `published`.
///
/// With a partitioned table a publication has its partitions too, and lists one or the others: all
/// is there if the table, or one above it, is listed, or everything below it.
pub fn membership(publication: &str, tables: &[Table]) -> String {
    let listed = listed(publication);
    let publication = quote_literal(publication);
    let named = tables.iter().enumerate().map(|(n, table)| {
        let oid = table.oid.map_or("NULL".to_owned(), |oid| oid.to_string());
        format!("({n}, {}, {oid}::oid)", quote_literal(&table.name))
    });
    let named: Vec<String> = named.collect();
    format!(
        "WITH RECURSIVE listed AS (\
           {listed} UNION SELECT r.prrelid FROM pg_catalog.pg_publication_rel r \
             JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE p.pubname = {publication}), \
         named AS (SELECT * FROM (VALUES {named}) AS t(n, name, oid)), \
         above AS (SELECT oid AS root, oid FROM named \
           UNION SELECT a.root, i.inhparent FROM above a \
             JOIN pg_catalog.pg_inherits i ON i.inhrelid = a.oid \
             JOIN pg_catalog.pg_class p ON p.oid = i.inhparent AND p.relkind = 'p'), \
         below AS (SELECT oid AS root, oid FROM named \
           UNION SELECT b.root, i.inhrelid FROM below b \
             JOIN pg_catalog.pg_class p ON p.oid = b.oid AND p.relkind = 'p' \
             JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid), \
         leaf AS (SELECT b.root, l.oid IS NOT NULL AS is_listed FROM below b \
           JOIN pg_catalog.pg_class c ON c.oid = b.oid AND c.relkind = 'r' \
           LEFT JOIN listed l ON l.oid = b.oid) \
         SELECT t.name, t.oid, \
           EXISTS (SELECT FROM above a JOIN listed l ON l.oid = a.oid WHERE a.root = t.oid) \
           OR coalesce((SELECT bool_and(is_listed) FROM leaf WHERE root = t.oid), false) AS published \
         FROM named t ORDER BY t.n",
        named = named.join(", ")
    )
}

/// Warns of tables that UPDATE or DELETE are refused on once they are published.
fn warn_of_refused(
    connection: &mut Connection,
    major: u32,
    tables: &[Table],
    planned: &Publishing,
) -> Result<()> {
    let roots = roots(tables);
    let refused: Vec<Refused> = connection.select(&refused(&roots, Some(planned), major))?;
    let Some(Refused { count, .. }) = refused.first() else {
        return Ok(());
    };
    let shown = &refused[..refused.len().min(NAMED_TABLES)];
    let names: Vec<String> = shown.iter().map(Refused::to_string).collect();
    let more = match count - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more, which \"postgres-source check\" tells of"),
    };
    let fewer = match tables.is_empty() {
        true => ", name the tables to publish under \"tables\"",
        false => "",
    };
    let mut mendings: Vec<String> = Vec::new();
    for mending in shown.iter().flat_map(Refused::mendings) {
        let text = mending.to_string();
        if !mendings.contains(&text) {
            mendings.push(text);
        }
    }
    log::warn!(
        "{} refused by the server, once they are published, on tables without a replica identity that \
         fits: {}{more}; give each a primary key{fewer}, or run: {}",
        operations(&refused),
        names.join(", "),
        mendings.join(" ")
    );
    Ok(())
}

/// The SELECT of the OIDs of these tables, of those that there are, or else of all.
pub(super) fn roots(tables: &[Table]) -> String {
    match tables.is_empty() {
        true => all_roots(),
        false => listed_roots(tables.iter().filter_map(|table| table.oid)),
    }
}

/// The SELECT of the given OIDs.
pub fn listed_roots(oids: impl Iterator<Item = u32>) -> String {
    let oids: Vec<String> = oids.map(|oid| oid.to_string()).collect();
    let oids = oids.join(", ");
    format!("SELECT pg_catalog.unnest(ARRAY[{oids}]::pg_catalog.oid[])")
}

/// The SELECT of the OIDs of all tables that can be published.
pub fn all_roots() -> String {
    "SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind = 'r' \
     AND pg_catalog.pg_relation_is_publishable(c.oid)"
        .to_owned()
}
