//! Where a record is in the stream.

use std::io::{self, Write};

use super::super::readback::Unit;
use super::super::text::WriteJson;
use crate::base::lsn::Lsn;
use crate::pg::wire::pgoutput::Begin;

/// A transaction as all its records name it, rendered once.
#[derive(Debug, Clone)]
pub struct Transaction {
    begin: Begin,
    /// `,"lsn":23912640,"seq":`.
    lsn: Short<40>,
    /// `,"xid":735,"ts":"2026-11-30T03:50:00.123456Z"`.
    commit: Short<72>,
}

/// Where a record of the row format is in the stream.
#[derive(Debug, Clone, Copy)]
pub enum Place<'t> {
    /// In a transaction.
    Within {
        /// The transaction.
        transaction: &'t Transaction,
        /// The number of the change in it, from 0; of a message, that of the change that follows it.
        seq: u64,
    },
    /// Between two transactions, where a message may be.
    Between {
        /// Where the message's record ends.
        lsn: Lsn,
    },
}

impl Transaction {
    /// The transaction that begins.
    pub fn new(begin: &Begin) -> Transaction {
        let mut lsn = Short::default();
        lsn.raw(b",\"lsn\":");
        lsn.integer(begin.final_lsn.0);
        lsn.raw(b",\"seq\":");
        let mut commit = Short::default();
        commit.raw(b",\"xid\":");
        commit.integer(begin.xid);
        commit.raw(b",\"ts\":\"");
        time(begin.timestamp, &mut commit);
        commit.raw(b"\"");
        Transaction {
            begin: *begin,
            lsn,
            commit,
        }
    }

    /// What the transaction began with.
    pub fn begin(&self) -> &Begin {
        &self.begin
    }
}

impl Place<'_> {
    /// Writes `,"lsn":1,"seq":0,"xid":735,"ts":"2026-11-30T03:50:00.123456Z"`.
    pub(super) fn render(&self, out: &mut impl WriteJson) {
        match self {
            Place::Within { transaction, seq } => {
                out.raw(transaction.lsn.as_bytes());
                out.integer(*seq);
                out.raw(transaction.commit.as_bytes());
            }
            Place::Between { lsn } => {
                out.raw(b",\"lsn\":");
                out.integer(lsn.0);
                out.raw(b",\"seq\":0,\"xid\":null,\"ts\":null");
            }
        }
    }
}

/// The order of records in the stream, and so along a partition, where it increases strictly.
///
/// First comes the unit: of a message between transactions and of a transaction with the same `lsn`,
/// the message is the first. Then `seq`; a message in a transaction has that of the change that follows
/// it, and messages before the same change follow each other by their own positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowOrder {
    /// The transaction, or the message between two.
    pub unit: Unit,
    /// The number within the transaction.
    pub seq: u64,
    /// What is before the change with this number: a message.
    pub kind: OrderKind,
}

/// What has the number of a [`RowOrder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OrderKind {
    /// A message before the change.
    Message {
        /// Where the message's record ends.
        at: Lsn,
    },
    /// The change.
    Change,
}

/// The time as RFC 3339 has it, in UTC, of microseconds since 2000-01-01. Years without four digits,
/// which no clock of a server has, are written with a sign and six.
fn time(time_us: i64, out: &mut impl WriteJson) {
    const DAY_US: i64 = 86_400_000_000;
    let (year, month, day) = date(time_us.div_euclid(DAY_US));
    let in_day = time_us.rem_euclid(DAY_US);
    let (second, us) = (in_day / 1_000_000, in_day % 1_000_000);
    match year {
        0..=9999 => decimal::<4>(year, out),
        _ => {
            out.raw(if year < 0 { b"-" } else { b"+" });
            decimal::<6>(year.abs(), out);
        }
    }
    for (before, number) in [(b"-", month), (b"-", day), (b"T", second / 3600)] {
        out.raw(before);
        decimal::<2>(number, out);
    }
    out.raw(b":");
    decimal::<2>(second / 60 % 60, out);
    out.raw(b":");
    decimal::<2>(second % 60, out);
    out.raw(b".");
    decimal::<6>(us, out);
    out.raw(b"Z");
}

/// The number in so many digits.
fn decimal<const DIGITS: usize>(mut number: i64, out: &mut impl WriteJson) {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    out.raw(&digits);
}

