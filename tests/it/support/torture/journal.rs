//! What the writers committed, transaction by transaction, and whether the topic has it.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::super::lock;

/// So many transactions are named when some are missing.
const NAMED: usize = 10;

/// What a change does to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Insert,
    Update,
    Delete,
    Truncate,
}

/// What one statement changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub kind: Kind,
    /// The table; of a truncate all of them, by name, with commas between.
    pub table: String,
    /// The rows; of a truncate none.
    pub rows: Vec<i64>,
    /// Of an update that changes keys: what each of the rows was before.
    pub old_rows: Vec<i64>,
}

/// A transaction as its writer means it.
#[derive(Debug)]
pub struct Transaction {
    pub id: i64,
    pub writer: usize,
    pub xid: u32,
    pub steps: Vec<Step>,
}

/// A transaction as the topic has it.
#[derive(Debug)]
pub struct Found {
    /// The row of the table `marker` that it begins with.
    pub id: i64,
    pub writer: usize,
    pub xid: u32,
    /// The changes after that row.
    pub changes: Vec<Change>,
    /// Whether they are in the order in which they were made; if not, those of each table are.
    pub is_ordered: bool,
    /// Where it begins, for a message.
    pub place: String,
}

/// One change in the topic.
#[derive(Debug)]
pub struct Change {
    pub kind: Kind,
    /// One table; a truncate of several is a change in each.
    pub table: Rc<str>,
    pub row: i64,
    /// The row before an update that changed the key.
    pub old_row: Option<i64>,
}

/// The journal. Each writer has a lane of its own, because it knows the order of its own
/// transactions only.
pub struct Journal {
    lanes: Vec<Mutex<Lane>>,
    next_transaction: AtomicI64,
    next_row: AtomicI64,
    transactions: AtomicU64,
    rows: AtomicU64,
}

#[derive(Default)]
struct Lane {
    /// In the order of their commits.
    waiting: VecDeque<(Transaction, Outcome)>,
    /// The last one that the topic had.
    delivered: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// COMMIT was sent and not answered.
    Unknown,
    Committed,
}

impl Journal {
    pub fn new(writers: usize) -> Journal {
        Journal {
            lanes: std::iter::repeat_with(Mutex::default)
                .take(writers)
                .collect(),
            next_transaction: AtomicI64::new(1),
            next_row: AtomicI64::new(1),
            transactions: AtomicU64::new(0),
            rows: AtomicU64::new(0),
        }
    }

    /// The number of a transaction that begins now.
    pub fn begin(&self) -> i64 {
        self.next_transaction.fetch_add(1, Ordering::SeqCst)
    }

    /// The number that the next transaction will have.
    pub fn next(&self) -> i64 {
        self.next_transaction.load(Ordering::SeqCst)
    }

    /// Numbers of rows, which nobody else gets.
    pub fn take_rows(&self, count: u64) -> Range<i64> {
        let count = i64::try_from(count).expect("a small number");
        let first = self.next_row.fetch_add(count, Ordering::SeqCst);
        first..first + count
    }

    /// The committed transactions and their changes, so far.
    pub fn committed_counts(&self) -> (u64, u64) {
        (
            self.transactions.load(Ordering::SeqCst),
            self.rows.load(Ordering::SeqCst),
        )
    }

    /// COMMIT is sent next: from now on the topic may have it.
    pub fn intend(&self, transaction: Transaction) {
        let mut lane = lock(&self.lanes[transaction.writer]);
        lane.waiting.push_back((transaction, Outcome::Unknown));
    }

    /// It is committed. The topic may have had it already.
    pub fn committed(&self, writer: usize, id: i64, changes: u64) {
        let mut lane = lock(&self.lanes[writer]);
        if let Some((_, outcome)) = lane.find(id) {
            *outcome = Outcome::Committed;
        }
        self.transactions.fetch_add(1, Ordering::SeqCst);
        self.rows.fetch_add(changes, Ordering::SeqCst);
    }

    /// It is known not to be committed, so the topic must not have it.
    pub fn lost(&self, writer: usize, id: i64) -> Result<(), String> {
        let mut lane = lock(&self.lanes[writer]);
        if lane.delivered >= id {
            return Err(format!(
                "the topic has transaction {id} of writer {writer}, which was never committed"
            ));
        }
        lane.waiting.retain(|(transaction, _)| transaction.id != id);
        Ok(())
    }

    /// The topic has this transaction. Whatever its writer committed before it must have come.
    pub fn deliver(&self, found: Found) -> Result<(), String> {
        let Found { id, writer, .. } = found;
        let lane = self.lanes.get(writer);
        let lane = lane.ok_or_else(|| format!("transaction {id} is of no writer: {writer}"))?;
        let mut lane = lock(lane);
        if id <= lane.delivered {
            return Err(format!(
                "transaction {id} of writer {writer} comes again, or late: {} was there before",
                lane.delivered
            ));
        }
        let place = lane.waiting.iter().position(|(tx, _)| tx.id == id);
        let Some(place) = place else {
            return Err(format!(
                "transaction {id} of writer {writer} was rolled back, or is not of this journal"
            ));
        };
        lane.delivered = id;
        let mut passed = lane.waiting.drain(..=place);
        let expected = passed.next_back().expect("it was found").0;
        let missing: Vec<i64> = passed
            .filter(|(_, outcome)| *outcome == Outcome::Committed)
            .map(|(transaction, _)| transaction.id)
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "before transaction {id} of writer {writer} {} are missing: {:?}",
                missing.len(),
                &missing[..missing.len().min(NAMED)]
            ));
        }
        expected.compare(found)
    }

    /// At the end: everything that was committed has come.
    pub fn finish(&self) -> Result<(), String> {
        for (writer, lane) in self.lanes.iter().enumerate() {
            let lane = lock(lane);
            let missing: Vec<i64> = lane.waiting.iter().map(|(tx, _)| tx.id).collect();
            if !missing.is_empty() {
                return Err(format!(
                    "the topic ends without {} transactions of writer {writer}: {:?}",
                    missing.len(),
                    &missing[..missing.len().min(NAMED)]
                ));
            }
        }
        Ok(())
    }
}

