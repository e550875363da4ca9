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
    let (words, _) = text[start..].as_chunks::<WORD>();
    let plain = words.iter().take_while(|word| !has_escaped(**word)).count();
    let start = start + plain * WORD;
    // The last bytes once more, together with those before them.
    let is_end = text.len() - start < WORD;
    if is_end && text.last_chunk().is_some_and(|word| !has_escaped(*word)) {
        return None;
    }
    let rest = text[start..].iter().position(|&byte| is_escaped(byte));
    rest.map(|at| start + at)
}

/// Whether a text is a JSON string as it is, in ASCII, which is UTF-8 too.
pub fn is_plain(text: &[u8]) -> bool {
    let is_special = |byte: u8| is_escaped(byte) | !byte.is_ascii();
    let (pieces, rest) = text.as_chunks::<PIECE>();
    let mut pieces = pieces.iter();
    if !pieces.all(|piece| {
        !piece
            .iter()
            .fold(false, |any, &byte| any | is_special(byte))
    }) {
        return false;
    }
    let is_plain = |word: [u8; WORD]| !has_escaped(word) && word.is_ascii();
    let (words, _) = rest.as_chunks::<WORD>();
    words.iter().all(|word| is_plain(*word))
        && match text.last_chunk() {
            // The last bytes once more, together with those before them.
            Some(word) => is_plain(*word),
            None => !text.iter().any(|&byte| is_special(byte)),
        }
}

/// Bytes that fit a register.
const WORD: usize = 8;

/// Whether one of the bytes cannot stand in a JSON string, found without a branch for each
/// ([how](https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord)).
fn has_escaped(word: [u8; WORD]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_ne_bytes(word);
    let borrowed = |word: u64, less: u64| word.wrapping_sub(less) & !word;
    let quote = word ^ (EACH * b'"' as u64);
    let backslash = word ^ (EACH * b'\\' as u64);
    let found = borrowed(word, EACH * 0x20) | borrowed(quote, EACH) | borrowed(backslash, EACH);
    found & (EACH << 7) != 0
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

    #[test]
    fn the_first_byte_that_is_escaped_is_found_anywhere() {
        for len in 0..3 * PIECE {
            for at in 0..=len {
                for byte in 0..=255 {
                    let mut text = vec![[b'a', 0xFF][at % 2]; len];
                    if let Some(found) = text.get_mut(at) {
                        *found = byte;
                    }
                    let expected = text.iter().position(|&byte| is_escaped(byte));
                    assert_eq!(first_escaped(&text), expected);
                    let is_ascii = text.is_ascii();
                    assert_eq!(is_plain(&text), expected.is_none() && is_ascii);
                    if at < len {
                        text.fill(b'a');
                        text[at] = byte;
                        let is_expected = byte.is_ascii() && !is_escaped(byte);
                        assert_eq!(is_plain(&text), is_expected);
                    }
                }
            }
        }
    }
}
