//! What was found, for people and for programs.

use std::fmt;

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::base::printable::Printable;

/// How many violations of a partition are reported one by one; the rest are counted.
const REPORTED: usize = 100;

/// What was found in a partition.
#[derive(Debug, Default, Serialize)]
pub struct Verification {
    /// The topic.
    pub topic: String,
    /// The partition, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// The first offset that was read.
    pub first_offset: i64,
    /// The first offset that was not.
    pub end_offset: i64,
    /// How many records were read.
    pub records: u64,
    /// How many transactions are whole.
    pub transactions: u64,
    /// The first transaction's commit.
    pub first_lsn: Option<String>,
    /// The last whole transaction's commit.
    pub last_lsn: Option<String>,
    /// The transaction that the partition ends in, if it does.
    pub open_transaction: Option<String>,
    /// How many violations there are.
    pub violation_count: u64,
    /// The first violations.
    pub violations: Vec<Violation>,
    /// Why nothing can be written behind its last record.
    #[serde(skip)]
    pub other_format: Option<Error>,
}

/// A record that is not as it should be.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The record's offset.
    pub offset: i64,
    /// What is wrong with it.
    pub what: String,
}

/// Violations of a partition: the first of them, and how many there are.
#[derive(Debug, Default)]
pub struct Violations {
    count: u64,
    first: Vec<Violation>,
}

impl Violations {
    /// Adds what is wrong with a record.
    pub fn add(&mut self, offset: i64, what: String) {
        self.count += 1;
        if self.first.len() < REPORTED {
            self.first.push(Violation { offset, what });
        }
    }
}

impl Verification {
    /// A report of these violations and nothing else yet.
    pub fn of(violations: Violations) -> Verification {
        Verification {
            violation_count: violations.count,
            violations: violations.first,
            ..Verification::default()
        }
    }

    /// The error that there are violations, if there are.
    pub fn result(&self) -> Result<()> {
        let topic = match self.partition {
            Some(partition) => format!("partition {partition} of {}", self.topic),
            None => format!("topic {}", self.topic),
        };
        result(&topic, self.violation_count, self.other_format.as_ref())
    }
}

/// The error of violations, and what keeps the next run from going on there.
fn result(of: &str, count: u64, other_format: Option<&Error>) -> Result<()> {
    let error = Error::undeliverable(format!("{of}: {count} violations"));
    match (count, other_format) {
        (0, _) => Ok(()),
        (_, None) => Err(error),
        (_, Some(other)) => Err(error.with_hint(format!(
            "{}; {}",
            other.message(),
            other.hint().unwrap_or_default()
        ))),
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = || "none".to_owned();
        write!(f, "topic:         {}", self.topic)?;
        if let Some(partition) = self.partition {
            write!(f, ", partition {partition}")?;
        }
        writeln!(f, ", offsets {} to {}", self.first_offset, self.end_offset)?;
        writeln!(f, "records:       {}", self.records)?;
        writeln!(f, "transactions:  {}", self.transactions)?;
        writeln!(
            f,
            "first commit:  {}",
            self.first_lsn.clone().unwrap_or_else(none)
        )?;
        writeln!(
            f,
            "last commit:   {}",
            self.last_lsn.clone().unwrap_or_else(none)
        )?;
        if let Some(open) = &self.open_transaction {
            writeln!(f, "ends inside:   transaction {open}")?;
        }
        write!(f, "violations:    {}", self.violation_count)?;
        for Violation { offset, what } in &self.violations {
            write!(f, "\n  offset {offset}: {}", Printable(what))?;
        }
        let more = self.violation_count - self.violations.len() as u64;
        if more > 0 {
            write!(f, "\n  and {more} more")?;
        }
        Ok(())
    }
}

/// What was found in several partitions.
#[derive(Debug, Serialize)]
pub struct VerificationOfMany {
    /// How many records were read.
    records: u64,
    /// How many transactions are whole, counted in each partition that has something of them.
    transactions: u64,
    /// How many violations there are.
    violation_count: u64,
    /// What was found in each.
    partitions: Vec<Verification>,
}

impl VerificationOfMany {
    /// A report of several.
    pub fn of(partitions: Vec<Verification>) -> VerificationOfMany {
        let sum = |of: fn(&Verification) -> u64| partitions.iter().map(of).sum();
        VerificationOfMany {
            records: sum(|found| found.records),
            transactions: sum(|found| found.transactions),
            violation_count: sum(|found| found.violation_count),
            partitions,
        }
    }

    /// The error that there are violations, if there are.
    pub fn result(&self) -> Result<()> {
        let mut partitions = self.partitions.iter();
        let other = partitions.find_map(|found| found.other_format.as_ref());
        let of = format!("{} partitions", self.partitions.len());
        result(&of, self.violation_count, other)
    }
}

impl fmt::Display for VerificationOfMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "partitions:    {}", self.partitions.len())?;
        writeln!(f, "records:       {}", self.records)?;
        writeln!(
            f,
            "transactions:  {}, counted in each partition",
            self.transactions
        )?;
        write!(f, "violations:    {}", self.violation_count)?;
        for found in &self.partitions {
            let partition = found.partition.unwrap_or_default();
            let place = format!("partition {partition} of {}", found.topic);
            for Violation { offset, what } in &found.violations {
                write!(f, "\n  {place}, offset {offset}: {}", Printable(what))?;
            }
            let more = found.violation_count - found.violations.len() as u64;
            if more > 0 {
                write!(f, "\n  {place}: and {more} more")?;
            }
        }
        Ok(())
    }
}
