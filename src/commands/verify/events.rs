//! Records of the event format: the order of transactions, their brackets, and rows that are there twice.

use std::collections::HashSet;

use super::{Verification, Violations};
use crate::base::lsn::Lsn;
use crate::record::readback::{Placed, Record, Unit};

/// Follows the records; its memory does not grow with them.
pub struct EventVerifier {
    first_offset: i64,
    records: u64,
    transactions: u64,
    first: Option<Lsn>,
    last_commit: Option<Lsn>,
    violations: Violations,
    place: Place,
    last: Option<Unit>,
    described: HashSet<u32>,
    /// From the topic's first record on, every table must be described before its rows.
    from_the_beginning: bool,
}

enum Place {
    /// Reading began in the middle: rows may belong to a transaction that began before.
    Unknown,
    Between,
    Inside {
        final_lsn: Lsn,
        last_row: Lsn,
        last_message: Lsn,
    },
}

impl EventVerifier {
    /// Begins at an offset, of which only 0 is the beginning of everything.
    pub fn starting_at(offset: i64) -> Self {
        let from_the_beginning = offset == 0;
        EventVerifier {
            first_offset: offset,
            records: 0,
            transactions: 0,
            first: None,
            last_commit: None,
            violations: Violations::default(),
            place: if from_the_beginning {
                Place::Between
            } else {
                Place::Unknown
            },
            last: None,
            described: HashSet::new(),
            from_the_beginning,
        }
    }

    /// Checks the next record.
    pub fn check(&mut self, offset: i64, json: &[u8]) {
        self.records += 1;
        let Some(Placed {
            wal_start, record, ..
        }) = Placed::parse(json)
        else {
            return self.violation(offset, "not a record of this program".into());
        };
        match record {
            Record::Begin { final_lsn, .. } => self.begin(offset, final_lsn),
            Record::Commit { commit_lsn, .. } => self.commit(offset, commit_lsn),
            Record::Relation { rel_id } => {
                self.described.insert(rel_id);
                self.inside(offset, "a relation");
            }
            Record::Type => self.inside(offset, "a type"),
            Record::Origin => self.inside(offset, "an origin"),
            Record::Truncate => self.row(offset, wal_start),
            Record::Message {
                lsn, transactional, ..
            } => self.message(offset, lsn, transactional),
            Record::Row { rel_id } => {
                if self.from_the_beginning && !self.described.contains(&rel_id) {
                    self.violation(
                        offset,
                        format!("a row of relation {rel_id}, which was never described"),
                    );
                }
                self.row(offset, wal_start);
            }
            Record::OfRows(_) => self.violation(offset, "a record of the row format".into()),
        }
    }

    fn begin(&mut self, offset: i64, final_lsn: Lsn) {
        if let Place::Inside {
            final_lsn: open, ..
        } = self.place
        {
            self.violation(offset, format!("a begin inside the transaction at {open}"));
        }
        self.in_order(offset, Unit::transaction(final_lsn));
        self.first.get_or_insert(final_lsn);
        self.place = Place::Inside {
            final_lsn,
            last_row: Lsn::ZERO,
            last_message: Lsn::ZERO,
        };
    }

    /// Transactions, and messages between them, come in the order of the WAL.
    fn in_order(&mut self, offset: i64, unit: Unit) {
        if let Some(last) = self.last.filter(|last| unit <= *last) {
            self.violation(offset, format!("the {unit} after the {last}"));
        }
    }

    fn commit(&mut self, offset: i64, commit_lsn: Lsn) {
        match self.place {
            Place::Inside { final_lsn, .. } if final_lsn != commit_lsn => {
                self.violation(
                    offset,
                    format!("a commit at {commit_lsn} in the transaction at {final_lsn}"),
                );
            }
            Place::Between => self.violation(
                offset,
                format!("a commit at {commit_lsn} without its begin"),
            ),
            Place::Inside { .. } => self.transactions += 1,
            Place::Unknown => {}
        }
        self.last = Some(Unit::transaction(commit_lsn));
        self.last_commit = Some(commit_lsn);
        self.place = Place::Between;
    }

    /// No two messages share a position.
    fn message(&mut self, offset: i64, lsn: Lsn, transactional: bool) {
        match (&mut self.place, transactional) {
            (Place::Inside { last_message, .. }, true) => {
                let before = std::mem::replace(last_message, lsn);
                if lsn <= before {
                    self.violation(
                        offset,
                        format!("a message at {lsn} after one at {before}: repeated"),
                    );
                }
            }
            (Place::Inside { final_lsn, .. }, false) => {
                let what =
                    format!("a message that is not of it inside the transaction at {final_lsn}");
                self.violation(offset, what);
            }
            (Place::Between, true) => {
                self.inside(offset, "a message of a transaction");
            }
            (Place::Unknown, true) => {}
            (Place::Between | Place::Unknown, false) => {
                let unit = Unit::message(lsn);
                self.in_order(offset, unit);
                self.last = Some(unit);
                self.place = Place::Between;
            }
        }
    }

