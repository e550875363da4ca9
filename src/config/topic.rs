//! The name of a topic, and the rule that makes one of a table's names.

use fluvio_sc_schema::topic::validate::valid_topic_name;
use serde::{Serialize, Serializer};

/// What a topic has to be.
const EXPECTED: &str = "a topic name: 1 to 63 lower-case letters, digits and inner hyphens, in which {schema} and \
     {table} stand for a table's names (in quotes if it begins with one)";

/// The name of a topic, as the SC takes it, or a template of such names: `cdc-{table}`.
///
/// In what `{schema}` and `{table}` stand for, ASCII letters become lower case and every character but
/// `a` to `z` and `0` to `9` becomes `-`; then each `-` at either end of the whole name is taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Schema,
    Table,
}

impl TopicTemplate {
    /// Parses a text; `Err` says what is expected.
    pub fn parse(text: &str) -> Result<TopicTemplate, &'static str> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(EXPECTED)?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(match name {
                "schema" => Part::Schema,
                "table" => Part::Table,
                _ => return Err(EXPECTED),
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        let template = TopicTemplate {
            text: text.to_owned(),
            parts,
        };
        // A table's name has at least one character; what it comes to is seen when it is known.
        match is_topic_name(&template.filled("t", "t")) {
            true => Ok(template),
            false => Err(EXPECTED),
        }
    }

    /// The text of the config file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the topic depends on the table.
    pub fn names_table(&self) -> bool {
        self.parts.len() > 1
    }

    /// The name with a table's names as they are.
    pub fn unmapped(&self, schema: &str, table: &str) -> String {
        self.filled(schema, table)
    }

    /// The name of the table's topic, which may be none that a topic can have.
    pub fn mapped(&self, schema: &str, table: &str) -> String {
        let name = self.filled(&mapped(schema), &mapped(table));
        name.trim_matches('-').to_owned()
    }

    fn filled(&self, schema: &str, table: &str) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Schema => schema,
            Part::Table => table,
        });
        parts.collect()
    }
}

impl Serialize for TopicTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Whether the SC takes a topic of this name.
pub fn is_topic_name(name: &str) -> bool {
    !name.is_empty() && valid_topic_name(name)
}

fn mapped(name: &str) -> String {
    let lower = name.chars().map(|c| c.to_ascii_lowercase());
    let mapped = lower.map(|c| match c {
        'a'..='z' | '0'..='9' => c,
        _ => '-',
    });
    mapped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> TopicTemplate {
        TopicTemplate::parse(text).unwrap_or_else(|expected| panic!("{text}: {expected}"))
    }

    #[test]
    fn a_name_is_mapped_to_what_a_topic_may_have() {
        for (text, schema, table, unmapped, mapped) in [
            ("cdc", "public", "pets", "cdc", "cdc"),
            ("{table}", "public", "pets", "pets", "pets"),
            (
                "cdc-{table}",
                "public",
                "Order_Lines",
                "cdc-Order_Lines",
                "cdc-order-lines",
            ),
            ("{schema}-{table}", "shop", "t1", "shop-t1", "shop-t1"),
            ("{table}{schema}", "a", "b", "ba", "ba"),
            ("{table}", "public", "größe", "größe", "gr--e"),
            // An upper-case letter outside of ASCII is one character too, and its lower case none of a to z.
            ("{table}", "public", "AÄİK", "AÄİK", "a--k"),
            ("{table}", "public", "a\u{212a}b", "a\u{212a}b", "a-b"),
            ("cdc-{table}", "public", "_x_", "cdc-_x_", "cdc--x"),
            ("{table}-z", "public", "__a", "__a-z", "a-z"),
            ("{table}", "public", "???", "???", ""),
            ("cdc-{table}", "public", "???", "cdc-???", "cdc"),
            // What a placeholder stands for is none itself.
            ("{schema}-{table}", "{table}", "x", "{table}-x", "table--x"),
        ] {
            let template = template(text);
            assert_eq!(template.unmapped(schema, table), unmapped, "{text}");
            assert_eq!(template.mapped(schema, table), mapped, "{text}");
            assert_eq!(template.names_table(), text.contains('{'), "{text}");
            assert_eq!(template.text(), text);
        }
    }

    #[test]
    fn what_is_no_template() {
        let long = format!("{{table}}{}", "x".repeat(63));
        for text in [
            "",
            "-",
            "A",
            "a_b",
            "-a",
            "a-",
            "-{table}",
            "{table}-",
            "a_{table}",
            "A{table}",
            "{foo}",
            "{Table}",
            "{ table }",
            "{}",
            "{",
            "}",
            "a{",
            "a}",
            "{table",
            "table}",
            "{{table}}",
            "{table}}",
            "{table}{",
            "{table.x}",
            "a.{table}",
            "{table}\n",
            &long,
        ] {
            assert_eq!(TopicTemplate::parse(text), Err(EXPECTED), "{text}");
        }
        assert!(TopicTemplate::parse(&long[..long.len() - 1]).is_ok());
    }
}
