//! Names of tables and columns as SQL writes them: `public.pets`, `shop."Odd Name"`.
//!
//! What stands without quotes is folded to lower case as the server folds it: ASCII letters only.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::pg::connection::quote_identifier;

/// What a pattern of tables has to be.
const EXPECTED_PATTERN: &str = "schema.table, each quoted as in SQL where that is needed, or with * for any characters where \
     it is not quoted";

/// What the name of a table has to be.
const EXPECTED_TABLE: &str = "schema.table, each quoted as in SQL where that is needed";

/// What the name of a column has to be.
const EXPECTED_COLUMN: &str = "the name of a column, quoted as in SQL where that is needed";

/// A pattern of tables: `audit.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePattern {
    schema: Pattern,
    table: Pattern,
}

/// A table by its full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QualifiedTable {
    pub schema: String,
    pub table: String,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Column(pub String);

/// A name in which any characters may stand between its pieces. A name without a `*` is one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern(Vec<String>);

impl TablePattern {
    /// Parses a text; `Err` says what is expected.
    pub fn parse(text: &str) -> Result<TablePattern, &'static str> {
        let (schema, table) = whole(text, qualified).ok_or(EXPECTED_PATTERN)?;
        Ok(TablePattern { schema, table })
    }

    /// Whether a table has such a name.
    pub fn matches(&self, schema: &str, table: &str) -> bool {
        self.schema.matches(schema) && self.table.matches(table)
    }
}

impl QualifiedTable {
    /// Parses a text; `Err` says what is expected.
    pub fn parse(text: &str) -> Result<QualifiedTable, &'static str> {
        let (schema, table) = whole(text, qualified).ok_or(EXPECTED_TABLE)?;
        match (schema.exact(), table.exact()) {
            (Some(schema), Some(table)) => Ok(QualifiedTable { schema, table }),
            _ => Err(EXPECTED_TABLE),
        }
    }

    /// The table of these two names.
    pub fn new(schema: &str, table: &str) -> QualifiedTable {
        QualifiedTable {
            schema: schema.to_owned(),
            table: table.to_owned(),
        }
    }

    /// What follows the name of a table that a text begins with.
    pub fn skip(text: &str) -> Option<&str> {
        qualified(text).map(|(_, rest)| rest)
    }
}

impl Column {
    /// Parses a text; `Err` says what is expected.
    pub fn parse(text: &str) -> Result<Column, &'static str> {
        let column = whole(text, identifier).and_then(Pattern::exact_owned);
        column.map(Column).ok_or(EXPECTED_COLUMN)
    }
}

impl Pattern {
    fn matches(&self, name: &str) -> bool {
        let Pattern(pieces) = self;
        let [first, middle @ .., last] = pieces.as_slice() else {
            return pieces.first().is_some_and(|piece| piece == name);
        };
        let between = name.strip_prefix(first.as_str());
        let Some(mut between) = between.and_then(|rest| rest.strip_suffix(last.as_str())) else {
            return false;
        };
        middle.iter().all(|piece| {
            let found = between.split_once(piece.as_str());
            between = found.map_or("", |(_, after)| after);
            found.is_some()
        })
    }

    /// The one name that matches.
    fn exact(&self) -> Option<String> {
        self.clone().exact_owned()
    }

    fn exact_owned(self) -> Option<String> {
        let [name] = <[String; 1]>::try_from(self.0).ok()?;
        Some(name)
    }
}

/// What `part` reads, if it reads all of the text.
fn whole<T>(text: &str, part: impl FnOnce(&str) -> Option<(T, &str)>) -> Option<T> {
    let (read, rest) = part(text)?;
    rest.is_empty().then_some(read)
}

/// Two identifiers with a dot between them, and what follows.
fn qualified(text: &str) -> Option<((Pattern, Pattern), &str)> {
    let (schema, rest) = identifier(text)?;
    let (table, rest) = identifier(rest.strip_prefix('.')?)?;
    Some(((schema, table), rest))
}

/// The [identifier](https://www.postgresql.org/docs/current/sql-syntax-lexical.html) that a text begins
/// with, and what follows.
fn identifier(text: &str) -> Option<(Pattern, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (name, rest) = until_quote(quoted)?;
        let is_name = !name.is_empty() && !name.contains(char::is_control);
        return is_name.then(|| (Pattern(vec![name]), rest));
    }
    let end = text.find(|c| !continues(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let pieces = name.split('*').map(str::to_ascii_lowercase);
    name.starts_with(begins)
        .then(|| (Pattern(pieces.collect()), rest))
}

/// What stands before the closing quote, where two quotes stand for one, and what follows.
fn until_quote(text: &str) -> Option<(String, &str)> {
    let (mut name, mut rest) = (String::new(), text);
    loop {
        let (before, after) = rest.split_once('"')?;
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => (name.push('"'), rest = after).1,
            None => return Some((name, after)),
        }
    }
}

/// Whether an identifier that is not quoted may begin with this.
fn begins(c: char) -> bool {
    let other = !c.is_ascii() && !c.is_control();
    c.is_ascii_alphabetic() || matches!(c, '_' | '*') || other
}

/// Whether an identifier that is not quoted may go on with this.
fn continues(c: char) -> bool {
    begins(c) || c.is_ascii_digit() || c == '$'
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [name] => write_quoted(name, f),
            pieces => f.write_str(&pieces.join("*")),
        }
    }
}

