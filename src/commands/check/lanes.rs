//! Whether the lanes meet the slot and the state file, as a session finds it when it opens them.

use super::tails::ExaminedLanes;
use crate::base::error::{Context, Result};
use crate::commands::lanes::{Partitions, topics};
use crate::config::Config;
use crate::pipeline::resume::continuity::{self, Topic};
use crate::pipeline::resume::source::Source;
use crate::pipeline::resume::state_file::{Known, KnownLane};
use crate::sink::fluvio::{LanePlace, WantedTopic};

/// Fails when records went other ways before and not everything that went those is confirmed, or when a lane
/// does not meet the slot. `tails` says how each lane ends.
pub fn check(
    config: &Config,
    known: Option<&Known>,
    source: &Source,
    lanes: &ExaminedLanes,
) -> Result<()> {
    let map = &lanes.found.map;
    if let Some(known) = known {
        match known.routing == map.routing() {
            true => continuity::check_lanes(known, map.names())?,
            false => check_left(config, known, lanes)?,
        }
    }
    let tails = lanes.tails.iter().flatten();
    for ((lane, place), tail) in map.names().iter().enumerate().zip(tails) {
        let checked = check_lane(known, source, place, lanes, lane, *tail);
        match map.names().len() {
            1 => checked?,
            _ => checked.at(|| place.to_string())?,
        }
    }
    Ok(())
}

fn check_lane(
    known: Option<&Known>,
    source: &Source,
    place: &LanePlace,
    lanes: &ExaminedLanes,
    lane: usize,
    tail: crate::pipeline::resume::Tail,
) -> Result<()> {
    let mut topic = Topic {
        name: &place.topic,
        partition: place.partition,
        bounds: lanes.bounds(lane),
        tail,
    };
    topic.tail = continuity::tail_to_resume(known, &topic)?;
    continuity::check_topic(known, source, &topic)
}

/// Compares each lane that is known with where it ends now, whether it is one still or not.
fn check_left(config: &Config, known: &Known, lanes: &ExaminedLanes) -> Result<()> {
    let place = |lane: &KnownLane| LanePlace {
        topic: lane.topic.as_str().into(),
        partition: lane.partition,
    };
    let mut ends = lanes.found.ends();
    let is_other = |place: &LanePlace| !ends.iter().any(|(own, _)| own == place);
    let others: Vec<LanePlace> = known.lanes.iter().map(place).filter(is_other).collect();
    let wanted = others.iter().map(|place| WantedTopic {
        name: place.topic.clone(),
        partitions: 1,
    });
    let found = topics(&config.fluvio, &wanted.collect::<Vec<_>>())?;
    let partitions = Partitions::find(&config.fluvio, &others, |place| {
        let topic = found.get(&*place.topic);
        topic.is_some_and(|topic| place.partition < topic.replicas().partitions())
    })?;
    for (number, place) in others.into_iter().enumerate() {
        ends.push((place, partitions.bounds(number).map(|bounds| bounds.end)));
    }
    for lane in &known.lanes {
        let place = place(lane);
        let mut ends = ends.iter();
        let end = ends.find_map(|(own, end)| (*own == place).then_some(*end));
        continuity::check_left(known, lane, end.flatten())?;
    }
    Ok(())
}
