//! Exactly once for rows: each lane drops what it has, by the place of its last record.
//!
//! A record of the row format says by itself where it stands in the stream, so a lane is written from behind
//! its last record on, whatever the others have. Which lanes a change goes to follows from the change; what a
//! lane ends with has to come to it again, or the ways to the lanes are not what they were.

use std::collections::BTreeMap;

use super::gaps::{another_history, gap, rewritten};
use super::{Mark, Outstanding, Tail, Verdict};
use crate::base::error::{Error, Result};
use crate::base::lsn::Lsn;
use crate::record::rows::readback::Op;
use crate::record::rows::{OrderKind, RowOrder};
use crate::record::{Format, Placed, Record, Unit};

/// What a lane of rows ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowTail {
    /// Where the last record stands in the stream.
    pub order: RowOrder,
    /// Whether the record is its transaction's last in the lane.
    pub is_last: bool,
    /// What else is known of its transaction, or of the message.
    pub mark: Mark,
}

impl RowTail {
    /// Reads the last record of a lane.
    pub fn of(record: &[u8]) -> Result<RowTail> {
        match Placed::parse(record).map(|placed| placed.record) {
            Some(Record::OfRows(placed)) => Ok(RowTail {
                order: placed.order,
                is_last: placed.is_last,
                mark: Mark {
                    committed_us: placed.commit.map(|commit| commit.time_us),
                    xid: placed.commit.map(|commit| commit.xid),
                    content: match placed.op {
                        Op::Message(content) if placed.commit.is_none() => Some(content),
                        _ => None,
                    },
                },
            }),
            Some(_) => Err(other_format(Format::Events)),
            None => Err(gap(
                "its last record was not written by this program: it cannot be told what it holds"
                    .to_owned(),
            )),
        }
    }

    /// How the lane ends, for whatever does not depend on the format. Where a commit record ends is not known, but
    /// it does so behind its beginning, from where a slot sends the transaction again.
    pub fn as_tail(&self) -> Tail {
        let (last, mark) = (self.order.unit, self.mark);
        let beyond = u64::from(last.is_transaction());
        match self.is_last {
            true => Tail::Complete {
                last,
                end_lsn: Lsn(last.lsn().0 + beyond),
                mark,
            },
            false => Tail::Open {
                final_lsn: last.lsn(),
                mark,
                rows: 0,
                last_row: None,
                last_message: Lsn::ZERO,
            },
        }
    }
}

/// The error of a topic that ends with a record of another format than the configured one.
pub fn other_format(found: Format) -> Error {
    let (found, configured) = match found {
        Format::Events => ("events", "rows"),
        Format::Rows => ("rows", "events"),
    };
    Error::config(format!(
        "it ends with a record of the format {found}, and the config has \"format: {configured}\": a topic has \
         one format"
    ))
    .with_hint(format!(
        "name a new topic, which begins with what the slot has not confirmed, or set \"format: {found}\""
    ))
}

/// Keeps what one lane has apart from what is new to it.
#[derive(Debug, Default)]
pub struct RowFilter {
    /// What was confirmed before is in all lanes, whatever the slot says and whatever retention left.
    confirmed: Lsn,
    tail: Option<RowTail>,
    /// Whether the last record of the lane has come again.
    has_come: bool,
    /// Whether something of its transaction came after that.
    goes_on: bool,
}

impl RowFilter {
    /// Begins after a lane that ends with `tail`, when everything before `confirmed` is known to have been
    /// stored.
    pub fn after(tail: Option<RowTail>, confirmed: Lsn) -> RowFilter {
        RowFilter {
            tail,
            confirmed,
            ..RowFilter::default()
        }
    }

    /// Whether everything that comes is new.
    pub fn is_over(&self) -> bool {
        self.tail.is_none() && self.confirmed == Lsn::ZERO
    }

