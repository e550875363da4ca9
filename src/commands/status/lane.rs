//! One lane: how it ends, and how far it may be behind.

use std::fmt;

use bytesize::ByteSize;
use serde::Serialize;

use super::super::lanes::parse_last;
use crate::base::clock::postgres_now_us;
use crate::base::error::Result;
use crate::base::lsn::Lsn;
use crate::config::Config;
use crate::pg::catalog::slot_state::SlotState;
use crate::pipeline::resume::state_file::Known;
use crate::record::readback::{Placed, Record};
use crate::sink::fluvio::LanePlace;
use crate::sink::fluvio::unpack::StoredRecord;

/// A lane as it was found.
#[derive(Debug, Clone, Serialize)]
pub struct LaneStatus {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset of the partition's next record.
    pub end_offset: Option<i64>,
    /// What the partition's last record is.
    pub tail: Option<String>,
    /// WAL that the server has and is neither confirmed nor in the partition.
    pub lag_bytes: Option<u64>,
    /// How old the newest record is before which everything is in the partition, if there is a lag: the
    /// partition is no further behind.
    pub lag_seconds: Option<u64>,
    /// What is wrong with the partition.
    pub problem: Option<String>,
    #[serde(skip)]
    is_inside: bool,
}

/// What the cluster has of a lane.
#[derive(Default)]
pub struct FoundLane {
    /// The offset of the next record, if the partition is there.
    pub end_offset: Option<i64>,
    /// The last record, if it is of the configured format.
    pub last: Option<Last>,
    /// What is wrong.
    pub problem: Option<String>,
}

/// The last record of a lane.
pub struct Last(Placed);

impl FoundLane {
    /// Reads the last record of a lane, unless it does not matter any more.
    pub fn read(
        config: &Config,
        known: Option<&Known>,
        place: &LanePlace,
        last: Option<StoredRecord>,
    ) -> Result<Option<Last>> {
        let known = known.and_then(|known| known.lane(&place.topic, place.partition));
        let first_offset = known.map_or(0, |lane| lane.first_offset);
        let last = last.filter(|last| last.offset >= first_offset);
        let placed = last.map(|last| parse_last(config.format, &last.value));
        Ok(placed.transpose()?.map(Last))
    }
}

impl Last {
    /// The position up to which everything is in the lane.
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

    fn is_inside(&self) -> bool {
        self.stored() == Lsn(0)
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
            Record::OfRows(placed) => {
                write!(f, "inside the {}", placed.order.unit)
            }
            _ => write!(
                f,
                "inside the transaction that has a change at {}",
                self.0.wal_start
            ),
        }
    }
}

/// How the lanes stand, in their order. Of a slot that is being made nothing is to come yet.
pub fn compare(
    places: &[LanePlace],
    found: Vec<FoundLane>,
    begun: Option<&SlotState>,
) -> Vec<LaneStatus> {
    // Everything that is confirmed is in all lanes, whichever of them has the newest record of it.
    let confirmed = begun.map(|slot| slot.slot.confirmed());
    let is_confirmed = |last: &&Last| Some(last.stored()) <= confirmed && !last.is_inside();
    let lasts = found.iter().filter_map(|lane| lane.last.as_ref());
    let sure_us = lasts.filter(is_confirmed).map(|last| last.0.time_us).max();
    let lanes = places.iter().zip(found);
    lanes
        .map(|(place, found)| LaneStatus::of(place, found, begun, sure_us))
        .collect()
}

impl LaneStatus {
    fn of(
        place: &LanePlace,
        found: FoundLane,
        begun: Option<&SlotState>,
        sure_us: Option<i64>,
    ) -> LaneStatus {
        let last = found.last.as_ref();
        let lag_bytes = begun.map(|slot| {
            let stored = last.map_or(Lsn(0), Last::stored);
            slot.wal_end()
                .bytes_since(slot.slot.confirmed().max(stored))
        });
        let since_us = last.map(|last| last.0.time_us.max(sure_us.unwrap_or(i64::MIN)));
        let age_us = since_us.map(|us| postgres_now_us().saturating_sub(us).max(0) as u64);
        LaneStatus {
            topic: place.topic.to_string(),
            partition: place.partition,
            end_offset: found.end_offset,
            tail: last.map(Last::to_string),
            lag_bytes,
            lag_seconds: match lag_bytes {
                Some(0) => Some(0),
                Some(_) => age_us.map(|us| us / 1_000_000),
                None => None,
            },
            is_inside: last.is_some_and(Last::is_inside),
            problem: found.problem,
        }
    }

    /// What makes a lane worse than others: something is wrong, or more is missing.
    pub fn badness(&self) -> impl Ord + use<> {
        let is_there = self.end_offset.is_some();
        (
            self.problem.is_some(),
            self.lag_bytes,
            self.is_inside,
            is_there,
        )
    }
}

impl fmt::Display for LaneStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, partition {}", self.topic, self.partition)?;
        match self.end_offset {
            Some(offset) => {
                let tail = self.tail.as_deref().unwrap_or("no records");
                write!(f, ", offset {offset}, {tail}")
            }
            None => Ok(()),
        }
    }
}

/// How far a lane is behind, as people read it.
pub struct Lag<'a>(pub &'a LaneStatus);

impl fmt::Display for Lag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bytes) = self.0.lag_bytes else {
            return Ok(());
        };
        write!(f, "{}", ByteSize(bytes).display().si())?;
        match self.0.lag_seconds {
            Some(seconds) => write!(f, ", at most {seconds} s"),
            None => Ok(()),
        }
    }
}