    /// Rows of a transaction come in the order of the WAL; those of one page share a position.
    fn row(&mut self, offset: i64, wal_start: Lsn) {
        self.inside(offset, "a change");
        if let Place::Inside { last_row, .. } = &mut self.place {
            let before = std::mem::replace(last_row, wal_start);
            if wal_start < before {
                self.violation(
                    offset,
                    format!("a change at {wal_start} after one at {before}: repeated"),
                );
            }
        }
    }

    fn inside(&mut self, offset: i64, what: &str) {
        if matches!(self.place, Place::Between) {
            self.violation(offset, format!("{what} outside any transaction"));
        }
    }

    fn violation(&mut self, offset: i64, what: String) {
        self.violations.add(offset, what);
    }

    /// What was found up to `end_offset`.
    pub fn report(self, end_offset: i64) -> Verification {
        let open = match self.place {
            Place::Inside { final_lsn, .. } => Some(final_lsn),
            Place::Unknown | Place::Between => None,
        };
        Verification {
            first_offset: self.first_offset,
            end_offset,
            records: self.records,
            transactions: self.transactions,
            first_lsn: self.first.map(|lsn| lsn.to_string()),
            last_lsn: self.last_commit.map(|lsn| lsn.to_string()),
            open_transaction: open.map(|lsn| lsn.to_string()),
            ..Verification::of(self.violations)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(wal_start: u64, message: &str) -> String {
        format!(r#"{{"wal_start":{wal_start},"wal_end":0,"timestamp":0,"message":{message}}}"#)
    }

    fn begin(lsn: u64) -> String {
        record(
            1,
            &format!(r#"{{"type":"begin","final_lsn":{lsn},"timestamp":0,"xid":1}}"#),
        )
    }

    fn commit(lsn: u64) -> String {
        let end = lsn + 1;
        let message = format!(
            r#"{{"type":"commit","flags":0,"commit_lsn":{lsn},"end_lsn":{end},"timestamp":0}}"#
        );
        record(lsn, &message)
    }

    fn row(wal_start: u64) -> String {
        record(wal_start, r#"{"type":"insert","rel_id":7,"tuple":[]}"#)
    }

    fn message(flags: i8, lsn: u64) -> String {
        let message = format!(
            r#"{{"type":"message","flags":{flags},"lsn":{lsn},"prefix":"p","content":{{"RawText":[]}}}}"#
        );
        record(lsn, &message)
    }

    fn relation() -> String {
        let message = r#"{"type":"relation","rel_id":7,"namespace":"","name":"","replica_identity":"Full","columns":[]}"#;
        record(0, message)
    }

    fn violations(first: i64, records: &[String]) -> Vec<(i64, String)> {
        let mut verifier = EventVerifier::starting_at(first);
        for (record, offset) in records.iter().zip(first..) {
            verifier.check(offset, record.as_bytes());
        }
        let report = verifier.report(first + records.len() as i64);
        assert_eq!(report.violation_count as usize, report.violations.len());
        report
            .violations
            .into_iter()
            .map(|found| (found.offset, found.what))
            .collect()
    }

    #[test]
    fn what_this_program_writes_is_right() {
        let records = [
            begin(9),
            relation(),
            row(5),
            row(5),
            row(6),
            commit(9),
            begin(12),
            commit(12),
            begin(20),
        ];
        assert_eq!(violations(0, &records), []);
        assert_eq!(violations(100, &records[3..]), []);
        // A message ends where the next commit record, or the next row's, begins.
        let records = [
            begin(9),
            message(1, 5),
            relation(),
            row(5),
            message(1, 6),
            commit(9),
            message(0, 12),
            begin(12),
            commit(12),
            message(0, 20),
            begin(25),
        ];
        assert_eq!(violations(0, &records), []);
    }

    #[test]
    fn each_violation_with_its_offset() {
        for (records, offset, what) in [
            (vec![begin(9), begin(10)], 1, "a begin inside"),
            (vec![begin(9), commit(10)], 1, "a commit at 0/A in"),
            (vec![commit(9)], 0, "without its begin"),
            (
                vec![begin(9), commit(9), begin(9), commit(9)],
                2,
                "the transaction at 0/9 after",
            ),
            (
                vec![begin(9), commit(9), begin(8), commit(8)],
                2,
                "the transaction at 0/8 after",
            ),
            (vec![relation()], 0, "a relation outside"),
            (vec![begin(9), row(5)], 1, "never described"),
            (
                vec![begin(9), relation(), row(5), row(6), row(5)],
                4,
                "repeated",
            ),
            (vec![begin(9), "{}".into()], 1, "not a record"),
            (
                vec![begin(9), message(1, 5), message(1, 5)],
                2,
                "a message at 0/5 after one at 0/5: repeated",
            ),
            (vec![message(1, 5)], 0, "a message of a transaction outside"),
            (vec![begin(9), message(0, 5)], 1, "not of it inside"),
            (
                vec![message(0, 5), message(0, 5)],
                1,
                "the message at 0/5 after the message at 0/5",
            ),
            (
                vec![begin(9), commit(9), message(0, 9)],
                2,
                "the message at 0/9 after the transaction at 0/9",
            ),
        ] {
            let found = violations(0, &records);
            assert!(
                found.len() == 1 && found[0].0 == offset && found[0].1.contains(what),
                "{what}: {found:?}"
            );
        }
    }
}
