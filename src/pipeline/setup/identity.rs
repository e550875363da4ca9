//! Which published tables the server refuses UPDATE and DELETE on, why, and what mends each.
//!
//! The rules are those that a server goes by when it runs such a statement, with every publication
//! that the table is in: a replica identity that works; from version 15 on, row filters of no other
//! columns than those of the identity, and column lists that have all of them; from version 18 on, no
//! generated column in the identity that is not published. [`rules`] has them in SQL.

mod rules;

pub use rules::refused;

use std::fmt::{self, Write as _};

use serde::Deserialize;

use crate::pg::connection::quote_identifier;

/// A table that the server refuses UPDATE or DELETE on.
#[derive(Debug, Deserialize)]
pub struct Refused {
    /// How many such tables there are, with those that are not in the answer.
    pub count: usize,
    /// The table's name, quoted.
    pub name: String,
    update: bool,
    delete: bool,
    /// What the table has for an identity.
    identity: FoundIdentity,
    why: Vec<Why>,
    /// The identity that needs the fewest changes elsewhere, if there is one that works.
    mended: Option<Mended>,
}

/// What a table has for an identity.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FoundIdentity {
    None,
    Nothing,
    Deferrable,
    Gone,
    Works,
}

/// What a publication asks of an identity, and does not find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mismatch {
    None,
    Filter,
    Columns,
    Generated,
}

#[derive(Debug, Deserialize)]
struct Why {
    /// `None` for one that is still to be made.
    publication: Option<String>,
    reason: Mismatch,
}

/// An identity that works, once what is changed is changed.
#[derive(Debug, Deserialize)]
struct Mended {
    /// `None` for the one that the table has.
    clause: Option<String>,
    is_full: bool,
    changes: Option<Vec<IdentityChange>>,
}

/// A publication that does not fit yet.
#[derive(Debug, Deserialize)]
struct IdentityChange {
    publication: Option<String>,
    reason: Mismatch,
    /// The table that its column list is of.
    table: String,
    columns: Option<Vec<String>>,
    keys: Option<Vec<String>>,
    filter: Option<String>,
}

/// What mends a table, or a publication of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Mending {
    /// Statements, and what is given up by them, if anything is.
    Sql(String, Option<&'static str>),
    /// Keys of the config.
    Config(&'static str),
    /// Words that say what to do.
    Advice(String),
}

impl fmt::Display for Mending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mending::Sql(statement, None) => f.write_str(statement),
            Mending::Sql(statement, Some(what)) => write!(f, "{statement} (gives up {what})"),
            Mending::Config(keys) => write!(f, "({keys})"),
            Mending::Advice(words) => write!(f, "({words})"),
        }
    }
}

/// What is refused on all of `tables`, as words.
pub fn operations(tables: &[Refused]) -> &'static str {
    let update = tables.iter().any(|table| table.update);
    let delete = tables.iter().any(|table| table.delete);
    match (update, delete) {
        (true, true) => "UPDATE and DELETE are",
        (true, false) => "UPDATE is",
        (false, _) => "DELETE is",
    }
}

impl Refused {
    /// What mends the table, in this order.
    pub fn mendings(&self) -> Vec<Mending> {
        let Some(mended) = &self.mended else {
            return vec![Mending::Advice(format!(
                "{}: no replica identity that it could have fits: give it a primary key of columns \
                 that are published, or leave it out of the publication",
                self.name
            ))];
        };
        let clause = mended.clause.iter();
        let alter = clause.map(|clause| {
            let statement = format!("ALTER TABLE {} REPLICA IDENTITY {clause};", self.name);
            Mending::Sql(statement, None)
        });
        let changes = mended.changes.iter().flatten();
        alter
            .chain(changes.map(|change| change.mending(mended.is_full)))
            .collect()
    }
}

impl IdentityChange {
    fn mending(&self, is_full: bool) -> Mending {
        let Some(publication) = self.publication.as_deref().map(quote_identifier) else {
            return Mending::Config("parameters: { generated_columns: stored }");
        };
        if self.reason == Mismatch::Generated {
            let set = format!(
                "ALTER PUBLICATION {publication} SET (publish_generated_columns = stored);"
            );
            return Mending::Sql(set, None);
        }
        let (columns, keys) = (self.columns.iter().flatten(), self.keys.iter().flatten());
        let is_new = |key: &&String| !self.columns.iter().flatten().any(|column| column == *key);
        let columns: Vec<String> = columns
            .chain(keys.filter(is_new))
            .map(|name| quote_identifier(name))
            .collect();
        let (list, gives_up) = match is_full {
            true => (String::new(), Some("the column list")),
            false => (format!(" ({})", columns.join(", ")), None),
        };
        let filter = self.filter.iter();
        let filter: String = filter.map(|filter| format!(" WHERE ({filter})")).collect();
        let table = &self.table;
        Mending::Sql(
            format!(
                "BEGIN; ALTER PUBLICATION {publication} DROP TABLE {table}; \
                 ALTER PUBLICATION {publication} ADD TABLE {table}{list}{filter}; COMMIT;"
            ),
            gives_up,
        )
    }
}

/// The table's name, and why it is refused, unless it just has no identity.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut notes = Vec::new();
        match (self.update, self.delete) {
            (true, false) => notes.push("UPDATE only".to_owned()),
            (false, true) => notes.push("DELETE only".to_owned()),
            _ => {}
        }
        match self.identity {
            FoundIdentity::None | FoundIdentity::Works => {}
            FoundIdentity::Nothing => notes.push("its identity is NOTHING".to_owned()),
            FoundIdentity::Deferrable => notes.push("its primary key is deferrable".to_owned()),
            FoundIdentity::Gone => {
                notes.push("the index of its identity is gone or invalid".to_owned())
            }
        }
        for Why {
            publication,
            reason,
        } in &self.why
        {
            let mut note = match reason {
                Mismatch::None => continue,
                Mismatch::Filter => "a row filter of columns outside its identity".to_owned(),
                Mismatch::Columns => "a column list that does not fit its identity".to_owned(),
                Mismatch::Generated => "generated columns that are not published".to_owned(),
            };
            if let Some(publication) = publication {
                write!(note, ", publication {publication}")?;
            }
            notes.push(note);
        }
        f.write_str(&self.name)?;
        match notes.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", notes.join("; ")),
        }
    }
}
