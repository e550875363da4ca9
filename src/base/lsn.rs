//! A position in the write-ahead log.

use std::fmt;
use std::str::FromStr;

/// A log sequence number: the byte position of a record in the write-ahead log.
///
/// It is written as two hexadecimal halves, `16/B374D848`
/// ([`pg_lsn`](https://www.postgresql.org/docs/current/datatype-pg-lsn.html)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// No position: what the protocol sends where it has none.
    pub const ZERO: Lsn = Lsn(0);

    /// How many bytes of WAL lie between `earlier` and this position; 0 when it is not earlier.
    pub fn bytes_since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// The text was not two hexadecimal numbers of at most 32 bits around a slash.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAnLsn;

impl fmt::Display for NotAnLsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected an LSN such as 16/B374D848")
    }
}

impl std::error::Error for NotAnLsn {}

impl FromStr for Lsn {
    type Err = NotAnLsn;

    fn from_str(text: &str) -> Result<Self, NotAnLsn> {
        let (high, low) = text.split_once('/').ok_or(NotAnLsn)?;
        Ok(Lsn(half(high)? << 32 | half(low)?))
    }
}

fn half(text: &str) -> Result<u64, NotAnLsn> {
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex || text.is_empty() || text.len() > 8 {
        return Err(NotAnLsn);
    }
    u64::from_str_radix(text, 16).map_err(|_| NotAnLsn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for (text, value) in [
            ("0/0", 0),
            ("0/16B3748", 0x16B_3748),
            ("16/B374D848", 0x16_B374_D848),
            ("FFFFFFFF/FFFFFFFF", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Lsn(value)));
            assert_eq!(Lsn(value).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_an_lsn() {
        for text in [
            "",
            "/",
            "0",
            "0/",
            "/0",
            "0/+1",
            "0/123456789",
            "g/0",
            "0/0/0",
        ] {
            assert_eq!(text.parse::<Lsn>(), Err(NotAnLsn), "{text}");
        }
    }

    #[test]
    fn bytes_since_never_wraps() {
        assert_eq!(Lsn(10).bytes_since(Lsn(4)), 6);
        assert_eq!(Lsn(4).bytes_since(Lsn(10)), 0);
    }
}
