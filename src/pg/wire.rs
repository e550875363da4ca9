//! Reading the fields of a message: a cursor that names what is missing.
//!
//! Every integer of the protocol is big-endian
//! ([message data types](https://www.postgresql.org/docs/current/protocol-message-types.html)).

use crate::error::{Error, Result};
use crate::lsn::Lsn;

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

    /// What has not been read yet.
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

    /// String: bytes up to a zero byte, which is read too. Names come in `client_encoding`,
    /// which is pinned to UTF8.
    pub fn str(&mut self, field: &'static str) -> Result<&'a str> {
        let (text, rest) = self.split_at_zero(field)?;
        let text = std::str::from_utf8(text)
            .map_err(|_| Error::undeliverable(format!("{field}: not valid UTF-8")))?;
        self.rest = rest;
        Ok(text)
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

    /// The message must end here.
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
    fn strings_end_and_are_utf8() {
        assert!(Cursor::new(b"abc").str("name").is_err());
        assert!(Cursor::new(b"\xFF\0").str("name").is_err());
        assert_eq!(Cursor::new(b"\0").str("name").unwrap(), "");
    }
}
