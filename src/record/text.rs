//! JSON's strings and numbers, as every form of a record writes them.

use std::io::Write;

/// Bytes that are worked on together.
pub const PIECE: usize = 32;

/// Writes JSON into what does not fail: a `Vec`, or pieces of a record, which keep what went wrong to
/// themselves.
pub trait WriteJson: Write + Sized {
    /// Writes bytes as they are.
    #[inline]
    fn raw(&mut self, bytes: &[u8]) {
        let written = self.write_all(bytes);
        debug_assert!(written.is_ok(), "nothing that fails is written into");
    }

    /// Writes an integer.
    #[inline]
    fn integer(&mut self, number: impl itoa::Integer) {
        self.raw(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Writes a string as serde_json escapes it: what JSON demands and nothing else.
    #[inline]
    fn string(&mut self, text: &str) {
        self.raw(b"\"");
        self.escaped(text);
        self.raw(b"\"");
    }

    /// Writes what stands between the quotes of a string.
    #[inline]
    fn escaped(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while let Some(at) = first_escaped(rest) {
            let (plain, escaped) = rest.split_at(at);
            self.raw(plain);
            escape(self, escaped[0]);
            rest = &escaped[1..];
        }
        self.raw(rest);
    }
}

impl<W: Write> WriteJson for W {}

fn escape(out: &mut impl WriteJson, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'\n' => out.raw(b"\\n"),
        b'\r' => out.raw(b"\\r"),
        b'\t' => out.raw(b"\\t"),
        0x08 => out.raw(b"\\b"),
        0x0C => out.raw(b"\\f"),
        b'"' | b'\\' => out.raw(&[b'\\', byte]),
        _ => {
            out.raw(b"\\u00");
            out.raw(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// Where the first byte is that cannot stand in a JSON string.
pub fn first_escaped(text: &[u8]) -> Option<usize> {
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

/// Whether `text` is the one way to write an integer within these bounds.
pub fn is_integer(text: &[u8], min: i64, max: i64) -> bool {
    let digits = match text {
        [b'-', b'1'..=b'9', ..] => &text[1..],
        [b'1'..=b'9', ..] | [b'0'] => text,
        _ => return false,
    };
    let number = || std::str::from_utf8(text).ok()?.parse::<i64>().ok();
    // Fewer digits than the largest has are in range.
    let short = digits.len() < max.ilog10() as usize + 1 && (min < 0 || text[0] != b'-');
    digits.iter().all(u8::is_ascii_digit)
        && (short || number().is_some_and(|n| (min..=max).contains(&n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_serde_json_escapes_them() {
        let mut text = String::from("é😀\u{2028}");
        text.extend((0u8..=127).map(char::from));
        let mut out = Vec::new();
        out.string(&text);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            serde_json::to_string(&text).unwrap()
        );
    }
}
