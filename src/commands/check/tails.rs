//! What the lanes end with.

use super::condition::Condition;
use super::report::{Mend, Report};
use super::topic::with_more;
use crate::base::error::{Error, Result};
use crate::commands::lanes::{ConfiguredLanes, Partitions};
use crate::config::Config;
use crate::pipeline::resume::Tail;
use crate::pipeline::resume::row_tail::RowTail;
use crate::pipeline::resume::state_file::Known;
use crate::pipeline::resume::topic_end::{TailReader, tail_of_last};
use crate::record::Format;
use crate::sink::fluvio::LanePlace;
use crate::sink::fluvio::reader::Bounds;
use crate::sink::fluvio::unpack::StoredRecord;

/// What the lanes were found to hold.
pub struct ExaminedLanes {
    /// The lanes.
    pub found: ConfiguredLanes,
    /// How each ends; `None` when that could not be read.
    pub tails: Option<Vec<Tail>>,
    /// The offset of each before which records do not matter.
    first_offsets: Vec<i64>,
}

/// Reads how the lanes end.
pub fn check(
    report: &mut Report,
    config: &Config,
    mut found: ConfiguredLanes,
    known: Option<&Known>,
) -> ExaminedLanes {
    let first = |place: &LanePlace| {
        let lane = known.and_then(|known| known.lane(&place.topic, place.partition));
        lane.map_or(0, |lane| lane.first_offset)
    };
    let first_offsets: Vec<i64> = found.map.names().iter().map(first).collect();
    let are_none = found.topics.is_empty();
    let lasts = found.partitions_mut().last_records();
    let lasts = lasts.map_err(|error| report.error(Condition::TopicTail, &error));
    let tails = lasts.ok().and_then(|lasts| {
        let (mut tails, mut failed) = (Vec::with_capacity(lasts.len()), Vec::new());
        for (lane, last) in lasts.into_iter().enumerate() {
            match tail(
                config.format,
                found.partitions(),
                lane,
                last,
                first_offsets[lane],
            ) {
                Ok(tail) => tails.push(tail),
                Err(error) => failed.push(error),
            }
        }
        match &failed[..] {
            [] if are_none => {}
            [] => report.ok(Condition::TopicTail, tails_text(&tails)),
            [first, more @ ..] => fail(report, first, more.len()),
        }
        failed.is_empty().then_some(tails)
    });
    ExaminedLanes {
        found,
        tails,
        first_offsets,
    }
}

fn fail(report: &mut Report, error: &Error, more: usize) {
    let said = with_more(error.message(), more, "partitions");
    let advice = error.hint().map(Mend::advice);
    report.failure(Condition::TopicTail, error.kind(), said, advice);
}

/// How a lane ends, of which records before `first_offset` do not matter.
fn tail(
    format: Format,
    partitions: &Partitions,
    lane: usize,
    last: Option<StoredRecord>,
    first_offset: i64,
) -> Result<Tail> {
    let Some(last) = last.filter(|last| last.offset >= first_offset) else {
        return Ok(Tail::Empty);
    };
    if format == Format::Rows {
        let tail = RowTail::of(&last.value).map(|tail| tail.as_tail());
        return tail.map_err(|error| partitions.error(lane, error));
    }
    let known = tail_of_last(&last.value).map_err(|error| partitions.error(lane, error))?;
    match (known, partitions.bounds(lane)) {
        (Some(tail), _) => Ok(tail),
        (_, None) => Ok(Tail::Empty),
        (_, Some(bounds)) => {
            let Some(reader) = partitions.reader(lane)? else {
                return Ok(Tail::Empty);
            };
            let meanwhile = || Ok(());
            TailReader { reader, meanwhile }.read(bounds, first_offset)
        }
    }
}

fn tails_text(tails: &[Tail]) -> String {
    if let [tail] = tails {
        return tail_text(*tail);
    }
    let with_records = tails.iter().filter(|tail| **tail != Tail::Empty);
    let furthest = tails.iter().max_by_key(|tail| tail.reach());
    let furthest = furthest.map_or_else(String::new, |tail| tail_text(*tail));
    match with_records.count() {
        0 => "no records".to_owned(),
        count => format!(
            "{count} of {} have records, the furthest {furthest}",
            tails.len()
        ),
    }
}

fn tail_text(tail: Tail) -> String {
    match tail {
        Tail::Empty | Tail::Removed { .. } => "no records".to_owned(),
        Tail::Complete { last, .. } => format!("ends with the {last}"),
        Tail::Open {
            final_lsn, rows: 0, ..
        } => format!("ends inside the transaction at {final_lsn}"),
        Tail::Open {
            final_lsn, rows, ..
        } => {
            format!("ends inside the transaction at {final_lsn}, after {rows} rows of it")
        }
        Tail::Headless { last_row, .. } => format!(
            "ends inside a transaction whose begin is removed, with a row at {}",
            last_row.wal_start
        ),
    }
}

impl ExaminedLanes {
    /// Whether one of the lanes has records that matter.
    pub fn have_records(&self) -> bool {
        let mut lanes = self.first_offsets.iter().enumerate();
        lanes.any(|(lane, first)| self.bounds(lane).end > *first)
    }

    /// What a lane holds: nothing, if it is not there yet.
    pub fn bounds(&self, lane: usize) -> Bounds {
        let bounds = self.found.partitions().bounds(lane);
        bounds.unwrap_or(Bounds {
            start: 0,
            end: 0,
            stable: 0,
        })
    }
}
