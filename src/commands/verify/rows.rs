//! Records of the row format: their order, the ends of their transactions, and the way of each row.

use std::collections::HashMap;
use std::fmt;

use super::{Verification, Violations};
use crate::base::lsn::Lsn;
use crate::config::routes::{Partitioning, Routes, TableRoute};
use crate::pipeline::lane_map::{MESSAGES, partition_of_row};
use crate::record::rows::readback::{Op, RowNames, parse_with_names};
use crate::record::rows::{OrderKind, RowOrder};
use crate::record::{Placed, RowPlaced};
use crate::sink::fluvio::LanePlace;

/// How much of the stream a partition has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it: no number of a change is left out.
    Everything,
    /// What the routes send there.
    Part,
    /// What was sent there by routes that the config does not have.
    Elsewhere,
}

/// Follows the records of a partition; its memory grows with the tables only.
pub struct RowVerifier<'c> {
    first_offset: i64,
    records: u64,
    transactions: u64,
    first: Option<Lsn>,
    last_whole: Option<Lsn>,
    violations: Violations,
    last: Option<RowPlaced>,
    /// The number of the next change, where that is known.
    next: Option<u64>,
    ways: Ways<'c>,
}

/// Where rows belong, by the routes of the config.
struct Ways<'c> {
    routes: &'c Routes,
    place: &'c LanePlace,
    extent: Extent,
    /// The routes of the tables so far, by what stands for each.
    of_tables: HashMap<Vec<u8>, Option<TableRoute>>,
    name: Vec<u8>,
    key: Vec<u8>,
}

impl<'c> RowVerifier<'c> {
    /// Begins at an offset of a partition, of which only 0 is the beginning of everything.
    pub fn new(
        routes: &'c Routes,
        place: &'c LanePlace,
        extent: Extent,
        offset: i64,
    ) -> RowVerifier<'c> {
        RowVerifier {
            first_offset: offset,
            records: 0,
            transactions: 0,
            first: None,
            last_whole: None,
            violations: Violations::default(),
            last: None,
            next: (offset == 0).then_some(0),
            ways: Ways {
                routes,
                place,
                extent,
                of_tables: HashMap::new(),
                name: Vec::new(),
                key: Vec::new(),
            },
        }
    }

    /// Checks the next record, and the key that it has in Fluvio.
    pub fn check(&mut self, offset: i64, key: Option<&[u8]>, json: &[u8]) {
        self.records += 1;
        let Some((placed, names)) = parse_with_names(json) else {
            let what = match Placed::parse(json) {
                Some(_) => "a record of the event format",
                None => "not a record of this program",
            };
            return self.violations.add(offset, what.to_owned());
        };
        self.in_order(offset, placed);
        self.number(offset, placed.order);
        for what in self.ways.wrong(&placed, names.as_ref(), key) {
            self.violations.add(offset, what);
        }
        self.take(placed);
    }

    /// Finds what is repeated, and transactions that do not end where they say.
    fn in_order(&mut self, offset: i64, placed: RowPlaced) {
        let Some(last) = self.last else { return };
        let (order, unit) = (placed.order, last.order.unit);
        let what = if order <= last.order {
            format!("{} after {}: repeated", Shown(order), Shown(last.order))
        } else if order.unit == unit && last.is_last {
            format!(
                "{} after the record that says it is the last of it",
                Shown(order)
            )
        } else if order.unit != unit && !last.is_last {
            format!("the {}, and the {unit} has not ended", order.unit)
        } else {
            return;
        };
        self.violations.add(offset, what);
    }

    /// Finds numbers that are left out, where one partition has all of them.
    fn number(&mut self, offset: i64, order: RowOrder) {
        if self.last.is_some_and(|last| last.order.unit != order.unit) {
            self.next = Some(0);
        }
        if let Some(next) = self.next
            && order.seq > next
            && self.ways.extent == Extent::Everything
        {
            let what = format!("{} where number {next} is next", Shown(order));
            self.violations.add(offset, what);
        }
        self.next = match order.kind {
            OrderKind::Change => Some(order.seq + 1),
            OrderKind::Message { .. } => self.next.map(|next| next.max(order.seq)),
        };
    }

    fn take(&mut self, placed: RowPlaced) {
        let unit = placed.order.unit;
        if unit.is_transaction() {
            self.first.get_or_insert(unit.lsn());
        }
        if unit.is_transaction() && placed.is_last {
            self.transactions += 1;
            self.last_whole = Some(unit.lsn());
        }
        self.last = Some(placed);
    }

    /// What was found up to `end_offset`.
    pub fn report(self, end_offset: i64) -> Verification {
        let open = self.last.filter(|last| !last.is_last);
        Verification {
            first_offset: self.first_offset,
            end_offset,
            records: self.records,
            transactions: self.transactions,
            first_lsn: self.first.map(|lsn| lsn.to_string()),
            last_lsn: self.last_whole.map(|lsn| lsn.to_string()),
            open_transaction: open.map(|last| last.order.unit.lsn().to_string()),
            ..Verification::of(self.violations)
        }
    }
}

impl Ways<'_> {
    /// What is wrong with the way of a record: its key in Fluvio, its topic, its partition.
    fn wrong(
        &mut self,
        placed: &RowPlaced,
        names: Option<&RowNames<'_>>,
        key: Option<&[u8]>,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        self.key.clear();
        let has_key = names.is_some_and(|names| names.append_key(&mut self.key));
        let own_key = has_key.then_some(&*self.key);
        if key != own_key {
            wrong.push("its key in Fluvio is not the one of its row".to_owned());
        }
        if self.extent == Extent::Elsewhere {
            return wrong;
        }
        self.name.clear();
        if let Some(names) = names {
            names.append_name(&mut self.name);
        }
        if !self.of_tables.contains_key(&self.name) {
            let route = match names {
                Some(names) => self.routes.of_table(&names.schema(), &names.table()),
                None => self.routes.of_messages(),
            };
            self.of_tables.insert(self.name.clone(), route.ok());
        }
        let Some(Some(route)) = self.of_tables.get(&self.name) else {
            return wrong;
        };
        let what = match names {
            Some(names) => format!("a change of {}.{}", names.schema(), names.table()),
            None => "a message".to_owned(),
        };
        if *route.topic != *self.place.topic {
            wrong.push(format!("{what}, which goes to the topic {}", route.topic));
            return wrong;
        }
        let is_everywhere = placed.op == Op::Truncate && route.partitioning == Partitioning::Key;
        let partition = match names {
            Some(names) => partition_of_row(route, &names.schema(), &names.table(), own_key),
            None => partition_of_row(route, MESSAGES, MESSAGES, None),
        };
        if !is_everywhere && partition != self.place.partition {
            wrong.push(format!(
                "{what}, which goes to partition {partition} of {}",
                route.partitions.max(partition + 1)
            ));
        }
        wrong
    }
}

/// A place in the stream as people read it.
struct Shown(RowOrder);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RowOrder { unit, seq, kind } = self.0;
        match kind {
            OrderKind::Change => write!(f, "number {seq} of the {unit}"),
            OrderKind::Message { at } if unit.is_transaction() => {
                write!(f, "the message at {at} of the {unit}")
            }
            OrderKind::Message { .. } => write!(f, "the {unit}"),
        }
    }
}
