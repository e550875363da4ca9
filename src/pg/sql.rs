//! Questions in SQL whose answers are read by the names of their columns.

use serde::de::DeserializeOwned;

use super::catalog::system::Slot;
use super::catalog::wal_files::WalFiles;
use super::connection::{Connection, Row, quote_literal};
use crate::base::error::{Error, Result};
use crate::base::lsn::Lsn;

/// Turns a SELECT into one whose rows are JSON, so that what a server does not have, in a view of an older
/// version, is simply not there.
pub fn as_json(select: &str) -> String {
    format!("SELECT pg_catalog.row_to_json(r) FROM ({select}) r")
}

/// Reads the rows of [`as_json`].
pub fn decode<T: DeserializeOwned>(rows: Vec<Row>) -> Result<Vec<T>> {
    rows.into_iter()
        .filter_map(|row| row.into_iter().next().flatten())
        .map(|json| {
            serde_json::from_str(&json).map_err(|e| {
                Error::undeliverable("the server's catalog has not the columns expected")
                    .with_source(e)
            })
        })
        .collect()
}

/// The OID of the table that `name`, a literal, means to the user; NULL if there is none. The server looks
/// up no name in a schema that is closed to the user; the catalog tells of it all the same, and what is
/// published of it does not need that right. It calls nothing without a schema.
fn oid_of_table(name: &str) -> String {
    let equal = "OPERATOR(pg_catalog.=)";
    let closed = "NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE')";
    let schema = "pg_catalog.btrim(s.path, ' \"')";
    let parts = format!("pg_catalog.parse_ident({name}) AS i(parts)");
    let has_parts = |count| format!("pg_catalog.array_length(i.parts, 1) {equal} {count}");
    format!(
        "CASE WHEN EXISTS (SELECT FROM {parts} \
             JOIN pg_catalog.pg_namespace n ON n.nspname {equal} i.parts[1]::pg_catalog.name \
             WHERE {two} AND {closed}) \
           THEN (SELECT c.oid FROM {parts} \
             JOIN pg_catalog.pg_namespace n ON n.nspname {equal} i.parts[1]::pg_catalog.name \
             JOIN pg_catalog.pg_class c \
               ON c.relnamespace {equal} n.oid AND c.relname {equal} i.parts[2]::pg_catalog.name) \
           ELSE coalesce(pg_catalog.to_regclass({name})::pg_catalog.oid, \
             (SELECT c.oid FROM {parts}, \
               pg_catalog.unnest(pg_catalog.string_to_array(\
                 pg_catalog.current_setting('search_path'), ',')) WITH ORDINALITY AS s(path, at) \
               JOIN pg_catalog.pg_namespace n ON n.nspname {equal} \
                 CASE WHEN {schema} {equal} '$user' THEN current_user ELSE {schema}::pg_catalog.name END \
               JOIN pg_catalog.pg_class c ON c.relnamespace {equal} n.oid \
             WHERE {one} AND {closed} \
               AND c.relname {equal} i.parts[1]::pg_catalog.name ORDER BY s.at LIMIT 1)) END",
        two = has_parts(2),
        one = has_parts(1),
    )
}

impl Connection {
    /// Runs a SELECT and reads its rows.
    pub fn select<T: DeserializeOwned>(&mut self, select: &str) -> Result<Vec<T>> {
        decode(self.query(&as_json(select))?)
    }

    /// Runs a SELECT and reads its first row, if there is one.
    pub fn select_first<T: DeserializeOwned>(&mut self, select: &str) -> Result<Option<T>> {
        Ok(self.select(select)?.into_iter().next())
    }

    /// The OIDs of these tables, for those that there are. What a name without a schema means is
    /// decided by the user's own `search_path`; nothing else is asked under it.
    pub fn table_oids(&mut self, tables: &[String]) -> Result<Vec<Option<u32>>> {
        let oid = |table: &String| format!("({})", oid_of_table(&quote_literal(table)));
        let oids: Vec<String> = tables.iter().map(oid).collect();
        let rows = self.query_as_user(&format!("VALUES {}", oids.join(", ")))?;
        let oids = rows.into_iter().map(|row| row.into_iter().next().flatten());
        Ok(oids.map(|oid| oid?.parse().ok()).collect())
    }

    /// The slot, if there is one of this name.
    pub fn slot(&mut self, name: &str) -> Result<Option<Slot>> {
        self.select_first(&format!(
            "SELECT *, pg_catalog.pg_is_in_recovery() AS is_standby \
             FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
            quote_literal(name)
        ))
    }

    /// The slot, and whether the files are there that it needs: a server does not look for them until it
    /// reads them. Without the right to see them, which pg_monitor has, it is not known.
    pub fn slot_with_wal(&mut self, name: &str) -> Result<Option<Slot>> {
        let files = WalFiles::list(self)?;
        // Whatever it needs now was needed when they were listed.
        let mut found = self.slot(name)?;
        if let (Some(slot), Some(files)) = (&mut found, files) {
            slot.missing_wal = slot.restart().and_then(|from| files.first_missing(from));
        }
        Ok(found)
    }

    /// The OID of the publication, if there is one of this name.
    pub fn publication(&mut self, name: &str) -> Result<Option<u32>> {
        let oid = self.value(&format!(
            "SELECT oid FROM pg_catalog.pg_publication WHERE pubname = {}",
            quote_literal(name)
        ))?;
        Ok(oid.and_then(|oid| oid.parse().ok()))
    }

    /// The tables that the publication has: schema and name.
    pub fn published_tables(&mut self, publication: &str) -> Result<Vec<(String, String)>> {
        let rows = self.query(&format!(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_publication p, \
             LATERAL pg_catalog.pg_get_publication_tables(p.pubname::pg_catalog.text) t \
             JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.relid \
             JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
             WHERE p.pubname OPERATOR(pg_catalog.=) {} ORDER BY 1, 2",
            quote_literal(publication)
        ))?;
        let names = rows.into_iter().filter_map(|row| {
            let mut row = row.into_iter();
            Some((row.next()??, row.next()??))
        });
        Ok(names.collect())
    }

    /// The tables that the publication has row filters for (15+).
    pub fn row_filters(&mut self, publication: &str) -> Result<Vec<String>> {
        // Older versions do not have that column of the row.
        let rows = self.query(&format!(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
             FROM pg_catalog.pg_publication p \
             JOIN pg_catalog.pg_publication_rel r ON r.prpubid OPERATOR(pg_catalog.=) p.oid \
             JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) r.prrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
             WHERE p.pubname OPERATOR(pg_catalog.=) {} \
             AND (pg_catalog.to_jsonb(r) OPERATOR(pg_catalog.->>) 'prqual') IS NOT NULL ORDER BY 1",
            quote_literal(publication)
        ))?;
        let names = rows.into_iter().filter_map(|row| row.into_iter().next()?);
        Ok(names.collect())
    }

    /// Whether the server follows another one, or replays what it had written before a crash.
    pub fn is_standby(&mut self) -> Result<bool> {
        let answer = self.value("SELECT pg_catalog.pg_is_in_recovery()")?;
        Ok(answer.as_deref() == Some("t"))
    }

    /// The end of the server's WAL, as IDENTIFY_SYSTEM says it too.
    pub fn wal_flush(&mut self) -> Result<Lsn> {
        let end = self.value(
            "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() \
             THEN GREATEST(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()) \
             ELSE pg_catalog.pg_current_wal_flush_lsn() END",
        )?;
        Ok(end.and_then(|lsn| lsn.parse().ok()).unwrap_or_default())
    }
}