impl fmt::Display for QualifiedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_quoted(&self.schema, f)?;
        f.write_str(".")?;
        write_quoted(&self.table, f)
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_quoted(&self.0, f)
    }
}

/// Writes a name as it is, or quoted where without quotes it would be read as another.
fn write_quoted(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match whole(name, identifier).and_then(Pattern::exact_owned) {
        Some(same) if same == name => f.write_str(name),
        _ => f.write_str(&quote_identifier(name)),
    }
}

impl Serialize for TablePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for QualifiedTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Column {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> TablePattern {
        TablePattern::parse(text).unwrap_or_else(|expected| panic!("{text}: {expected}"))
    }

    #[test]
    fn names_are_read_as_in_sql() {
        for (text, schema, table, written) in [
            ("public.t", "public", "t", "public.t"),
            (
                "PUBLIC.Order_Lines",
                "public",
                "order_lines",
                "public.order_lines",
            ),
            (
                "public.\"Odd Name\"",
                "public",
                "Odd Name",
                "public.\"Odd Name\"",
            ),
            ("\"a\"\"b\".\"c\"", "a\"b", "c", "\"a\"\"b\".c"),
            ("\"a.b\".\"*\"", "a.b", "*", "\"a.b\".\"*\""),
            ("\"1a\".a1$", "1a", "a1$", "\"1a\".a1$"),
            // The server folds no other letters than those of ASCII.
            ("Größe.ÄB", "größe", "Äb", "größe.Äb"),
        ] {
            let read = QualifiedTable::parse(text).unwrap();
            assert_eq!(read, QualifiedTable::new(schema, table), "{text}");
            assert_eq!(read.to_string(), written);
            assert_eq!(QualifiedTable::parse(written).unwrap(), read);
            assert!(pattern(text).matches(schema, table), "{text}");
            assert_eq!(pattern(text).to_string(), written);
        }
    }

    #[test]
    fn what_is_no_name_of_a_table() {
        let texts = [
            "",
            ".",
            "t",
            "a.",
            ".b",
            "a.b.c",
            "1a.b",
            "a.1b",
            "a-b.c",
            "a b.c",
            " a.b",
            "a.b ",
            "a.b\n",
            "\"\".b",
            "\"a.b",
            "a.\"b",
            "a.\"b\"c",
            "a\"b\".c",
            "\"a\tb\".c",
            "a.b;",
            "$a.b",
        ];
        for text in texts {
            assert_eq!(TablePattern::parse(text), Err(EXPECTED_PATTERN), "{text}");
            assert_eq!(QualifiedTable::parse(text), Err(EXPECTED_TABLE), "{text}");
        }
        for text in ["*.t", "public.*", "a*.b"] {
            assert_eq!(QualifiedTable::parse(text), Err(EXPECTED_TABLE), "{text}");
        }
    }

    #[test]
    fn columns_are_read_as_in_sql() {
        for (text, name, written) in [
            ("ID", "id", "id"),
            ("\"Id\"", "Id", "\"Id\""),
            ("\"a.b\"", "a.b", "\"a.b\""),
        ] {
            let column = Column::parse(text).unwrap();
            assert_eq!(
                (column.0.as_str(), column.to_string().as_str()),
                (name, written)
            );
        }
        for text in ["", "a.b", "a b", "*", "a*", "\"\"", "\"a"] {
            assert_eq!(Column::parse(text), Err(EXPECTED_COLUMN), "{text}");
        }
    }

    #[test]
    fn a_star_is_any_characters() {
        for (text, schema, table, expected) in [
            ("audit.*", "audit", "t", true),
            ("audit.*", "audit", "Odd Name", true),
            ("audit.*", "audit2", "t", false),
            ("*.t", "any", "t", true),
            ("*.*", "any", "thing", true),
            ("public.Log_*", "public", "log_2026", true),
            ("public.Log_*", "public", "log_", true),
            ("public.Log_*", "public", "a_log_1", false),
            ("public.*_*", "public", "a_b_c", true),
            ("public.*_*", "public", "abc", false),
            ("public.a*b*a", "public", "aba", true),
            ("public.a*b*a", "public", "axxbyya", true),
            ("public.a*b*a", "public", "ab", false),
            // The end of the beginning is not the beginning of the end.
            ("public.aa*aa", "public", "aaa", false),
            ("public.aa*aa", "public", "aaaa", true),
            ("public.*ab*b", "public", "ab", false),
            ("public.a**b", "public", "ab", true),
            ("public.*é*", "public", "caféé", true),
            ("public.\"a*\"", "public", "ab", false),
            ("public.\"a*\"", "public", "a*", true),
        ] {
            let found = pattern(text).matches(schema, table);
            assert_eq!(found, expected, "{text}: {schema}.{table}");
        }
        assert_eq!(pattern("A*.B*c").to_string(), "a*.b*c");
    }

    #[test]
    fn what_follows_a_table() {
        for (text, rest) in [
            ("public.t[0]: x", Some("[0]: x")),
            ("\"a: b\".\"c\"\"[1]\": x", Some(": x")),
            ("t: x", None),
        ] {
            assert_eq!(QualifiedTable::skip(text), rest, "{text}");
        }
    }
}
