//! The columns of the tables of all types: what the server at hand has, and what tests add to it.

use super::check::Tag;
use super::samples::{EXPRESSIONS, SAMPLES, SINCE, WITHOUT_VALUES};
use super::users;
use crate::support::postgres::Database;

/// A column, and SQL expressions for what is inserted into it.
pub struct Column {
    pub sql_type: String,
    pub tag: Tag,
    pub values: Vec<String>,
}

/// Every type that a column can have but the row types of tables, with the element of an array.
const ALL_TYPES: &str = "
    SELECT concat(nullif(n.nspname, 'pg_catalog') || '.', t.typname),
           format('%I.%I', n.nspname, t.typname),
           concat(nullif(en.nspname, 'pg_catalog') || '.', e.typname),
           concat(quote_ident(en.nspname) || '.', quote_ident(e.typname))
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN (pg_type e JOIN pg_namespace en ON en.oid = e.typnamespace) ON e.typarray = t.oid
    LEFT JOIN pg_class c ON c.oid = greatest(t.typrelid, e.typrelid)
    WHERE t.typisdefined AND t.typtype <> 'p' AND coalesce(e.typtype, 'b') <> 'p'
    AND coalesce(c.relkind, 'c') = 'c'
    ORDER BY t.oid";

/// All columns that this server can have.
pub fn all(database: &Database) -> Vec<Column> {
    let major =
        database.query_one_text("SELECT current_setting('server_version_num')::int4 / 10000");
    let major = major.parse().expect("a number");
    users::create(database, major);
    let types = database.client().query(ALL_TYPES, &[]);
    let types = types.expect("the catalog can be read");
    let mut columns = Vec::new();
    for row in types {
        let [name, sql_type, element, element_type] = [0, 1, 2, 3].map(|i| row.get(i));
        let (tag, values) = values(database, major, name, sql_type)
            .or_else(|| array(database, major, element, element_type, sql_type))
            .unwrap_or_else(|| panic!("the server has a type {name}, of which no value is tried"));
        columns.push(Column {
            sql_type: sql_type.to_owned(),
            tag,
            values,
        });
    }
    columns.extend(with_modifiers());
    columns
}

/// What is tried of a type.
fn values(
    database: &Database,
    major: u32,
    name: &str,
    sql_type: &str,
) -> Option<(Tag, Vec<String>)> {
    if WITHOUT_VALUES.contains(&name) {
        return Some((Tag::RawText, Vec::new()));
    }
    if let Some(expression) = statistics(major, name) {
        return Some((Tag::RawText, vec![expression]));
    }
    let mut samples = SAMPLES.into_iter().chain([users::SAMPLES]).flatten();
    let (_, tag, literals) = samples.find(|sample| sample.0 == name)?;
    let since = SINCE
        .iter()
        .filter(|(since, of, _)| *of == name && major >= *since);
    let since = since.flat_map(|(_, _, literals)| literals.iter());
    let mut values: Vec<String> = literals
        .iter()
        .chain(since)
        .map(|literal| quoted(literal))
        .collect();
    let expressions = EXPRESSIONS.iter().filter(|(of, _)| *of == name);
    values.extend(expressions.flat_map(|(_, texts)| texts.iter().map(|text| text.to_string())));
    // The type is there also in a server that was built without a parser for it.
    if name == "xml" && database.try_execute("SELECT '<a/>'::xml").is_err() {
        values.clear();
    }
    let typed = values.iter().map(|value| format!("({value})::{sql_type}"));
    Some((*tag, typed.collect()))
}

/// Types whose values only the server makes: statistics over several columns.
fn statistics(major: u32, name: &str) -> Option<String> {
    let column = match name {
        "pg_ndistinct" => "ndistinct",
        "pg_dependencies" => "dependencies",
        "pg_mcv_list" => "mcv",
        _ => return None,
    };
    Some(match major {
        ..12 => format!("(SELECT stx{column} FROM pg_statistic_ext LIMIT 1)"),
        _ => format!("(SELECT stxd{column} FROM pg_statistic_ext_data LIMIT 1)"),
    })
}

/// Arrays of what is tried of the element: flat, nested, empty, with nulls and with odd bounds.
fn array(
    database: &Database,
    major: u32,
    element: &str,
    element_type: &str,
    sql_type: &str,
) -> Option<(Tag, Vec<String>)> {
    let (_, values) = values(database, major, element, element_type)?;
    let all = values.join(", ");
    let (first, last) = match &values[..] {
        [] => {
            return Some((
                Tag::RawText,
                vec!["'{}'".into(), format!("'{{NULL}}'::{sql_type}")],
            ));
        }
        [first, .., last] => (first, last),
        [only] => (only, only),
    };
    let values = vec![
        "'{}'".into(),
        format!("ARRAY[{all}, NULL]::{sql_type}"),
        format!("ARRAY[[{first}, NULL], [{last}, {first}]]::{sql_type}"),
        format!("array_fill({last}, ARRAY[2, 1], ARRAY[-1, 3])::{sql_type}"),
    ];
    Some((Tag::RawText, values))
}

/// Types with a modifier, which may change a value when it is stored.
fn with_modifiers() -> Vec<Column> {
    let column = |tag, sql_type: &str, literals: &[&str]| Column {
        sql_type: sql_type.to_owned(),
        tag,
        values: literals.iter().map(|literal| quoted(literal)).collect(),
    };
    let mut columns = vec![
        column(Tag::RawText, "numeric(20,5)", &["0", "1.5", "-99999.99999"]),
        column(Tag::String, "varchar(3)", &["", "é\"😀"]),
        column(Tag::String, "char(5)", &["", "ab", "a\\b\"😀"]),
        column(Tag::RawText, "time(0)", &["12:34:56.789"]),
        column(Tag::RawText, "timestamp(3)", &["2020-01-01 00:00:00.1239"]),
        column(Tag::RawText, "interval day to minute", &["3 04:05"]),
        column(Tag::RawText, "bit(3)", &["000", "101"]),
        column(Tag::RawText, "numeric(20,5)[]", &["{1.5,NULL}"]),
        column(
            Tag::RawText,
            "text[]",
            &["{\"a,b\",\"NULL\",NULL,\"\",\"q\\\"x\\\\y\",\"{}\",\" \"}"],
        ),
    ];
    // A byte over 127 in this type is not UTF-8 up to version 15.
    let mut chars = column(Tag::Char, "pg_catalog.\"char\"", &[]);
    chars.values = [-1, -61, -128].map(|n| format!("({n})::\"char\"")).into();
    // Large enough to be kept apart from its row.
    let mut large = column(Tag::String, "text", &[]);
    large.values = vec!["repeat('0123456789\"é😀', 70000)".into()];
    columns.extend([chars, large]);
    columns
}

fn quoted(literal: &str) -> String {
    format!("'{}'", literal.replace('\'', "''"))
}
