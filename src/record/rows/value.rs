//! Values, each in the form of its type.

use super::json;
use super::table::Form;
use crate::pg::wire::pgoutput::Value;
use crate::record::text::{WriteJson, is_integer, is_plain};

/// How deep a `json` may be that is written in place: parsers have limits of their own, from 128 on.
const MAX_DEPTH: u32 = 100;

/// Writes a value behind its name, `"name":"`, whose last quote is that of a string.
#[inline]
pub fn member(name: &[u8], form: Form, sent: Value<'_>, out: &mut impl WriteJson) {
    if form == Form::Text
        && let Value::Text(sent) = sent
    {
        if is_plain(sent) {
            out.raw(name);
            out.raw(sent);
            return out.raw(b"\"");
        }
        if let Ok(text) = std::str::from_utf8(sent) {
            out.raw(name);
            out.escaped(text);
            return out.raw(b"\"");
        }
    }
    out.raw(&name[..name.len() - 1]);
    value(form, sent, out);
}

/// Writes a value that is there. What is not in the form of its type is a string.
#[inline]
pub fn value(form: Form, value: Value<'_>, out: &mut impl WriteJson) {
    let Value::Text(sent) = value else {
        return out.raw(b"null");
    };
    let is_number = match form {
        Form::Text => false,
        Form::Int2 => is_integer(sent, i16::MIN.into(), i16::MAX.into()),
        Form::Int4 => is_integer(sent, i32::MIN.into(), i32::MAX.into()),
        Form::Int8 => is_integer(sent, i64::MIN, i64::MAX),
        Form::Oid => is_integer(sent, 0, u32::MAX.into()),
        Form::Float4 => json::is_number(sent, |text| text.parse().is_ok_and(f32::is_finite)),
        Form::Float8 => json::is_number(sent, |text| text.parse().is_ok_and(f64::is_finite)),
        Form::Bool => return bool(sent, out),
        Form::Json => return document(sent, out),
    };
    match is_number {
        true => out.raw(sent),
        false => text(sent, out),
    }
}

fn bool(sent: &[u8], out: &mut impl WriteJson) {
    match sent {
        b"t" => out.raw(b"true"),
        b"f" => out.raw(b"false"),
        _ => text(sent, out),
    }
}

/// Writes text as a string, and what is not UTF-8 as `{"hex":"c3"}`.
#[inline]
pub fn text(sent: &[u8], out: &mut impl WriteJson) {
    match std::str::from_utf8(sent) {
        Ok(text) => out.string(text),
        Err(_) => hex(sent, out),
    }
}

fn hex(sent: &[u8], out: &mut impl WriteJson) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.raw(b"{\"hex\":\"");
    let mut piece = [0; 64];
    for bytes in sent.chunks(32) {
        for (digits, byte) in piece.chunks_exact_mut(2).zip(bytes) {
            digits[0] = DIGITS[usize::from(byte >> 4)];
            digits[1] = DIGITS[usize::from(byte & 15)];
        }
        out.raw(&piece[..2 * bytes.len()]);
    }
    out.raw(b"\"}");
}

/// Writes an object or an array as it was sent, on one line, if every parser takes it.
fn document(sent: &[u8], out: &mut impl WriteJson) {
    let found = match sent.trim_ascii_start().first() {
        Some(b'{' | b'[') => json::document(sent, MAX_DEPTH),
        _ => None,
    };
    match found {
        None => text(sent, out),
        Some(json::Lines::One) => out.raw(sent),
        // Within a string there are none.
        Some(json::Lines::Several) => {
            let mut lines = sent.split(|byte| matches!(byte, b'\n' | b'\r'));
            out.raw(lines.next().unwrap_or_default());
            for line in lines {
                out.raw(b" ");
                out.raw(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form, sent: &[u8]) -> String {
        let mut out = Vec::new();
        value(form, Value::Text(sent), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_by_form() {
        for (form, sent, json) in [
            (Form::Bool, "t", "true"),
            (Form::Bool, "f", "false"),
            (Form::Int2, "-32768", "-32768"),
            (Form::Int4, "2147483647", "2147483647"),
            (Form::Int8, "-9223372036854775808", "-9223372036854775808"),
            (Form::Oid, "4294967295", "4294967295"),
            (Form::Float4, "0.1", "0.1"),
            (Form::Float4, "-0", "-0"),
            (Form::Float4, "3.4028235e+38", "3.4028235e+38"),
            (Form::Float8, "1e+20", "1e+20"),
            (Form::Float8, "1.5e-05", "1.5e-05"),
            (Form::Float8, "5e-324", "5e-324"),
            (Form::Float8, "NaN", "\"NaN\""),
            (Form::Float8, "-Infinity", "\"-Infinity\""),
            (Form::Text, "", "\"\""),
            (Form::Text, "a\"\\\n\u{1}é", "\"a\\\"\\\\\\n\\u0001é\""),
            (
                Form::Json,
                "{\"a\" : [1.50,\tnull]}",
                "{\"a\" : [1.50,\tnull]}",
            ),
            (Form::Json, " {\n\"a\":\r\n1}\n", " { \"a\":  1} "),
            (Form::Json, "[]", "[]"),
            (Form::Json, "null", "\"null\""),
            (Form::Json, " 1e400 ", "\" 1e400 \""),
            (Form::Json, "\"x\"", "\"\\\"x\\\"\""),
        ] {
            assert_eq!(written(form, sent.as_bytes()), json, "{form:?} {sent:?}");
        }
    }

    #[test]
    fn what_is_not_of_its_type_is_a_string() {
        for (form, sent) in [
            (Form::Bool, "true"),
            (Form::Int2, "32768"),
            (Form::Int4, "01"),
            (Form::Int4, "-0"),
            (Form::Int8, "9223372036854775808"),
            (Form::Int8, ""),
            (Form::Oid, "-1"),
            (Form::Float4, "1e39"),
            (Form::Float8, "1e400"),
            (Form::Float8, ".5"),
            (Form::Float8, "5."),
            (Form::Float8, "+5"),
            (Form::Float8, "inf"),
            (Form::Float8, "1e"),
            (Form::Float8, "1 "),
            (Form::Json, ""),
            (Form::Json, "[1,]"),
            (Form::Json, "[1]]"),
            (Form::Json, "{\"a\":1"),
            // No parser has these: half a character, and a number that is infinite.
            (Form::Json, "[\"\\ud800\"]"),
            (Form::Json, "[1e400]"),
        ] {
            let string = serde_json::to_string(sent).unwrap();
            assert_eq!(written(form, sent.as_bytes()), string, "{form:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_hexadecimal() {
        for form in [Form::Text, Form::Json, Form::Int4, Form::Bool] {
            assert_eq!(written(form, b"\xC3"), r#"{"hex":"c3"}"#);
            assert_eq!(written(form, b"[\"\xC3\"]"), r#"{"hex":"5b22c3225d"}"#);
        }
        let long: Vec<u8> = (0..=255).collect();
        let digits: String = long.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            written(Form::Text, &long),
            format!("{{\"hex\":\"{digits}\"}}")
        );
    }

    #[test]
    fn what_is_too_deep_is_text() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(written(Form::Json, nested(100).as_bytes()), nested(100));
        let text = format!("\"{}\"", nested(101));
        assert_eq!(written(Form::Json, nested(101).as_bytes()), text);
    }
}
