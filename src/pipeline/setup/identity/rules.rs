//! What a server asks of replica identities, in SQL.

use crate::config::{GeneratedColumns, Publishing};

/// How many tables are described: a database may have more than anybody reads, and than an answer
/// holds.
const DESCRIBED: usize = 100;

/// The first major whose indexes have columns that are no part of the key.
const INCLUDES: u32 = 11;

/// The first major with row filters and column lists.
const HAS_FILTERS: u32 = 15;

/// The first major that publishes generated columns, and refuses an identity of those that are not.
const HAS_GENERATED: u32 = 18;

/// The SELECT of the [`super::Refused`] among the tables whose OIDs `roots` selects, or of partitioned ones
/// among their leaves; with a publication that is still to be made, if one is planned.
pub fn refused(roots: &str, planned: Option<&Publishing>, major: u32) -> String {
    let refusal = |identity: &str, publication: &str| refusal(identity, publication, major);
    format!(
        "WITH RECURSIVE {tables}, {publishing}, {identities}, \
         refused AS (SELECT l.oid, l.name, l.identity, \
             pg_catalog.bool_or(p.pubupdate) AS update, pg_catalog.bool_or(p.pubdelete) AS delete, \
             pg_catalog.json_agg(pg_catalog.json_build_object(\
               'publication', p.pubname, 'reason', x.reason) ORDER BY p.pubname) AS why, \
             pg_catalog.count(*) OVER () AS count \
           FROM leaf l JOIN identity k ON k.oid = l.oid AND k.is_own JOIN publishing p ON p.oid = l.oid, \
           LATERAL (SELECT {own} AS reason) x WHERE x.reason IS NOT NULL \
           GROUP BY l.oid, l.name, l.identity ORDER BY l.name LIMIT {DESCRIBED}), \
         asking AS (SELECT p.* FROM publishing p WHERE p.oid IN (SELECT oid FROM refused)), \
         choice AS (SELECT k.oid, k.clause, k.is_full, k.is_own, k.width, k.name, (\
             SELECT pg_catalog.json_agg(pg_catalog.json_build_object('publication', p.pubname, \
               'reason', x.reason, 'table', p.listed, 'columns', p.columns, 'keys', k.keys, \
               'filter', p.filter)) \
             FROM asking p, LATERAL (SELECT {own} AS reason) x \
             WHERE p.oid = k.oid AND x.reason IS NOT NULL) AS changes \
           FROM identity k WHERE k.is_possible AND k.oid IN (SELECT oid FROM refused) AND NOT EXISTS (\
             SELECT FROM asking p, LATERAL (SELECT {own} AS reason) x WHERE p.oid = k.oid \
             AND (x.reason IN ('none', 'filter') OR x.reason = 'generated' AND k.has_virtual))) \
         SELECT r.count, r.name, r.identity, r.update, r.delete, r.why, (\
           SELECT pg_catalog.json_build_object('clause', CASE WHEN NOT c.is_own THEN c.clause END, \
             'is_full', c.is_full, 'changes', c.changes) FROM choice c WHERE c.oid = r.oid \
           ORDER BY c.changes IS NOT NULL, c.is_full, NOT c.is_own, c.width, c.name LIMIT 1) AS mended \
         FROM refused r ORDER BY r.name",
        tables = tables(roots, major),
        publishing = publishing(planned, major),
        identities = identities(major),
        own = refusal("k", "p"),
    )
}