/// Days before 2000-03-01, when the leap years of 400 years were over, and in 400 years.
const TO_MARCH: i64 = 60;
const DAYS_400: i64 = 146_097;

/// The date of a day counted from 2000-01-01
/// ([`days_from_civil`](https://howardhinnant.github.io/date_algorithms.html), from the other end).
fn date(day: i64) -> (i64, i64, i64) {
    let (era, day) = (
        (day - TO_MARCH).div_euclid(DAYS_400),
        (day - TO_MARCH).rem_euclid(DAYS_400),
    );
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    // Years and months from March on.
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (year, month + 3),
        _ => (year + 1, month - 9),
    };
    (2000 + 400 * era + year, month, date)
}

/// The day of a date, counted from 2000-01-01.
fn day(year: i64, month: i64, date: i64) -> i64 {
    let (year, month) = match month {
        3.. => (year, month - 3),
        _ => (year - 1, month + 9),
    };
    let (era, year) = ((year - 2000).div_euclid(400), (year - 2000).rem_euclid(400));
    let in_year = (153 * month + 2) / 5 + date - 1;
    era * DAYS_400 + 365 * year + year / 4 - year / 100 + in_year + TO_MARCH
}

/// Reads a time as [`time`] writes it, and no other.
pub(super) fn parse_time(text: &[u8]) -> Option<i64> {
    let year_len = match text.first()? {
        b'+' | b'-' => 7,
        _ => 4,
    };
    let (year_text, rest) = text.split_at_checked(year_len)?;
    let year: i64 = std::str::from_utf8(year_text).ok()?.parse().ok()?;
    if rest.len() != "-01-01T00:00:00.000000Z".len() {
        return None;
    }
    let number = |from: usize, digits: usize| {
        let digits = rest[from..from + digits].iter();
        digits.fold(0, |number, digit| {
            number * 10 + i64::from(digit.wrapping_sub(b'0'))
        })
    };
    let seconds = (number(7, 2) * 60 + number(10, 2)) * 60 + number(13, 2);
    let time_us = i128::from(day(year, number(1, 2), number(4, 2))) * 86_400_000_000
        + i128::from(seconds * 1_000_000 + number(16, 6));
    let time_us = i64::try_from(time_us).ok()?;
    // Only what comes out again is a time.
    let mut written = Short::<40>::default();
    time(time_us, &mut written);
    (written.as_bytes() == text).then_some(time_us)
}

/// Text that is never longer than this.
#[derive(Debug, Clone, Copy)]
struct Short<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Default for Short<N> {
    fn default() -> Self {
        Short {
            bytes: [0; N],
            len: 0,
        }
    }
}

impl<const N: usize> Short<N> {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl<const N: usize> Write for Short<N> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = (&mut self.bytes[usize::from(self.len)..]).write(bytes)?;
        self.len += written as u8;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (time_us, text) in [
            (0, "2000-01-01T00:00:00.000000Z"),
            (-1, "1999-12-31T23:59:59.999999Z"),
            (849_325_800_123_456, "2026-11-30T03:50:00.123456Z"),
            (59 * 86_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (60 * 86_400_000_000, "2000-03-01T00:00:00.000000Z"),
            (i64::MAX, "+294277-01-09T04:00:54.775807Z"),
            (i64::MIN, "-290278-12-22T19:59:05.224192Z"),
        ] {
            let mut out = Vec::new();
            time(time_us, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), text);
            assert_eq!(parse_time(text.as_bytes()), Some(time_us));
        }
        for text in [
            "",
            "2026-02-29T00:00:00.000000Z",
            "2026-11-30T24:00:00.000000Z",
            "2026-11-30 03:50:00.123456Z",
            "+002026-11-30T03:50:00.123456Z",
            "2026-11-30T03:50:00.123456Z ",
            "20é6-11-30T03:50:00.12345Z",
        ] {
            assert_eq!(parse_time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_800_years_has_a_date_of_its_own() {
        let mut last = date(-200_000);
        for number in -199_999..100_000 {
            let (year, month, date) = date(number);
            assert_eq!(day(year, month, date), number);
            assert!((year, month, date) > last && month <= 12 && date <= 31);
            last = (year, month, date);
        }
    }
}
