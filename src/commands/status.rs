//! `status`: how a connector is, in a moment and without touching anything.
//!
//! What cannot be asked is a problem by itself, and does not keep the rest from being shown.

use std::fmt;
use std::process::ExitCode;

use bytesize::ByteSize;
use serde::Serialize;

use super::{cli, load, print_as};
use crate::base::clock::postgres_now_us;
use crate::base::error::{Context, Error, Result};
use crate::base::lsn::Lsn;
use crate::base::printable::Printable;
use crate::config::Config;
use crate::pg::catalog::blocked::{Blocked, blocked};
use crate::pg::catalog::slot_state::SlotState;
use crate::pg::connection::Connection;
use crate::pipeline::resume::continuity;
use crate::pipeline::resume::owner;
use crate::record::readback::{Placed, Record};
use crate::sink::fluvio::Partition;

/// How a connector is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing is wrong.
    Healthy,
    /// The topic is further behind than `max_lag`, or somebody else has to do something first.
    Lagging,
    /// Something is missing, lost, or cannot be asked.
    Broken,
}

impl Health {
    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

/// What was found of a connector.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The state in one word.
    pub status: Health,
    /// What is wrong, one sentence each.
    pub problems: Vec<String>,
    /// The slot's name.
    pub slot: String,
    /// Whether somebody streams from the slot.
    pub streaming: Option<bool>,
    /// The server's word for whether it has the WAL that the slot needs (13+).
    pub wal_status: Option<String>,
    /// How much WAL the slot keeps.
    pub retained_bytes: Option<u64>,
    /// How much more WAL may be written before the slot is lost, where there is a limit.
    pub safe_bytes: Option<u64>,
    /// What the slot is confirmed at.
    pub confirmed_lsn: Option<String>,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset of the topic's next record.
    pub end_offset: Option<i64>,
    /// What the topic's last record is.
    pub tail: Option<String>,
    /// WAL that the server has and is neither confirmed nor in the topic.
    pub lag_bytes: Option<u64>,
    /// The age of the topic's last record, if there is a lag: the topic is no further behind.
    pub lag_seconds: Option<u64>,
    /// What the state file says that the last run ended with, if it cannot go on by itself.
    pub last_error: Option<String>,
    /// Whom the program waits for on the server.
    pub waiting: Vec<String>,
}

/// The end of the topic.
struct End {
    offset: i64,
    last: Option<Last>,
}

/// The last record of the topic.
struct Last(Placed);

/// Prints how the connector is, which is the exit code too.
pub fn status(arguments: &cli::Status) -> Result<ExitCode> {
    let config = load(&arguments.config)?;
    let status = examine(&config);
    print_as(&status, arguments.json)?;
    Ok(ExitCode::from(status.status.exit_code()))
}

/// Looks at the slot, the end of the topic and the state file.
fn examine(config: &Config) -> Status {
    let mut problems = Vec::new();
    let mut or_problem = |error: Error| problems.push(error.to_string());
    let slot = find_slot(config).map_err(&mut or_problem).ok();
    let waiting = waiting(config).unwrap_or_default();
    let end = end(config).map_err(&mut or_problem).ok();
    let end_offset = end.as_ref().map(|end| end.offset);
    let last_error = owner::read_known(config, end_offset);
    let last_error = last_error.map_err(&mut or_problem).ok().flatten();
    let last_error = last_error.and_then(|known| {
        let gap = known.gap.map(|why| ("ended at a gap", why));
        gap.or(known.stuck.map(|why| ("could not go on", why)))
    });
    let problem = last_error.as_ref();
    problems.extend(problem.map(|(what, why)| format!("the last run {what}: {why}")));
    Status {
        last_error: last_error.map(|(_, why)| why),
        waiting,
        ..Status::of(config, slot.as_ref(), end.as_ref())
    }
    .judged(problems, config.max_lag_bytes)
}

fn find_slot(config: &Config) -> Result<SlotState> {
    let place = || format!("replication slot {}", config.slot);
    let params = config.params()?;
    let mut connection = Connection::connect_for_sql(&params)?;
    let found = SlotState::ask(&mut connection, &config.slot)?;
    let mut found = found.ok_or_else(|| Error::config("does not exist").at(place()))?;
    if !found.slot.active {
        let slot = connection.slot_with_wal(&config.slot)?;
        found.slot.missing_wal = slot.and_then(|slot| slot.missing_wal);
    }
    connection.terminate();
    continuity::check_slot(&found.slot, params.database()).at(place)?;
    Ok(found)
}

/// Whom the processes of the server wait for that serve this program. What keeps that from being asked
/// keeps the slot from it too.
fn waiting(config: &Config) -> Result<Vec<String>> {
    let mut connection = Connection::connect_for_sql(&config.params()?)?;
    let found: Vec<Blocked> = connection.select(&blocked(
        "a.application_name = pg_catalog.current_setting('application_name') \
         AND a.usename = session_user AND a.datname = pg_catalog.current_database() \
         AND a.state = 'active' AND a.pid <> pg_catalog.pg_backend_pid()",
    ))?;
    connection.terminate();
    // A moment is no wait.
    let is_long = |found: &&Blocked| found.since_s.is_none_or(|since_s| since_s >= 1.0);
    let waiting = found.iter().filter(is_long);
    let waiting = waiting.filter(|found| found.is_waiting());
    let waits = waiting.map(|found| format!("for {found} (process {} of the server)", found.pid));
    Ok(waits.collect())
}

