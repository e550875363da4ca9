//! What the names under `tables` mean.

use serde::Deserialize;

use crate::base::error::{Error, Result};
use crate::pg::connection::{Connection, quote_literal};
use crate::pg::sql::{as_json, decode};

/// How many tables are asked for at once: the answer stays far below its limit.
pub const ASKED_TABLES: usize = 500;

/// A configured table.
#[derive(Debug, Clone)]
pub struct Table {
    /// The name as the config has it.
    pub name: String,
    /// The name with its schema if there is such a table, quoted by the rules of the server.
    pub quoted: String,
    /// The table's OID; `None` if there is no such table.
    pub oid: Option<u32>,
}

/// Looks the tables up as the user would, and says it so that it means the same under any
/// `search_path`.
pub fn resolve(connection: &mut Connection, names: &[String]) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for names in names.chunks(ASKED_TABLES) {
        // What cannot be a name is told here, with the name.
        let quoted = quoted(connection, names)?;
        let oids = connection.table_oids(names)?;
        let qualified = qualified(connection, &oids)?;
        if quoted.len() != names.len() || oids.len() != names.len() {
            return Err(Error::undeliverable(
                "the server's answer has not all of its rows",
            ));
        }
        let found = names.iter().zip(quoted).zip(oids);
        tables.extend(found.map(|((name, quoted), oid)| {
            Table {
                name: name.clone(),
                quoted: qualified
                    .iter()
                    .find(|table| Some(table.oid) == oid)
                    .map_or(quoted, |table| table.quoted.clone()),
                oid,
            }
        }));
    }
    Ok(tables)
}

#[derive(Deserialize)]
struct Quoted {
    quoted: String,
}

#[derive(Deserialize)]
struct Qualified {
    oid: u32,
    quoted: String,
}

fn quoted(connection: &mut Connection, names: &[String]) -> Result<Vec<String>> {
    let names: Vec<String> = names.iter().map(|name| quote_literal(name)).collect();
    let rows: Vec<Quoted> = select_read_only(
        connection,
        &format!(
            "SELECT (SELECT string_agg(quote_ident(part), '.' ORDER BY i) \
               FROM unnest(parse_ident(t.name)) WITH ORDINALITY AS parts(part, i)) AS quoted \
             FROM unnest(ARRAY[{}]::text[]) WITH ORDINALITY AS t(name, n) ORDER BY t.n",
            names.join(", ")
        ),
    )?;
    Ok(rows.into_iter().map(|row| row.quoted).collect())
}

fn qualified(connection: &mut Connection, oids: &[Option<u32>]) -> Result<Vec<Qualified>> {
    let oids: Vec<String> = oids.iter().flatten().map(u32::to_string).collect();
    select_read_only(
        connection,
        &format!(
            "SELECT c.oid::int8 AS oid, format('%I.%I', n.nspname, c.relname) AS quoted \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid = ANY (ARRAY[{}]::oid[])",
            oids.join(", ")
        ),
    )
}

fn select_read_only<T: serde::de::DeserializeOwned>(
    connection: &mut Connection,
    select: &str,
) -> Result<Vec<T>> {
    decode(connection.query_read_only(&as_json(select))?)
}