/// `leaf`: the tables that rows are written to. What the server keeps from every publication, such as
/// an unlogged partition, is none of them.
fn tables(roots: &str, major: u32) -> String {
    let generated = |kind: char| match major {
        ..HAS_GENERATED => "false".to_owned(),
        _ => format!(
            "EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid \
             AND NOT a.attisdropped AND a.attgenerated = '{kind}')"
        ),
    };
    format!(
        "tree(oid) AS ({roots} UNION SELECT i.inhrelid FROM tree t \
           JOIN pg_catalog.pg_class c ON c.oid = t.oid AND c.relkind = 'p' \
           JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid), \
         leaf AS (SELECT c.oid, c.relreplident, {name} AS name, {stored} AS has_stored, \
             {virtual_} AS has_virtual, \
             CASE c.relreplident WHEN 'n' THEN 'nothing' WHEN 'f' THEN 'works' \
               WHEN 'i' THEN CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_index i \
                 WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid AND i.indislive \
                 AND i.indimmediate) THEN 'works' ELSE 'gone' END \
               ELSE coalesce((SELECT CASE WHEN NOT i.indimmediate THEN 'deferrable' \
                 WHEN i.indisvalid AND i.indislive THEN 'works' ELSE 'gone' END \
                 FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary LIMIT 1), 'none') \
             END AS identity \
           FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid \
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
           WHERE c.relkind = 'r' AND c.relpersistence = 'p')",
        name = table_name("n", "c"),
        stored = generated('s'),
        virtual_ = generated('v'),
    )
}

/// A table's name as text. A name in a database without an encoding may be none.
fn table_name(namespace: &str, class: &str) -> String {
    let name = format!("pg_catalog.format('%I.%I', {namespace}.nspname, {class}.relname)");
    format!(
        "CASE pg_catalog.getdatabaseencoding() WHEN 'SQL_ASCII' THEN pg_catalog.encode(\
         pg_catalog.convert_to({name}, 'SQL_ASCII'), 'escape') ELSE {name} END"
    )
}

/// `publishing`: each leaf with each publication that has it and publishes updates or deletes. One
/// that publishes partitions as their root goes by the root's filter and column list.
fn publishing(planned: Option<&Publishing>, major: u32) -> String {
    let member = match major {
        ..HAS_FILTERS => {
            "NULL::pg_catalog.text[] AS columns, NULL::pg_catalog.text AS filter, NULL::pg_catalog.text[] AS filtered"
        }
        _ => {
            "(SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum) \
               FROM pg_catalog.pg_attribute a \
               WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)) AS columns, \
             pg_catalog.pg_get_expr(r.prqual, r.prrelid) AS filter, \
             (SELECT pg_catalog.array_agg(coalesce(a.attname::pg_catalog.text, '')) \
               FROM pg_catalog.regexp_matches(r.prqual::pg_catalog.text, ':varattno ([0-9]+)', 'g') AS m(found) \
               LEFT JOIN pg_catalog.pg_attribute a \
                 ON a.attrelid = r.prrelid AND a.attnum = m.found[1]::pg_catalog.int2) AS filtered"
        }
    };
    let generated = match major {
        ..HAS_GENERATED => "true",
        _ => "p.pubgencols = 's'",
    };
    let planned = planned.map(|publishing| planned_for_all(publishing, major));
    format!(
        "listed(publication, root, oid) AS (SELECT p.oid, t.relid, t.relid \
             FROM pg_catalog.pg_publication p, \
             LATERAL pg_catalog.pg_get_publication_tables(p.pubname::pg_catalog.text) t \
             WHERE p.pubupdate OR p.pubdelete \
           UNION SELECT t.publication, t.root, i.inhrelid FROM listed t \
             JOIN pg_catalog.pg_class c ON c.oid = t.oid AND c.relkind = 'p' \
             JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid), \
         publishing AS (SELECT l.oid, p.pubname::pg_catalog.text AS pubname, p.pubupdate, p.pubdelete, \
             {generated} AS has_generated, {name} AS listed, r.columns, r.filter, r.filtered \
           FROM listed t JOIN leaf l ON l.oid = t.oid \
           JOIN pg_catalog.pg_publication p ON p.oid = t.publication \
           JOIN pg_catalog.pg_class c ON c.oid = t.root \
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
           LEFT JOIN LATERAL (SELECT {member} FROM pg_catalog.pg_publication_rel r \
             WHERE r.prpubid = t.publication AND r.prrelid = t.root) r ON true{planned})",
        name = table_name("n", "c"),
        planned = planned.unwrap_or_default(),
    )
}

