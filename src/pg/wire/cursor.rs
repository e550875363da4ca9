//! Reading the fields of a message: a cursor that names what is missing.
//!
//! Every integer of the protocol is big-endian
//! ([message data types](https://www.postgresql.org/docs/current/protocol-message-types.html)).

use std::borrow::Cow;

use crate::base::error::{Error, Result};
use crate::base::lsn::Lsn;

/// A cursor over the bytes of one message.
///
/// A read that does not fit fails with the field's name and moves nothing; nothing is allocated.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }

    /// The bytes that have not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `len` bytes.
    #[inline]
    pub fn bytes(&mut self, len: usize, field: &'static str) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(len) {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => Err(missing(field, len, self.rest.len())),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N]> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(*head)
            }
            None => Err(missing(field, N, self.rest.len())),
        }
    }

    /// Byte1.
    #[inline]
    pub fn u8(&mut self, field: &'static str) -> Result<u8> {
        Ok(self.array::<1>(field)?[0])
    }

    /// Int8.
    #[inline]
    pub fn i8(&mut self, field: &'static str) -> Result<i8> {
        Ok(i8::from_be_bytes(self.array(field)?))
    }

    /// Int16 that counts.
    #[inline]
    pub fn u16(&mut self, field: &'static str) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array(field)?))
    }

    /// Int32 with a sign.
    #[inline]
    pub fn i32(&mut self, field: &'static str) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array(field)?))
    }

    /// Int32 without a sign: OIDs, transaction ids, counts.
    #[inline]
    pub fn u32(&mut self, field: &'static str) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array(field)?))
    }

    /// Int64: timestamps.
    #[inline]
    pub fn i64(&mut self, field: &'static str) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array(field)?))
    }

    /// Int64 that is a position in the WAL.
    #[inline]
    pub fn lsn(&mut self, field: &'static str) -> Result<Lsn> {
        Ok(Lsn(u64::from_be_bytes(self.array(field)?)))
    }

    /// String: bytes up to a zero byte, which is read too. It is UTF-8 but for a name in a database
    /// whose encoding is SQL_ASCII, and for one that all databases share, an origin's: those are
    /// what was typed, and are [escaped](escape_name).
    pub fn str(&mut self, field: &'static str) -> Result<Cow<'a, str>> {
        Ok(escape_name(self.text(field)?))
    }

    /// String whose encoding is not known: a database in SQL_ASCII converts nothing.
    pub fn text(&mut self, field: &'static str) -> Result<&'a [u8]> {
        let (text, rest) = self.split_at_zero(field)?;
        self.rest = rest;
        Ok(text)
    }

    fn split_at_zero(&self, field: &'static str) -> Result<(&'a [u8], &'a [u8])> {
        match self.rest.iter().position(|&b| b == 0) {
            Some(end) => Ok((&self.rest[..end], &self.rest[end + 1..])),
            None => Err(Error::undeliverable(format!(
                "{field}: no terminating zero byte"
            ))),
        }
    }

    /// Fails unless the message ends here.
    #[inline]
    pub fn end(&self) -> Result<()> {
        match self.rest.len() {
            0 => Ok(()),
            n => Err(Error::undeliverable(format!(
                "{n} bytes after the end of the message"
            ))),
        }
    }
}

/// A name as text. UTF-8 is left as it is; a byte that is not is written as `\xe9`. Where the name
/// itself has these four characters their backslash becomes `\x5c`, so that two names that differ
/// stay different, and the bytes can be had back.
pub fn escape_name(name: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(name)
        && !text.contains("\\x")
    {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(name.len() + 16);
    for chunk in name.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find("\\x") {
            escaped.push_str(&rest[..at]);
            rest = &rest[at..];
            escaped.push_str(if is_escape(rest.as_bytes()) {
                "\\x5c"
            } else {
                "\\"
            });
            rest = &rest[1..];
        }
        escaped.push_str(rest);
        for byte in chunk.invalid() {
            escaped.push_str(&format!("\\x{byte:02x}"));
        }
    }
    Cow::Owned(escaped)
}

/// Whether [`escape_name`] writes what this begins with: a byte over 127, or the backslash.
fn is_escape(text: &[u8]) -> bool {
    matches!(
        text,
        [b'\\', b'x', b'8' | b'9' | b'a'..=b'f', b'0'..=b'9' | b'a'..=b'f', ..]
            | [b'\\', b'x', b'5', b'c', ..]
    )
}

#[cold]
fn missing(field: &'static str, need: usize, have: usize) -> Error {
    Error::undeliverable(format!("{field}: {need} bytes expected, {have} left"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_in_order() {
        let mut c = Cursor::new(b"\x01\xFF\x00\x02\x00\x00\x00\x03abc\0\x09");
        assert_eq!(c.u8("a").unwrap(), 1);
        assert_eq!(c.i8("b").unwrap(), -1);
        assert_eq!(c.u16("c").unwrap(), 2);
        assert_eq!(c.u32("d").unwrap(), 3);
        assert_eq!(c.str("e").unwrap(), "abc");
        assert!(c.end().is_err());
        assert_eq!(c.bytes(1, "f").unwrap(), b"\x09");
        c.end().unwrap();
    }

    #[test]
    fn a_read_that_does_not_fit_names_the_field_and_moves_nothing() {
        let mut c = Cursor::new(b"\x00\x01");
        let error = c.i32("rel_id").unwrap_err().to_string();
        assert_eq!(error, "rel_id: 4 bytes expected, 2 left");
        assert_eq!(c.u16("n").unwrap(), 1);
        assert!(c.bytes(usize::MAX, "x").is_err());
    }

    #[test]
    fn strings_end() {
        assert!(Cursor::new(b"abc").str("name").is_err());
        assert_eq!(Cursor::new(b"\0").str("name").unwrap(), "");
        assert_eq!(Cursor::new(b"\xFF\0").str("name").unwrap(), "\\xff");
    }

    #[test]
    fn names_that_differ_stay_different() {
        let same = [
            "",
            "pets",
            "é 漢 😀",
            "a\\b",
            "\\",
            "\\x",
            "\\x4",
            "\\x41",
            "\\xE9",
            "\\x7f",
        ];
        for name in same {
            assert_eq!(escape_name(name.as_bytes()), name);
        }
        for (name, escaped) in [
            (&b"caf\xE9"[..], "caf\\xe9"),
            (b"caf\\xe9", "caf\\x5cxe9"),
            (b"caf\\x5cxe9", "caf\\x5cx5cxe9"),
            (b"\\\xE9", "\\\\xe9"),
            (b"\\x\xE9", "\\x\\xe9"),
            (b"\\x5\xE9", "\\x5\\xe9"),
            (b"\xF0\x9F\x98", "\\xf0\\x9f\\x98"),
            ("\u{e9}\u{e9}".as_bytes(), "éé"),
            (b"\xE9\xC3\xA9\xFF", "\\xe9é\\xff"),
        ] {
            assert_eq!(escape_name(name), escaped);
            assert_eq!(unescape(escaped), name);
        }
    }

    /// What a consumer does that wants the bytes.
    fn unescape(text: &str) -> Vec<u8> {
        let (mut rest, mut name) = (text.as_bytes(), Vec::new());
        while let [first, after @ ..] = rest {
            let digits = is_escape(rest).then(|| std::str::from_utf8(&rest[2..4]).unwrap());
            name.push(digits.map_or(*first, |digits| u8::from_str_radix(digits, 16).unwrap()));
            rest = if digits.is_some() { &rest[4..] } else { after };
        }
        name
    }
}
