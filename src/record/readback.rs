//! The place of a record in the stream, whatever form it is written in.

use std::fmt;

use super::rows::readback::RowPlaced;
use crate::base::lsn::Lsn;

/// A record and where in the WAL it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Where the change begins in the WAL; in the row format, where its unit's record is.
    pub wal_start: Lsn,
    /// When the transaction was committed that the record begins or ends, or else when the record was
    /// sent, in the server's microseconds. In the row format that of every commit is known, and of a
    /// message between two transactions none: then it is 0.
    pub time_us: i64,
    /// What the record is.
    pub record: Record,
}

/// The CRC-32C of a message's prefix and of its content, which tell it from other messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    pub(super) prefix: u32,
    pub(super) content: u32,
}

impl Checksum {
    /// The checksum of a message.
    pub fn of(prefix: &str, content: &[u8]) -> Checksum {
        Checksum {
            prefix: crc32c::crc32c(prefix.as_bytes()),
            content: crc32c::crc32c(content),
        }
    }
}

/// What a record of this program says of its place in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// A transaction begins.
    Begin {
        /// Where the transaction's commit record is: what identifies it.
        final_lsn: Lsn,
        /// When the transaction was committed, in the server's microseconds.
        timestamp: i64,
        /// The transaction's id.
        xid: u32,
    },
    /// A transaction ends.
    Commit {
        /// The begin's final_lsn.
        commit_lsn: Lsn,
        /// Where the commit record ends.
        end_lsn: Lsn,
        /// When the transaction was committed, in the server's microseconds.
        timestamp: i64,
    },
    /// An insert, update or delete of a row of this table.
    Row {
        /// The table's OID.
        rel_id: u32,
    },
    /// A truncate.
    Truncate,
    /// A table is described. Sessions repeat it, so it does not count in a transaction.
    Relation {
        /// The table's OID.
        rel_id: u32,
    },
    /// A type is described. That does not count either.
    Type,
    /// Where the transaction came from. That does not count either.
    Origin,
    /// A message, in a transaction or between two. Which of them are written is a matter of the
    /// config, so it does not count: its own position says whether it is there.
    Message {
        /// Where the message's WAL record ends.
        lsn: Lsn,
        /// Whether the message belongs to a transaction.
        transactional: bool,
        /// Which message it is, by its bytes.
        content: Checksum,
    },
    /// A record of the row format, whose place is known without the records before it.
    OfRows(RowPlaced),
}

impl From<RowPlaced> for Placed {
    fn from(placed: RowPlaced) -> Placed {
        Placed {
            wal_start: placed.order.unit.lsn(),
            time_us: placed.commit.map_or(0, |commit| commit.time_us),
            record: Record::OfRows(placed),
        }
    }
}

/// What the stream consists of, in its order: the WAL's.
///
/// WAL records do not overlap, so of a message that ends where a commit record begins the message is
/// the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unit {
    lsn: Lsn,
    kind: UnitKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum UnitKind {
    Message,
    Transaction,
}

impl Unit {
    /// A transaction, by where its commit record begins.
    pub fn transaction(final_lsn: Lsn) -> Unit {
        Unit {
            lsn: final_lsn,
            kind: UnitKind::Transaction,
        }
    }

    /// A message between transactions, by where its record ends.
    pub fn message(lsn: Lsn) -> Unit {
        Unit {
            lsn,
            kind: UnitKind::Message,
        }
    }

    /// The position that the unit goes by.
    pub fn lsn(self) -> Lsn {
        self.lsn
    }

    /// Whether the unit is a transaction.
    pub fn is_transaction(self) -> bool {
        self.kind == UnitKind::Transaction
    }

    /// Whether a slot that was confirmed at `confirmed` sends the unit again: what counts is where its
    /// record begins.
    pub fn is_sent_from(self, confirmed: Lsn) -> bool {
        match self.kind {
            UnitKind::Transaction => confirmed <= self.lsn,
            UnitKind::Message => confirmed < self.lsn,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            UnitKind::Transaction => write!(f, "transaction at {}", self.lsn),
            UnitKind::Message => write!(f, "message at {}", self.lsn),
        }
    }
}

impl Record {
    /// Whether the record has a number within its transaction: decoding the same WAL again gives the same
    /// sequence of these. Those of the row format say theirs themselves.
    pub fn counts(self) -> bool {
        matches!(self, Record::Row { .. } | Record::Truncate)
    }
}
