//! The JSON of an event: one compact record, byte for byte as serde_json writes it.
//!
//! A value whose text is not in the form of its type, which no known server sends, is written as
//! `RawText`: nothing is lost, nothing is guessed, and no value can stop the stream.

use crate::event::{Change, Event};
use crate::pg::pgoutput::{OldTuple, ReplicaIdentity, Tuple, Value};
use crate::relation::{Class, Relation};

/// How values of types without a JSON form of their own are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RawText {
    /// `{"RawText":[50,48]}`: the bytes.
    #[default]
    Bytes,
    /// `{"String":"20"}`, as long as they are UTF-8.
    String,
}

/// Appends the record of `event` to `out`.
pub fn render(event: &Event<'_>, raw_text: RawText, out: &mut Vec<u8>) {
    let mut w = Writer { out, raw_text };
    w.raw(b"{\"wal_start\":");
    w.integer(event.envelope.wal_start.0);
    w.raw(b",\"wal_end\":");
    w.integer(event.envelope.wal_end.0);
    w.raw(b",\"timestamp\":");
    w.integer(event.envelope.timestamp);
    w.raw(b",\"message\":{\"type\":");
    w.change(&event.change);
    w.raw(b"}}");
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    raw_text: RawText,
}

impl Writer<'_> {
    fn change(&mut self, change: &Change<'_>) {
        match change {
            Change::Begin(begin) => {
                self.raw(b"\"begin\",\"final_lsn\":");
                self.integer(begin.final_lsn.0);
                self.raw(b",\"timestamp\":");
                self.integer(begin.timestamp);
                self.raw(b",\"xid\":");
                self.integer(begin.xid);
            }
            Change::Commit(commit) => {
                self.raw(b"\"commit\",\"flags\":");
                self.integer(commit.flags);
                self.raw(b",\"commit_lsn\":");
                self.integer(commit.commit_lsn.0);
                self.raw(b",\"end_lsn\":");
                self.integer(commit.end_lsn.0);
                self.raw(b",\"timestamp\":");
                self.integer(commit.timestamp);
            }
            Change::Origin(origin) => {
                self.raw(b"\"origin\",\"commit_lsn\":");
                self.integer(origin.commit_lsn.0);
                self.raw(b",\"name\":");
                self.string(&origin.name);
            }
            Change::Relation(relation) => self.relation(relation),
            Change::Type(described) => {
                self.raw(b"\"type\",\"id\":");
                self.integer(described.id);
                self.raw(b",\"namespace\":");
                self.string(&described.namespace);
                self.raw(b",\"name\":");
                self.string(&described.name);
            }
            Change::Insert { relation, new } => {
                self.row(b"\"insert\"", relation);
                self.raw(b",\"tuple\":");
                self.tuple(relation, new);
            }
            Change::Update { relation, old, new } => {
                self.row(b"\"update\"", relation);
                self.old(relation, old.as_ref());
                self.raw(b",\"new_tuple\":");
                self.tuple(relation, new);
            }
            Change::Delete { relation, old } => {
                self.row(b"\"delete\"", relation);
                self.old(relation, Some(old));
            }
            Change::Truncate { options, rel_ids } => {
                self.raw(b"\"truncate\",\"options\":");
                self.integer(*options);
                self.raw(b",\"rel_ids\":");
                self.array(rel_ids.iter(), |w, rel_id| w.integer(rel_id));
            }
            Change::Logical(logical) => {
                self.raw(b"\"message\",\"flags\":");
                self.integer(logical.flags);
                self.raw(b",\"lsn\":");
                self.integer(logical.lsn.0);
                self.raw(b",\"prefix\":");
                // What the config names, and so text.
                self.string(&String::from_utf8_lossy(logical.prefix));
                self.raw(b",\"content\":");
                self.value(Class::Raw, logical.content);
            }
        }
    }

    fn relation(&mut self, relation: &Relation) {
        self.row(b"\"relation\"", relation);
        self.raw(b",\"namespace\":");
        self.string(&relation.namespace);
        self.raw(b",\"name\":");
        self.string(&relation.name);
        self.raw(b",\"replica_identity\":");
        self.raw(match relation.replica_identity {
            ReplicaIdentity::Default => b"\"Default\"",
            ReplicaIdentity::Nothing => b"\"Nothing\"",
            ReplicaIdentity::Full => b"\"Full\"",
            ReplicaIdentity::Index => b"\"Index\"",
        });
        self.raw(b",\"columns\":");
        self.array(relation.columns.iter(), |w, column| {
            w.raw(b"{\"flags\":");
            w.integer(column.flags);
            w.raw(b",\"name\":");
            w.string(&column.name);
            w.raw(b",\"type_id\":");
            // The model has an i32 here: the same 32 bits.
            w.integer(column.type_id as i32);
            w.raw(b",\"type_modifier\":");
            w.integer(column.type_modifier);
            w.raw(b"}");
        });
    }

    fn row(&mut self, tag: &[u8], relation: &Relation) {
        self.raw(tag);
        self.raw(b",\"rel_id\":");
        self.integer(relation.rel_id);
    }

    fn old(&mut self, relation: &Relation, old: Option<&OldTuple<'_>>) {
        self.raw(b",\"old_tuple\":");
        match old {
            Some(OldTuple::Full(tuple)) => self.tuple(relation, tuple),
            _ => self.raw(b"null"),
        }
        self.raw(b",\"key_tuple\":");
        match old {
            Some(OldTuple::Key(tuple)) => self.tuple(relation, tuple),
            _ => self.raw(b"null"),
        }
    }

    fn tuple(&mut self, relation: &Relation, tuple: &Tuple<'_>) {
        self.array(
            relation.columns.iter().zip(tuple.values()),
            |w, (column, value)| match value {
                Value::Null => w.raw(b"\"Null\""),
                Value::UnchangedToast => w.raw(b"\"UnchangedToast\""),
                Value::Text(text) => w.value(column.class, text),
            },
        );
    }

    fn value(&mut self, class: Class, text: &[u8]) {
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
            Class::Raw => self.raw_text == RawText::String && self.text(text),
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
        let digits = match text {
            [b'-', b'1'..=b'9', ..] => &text[1..],
            [b'1'..=b'9', ..] | [b'0'] => text,
            _ => return false,
        };
        let number = || std::str::from_utf8(text).ok()?.parse::<i64>().ok();
        // Fewer digits than the largest has are in range.
        let short = digits.len() < max.ilog10() as usize + 1 && (min < 0 || text[0] != b'-');
        if !digits.iter().all(u8::is_ascii_digit)
            || !(short || number().is_some_and(|n| (min..=max).contains(&n)))
        {
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
            "a Vec takes everything and a float is a number"
        );
        self.raw(b"}");
        true
    }

    fn not_a_number(&mut self, text: &[u8]) -> bool {
        matches!(text, b"NaN" | b"Infinity" | b"-Infinity") && self.text(text)
    }

    fn text(&mut self, text: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(text) else {
            return false;
        };
        self.raw(b"{\"String\":");
        self.string(text);
        self.raw(b"}");
        true
    }

    /// Numbers with a comma behind each, in pieces: the last comma is taken away again.
    fn bytes(&mut self, text: &[u8]) {
        self.raw(b"{\"RawText\":[");
        let mut piece = [0; 4 * PIECE];
        for bytes in text.chunks(PIECE) {
            let mut len = 0;
            for &byte in bytes {
                let number = &DECIMAL[usize::from(byte)];
                // Always four bytes: what is too much is written over by the next.
                piece[len..len + 4].copy_from_slice(&number.text);
                len += usize::from(number.len);
            }
            self.raw(&piece[..len]);
        }
        if !text.is_empty() {
            self.out.pop();
        }
        self.raw(b"]}");
    }

    fn array<T>(&mut self, items: impl Iterator<Item = T>, mut each: impl FnMut(&mut Self, T)) {
        self.raw(b"[");
        for (i, item) in items.enumerate() {
            if i > 0 {
                self.raw(b",");
            }
            each(self, item);
        }
        self.raw(b"]");
    }

    /// A string as serde_json escapes it: what JSON demands and nothing else.
    fn string(&mut self, text: &str) {
        self.raw(b"\"");
        let mut rest = text.as_bytes();
        while let Some(at) = first_escaped(rest) {
            let (plain, escaped) = rest.split_at(at);
            self.raw(plain);
            self.escape(escaped[0]);
            rest = &escaped[1..];
        }
        self.raw(rest);
        self.raw(b"\"");
    }

    fn escape(&mut self, byte: u8) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        match byte {
            b'\n' => self.raw(b"\\n"),
            b'\r' => self.raw(b"\\r"),
            b'\t' => self.raw(b"\\t"),
            0x08 => self.raw(b"\\b"),
            0x0C => self.raw(b"\\f"),
            b'"' | b'\\' => self.raw(&[b'\\', byte]),
            _ => {
                self.raw(b"\\u00");
                self.raw(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }

    fn integer(&mut self, number: impl itoa::Integer) {
        self.raw(itoa::Buffer::new().format(number).as_bytes());
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}

/// Where the first byte is that cannot stand in a JSON string.
fn first_escaped(text: &[u8]) -> Option<usize> {
    // Many at a time without a branch in between, which the compiler makes one instruction of.
    let (pieces, _) = text.as_chunks::<PIECE>();
    let plain = pieces
        .iter()
        .take_while(|piece| {
            !piece
                .iter()
                .fold(false, |any, &byte| any | is_escaped(byte))
        })
        .count();
    let start = plain * PIECE;
    let rest = text[start..].iter().position(|&byte| is_escaped(byte));
    rest.map(|at| start + at)
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Bytes that are worked on together.
const PIECE: usize = 32;

/// A byte as a decimal number with a comma behind it.
struct Decimal {
    text: [u8; 4],
    len: u8,
}

/// Each byte.
const DECIMAL: [Decimal; 256] = {
    let mut table = [const {
        Decimal {
            text: [b','; 4],
            len: 0,
        }
    }; 256];
    let mut byte = 0;
    while byte < 256 {
        let digits = [byte / 100, byte / 10 % 10, byte % 10];
        let skipped = if byte < 10 {
            2
        } else if byte < 100 {
            1
        } else {
            0
        };
        let mut at = skipped;
        while at < 3 {
            table[byte].text[at - skipped] = b'0' + digits[at] as u8;
            at += 1;
        }
        table[byte].len = 4 - skipped as u8;
        byte += 1;
    }
    table
};

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
        assert_eq!(
            value_as(Class::Raw, b"a\"b", RawText::String),
            r#"{"String":"a\"b"}"#
        );
        assert_eq!(
            value_as(Class::Raw, b"\xC3", RawText::String),
            r#"{"RawText":[195]}"#
        );
    }

    #[test]
    fn strings_are_escaped_as_serde_json_escapes_them() {
        let mut text = String::from("é😀\u{2028}");
        text.extend((0u8..=127).map(char::from));
        let mut out = Vec::new();
        Writer {
            out: &mut out,
            raw_text: RawText::Bytes,
        }
        .string(&text);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            serde_json::to_string(&text).unwrap()
        );
    }
}