/// What a publication that is made by the config asks of every leaf.
fn planned_for_all(publishing: &Publishing, major: u32) -> String {
    let publishes =
        |kind| publishing.operations.is_empty() || publishing.operations.contains(&kind);
    let (update, delete) = (publishes("update"), publishes("delete"));
    let generated =
        major < HAS_GENERATED || publishing.generated_columns == Some(GeneratedColumns::Stored);
    format!(
        " UNION ALL SELECT l.oid, NULL, {update}, {delete}, {generated}, l.name, NULL, NULL, NULL \
         FROM leaf l WHERE {update} OR {delete}"
    )
}

/// `identity`: what each leaf has for an identity, and what it could have.
fn identities(major: u32) -> String {
    let width = match major {
        ..INCLUDES => "i.indnatts",
        _ => "i.indnkeyatts",
    };
    let generated = |kind: char| match major {
        ..HAS_GENERATED => "false".to_owned(),
        _ => format!("pg_catalog.bool_or(a.attgenerated = '{kind}')"),
    };
    format!(
        "index AS (SELECT l.oid, x.relname::pg_catalog.text AS name, i.indnatts AS width, \
             l.relreplident = 'd' AND i.indisprimary OR l.relreplident = 'i' AND i.indisreplident AS is_own, \
             i.indexprs IS NULL AND k.are_not_null AS is_possible, k.keys, k.has_stored, k.has_virtual \
           FROM leaf l JOIN pg_catalog.pg_index i ON i.indrelid = l.oid AND i.indisunique \
             AND i.indimmediate AND i.indisvalid AND i.indislive AND i.indpred IS NULL \
           JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid, \
           LATERAL (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum) AS keys, \
               pg_catalog.bool_and(a.attnotnull) AS are_not_null, {stored} AS has_stored, \
               {virtual_} AS has_virtual FROM pg_catalog.pg_attribute a \
             WHERE a.attrelid = l.oid \
             AND a.attnum = ANY ((i.indkey::pg_catalog.int2[])[0:{width} - 1])) k), \
         identity AS (SELECT i.oid, i.name, i.width, i.is_own, i.is_possible OR i.is_own AS is_possible, \
             false AS is_full, 'USING INDEX ' || pg_catalog.quote_ident(i.name) AS clause, i.keys, \
             i.has_stored, i.has_virtual FROM index i \
           UNION ALL SELECT l.oid, '', 0, l.relreplident = 'f', true, true, 'FULL', NULL, l.has_stored, \
             l.has_virtual FROM leaf l \
           UNION ALL SELECT l.oid, '', 0, true, false, false, NULL, NULL, false, false FROM leaf l \
             WHERE l.relreplident <> 'f' \
             AND NOT EXISTS (SELECT FROM index i WHERE i.oid = l.oid AND i.is_own))",
        stored = generated('s'),
        virtual_ = generated('v'),
    )
}

/// Why the server refuses what a publication publishes of a table with an identity; NULL if it does
/// not.
fn refusal(identity: &str, publication: &str, major: u32) -> String {
    let (k, p) = (identity, publication);
    let none = format!("WHEN NOT {k}.is_full AND {k}.keys IS NULL THEN 'none'");
    if major < HAS_FILTERS {
        return format!("CASE {none} END");
    }
    let beyond = |one: &str, other: &str| {
        format!("EXISTS (SELECT FROM pg_catalog.unnest({one}) AS c WHERE c <> ALL ({other}))")
    };
    format!(
        "CASE {none} \
         WHEN NOT {k}.is_full AND {filter} THEN 'filter' \
         WHEN {p}.columns IS NOT NULL AND ({k}.is_full OR {columns}) THEN 'columns' \
         WHEN {p}.columns IS NULL AND ({k}.has_virtual OR {k}.has_stored AND NOT {p}.has_generated) \
           THEN 'generated' END",
        filter = beyond(&format!("{p}.filtered"), &format!("{k}.keys")),
        columns = beyond(&format!("{k}.keys"), &format!("{p}.columns")),
    )
}
