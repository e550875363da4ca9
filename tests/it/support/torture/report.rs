//! What a round did, and what is left of one that failed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::follower;
use super::lanes::Source;
use super::program::STREAMS;
use super::stage::Stage;

/// What was done and seen.
#[derive(Debug)]
pub struct Tally {
    began: Instant,
    /// How long all of it took.
    elapsed: Duration,
    /// The fault that is under way, and a line for each one before it.
    current: Option<(String, Instant)>,
    lines: Vec<String>,
    kinds: BTreeMap<String, usize>,
    slowest: Duration,
    pub transactions: u64,
    pub changes: u64,
    records: i64,
    processes: u64,
    sessions: u64,
    /// Sessions that began where the topic ended inside a transaction.
    inside: u64,
    dropped_messages: u64,
    dropped_transactions: u64,
    in_doubt: u64,
    found: u64,
    sent_again: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            began: Instant::now(),
            elapsed: Duration::ZERO,
            current: None,
            lines: Vec::new(),
            kinds: BTreeMap::new(),
            slowest: Duration::ZERO,
            transactions: 0,
            changes: 0,
            records: 0,
            processes: 0,
            sessions: 0,
            inside: 0,
            dropped_messages: 0,
            dropped_transactions: 0,
            in_doubt: 0,
            found: 0,
            sent_again: 0,
        }
    }
}

impl Tally {
    /// How many faults there were.
    pub fn faults(&self) -> usize {
        self.lines.len()
    }

    /// A fault begins.
    pub(super) fn begin(&mut self, number: usize, fault: &Fault) {
        self.count(fault);
        let at = self.began.elapsed().as_secs_f64();
        self.current = Some((format!("{number:4} {at:7.1} s  {fault:?}"), Instant::now()));
    }

    /// The fault that began is over, and the program has recovered.
    pub(super) fn end(&mut self, recovery: Duration, records: i64) {
        let (text, began) = self.current.take().expect("a fault has begun");
        let line = format!(
            "{text}: {:.1} s, of that {:.1} s after it; {records} records",
            began.elapsed().as_secs_f64(),
            recovery.as_secs_f64()
        );
        println!("{line}");
        self.lines.push(line);
        self.records = records;
        self.slowest = self.slowest.max(recovery);
        self.elapsed = self.began.elapsed();
    }

    fn count(&mut self, fault: &Fault) {
        if let Fault::Two { first, second, .. } = fault {
            self.count(first);
            self.count(second);
            *self.kinds.entry("(two at once)".to_owned()).or_default() += 1;
        } else {
            *self.kinds.entry(fault.kind()).or_default() += 1;
        }
    }

    /// Adds what the program logged, one text for each process.
    pub(super) fn read_logs(&mut self, logs: &[String], is_inside: impl Fn(i64) -> bool) {
        self.processes += logs.len() as u64;
        for line in logs.iter().flat_map(|log| log.lines()) {
            let number_after = |words: &str| -> u64 {
                let rest = line.split_once(words).map_or("", |(_, rest)| rest);
                let digits = rest.find(|c: char| !c.is_ascii_digit());
                rest[..digits.unwrap_or(rest.len())].parse().unwrap_or(0)
            };
            if line.contains(STREAMS) {
                self.sessions += 1;
                self.inside += u64::from(is_inside(number_after(", offset ") as i64));
            } else if line.contains("resumed: ") {
                self.dropped_messages += number_after("resumed: ");
                self.dropped_transactions += number_after("were in the topic, ");
            } else if line.contains("were sent and not acknowledged") {
                let found = number_after("acknowledged: ");
                let again = number_after("in the topic, ");
                self.in_doubt += 1;
                self.found += found;
                self.sent_again += again;
            }
        }
    }

    /// This round after those before it.
    pub fn add(&mut self, other: Tally) {
        self.elapsed += other.elapsed;
        self.lines.extend(other.lines);
        for (kind, count) in other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        self.slowest = self.slowest.max(other.slowest);
        for (sum, more) in [
            (&mut self.transactions, other.transactions),
            (&mut self.changes, other.changes),
            (&mut self.processes, other.processes),
            (&mut self.sessions, other.sessions),
            (&mut self.inside, other.inside),
            (&mut self.dropped_messages, other.dropped_messages),
            (&mut self.dropped_transactions, other.dropped_transactions),
            (&mut self.in_doubt, other.in_doubt),
            (&mut self.found, other.found),
            (&mut self.sent_again, other.sent_again),
        ] {
            *sum += more;
        }
        self.records += other.records;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in &self.kinds {
            writeln!(f, "{count:6}  {kind}")?;
        }
        writeln!(
            f,
            "{} faults in {:.0} s, the slowest recovery took {:.1} s",
            self.faults(),
            self.elapsed.as_secs_f64(),
            self.slowest.as_secs_f64()
        )?;
        writeln!(
            f,
            "{} transactions, {} changes, {} records in the topic",
            self.transactions, self.changes, self.records
        )?;
        writeln!(
            f,
            "{} processes, {} sessions, {} of them resumed inside a transaction",
            self.processes, self.sessions, self.inside
        )?;
        writeln!(
            f,
            "{} messages that came again were dropped, {} transactions of them whole",
            self.dropped_messages, self.dropped_transactions
        )?;
        write!(
            f,
            "{} batches in doubt: {} of their records were in the topic, {} were not",
            self.in_doubt, self.found, self.sent_again
        )
    }
}

/// A finding.
#[derive(Debug)]
pub struct Failure {
    seed: u64,
    what: String,
    faults: Vec<String>,
    log: String,
    artefacts: PathBuf,
}

impl Failure {
    pub(super) fn new(seed: u64, what: String, tally: Tally, stage: &Stage<'_>) -> Failure {
        let mut faults = tally.lines;
        faults.extend(tally.current.map(|(text, _)| text));
        let directory = tempfile::Builder::new()
            .prefix(&format!("torture-{seed}-"))
            .tempdir()
            .expect("a directory for what is left can be made")
            .keep();
        let failure = Failure {
            seed,
            what,
            faults,
            log: stage.program.log_tail(),
            artefacts: directory,
        };
        if let Err(error) = failure.save(stage) {
            eprintln!("not everything can be kept: {error}");
        }
        failure
    }

    fn save(&self, stage: &Stage<'_>) -> std::io::Result<()> {
        let directory: &Path = &self.artefacts;
        fs::write(directory.join("failure.txt"), self.to_string())?;
        stage.save(directory)?;
        let source = Source::of(&stage.cluster);
        for lane in stage.lanes() {
            let file = fs::File::create(directory.join(format!("lane-{lane}.txt")))?;
            let mut file = std::io::BufWriter::new(file);
            let mut offset = 0;
            while let Some(records) = source.read(&lane, offset).filter(|it| !it.is_empty()) {
                for line in follower::outline(offset, &records) {
                    writeln!(file, "{line}")?;
                }
                offset += i64::try_from(records.len()).expect("a count of records");
            }
            file.flush()?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure {
            seed, what, faults, ..
        } = self;
        writeln!(f, "the faults of seed {seed}:")?;
        for line in faults {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "the program's log ends with:\n{}", self.log)?;
        writeln!(f, "failed with seed {seed}: {what}")?;
        write!(f, "what is left of it: {}", self.artefacts.display())
    }
}
