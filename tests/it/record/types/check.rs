//! Whether a value of a record is the value whose text is known.

use super::columns::Column;
use serde_json::{Value, json};

/// The form that the format has for a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    Bool,
    Char,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    String,
    RawText,
}

/// How the config wants the values that have no form of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawForm {
    Bytes,
    String,
}

/// Panics unless `value` says what `text` says.
#[track_caller]
pub fn check(column: &Column, value: &Value, text: Option<&str>, raw: RawForm) {
    let name = &column.sql_type;
    let Some(text) = text else {
        assert_eq!(*value, json!("Null"), "{name}");
        return;
    };
    let is_same = match column.tag {
        Tag::Bool => *value == json!({"Bool": text == "t"}),
        Tag::Char => digits(value, "Char") == text,
        Tag::Int2 => digits(value, "Int2") == text,
        Tag::Int4 => digits(value, "Int4") == text,
        Tag::Int8 => digits(value, "Int8") == text,
        Tag::Oid => digits(value, "Oid") == text,
        Tag::Float4 | Tag::Float8 if matches!(text, "NaN" | "Infinity" | "-Infinity") => {
            *value == json!({"String": text})
        }
        Tag::Float4 => {
            let (written, read) = (digits(value, "Float4").parse::<f32>(), text.parse::<f32>());
            written.unwrap().to_bits() == read.unwrap().to_bits()
        }
        Tag::Float8 => {
            let (written, read) = (digits(value, "Float8").parse::<f64>(), text.parse::<f64>());
            written.unwrap().to_bits() == read.unwrap().to_bits()
        }
        Tag::RawText if raw == RawForm::Bytes => *value == json!({"RawText": text.as_bytes()}),
        Tag::String | Tag::RawText => *value == json!({"String": text}),
    };
    assert!(
        is_same,
        "{name}: {} is not {}",
        shortened(&value.to_string()),
        shortened(text)
    );
}

/// The number as it stands in the record: the record was compared with its own writing before.
#[track_caller]
fn digits(value: &Value, tag: &str) -> String {
    match value.as_object() {
        Some(object) if object.len() == 1 && object.get(tag).is_some_and(Value::is_number) => {
            object[tag].to_string()
        }
        _ => panic!("{value} is no {tag}"),
    }
}

/// A million characters help nobody.
fn shortened(text: &str) -> String {
    text.chars().take(300).collect()
}
