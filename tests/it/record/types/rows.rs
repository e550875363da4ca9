//! Every type in the row format: the value that is read back is what SQL reads.

use postgres_source::record::RowStyle;

use super::check::Tag;
use super::{Row, Table, Tables};
use crate::pipeline::setup::making::Place;
use crate::support::rows::{RowDecoder, RowLine, is_document, server_text};

#[test]
fn every_type_in_the_row_format_is_what_sql_reads() {
    let place = Place::new("types_rows");
    let (database, publication) = (&place.database, &place.publication);
    let tables = Tables::create_in(database);
    database.execute(&format!("CREATE PUBLICATION {publication} FOR ALL TABLES"));
    database.create_slot(&place.slot);
    let expected = tables.fill(&mut database.client());
    let decoder = RowDecoder {
        database,
        publication,
        slot: &place.slot,
        keys: Default::default(),
        style: RowStyle::default(),
    };
    let rows = tables.0.iter();
    let rows = rows.flat_map(|table| (0..table.rows()).map(move |_| table));
    let lines = decoder.take();
    assert_eq!(lines.len(), expected.len());
    for ((line, expected), table) in lines.iter().zip(&expected).zip(rows) {
        check(line, expected, table);
    }
}

fn check(line: &RowLine, expected: &Row, table: &Table) {
    let names: Vec<String> = (0..expected.len()).map(|i| format!("c{i}")).collect();
    for ((name, column), expected) in names.iter().zip(&table.columns).zip(expected) {
        let value = line.after(name).expect("it is there");
        let text = server_text(&column.sql_type, value);
        // A "char" over 127 is a byte alone up to version 14.
        let text = text.map(|text| match String::from_utf8(text) {
            Ok(text) => text,
            Err(error) => error
                .as_bytes()
                .iter()
                .map(|byte| char::from(*byte))
                .collect(),
        });
        let type_name = &column.sql_type;
        match (column.tag, &text, expected) {
            // The test reads its number.
            (Tag::Char, Some(text), Some(number)) => assert_char(text, number),
            _ if is_document(type_name) => {
                let on_a_line = |text: &String| text.replace(['\n', '\r'], " ").trim().to_owned();
                let expected = expected.as_ref().map(on_a_line);
                assert_eq!(text.as_ref().map(on_a_line), expected, "{type_name}");
            }
            _ => assert_eq!(text, *expected, "{type_name}"),
        }
        assert_form(column.tag, value, expected.as_deref());
    }
}

/// Numbers are numbers, and nothing else is.
fn assert_form(tag: Tag, json: &str, text: Option<&str>) {
    let is_bare = json.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let is_number = match tag {
        Tag::Int2 | Tag::Int4 | Tag::Int8 | Tag::Oid => text.is_some(),
        Tag::Float4 | Tag::Float8 => text.is_some_and(|text| !text.contains(['N', 'I'])),
        _ => false,
    };
    assert_eq!(is_bare, is_number, "{tag:?} {json}");
    assert_eq!(
        json == "true" || json == "false",
        tag == Tag::Bool && text.is_some()
    );
}

/// A `"char"` is a character of ASCII, or, over 127, what the server's version has for it.
fn assert_char(text: &str, number: &str) {
    let number: i32 = number.parse().unwrap();
    match u8::try_from(number) {
        Ok(0) => assert_eq!(text, ""),
        Ok(byte) => assert_eq!(text, char::from(byte).to_string()),
        Err(_) => {
            let octal = format!("\\{:o}", number as i8 as u8);
            let byte = char::from(number as i8 as u8).to_string();
            assert!(text == octal || text == byte, "{text}");
        }
    }
}
