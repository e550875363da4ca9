//! From events to records of the row format, each in its lanes.
//!
//! Every change of a transaction is counted before it is routed, so that it has the same number when the WAL is
//! read again. What a lane has already is dropped here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lane_map::{LaneMap, Spread};
use super::resume::Verdict;
use super::resume::row_tail::{RowFilter, RowTail};
use crate::base::error::{Error, Kind, Result};
use crate::base::lsn::Lsn;
use crate::change::relation::Relation;
use crate::change::{Change, Event};
use crate::config::Config;
use crate::config::keys::Keys;
use crate::pg::wire::pgoutput::Logical;
use crate::record::rows::{
    OrderKind, Place, RowOp, RowOrder, RowRecord, RowStyle, RowTable, Transaction,
};
use crate::record::{ProducerRecord, Unit};
use crate::sink::lane::Lanes;

/// Makes records of events, in the order of the stream.
pub struct Rows {
    lanes: Arc<LaneMap>,
    style: RowStyle,
    keys: Keys,
    tables: BTreeMap<u32, Table>,
    transaction: Option<Transaction>,
    /// The number of the next change.
    seq: u64,
    filters: Filters,
    key: Vec<u8>,
    old_key: Vec<u8>,
}

struct Table {
    rows: RowTable,
    spread: Spread,
}

/// Where the records go.
pub trait RowSink {
    /// Writes a record to a lane, and returns its length.
    fn write_row(&mut self, lane: usize, record: &ProducerRecord<'_>) -> Result<usize>;
}

/// Writes nothing.
pub struct Nowhere;

impl RowSink for Nowhere {
    fn write_row(&mut self, _: usize, _: &ProducerRecord<'_>) -> Result<usize> {
        Ok(0)
    }
}

impl RowSink for Lanes {
    fn write_row(&mut self, lane: usize, record: &ProducerRecord<'_>) -> Result<usize> {
        self.write(lane, record)
    }
}

impl Rows {
    /// Begins after lanes that end with `tails`, when everything before `confirmed` is known to have been stored.
    pub fn new(
        config: &Config,
        lanes: Arc<LaneMap>,
        tails: &[Option<RowTail>],
        confirmed: Lsn,
    ) -> Rows {
        Rows {
            lanes,
            style: RowStyle {
                int8: config.int8,
                json: config.json,
            },
            keys: config.keys.clone(),
            tables: BTreeMap::new(),
            transaction: None,
            seq: 0,
            filters: Filters::after(tails, confirmed),
            key: Vec::new(),
            old_key: Vec::new(),
        }
    }

    /// Whether something of what the lanes have is still to come from a slot that was confirmed at `confirmed`.
    pub fn is_resuming(&self, confirmed: Lsn) -> bool {
        let Filters {
            lanes, unfinished, ..
        } = &self.filters;
        unfinished.iter().any(|&lane| lanes[lane].awaits(confirmed))
    }

    /// How many records came again and were in their lanes.
    pub fn dropped(&self) -> u64 {
        self.filters.dropped
    }

    /// Writes the records of an event, and returns their length.
    pub fn write(&mut self, event: &Event<'_>, sink: &mut dyn RowSink) -> Result<usize> {
        match &event.change {
            Change::Begin(begin) => {
                self.transaction = Some(Transaction::new(begin));
                self.seq = 0;
                Ok(0)
            }
            Change::Commit(commit) => {
                self.transaction = None;
                self.filters
                    .end_unit(Unit::transaction(commit.commit_lsn))?;
                Ok(0)
            }
            Change::Relation(relation) => self.describe(relation).map(|()| 0),
            Change::Origin(_) | Change::Type(_) => Ok(0),
            Change::Insert { relation, .. }
            | Change::Update { relation, .. }
            | Change::Delete { relation, .. } => self.row(relation.rel_id, &event.change, sink),
            Change::Truncate { options, rel_ids } => {
                let mut tables = rel_ids.iter();
                tables.try_fold(0, |len, rel_id| {
                    Ok(len + self.truncate(rel_id, *options, sink)?)
                })
            }
            Change::Logical(logical) => self.message(logical, sink),
        }
    }

    fn describe(&mut self, relation: &Relation<'_>) -> Result<()> {
        let spread = self.lanes.of_table(&relation.namespace, relation.name())?;
        let not_open = || Error::new(Kind::Bug, format!("the lanes of {relation} are not open"));
        let spread = spread.ok_or_else(not_open)?;
        let keys = self.keys.of_table(&relation.namespace, relation.name());
        let keys: Option<Vec<String>> =
            keys.map(|keys| keys.into_iter().map(str::to_owned).collect());
        let rows = RowTable::new(relation, keys.as_deref(), self.style)?;
        self.tables.insert(relation.rel_id, Table { rows, spread });
        Ok(())
    }

