//! `status`: how a connector is, in a moment and without touching anything.
//!
//! What cannot be asked is a problem by itself, and does not keep the rest from being shown. Of many lanes
//! the worst is shown, and the others if they are asked for; [`lane`] is what one is told by.

mod lane;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fmt;
use std::process::ExitCode;

use bytesize::ByteSize;
use serde::Serialize;

use self::lane::{FoundLane, Lag, LaneStatus};
use super::lanes::{ConfiguredLanes, tables_of};
use super::{cli, load, print_as};
use crate::base::error::{Context, Error, Result};
use crate::base::lsn::Lsn;
use crate::base::printable::Printable;
use crate::config::Config;
use crate::pg::catalog::blocked::{Blocked, blocked};
use crate::pg::catalog::slot_state::SlotState;
use crate::pg::connection::Connection;
use crate::pipeline::lane_map::LaneMap;
use crate::pipeline::resume::continuity;
use crate::pipeline::resume::owner;
use crate::pipeline::resume::state_file::Known;
use crate::sink::fluvio::LanePlace;

/// How many lanes with problems are named, unless all lanes are asked for.
const NAMED: usize = 10;

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
    /// The topic, of many lanes the one that something is wrong with or that is furthest behind.
    pub topic: Option<String>,
    /// The partition.
    pub partition: Option<u32>,
    /// The offset of the topic's next record.
    pub end_offset: Option<i64>,
    /// What the topic's last record is.
    pub tail: Option<String>,
    /// WAL that the server has and is neither confirmed nor in the topic.
    pub lag_bytes: Option<u64>,
    /// The age of the topic's last record, if there is a lag: the topic is no further behind.
    pub lag_seconds: Option<u64>,
    /// How many lanes there are, if there is not one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane_count: Option<usize>,
    /// All lanes, if they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lanes: Option<Vec<LaneStatus>>,
    /// The lane that something is wrong with or that is furthest behind.
    #[serde(skip)]
    worst: Option<LaneStatus>,
    /// What the state file says that the last run ended with, if it cannot go on by itself.
    pub last_error: Option<String>,
    /// Whom the program waits for on the server.
    pub waiting: Vec<String>,
}

/// Prints how the connector is, which is the exit code too.
pub fn status(arguments: &cli::Status) -> Result<ExitCode> {
    let config = load(&arguments.config)?;
    let extent = match arguments.lanes {
        true => Extent::AllLanes,
        false => Extent::Worst,
    };
    let status = examine(&config, extent);
    print_as(&status, arguments.json)?;
    Ok(ExitCode::from(status.status.exit_code()))
}

/// What of the lanes is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// The worst of them.
    Worst,
    /// All of them.
    AllLanes,
}

/// Looks at the slot, the ends of the lanes and the state file.
fn examine(config: &Config, extent: Extent) -> Status {
    let mut problems = Vec::new();
    let slot = or_problem(&mut problems, find_slot(config));
    let waiting = waiting(config).unwrap_or_default();
    let map = tables_of(config).and_then(|tables| LaneMap::of(config, &tables));
    let map = or_problem(&mut problems, map);
    let places: Vec<LanePlace> = map.iter().flat_map(|map| map.names().to_vec()).collect();
    let lanes = map.map(|map| ConfiguredLanes::of(config, map));
    let lanes = lanes.and_then(|lanes| or_problem(&mut problems, lanes));
    let ends = match &lanes {
        Some(lanes) => lanes.ends(),
        None => places.iter().map(|place| (place.clone(), None)).collect(),
    };
    let known = or_problem(&mut problems, owner::read_known(config, ends)).flatten();
    let found = lanes.map(|lanes| find_lanes(config, known.as_ref(), lanes));
    let found = found.and_then(|found| or_problem(&mut problems, found));
    let found = found.unwrap_or_else(|| places.iter().map(|_| FoundLane::default()).collect());
    // One that is being made has not begun.
    let begun = slot.as_ref();
    let begun = begun.filter(|found| found.slot.confirmed() != Lsn::ZERO);
    let lanes = lane::compare(&places, found, begun);
    let last_error = known.and_then(|known| {
        let gap = known.gap.map(|why| ("ended at a gap", why));
        gap.or(known.stuck.map(|why| ("could not go on", why)))
    });
    problems.extend(problems_of(&lanes, extent));
    let problem = last_error.as_ref();
    problems.extend(problem.map(|(what, why)| format!("the last run {what}: {why}")));
    Status {
        last_error: last_error.map(|(_, why)| why),
        waiting,
        ..Status::of(config, slot.as_ref(), begun, lanes, extent)
    }
    .judged(problems, config.max_lag_bytes)
}

