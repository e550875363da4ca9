//! Reading what the lanes end with, once they are still.

use std::time::Instant;

use super::Program;
use super::lane::SETTLE;
use crate::base::error::{Context, Result};
use crate::base::lsn::Lsn;
use crate::pg::replication::ReplicationStream;
use crate::pipeline::resume::continuity::Topic;
use crate::pipeline::resume::row_tail::RowTail;
use crate::pipeline::resume::topic_end::{self, Rest, TailReader};
use crate::pipeline::resume::{Tail, WalkBack};
use crate::record::{Format, Placed};
use crate::sink::fluvio::reader::Bounds;
use crate::sink::fluvio::{LanePlace, Leaders, Partition, cluster};

/// A lane as it was found when it was still.
pub(super) struct FoundLane {
    /// What it holds.
    pub bounds: Bounds,
    /// How it ends.
    pub tail: Tail,
    /// The same, of a lane of rows that has any.
    pub rows: Option<RowTail>,
}

impl FoundLane {
    /// The lane for the proof of continuity.
    pub fn topic<'n>(&self, place: &'n LanePlace) -> Topic<'n> {
        Topic {
            name: &place.topic,
            partition: place.partition,
            bounds: self.bounds,
            tail: self.tail,
        }
    }
}

impl Program<'_> {
    /// Reads the ends of the lanes, once they are still, and compares them with what was in doubt. The
    /// server is kept informed meanwhile.
    pub(super) fn reconcile(
        &mut self,
        leaders: &mut Leaders,
        stream: &mut ReplicationStream,
        confirmed: Lsn,
    ) -> Result<Vec<FoundLane>> {
        let mut reported = Instant::now();
        let (notify, patience) = (self.notify.clone(), self.leader(leaders).patience);
        let mut meanwhile = || {
            notify.promise(patience);
            if reported.elapsed() >= SETTLE {
                stream.send_status(confirmed)?;
                reported = Instant::now();
            }
            Ok(())
        };
        let lanes: Vec<usize> = (0..leaders.count()).collect();
        let rests: Vec<Rest> = lanes.iter().map(|&lane| self.rest(leaders, lane)).collect();
        topic_end::settle(leaders, &rests, &mut meanwhile)?;
        let mut found = Vec::with_capacity(lanes.len());
        let lasts = leaders.last_records(&lanes)?;
        meanwhile()?;
        for (lane, last) in lasts.into_iter().enumerate() {
            let last = last.map(|record| record.value);
            found.push(self.found_lane(leaders, lane, last.as_deref(), &mut meanwhile)?);
        }
        for lane in lanes {
            self.pasts[lane].settled();
        }
        Ok(found)
    }

    fn rest(&self, leaders: &Leaders, lane: usize) -> Rest {
        let (end, slowest) = (leaders.bounds(lane).end, leaders.slowest(lane));
        let noted = self.known_lane(leaders.place(lane));
        let noted = noted.and_then(|known| known.in_doubt);
        self.pasts[lane].rest(end, slowest, noted, self.config.fluvio.timeout)
    }

    /// How a lane ends whose last record is `last`.
    fn found_lane(
        &self,
        leaders: &Leaders,
        lane: usize,
        last: Option<&[u8]>,
        meanwhile: &mut dyn FnMut() -> Result<()>,
    ) -> Result<FoundLane> {
        let bounds = leaders.bounds(lane);
        let mut found = FoundLane {
            bounds,
            tail: Tail::Empty,
            rows: None,
        };
        let mut removed = None;
        if let Some(in_doubt) = &self.pasts[lane].in_doubt {
            let mut reader = TailReader {
                reader: leaders.reader(lane)?,
                meanwhile: &mut *meanwhile,
            };
            let sent = in_doubt.records.count();
            let missing = reader.compare(bounds, in_doubt)?;
            log_compared(leaders, lane, sent, missing);
            let is_removed = bounds.is_empty() && bounds.end == in_doubt.offset + sent as i64;
            removed = is_removed.then_some(&in_doubt.records);
        }
        let first = self.first_offset(leaders.place(lane)).max(bounds.start);
        let last = last.filter(|_| bounds.end > first);
        match self.config.format {
            Format::Rows => {
                let last = last.or_else(|| removed.and_then(|sent| sent.values().last()));
                let tail = last.map(RowTail::of).transpose();
                found.rows = tail.map_err(|error| leaders.error(lane, error))?;
                found.tail = found.rows.map_or(Tail::Empty, |tail| tail.as_tail());
            }
            Format::Events => {
                found.tail = match (removed, last) {
                    (Some(sent), _) => {
                        let mut walk = WalkBack::default();
                        sent.values()
                            .for_each(|value| walk.take(Placed::parse(value)));
                        walk.end_part().ok().flatten().unwrap_or_default()
                    }
                    (None, None) => Tail::Empty,
                    (None, Some(last)) => {
                        self.events_tail(leaders, lane, last, bounds, first, meanwhile)?
                    }
                };
            }
        }
        Ok(found)
    }

    /// How a lane of events ends: its last record says so if it ends a unit, else the way back to a begin.
    fn events_tail(
        &self,
        leaders: &Leaders,
        lane: usize,
        last: &[u8],
        bounds: Bounds,
        first: i64,
        meanwhile: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Tail> {
        let known = topic_end::tail_of_last(last);
        if let Some(tail) = known.map_err(|error| leaders.error(lane, error))? {
            return Ok(tail);
        }
        let mut reader = TailReader {
            reader: leaders.reader(lane)?,
            meanwhile,
        };
        reader.read(bounds, first)
    }

    /// Where a lane ends that records do not go to any more; nothing if its topic is gone.
    pub(super) fn end_of(&self, place: &LanePlace) -> Result<Option<i64>> {
        let options = &self.config.fluvio;
        let cluster = cluster::endpoint(options)?;
        if cluster::topic(&cluster, options, &place.topic)?.is_none() {
            return Ok(None);
        }
        let partition = Partition::open_to_read(options, place).at(|| place.to_string())?;
        Ok(Some(partition.bounds().end))
    }
}

fn log_compared(leaders: &Leaders, lane: usize, sent: u64, missing: Option<u64>) {
    let place = match leaders.count() {
        1 => String::new(),
        _ => format!("{}: ", leaders.place(lane)),
    };
    match missing {
        Some(missing) => log::info!(
            "{place}{sent} records were sent and not acknowledged: {} of them are in the topic, {missing} \
             are sent again",
            sent - missing
        ),
        None => log::info!(
            "{place}{sent} records were sent and not acknowledged, and another process has written in \
             their place: going on where it left the topic"
        ),
    }
}
