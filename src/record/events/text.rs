//! Strings.

use std::io::Write;

use super::{PIECE, Writer};

impl<W: Write> Writer<'_, W> {
    pub(super) fn text(&mut self, text: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(text) else {
            return false;
        };
        self.raw(b"{\"String\":");
        self.string(text);
        self.raw(b"}");
        true
    }

    /// A string as serde_json escapes it: what JSON demands and nothing else.
    pub(super) fn string(&mut self, text: &str) {
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

#[cfg(test)]
mod tests {
    use super::super::RawText;
    use super::*;

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