/// What was found; else why not is a problem.
fn or_problem<T>(problems: &mut Vec<String>, found: Result<T>) -> Option<T> {
    found
        .map_err(|error: Error| problems.push(error.to_string()))
        .ok()
}

/// Reads what the lanes end with.
fn find_lanes(
    config: &Config,
    known: Option<&Known>,
    mut lanes: ConfiguredLanes,
) -> Result<Vec<FoundLane>> {
    let fixed: HashSet<String> = config.routes.fixed().map(|route| route.topic).collect();
    let lasts = lanes.partitions_mut().last_records()?;
    let mut found = Vec::with_capacity(lasts.len());
    for (lane, last) in lasts.into_iter().enumerate() {
        let place = &lanes.map.names()[lane];
        let known_lane = known.and_then(|known| known.lane(&place.topic, place.partition));
        // The topic of a table is made when there is something for it.
        let is_awaited = known_lane.is_none() && !fixed.contains(&*place.topic);
        let is_missing = !lanes.topics.contains_key(&*place.topic);
        let last = match lanes.check(lane) {
            Err(_) if is_awaited && is_missing => Ok(None),
            Err(error) => Err(error),
            Ok(()) => FoundLane::read(config, known, place, last)
                .map_err(|error| lanes.partitions().error(lane, error)),
        };
        let problem = last.as_ref().err().map(Error::to_string);
        found.push(FoundLane {
            end_offset: lanes.partitions().bounds(lane).map(|bounds| bounds.end),
            last: last.ok().flatten(),
            problem,
        });
    }
    Ok(found)
}

/// What is wrong with lanes, each thing once, as many as are read.
fn problems_of(lanes: &[LaneStatus], extent: Extent) -> Vec<String> {
    let mut problems: Vec<String> = Vec::new();
    for problem in lanes.iter().filter_map(|lane| lane.problem.as_ref()) {
        if problems.last() != Some(problem) {
            problems.push(problem.clone());
        }
    }
    let more = problems.len().saturating_sub(NAMED);
    if extent == Extent::Worst && more > 0 {
        problems.truncate(NAMED);
        problems.push(format!("{more} more of the kind: see \"status --lanes\""));
    }
    problems
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

impl Status {
    fn of(
        config: &Config,
        slot: Option<&SlotState>,
        begun: Option<&SlotState>,
        lanes: Vec<LaneStatus>,
        extent: Extent,
    ) -> Status {
        let ranked = lanes.iter().enumerate();
        let worst = ranked.max_by_key(|(at, lane)| (lane.badness(), Reverse(*at)));
        let worst = worst.map(|(_, lane)| lane);
        Status {
            status: Health::Healthy,
            problems: Vec::new(),
            slot: config.slot.clone(),
            streaming: slot.map(|found| found.slot.active),
            wal_status: slot.and_then(|found| found.slot.wal_status.clone()),
            retained_bytes: slot.and_then(SlotState::retained_bytes),
            safe_bytes: slot.and_then(SlotState::safe_bytes),
            confirmed_lsn: begun.map(|found| found.slot.confirmed().to_string()),
            topic: worst.map(|lane| lane.topic.clone()),
            partition: worst.map(|lane| lane.partition),
            end_offset: worst.and_then(|lane| lane.end_offset),
            tail: worst.and_then(|lane| lane.tail.clone()),
            lag_bytes: worst.and_then(|lane| lane.lag_bytes),
            lag_seconds: worst.and_then(|lane| lane.lag_seconds),
            lane_count: Some(lanes.len()).filter(|count| *count != 1),
            lanes: (extent == Extent::AllLanes).then_some(lanes.clone()),
            worst: worst.cloned(),
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
        if let Some(worst) = &self.worst {
            if worst.lag_bytes.is_some() {
                write!(f, "\nlag:        {}", Lag(worst))?;
            }
            write!(f, "\ntopic:      {worst}")?;
        }
        if let Some(count) = self.lane_count {
            write!(f, "\nlanes:      {count}")?;
            let which = match self.worst.as_ref().map(|worst| &worst.problem) {
                None => "",
                Some(None) => ", of which this one is furthest behind",
                Some(Some(_)) => ", of which this one has the problem",
            };
            f.write_str(which)?;
        }
        for lane in self.lanes.iter().flatten() {
            write!(f, "\nlane:       {lane}")?;
            if lane.lag_bytes.is_some() {
                write!(f, ", lag {}", Lag(lane))?;
            }
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
