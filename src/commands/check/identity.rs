//! What UPDATE and DELETE need to say which row they mean: the replica identity of each table.

use serde::Deserialize;

use super::condition::Condition;
use super::report::{Mend, Report};
use super::sql::Sql;
use crate::base::error::Result;
use crate::config::Publishing;
use crate::pipeline::setup::{Mending, Refused, operations, refused};

/// How many names are shown in one line.
const NAMED: usize = 10;

/// How many statements are given: a database may have more tables than anybody reads, and than an
/// answer holds.
const MENDED: usize = 100;

#[derive(Debug, Deserialize)]
struct Leaf {
    /// How many such tables there are, with those that are not in the answer.
    count: usize,
    name: String,
    parent: String,
    /// The identity of the parent: d, f or i.
    wanted: char,
    index: Option<String>,
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

/// Looks for published tables that UPDATE and DELETE are refused on, having no identity or one that does
/// not fit.
/// `planned` is what a publication is made with that is not there yet.
pub fn check(
    report: &mut Report,
    sql: &mut Sql<'_>,
    roots: &str,
    planned: Option<&Publishing>,
    major: u32,
) -> Result<()> {
    let tables: Vec<Refused> = sql.rows(&refused(roots, planned, major))?;
    let condition = Condition::PublicationIdentity;
    let Some(Refused { count, .. }) = tables.first() else {
        report.ok(condition, "no table refuses UPDATE or DELETE");
        return Ok(());
    };
    let names: Vec<String> = tables.iter().map(Refused::to_string).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = format!(
        "{} refused on {}",
        operations(&tables),
        named(&names, *count)
    );
    let mut mends: Vec<Mend> = Vec::new();
    for mending in tables.iter().flat_map(Refused::mendings) {
        let mend = match mending {
            Mending::Sql(text, None) => Mend::sql(text),
            Mending::Sql(text, Some(what)) => Mend::sql(text).giving_up(what),
            Mending::Config(text) => Mend::config(text),
            Mending::Advice(text) => Mend::advice(text),
        };
        if !mends.contains(&mend) {
            mends.push(mend);
        }
    }
    mends.extend(rest(tables.len(), *count));
    report.warning(condition, found, mends);
    Ok(())
}

/// Looks for partitions with another identity than their parent: what is set on that does not reach them.
pub fn partitions(report: &mut Report, sql: &mut Sql<'_>, roots: &str) -> Result<()> {
    let differing: Vec<Leaf> = sql.rows(&format!(
        "{} SELECT count(*) OVER () AS count, c.name, format('%I.%I', n.nspname, p.relname) AS parent, \
           p.relreplident AS wanted, (SELECT quote_ident(k.relname) FROM pg_index parent \
             JOIN pg_inherits i ON i.inhparent = parent.indexrelid \
             JOIN pg_index own ON own.indexrelid = i.inhrelid AND own.indrelid = c.oid \
             JOIN pg_class k ON k.oid = own.indexrelid \
             WHERE parent.indrelid = p.oid AND parent.indisreplident) AS index \
         FROM leaf c JOIN pg_inherits i ON i.inhrelid = c.oid \
         JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'p' \
         JOIN pg_namespace n ON n.oid = p.relnamespace \
         WHERE c.relreplident <> p.relreplident AND p.relreplident <> 'n' ORDER BY c.name LIMIT {MENDED}",
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
        named(&names, first.count),
        first.parent
    );
    let mend = differing.iter().map(|leaf| {
        let index = leaf.index.as_deref().filter(|_| leaf.wanted == 'i');
        replica_identity(&leaf.name, leaf.wanted, index)
    });
    report.warning(
        condition,
        found,
        mend.chain(rest(differing.len(), first.count)),
    );
    Ok(())
}

/// What to do about the tables that no statement is given for.
fn rest(given: usize, count: usize) -> Option<Mend> {
    let more = count.checked_sub(given).filter(|more| *more > 0)?;
    Some(Mend::advice(format!(
        "{more} more are like these: run these statements, then check again; or publish only the \
         tables that matter"
    )))
}

fn replica_identity(table: &str, identity: char, index: Option<&str>) -> Mend {
    let identity = match (index, identity) {
        (Some(index), _) => format!("USING INDEX {index}"),
        (None, 'd') => "DEFAULT".to_owned(),
        (None, _) => "FULL".to_owned(),
    };
    Mend::sql(format!("ALTER TABLE {table} REPLICA IDENTITY {identity};"))
}

/// The first of `names`, and how many of `count` are not among them.
pub fn named(names: &[&str], count: usize) -> String {
    let shown = &names[..names.len().min(NAMED)];
    match count.saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