fn end(config: &Config) -> Result<End> {
    let partition = Partition::open_to_read(&config.fluvio, &config.place)?;
    let bounds = partition.bounds();
    if bounds.is_empty() {
        return Ok(End {
            offset: bounds.end,
            last: None,
        });
    }
    let mut reader = partition.reader()?;
    let records = reader.fetch(bounds.end - 1)?;
    let last = records
        .first()
        .and_then(|record| Placed::parse(&record.value));
    let last = last.map(Last).ok_or_else(|| {
        reader.error(continuity::gap(
            "its last record was not written by this program",
        ))
    })?;
    Ok(End {
        offset: bounds.end,
        last: Some(last),
    })
}

impl Last {
    /// The position up to which everything is in the topic.
    fn stored(&self) -> Lsn {
        match self.0.record {
            Record::Commit { end_lsn, .. } => end_lsn,
            Record::Message {
                lsn,
                transactional: false,
                ..
            } => lsn,
            Record::OfRows(placed) if placed.is_last => placed.order.unit.lsn(),
            _ => Lsn(0),
        }
    }
}

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.record {
            Record::Commit { commit_lsn, .. } => write!(f, "commit at {commit_lsn}"),
            Record::Message {
                lsn,
                transactional: false,
                ..
            } => write!(f, "message at {lsn}"),
            Record::OfRows(placed) if placed.is_last => write!(f, "{}", placed.order.unit),
            _ => write!(
                f,
                "inside the transaction that has a change at {}",
                self.0.wal_start
            ),
        }
    }
}

impl Status {
    fn of(config: &Config, slot: Option<&SlotState>, end: Option<&End>) -> Status {
        let last = end.and_then(|end| end.last.as_ref());
        // One that is being made has not begun.
        let begun = slot.filter(|found| found.slot.confirmed() != Lsn::ZERO);
        let lag_bytes = begun.map(|found| {
            let stored = last.map_or(Lsn(0), Last::stored);
            found
                .wal_end()
                .bytes_since(found.slot.confirmed().max(stored))
        });
        let age = last.map(|last| postgres_now_us().saturating_sub(last.0.time_us).max(0) as u64);
        Status {
            status: Health::Healthy,
            problems: Vec::new(),
            slot: config.slot.clone(),
            streaming: slot.map(|found| found.slot.active),
            wal_status: slot.and_then(|found| found.slot.wal_status.clone()),
            retained_bytes: slot.and_then(SlotState::retained_bytes),
            safe_bytes: slot.and_then(SlotState::safe_bytes),
            confirmed_lsn: begun.map(|found| found.slot.confirmed().to_string()),
            topic: config.place.topic.to_string(),
            partition: config.place.partition,
            end_offset: end.map(|end| end.offset),
            tail: last.map(Last::to_string),
            lag_bytes,
            lag_seconds: match lag_bytes {
                Some(0) => Some(0),
                Some(_) => age.map(|us| us / 1_000_000),
                None => None,
            },
            last_error: None,
            waiting: Vec::new(),
        }
    }

    fn judged(mut self, problems: Vec<String>, max_lag_bytes: u64) -> Status {
        let is_late = self.lag_bytes.is_some_and(|bytes| bytes > max_lag_bytes);
        let is_late = is_late || !self.waiting.is_empty();
        self.status = match (problems.is_empty(), is_late) {
            (false, _) => Health::Broken,
            (true, true) => Health::Lagging,
            (true, false) => Health::Healthy,
        };
        self.problems = problems;
        self
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.status {
            Health::Healthy => "healthy",
            Health::Lagging => "lagging",
            Health::Broken => "broken",
        };
        let size = |bytes: u64| ByteSize(bytes).display().si().to_string();
        write!(f, "status:     {word}\nslot:       {}", self.slot)?;
        match self.streaming {
            Some(true) => write!(f, ", streaming")?,
            Some(false) => write!(f, ", nobody streams")?,
            None => {}
        }
        if let Some(status) = &self.wal_status {
            write!(f, ", {}", Printable(status))?;
        }
        if let Some(lsn) = &self.confirmed_lsn {
            write!(f, "\nconfirmed:  {lsn}")?;
        }
        if let Some(bytes) = self.retained_bytes {
            write!(f, "\nkeeps:      {} of WAL", size(bytes))?;
        }
        if let Some(bytes) = self.safe_bytes {
            write!(f, ", lost after {} more", size(bytes))?;
        }
        if let Some(bytes) = self.lag_bytes {
            write!(f, "\nlag:        {}", size(bytes))?;
        }
        if let Some(seconds) = self.lag_seconds {
            write!(f, ", at most {seconds} s")?;
        }
        write!(
            f,
            "\ntopic:      {}, partition {}",
            self.topic, self.partition
        )?;
        if let Some(offset) = self.end_offset {
            let tail = self.tail.as_deref().unwrap_or("no records");
            write!(f, ", offset {offset}, {tail}")?;
        }
        for whom in &self.waiting {
            write!(f, "\nwaiting:    {}", Printable(whom))?;
        }
        for problem in &self.problems {
            write!(f, "\nproblem:    {}", Printable(problem))?;
        }
        Ok(())
    }
}
