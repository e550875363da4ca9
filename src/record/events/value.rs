//! Values, each in the form of its type.

use std::io::Write;

use super::{RawText, Writer};
use crate::change::relation::Class;
use crate::record::text::is_integer;

impl<W: Write> Writer<'_, W> {
    pub(super) fn value(&mut self, class: Class, text: &[u8]) {
        let written = match class {
            Class::Bool => self.bool(text),
            Class::Char => self.char(text),
            Class::Int2 => self.digits(b"{\"Int2\":", text, i16::MIN.into(), i16::MAX.into()),
            Class::Int4 => self.digits(b"{\"Int4\":", text, i32::MIN.into(), i32::MAX.into()),
            Class::Int8 => self.digits(b"{\"Int8\":", text, i64::MIN, i64::MAX),
            Class::Oid => self.digits(b"{\"Oid\":", text, 0, u32::MAX.into()),
            Class::Float4 => self.float4(text),
            Class::Float8 => self.float8(text),
            Class::Text => self.text(text),
            Class::Json | Class::Raw => self.raw_text == RawText::String && self.text(text),
        };
        if !written {
            self.bytes(text);
        }
    }

    fn bool(&mut self, text: &[u8]) -> bool {
        match text {
            b"t" => self.raw(b"{\"Bool\":true}"),
            b"f" => self.raw(b"{\"Bool\":false}"),
            _ => return false,
        }
        true
    }

    /// The byte itself, `\ooo` for a byte over 127 (from version 16 on), or nothing for 0
    /// ([`"char"`](https://www.postgresql.org/docs/current/datatype-character.html)).
    fn char(&mut self, text: &[u8]) -> bool {
        let byte = match *text {
            [] => 0,
            [byte] => byte,
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'] => {
                (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0')
            }
            _ => return false,
        };
        self.raw(b"{\"Char\":");
        self.integer(byte as i8);
        self.raw(b"}");
        true
    }

    /// The digits as they came, once they are known to be the one way to write such a number.
    fn digits(&mut self, tag: &[u8], text: &[u8], min: i64, max: i64) -> bool {
        if !is_integer(text, min, max) {
            return false;
        }
        self.raw(tag);
        self.raw(text);
        self.raw(b"}");
        true
    }

    fn float4(&mut self, text: &[u8]) -> bool {
        let number = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<f32>().ok());
        match number {
            Some(number) if number.is_finite() => self.float(b"{\"Float4\":", &number),
            _ => self.not_a_number(text),
        }
    }

    fn float8(&mut self, text: &[u8]) -> bool {
        let number = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<f64>().ok());
        match number {
            Some(number) if number.is_finite() => self.float(b"{\"Float8\":", &number),
            _ => self.not_a_number(text),
        }
    }

    fn float(&mut self, tag: &[u8], number: &impl serde::Serialize) -> bool {
        self.raw(tag);
        let written = serde_json::to_writer(&mut *self.out, number);
        debug_assert!(
            written.is_ok(),
            "nothing that fails is written into, and a float is a number"
        );
        self.raw(b"}");
        true
    }

    fn not_a_number(&mut self, text: &[u8]) -> bool {
        matches!(text, b"NaN" | b"Infinity" | b"-Infinity") && self.text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(class: Class, text: &[u8]) -> String {
        value_as(class, text, RawText::Bytes)
    }

    fn value_as(class: Class, text: &[u8], raw_text: RawText) -> String {
        let mut out = Vec::new();
        Writer {
            out: &mut out,
            raw_text,
        }
        .value(class, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_by_class() {
        for (class, text, json) in [
            (Class::Bool, &b"t"[..], r#"{"Bool":true}"#),
            (Class::Bool, b"f", r#"{"Bool":false}"#),
            (Class::Char, b"a", r#"{"Char":97}"#),
            (Class::Char, b"", r#"{"Char":0}"#),
            (Class::Char, b"\\377", r#"{"Char":-1}"#),
            (Class::Char, b"\\", r#"{"Char":92}"#),
            (Class::Char, b"\xFF", r#"{"Char":-1}"#),
            (Class::Int2, b"-32768", r#"{"Int2":-32768}"#),
            (Class::Int4, b"2147483647", r#"{"Int4":2147483647}"#),
            (
                Class::Int8,
                b"-9223372036854775808",
                r#"{"Int8":-9223372036854775808}"#,
            ),
            (Class::Oid, b"4294967295", r#"{"Oid":4294967295}"#),
            (Class::Float4, b"1.5", r#"{"Float4":1.5}"#),
            (Class::Float4, b"0.1", r#"{"Float4":0.1}"#),
            (Class::Float8, b"1", r#"{"Float8":1.0}"#),
            (Class::Float8, b"-0", r#"{"Float8":-0.0}"#),
            (Class::Float8, b"5e-324", r#"{"Float8":5e-324}"#),
            (Class::Float8, b"NaN", r#"{"String":"NaN"}"#),
            (Class::Float4, b"-Infinity", r#"{"String":"-Infinity"}"#),
            (Class::Text, b"", r#"{"String":""}"#),
            (Class::Raw, b"2020", r#"{"RawText":[50,48,50,48]}"#),
            (Class::Raw, b"", r#"{"RawText":[]}"#),
            (Class::Json, b"{}", r#"{"RawText":[123,125]}"#),
        ] {
            assert_eq!(value(class, text), json, "{class:?} {text:?}");
        }
    }

    #[test]
    fn what_is_not_of_its_type_is_raw_text() {
        for (class, text) in [
            (Class::Bool, &b"x"[..]),
            (Class::Char, b"ab"),
            (Class::Int2, b"32768"),
            (Class::Int4, b"01"),
            (Class::Int4, b"-0"),
            (Class::Int8, b"+1"),
            (Class::Int8, b""),
            (Class::Oid, b"-1"),
            (Class::Float8, b"1e400"),
            (Class::Float8, b"inf"),
            (Class::Text, b"\xFF"),
        ] {
            let raw = format!(
                "{{\"RawText\":[{}]}}",
                text.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
            );
            assert_eq!(value(class, text), raw, "{class:?} {text:?}");
        }
    }

    #[test]
    fn raw_text_as_string_unless_it_is_not_utf8() {
        for class in [Class::Raw, Class::Json] {
            assert_eq!(
                value_as(class, b"a\"b", RawText::String),
                r#"{"String":"a\"b"}"#
            );
        }
        assert_eq!(
            value_as(Class::Raw, b"\xC3", RawText::String),
            r#"{"RawText":[195]}"#
        );
    }
}