    /// Whether what the lane ends with is to come from a slot that was confirmed at `confirmed`.
    pub fn awaits(&self, confirmed: Lsn) -> bool {
        self.tail
            .is_some_and(|tail| tail.order.unit.is_sent_from(confirmed))
    }

    /// Decides about the next record of the lane.
    pub fn judge(&mut self, order: RowOrder) -> Verdict {
        let is_confirmed = !order.unit.is_sent_from(self.confirmed);
        let Some(tail) = &self.tail else {
            return match is_confirmed {
                true => Verdict::Drop,
                false => Verdict::Write,
            };
        };
        self.has_come |= order == tail.order;
        if is_confirmed {
            return Verdict::Drop;
        }
        match order <= tail.order {
            true => Verdict::Drop,
            false => {
                self.goes_on |= order.unit == tail.order.unit;
                Verdict::Write
            }
        }
    }

    /// Takes down that a unit of the stream has ended.
    pub fn end_unit(&mut self, unit: Unit) -> Result<()> {
        if unit.is_sent_from(self.confirmed) {
            self.confirmed = Lsn::ZERO;
        }
        let Some(tail) = self.tail.filter(|tail| unit >= tail.order.unit) else {
            return Ok(());
        };
        self.tail = None;
        if unit > tail.order.unit {
            // It was confirmed, and does not come again.
            return Ok(());
        }
        // Which messages are written is a matter of the config, and that may have changed.
        let is_change = tail.order.kind == OrderKind::Change;
        if !self.has_come && is_change {
            return Err(gap(format!(
                "the change that it ends with, number {} of the {unit}, does not go there any more: formats, \
                 routes, keys or the number of partitions were changed before everything was confirmed, \
                 or the database is another one",
                tail.order.seq
            )));
        }
        match self.goes_on || tail.is_last {
            true => Ok(()),
            false => Err(gap(format!(
                "the {unit} has fewer changes for it than it had"
            ))),
        }
    }
}

/// The units that lanes end with and that the slot has not confirmed: they have to come again, as they were.
#[derive(Debug, Default)]
pub struct AwaitedUnits {
    units: BTreeMap<Unit, Mark>,
    reach: Lsn,
    arrived: Lsn,
}

impl AwaitedUnits {
    /// Awaits what lanes end with, on a slot that was confirmed at `confirmed`.
    pub fn of<'a>(tails: impl IntoIterator<Item = &'a RowTail>, confirmed: Lsn) -> AwaitedUnits {
        let units = tails.into_iter().map(|tail| (tail.order.unit, tail.mark));
        let units: BTreeMap<Unit, Mark> = units
            .filter(|(unit, _)| unit.is_sent_from(confirmed))
            .collect();
        AwaitedUnits {
            reach: units.keys().last().map_or(confirmed, |unit| unit.lsn()),
            arrived: confirmed,
            units,
        }
    }

    /// Whether some of them have yet to come.
    pub fn is_awaiting(&self) -> bool {
        !self.units.is_empty()
    }

    /// What is still to come, while something is.
    pub fn left(&self) -> Option<Outstanding> {
        self.is_awaiting()
            .then(|| Outstanding::Wal(self.reach.bytes_since(self.arrived)))
    }

    /// Notes that everything before `wal_end` was sent.
    pub fn sent_up_to(&self, wal_end: Lsn) -> Result<()> {
        match self.units.keys().next() {
            Some(&first) if wal_end > first.lsn() => Err(another_history(first)),
            _ => Ok(()),
        }
    }

    /// Takes down a unit that begins.
    pub fn arrive(&mut self, unit: Unit, mark: Mark) -> Result<()> {
        self.arrived = unit.lsn();
        let Some((&first, &known)) = self.units.first_key_value() else {
            return Ok(());
        };
        if unit > first {
            return Err(another_history(first));
        }
        if unit == first {
            if !known.fits(mark) {
                return Err(rewritten(unit));
            }
            self.units.remove(&first);
        }
        Ok(())
    }
}
