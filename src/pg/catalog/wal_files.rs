//! The files of `pg_wal`.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use crate::base::error::Result;
use crate::base::lsn::Lsn;
use crate::pg::connection::Connection;

/// The form of a name: the timeline and the number of the segment, in two parts of 32 bits that do not
/// use all of theirs: `000000010000000A000000FE` ([WAL
/// internals](https://www.postgresql.org/docs/current/wal-internals.html)).
const NAME_DIGITS: usize = 24;
const TIMELINE_DIGITS: usize = 8;
const PART_DIGITS: usize = 8;

/// The segments that a server has, whatever their timelines.
pub struct WalFiles {
    segment_bytes: u64,
    /// The end of the WAL before the files were listed.
    end: Lsn,
    segments: BTreeSet<u64>,
}

impl WalFiles {
    /// Lists the files of the server; `None` if this user may not know.
    pub fn list(connection: &mut Connection) -> Result<Option<WalFiles>> {
        let may = connection.value(
            "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_ls_waldir()', 'EXECUTE')",
        )?;
        if may.as_deref() != Some("t") {
            return Ok(None);
        }
        let segment_bytes = connection.value(
            "SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))",
        )?;
        let end = connection.value(
            "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() \
             THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END",
        )?;
        let (Some(segment_bytes), Some(end)) = (
            segment_bytes.and_then(|bytes| bytes.parse::<NonZeroU64>().ok()),
            end.and_then(|lsn| lsn.parse().ok()),
        ) else {
            return Ok(None);
        };
        let names = connection.query("SELECT name FROM pg_catalog.pg_ls_waldir()")?;
        let names = names.into_iter().filter_map(|row| row.into_iter().next()?);
        Ok(Some(WalFiles::of(names, segment_bytes, end)))
    }

    fn of(names: impl Iterator<Item = String>, segment_bytes: NonZeroU64, end: Lsn) -> WalFiles {
        let segment_bytes = segment_bytes.get();
        let each = |name: String| segment(&name, segment_bytes);
        WalFiles {
            segment_bytes,
            end,
            segments: names.filter_map(each).collect(),
        }
    }

    /// The position of the first segment that is missing between `from` and the end.
    pub fn first_missing(&self, from: Lsn) -> Option<Lsn> {
        // The byte at the end itself is not written yet.
        let (first, end) = (
            from.0 / self.segment_bytes,
            self.end.0.div_ceil(self.segment_bytes),
        );
        let mut needed = first..end;
        let missing = needed.find(|segment| !self.segments.contains(segment))?;
        Some(Lsn((missing * self.segment_bytes).max(from.0)))
    }
}

/// The number of a segment, from the name of its file. There are other files in that directory.
fn segment(name: &str, segment_bytes: u64) -> Option<u64> {
    let is_hex = name.bytes().all(|digit| digit.is_ascii_hexdigit());
    if name.len() != NAME_DIGITS || !is_hex {
        return None;
    }
    let (high, low) = name[TIMELINE_DIGITS..].split_at(PART_DIGITS);
    let part = |digits| u64::from_str_radix(digits, 16).ok();
    let segments_in_part = (1 << 32) / segment_bytes.max(1);
    Some(part(high)? * segments_in_part + part(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn files(names: &[&str], end: u64) -> WalFiles {
        let names = names.iter().map(|name| (*name).to_owned());
        let segment_bytes = NonZeroU64::new(16 * MIB).unwrap();
        WalFiles::of(names, segment_bytes, Lsn(end))
    }

    #[test]
    fn a_hole_is_found() {
        let names = [
            "0000000100000000000000FE",
            "0000000200000000000000FF",
            "00000002.history",
            "000000020000000100000001",
            "000000020000000100000002.partial",
            "archive_status",
        ];
        let at = |segment: u64| segment * 16 * MIB;
        let from = Lsn(at(0xFE) + 5);
        assert_eq!(files(&names, at(0xFE) + 6).first_missing(from), None);
        assert_eq!(files(&names, at(0x100)).first_missing(from), None);
        let hole = files(&names, at(0x100) + 1);
        assert_eq!(hole.first_missing(from), Some(Lsn(at(0x100))));
        let behind = hole.first_missing(Lsn(at(0xFD) + 7));
        assert_eq!(behind, Some(Lsn(at(0xFD) + 7)));
        assert_eq!(hole.first_missing(Lsn(at(0x103))), None, "it was reset");
    }
}