impl Lane {
    fn find(&mut self, id: i64) -> Option<&mut (Transaction, Outcome)> {
        self.waiting
            .iter_mut()
            .rev()
            .find(|(transaction, _)| transaction.id == id)
    }
}

impl Transaction {
    fn compare(&self, found: Found) -> Result<(), String> {
        let differs = |what: String| {
            let (id, place) = (self.id, &found.place);
            Err(format!("transaction {id}, which begins at {place}: {what}"))
        };
        if self.xid != found.xid {
            return differs(format!("its xid is {}, not {}", found.xid, self.xid));
        }
        let ordered = match found.is_ordered {
            true => found.changes,
            false => self.in_order(found.changes),
        };
        let mut changes = &ordered[..];
        for (number, step) in self.steps.iter().enumerate() {
            let (own, rest) = changes.split_at(step.changes().min(changes.len()));
            if let Some(what) = step.differs(own) {
                return differs(format!("step {number}, {step}: {what}"));
            }
            changes = rest;
        }
        match changes.first() {
            None => Ok(()),
            Some(change) => differs(format!("{} more changes: {change:?}", changes.len())),
        }
    }
}

impl Transaction {
    /// Changes of which those of each table are in order, as the steps have them; what no step has
    /// comes last.
    fn in_order(&self, changes: Vec<Change>) -> Vec<Change> {
        let mut of_tables: HashMap<Rc<str>, VecDeque<Change>> = HashMap::new();
        for change in changes {
            let table = Rc::clone(&change.table);
            of_tables.entry(table).or_default().push_back(change);
        }
        let mut ordered = Vec::new();
        for step in &self.steps {
            let count = match step.kind {
                Kind::Truncate => 1,
                _ => step.rows.len(),
            };
            for table in step.tables() {
                let waiting = of_tables.get_mut(table);
                let waiting = waiting
                    .into_iter()
                    .flat_map(|w| w.drain(..count.min(w.len())));
                ordered.extend(waiting);
            }
        }
        ordered.extend(of_tables.into_values().flatten());
        ordered
    }
}

impl Step {
    pub fn new(kind: Kind, table: impl Into<String>, rows: Vec<i64>) -> Step {
        Step {
            kind,
            table: table.into(),
            rows,
            old_rows: Vec::new(),
        }
    }

    /// An update that makes other rows of `old_rows`.
    pub fn rekey(table: impl Into<String>, old_rows: Vec<i64>, rows: Vec<i64>) -> Step {
        let step = Step::new(Kind::Update, table, rows);
        Step { old_rows, ..step }
    }

    fn tables(&self) -> impl Iterator<Item = &str> {
        self.table.split(',')
    }

    /// Version 10 does not decode a truncate.
    pub fn is_decoded_by(&self, major: u32) -> bool {
        self.kind != Kind::Truncate || major > 10
    }

    /// How many changes it makes.
    pub fn changes(&self) -> usize {
        match self.kind {
            Kind::Truncate => self.tables().count(),
            _ => self.rows.len(),
        }
    }

    /// How the changes differ from this step, if they do.
    fn differs(&self, found: &[Change]) -> Option<String> {
        if found.len() < self.changes() {
            return Some(format!("only {} of its changes", found.len()));
        }
        let is_of = |change: &Change| self.tables().any(|table| table == &*change.table);
        let stranger = |change: &&Change| change.kind != self.kind || !is_of(change);
        if let Some(stranger) = found.iter().find(stranger) {
            return Some(format!("found {stranger:?}"));
        }
        if self.kind == Kind::Truncate {
            let mut missing = self.tables();
            return missing
                .find(|table| !found.iter().any(|change| *change.table == **table))
                .map(|table| format!("nothing of {table}"));
        }
        type Row = (i64, Option<i64>);
        let mut rows: Vec<Row> = found.iter().map(|it| (it.row, it.old_row)).collect();
        let old_rows = self.old_rows.iter().copied().map(Some);
        let old_rows = old_rows.chain(std::iter::repeat(None));
        let mut expected: Vec<Row> = self.rows.iter().copied().zip(old_rows).collect();
        if self.kind != Kind::Insert {
            // One statement changes its rows in an order of the server's own.
            rows.sort_unstable();
            expected.sort_unstable();
        }
        let at = rows.iter().zip(&expected).position(|(a, b)| a != b)?;
        Some(format!(
            "row {:?} where {:?} was expected, the change {at} of the step",
            rows[at], expected[at]
        ))
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Step {
            kind, table, rows, ..
        } = self;
        write!(f, "{kind:?} of {} rows in {table}", rows.len())
    }
}