    /// Writes the record of a row that changed, and where that moves it to another lane, one of its leaving.
    fn row(&mut self, rel_id: u32, change: &Change<'_>, sink: &mut dyn RowSink) -> Result<usize> {
        let table = find(&self.tables, rel_id)?;
        let op = match change {
            Change::Insert { new, .. } => RowOp::Insert {
                table: &table.rows,
                new: *new,
            },
            Change::Update { old, new, .. } => RowOp::Update {
                table: &table.rows,
                old: *old,
                new: *new,
            },
            Change::Delete { old, .. } => RowOp::Delete {
                table: &table.rows,
                old: *old,
            },
            _ => return Ok(0),
        };
        let (place, order) = counted(&self.transaction, &mut self.seq)?;
        // A new row has all of its key, whether anybody asks for it or not.
        let is_needed = self.lanes.has_topics() || !matches!(op, RowOp::Insert { .. });
        let key = match is_needed {
            true => key_of(&op, &mut self.key)?,
            false => None,
        };
        let lane = table.spread.lane_of(key);
        let mut len = 0;
        if table.spread.is_by_key()
            && let Some(moved) = op.moved()
            && let Some(old_key) = key_of(&moved, &mut self.old_key)?
            && let left = table.spread.lane_of(Some(old_key))
            && left != lane
            && self.filters.is_new(left, order)
        {
            let record = RowRecord { op: moved, place };
            len += sink.write_row(left, &ProducerRecord::row(&record, Some(old_key)))?;
        }
        if self.filters.is_new(lane, order) {
            let record = RowRecord { op, place };
            len += sink.write_row(lane, &ProducerRecord::row(&record, key))?;
        }
        Ok(len)
    }

    fn truncate(&mut self, rel_id: u32, options: i8, sink: &mut dyn RowSink) -> Result<usize> {
        let table = find(&self.tables, rel_id)?;
        let (place, order) = counted(&self.transaction, &mut self.seq)?;
        let op = RowOp::Truncate {
            table: &table.rows,
            options,
        };
        let mut len = 0;
        for lane in table.spread.lanes() {
            if self.filters.is_new(lane, order) {
                let record = RowRecord { op, place };
                len += sink.write_row(lane, &ProducerRecord::row(&record, None))?;
            }
        }
        Ok(len)
    }

    /// Which messages are written is a matter of the config, so they are not counted.
    fn message(&mut self, logical: &Logical<'_>, sink: &mut dyn RowSink) -> Result<usize> {
        let lane = self.lanes.of_messages().lane_of(None);
        let kind = OrderKind::Message { at: logical.lsn };
        let (place, unit, seq) = match &self.transaction {
            Some(transaction) if logical.is_transactional() => {
                let seq = self.seq;
                let unit = Unit::transaction(transaction.begin().final_lsn);
                (Place::Within { transaction, seq }, unit, seq)
            }
            _ => {
                let lsn = logical.lsn;
                (Place::Between { lsn }, Unit::message(lsn), 0)
            }
        };
        let mut len = 0;
        if self.filters.is_new(lane, RowOrder { unit, seq, kind }) {
            let op = RowOp::Message(*logical);
            let record = RowRecord { op, place };
            len = sink.write_row(lane, &ProducerRecord::row(&record, None))?;
        }
        if !unit.is_transaction() {
            self.filters.end_unit(unit)?;
        }
        Ok(len)
    }
}

fn find(tables: &BTreeMap<u32, Table>, rel_id: u32) -> Result<&Table> {
    tables.get(&rel_id).ok_or_else(|| {
        Error::new(
            Kind::Bug,
            format!("relation {rel_id} was not described to the producer"),
        )
    })
}

/// The place of the next change.
fn counted<'t>(
    transaction: &'t Option<Transaction>,
    next: &mut u64,
) -> Result<(Place<'t>, RowOrder)> {
    let transaction = transaction
        .as_ref()
        .ok_or_else(|| Error::undeliverable("a change outside any transaction"))?;
    let seq = *next;
    *next += 1;
    let order = RowOrder {
        unit: Unit::transaction(transaction.begin().final_lsn),
        seq,
        kind: OrderKind::Change,
    };
    Ok((Place::Within { transaction, seq }, order))
}

/// The key that a record has in Fluvio, in `memory`.
fn key_of<'k>(op: &RowOp<'_>, memory: &'k mut Vec<u8>) -> Result<Option<&'k [u8]>> {
    memory.clear();
    Ok(op.append_key(memory)?.then_some(memory))
}

/// What the lanes have, of each what it has.
#[derive(Default)]
struct Filters {
    lanes: Vec<RowFilter>,
    /// The lanes that may still have something of what comes.
    unfinished: Vec<usize>,
    dropped: u64,
}

impl Filters {
    fn after(tails: &[Option<RowTail>], confirmed: Lsn) -> Filters {
        let filter = |tail: &Option<RowTail>| RowFilter::after(*tail, confirmed);
        let lanes: Vec<RowFilter> = tails.iter().map(filter).collect();
        Filters {
            unfinished: (0..lanes.len())
                .filter(|lane| !lanes[*lane].is_over())
                .collect(),
            lanes,
            dropped: 0,
        }
    }

    fn is_new(&mut self, lane: usize, order: RowOrder) -> bool {
        if self.unfinished.is_empty() {
            return true;
        }
        match self.lanes[lane].judge(order) {
            Verdict::Write => true,
            Verdict::Drop => {
                self.dropped += 1;
                false
            }
        }
    }

    fn end_unit(&mut self, unit: Unit) -> Result<()> {
        for &lane in &self.unfinished {
            self.lanes[lane].end_unit(unit)?;
        }
        let lanes = &self.lanes;
        self.unfinished.retain(|&lane| !lanes[lane].is_over());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
