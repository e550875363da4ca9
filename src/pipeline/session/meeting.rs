//! Finding that slot and lanes meet, now that both are ours.

use std::sync::Arc;

use super::Program;
use super::settling::FoundLane;
use super::taking::Taken;
use crate::base::error::{Context, Result};
use crate::base::lsn::Lsn;
use crate::observe::peer::Side;
use crate::pipeline::lane_map::LaneMap;
use crate::pipeline::progress::Stored;
use crate::pipeline::resume::continuity;
use crate::pipeline::resume::event_lanes::EventLanes;
use crate::pipeline::resume::past::Past;
use crate::pipeline::resume::row_tail::{AwaitedUnits, RowTail};
use crate::pipeline::resume::source::Source;
use crate::pipeline::resume::state_file::KnownLane;
use crate::pipeline::resume::{Resume, Tail};
use crate::pipeline::rows::Rows;
use crate::record::Format;
use crate::sink::fluvio::{LanePlace, Leaders};
use crate::sink::lane::Lanes;

impl Program<'_> {
    /// Reads the ends of the lanes, now that the slot is ours, and finds that they and the slot meet.
    pub(super) fn meet(
        &mut self,
        leaders: &mut Leaders,
        map: &Arc<LaneMap>,
        taken: &mut Taken,
    ) -> Result<Met> {
        let Taken {
            stream,
            lease,
            source,
            ..
        } = taken;
        let confirmed = source.slot.confirmed();
        self.wait_for(&self.leader(leaders));
        let mut found = self.reconcile(leaders, stream, confirmed)?;
        self.metrics.waits.answered(Side::Sink);
        let ends: Vec<i64> = found.iter().map(|lane| lane.bounds.end).collect();
        self.follow_others(source, &ends)?;
        self.check_routing(map, &ends)?;
        for (lane, name) in found.iter_mut().zip(map.names()) {
            let topic = lane.topic(name);
            lane.tail = continuity::tail_to_resume(self.memory.known(), &topic)
                .at(|| map.place_of(name))?;
        }
        let is_beyond = |lane: &FoundLane| {
            let is_headless = matches!(lane.tail, Tail::Headless { .. });
            is_headless || lane.tail.reach() > source.system.wal_flush
        };
        if found.iter().any(is_beyond) {
            // It was written while we connected, or it is not of this server.
            self.wait_for(&self.server());
            source.system.wal_flush = self.wal_flush(stream.endpoint())?;
            self.metrics.waits.answered(Side::Postgres);
        }
        self.metrics.wal_end.set(source.system.wal_flush.0);
        for (lane, name) in found.iter().zip(map.names()) {
            continuity::check_topic(self.memory.known(), source, &lane.topic(name))
                .at(|| map.place_of(name))?;
        }
        let offsets: Arc<[i64]> = ends.clone().into();
        let at = |lsn: Lsn| Stored {
            lsn: lsn.max(confirmed),
            offsets: Arc::clone(&offsets),
        };
        // Of several lanes only what comes again tells what all of them have.
        let stored = match &found[..] {
            [lane] if self.config.format == Format::Events => {
                lane.tail.stored().map_or(at(confirmed), at)
            }
            _ => at(confirmed),
        };
        // What not all replicas have may go missing still.
        let is_stable = |lane: &FoundLane| lane.bounds.stable >= lane.bounds.end;
        let (stored, unsettled) = match found.iter().all(is_stable) {
            true => (stored, None),
            false => (at(confirmed), Some(stored)),
        };
        let mut kept = Vec::new();
        for (number, (lane, name)) in found.iter().zip(map.names()).enumerate() {
            self.pasts[number].left_at = lane.bounds.end;
            let offset = confirmed_in(confirmed, lane.tail, lane.bounds.end);
            kept.push(KnownLane::new(&*name.topic, name.partition, offset));
        }
        let kept_offsets: Vec<i64> = kept.iter().map(|lane| lane.offset).collect();
        self.memory.begin(self.first_known(source, map, kept))?;
        let writer = leaders.writer(&ends, lease)?;
        let mut lanes = Lanes::new(Box::new(writer), &stored);
        if !self.is_plain(map) {
            for (number, (lane, offset)) in found.iter().zip(kept_offsets).enumerate() {
                if offset < lane.bounds.end {
                    lanes.hold(number, lane.tail.reach(), offset);
                }
            }
        }
        let tails: Vec<Option<RowTail>> = found.iter().map(|lane| lane.rows).collect();
        // The slot may have lost of its position what was confirmed last.
        let known = self.memory.known();
        let before = known.map_or(confirmed, |known| known.confirmed.max(confirmed));
        let wal_end = source.system.wal_flush;
        Ok(Met {
            lanes,
            past: match self.past_of_rows(&tails, confirmed) {
                Some(past) => past,
                None => self.past_of_events(map, &found, (confirmed, before), wal_end),
            },
            rows: self.rows_after(map, &tails, before),
            stored,
            unsettled,
        })
    }

    /// Whether there is one lane of events, as the program has always had it.
    fn is_plain(&self, map: &LaneMap) -> bool {
        map.is_single() && self.config.format == Format::Events
    }

    /// What lanes of events have of what is still to come from a slot that was confirmed at `confirmed`, while
    /// everything `before` is known to have been stored.
    fn past_of_events(
        &self,
        map: &Arc<LaneMap>,
        found: &[FoundLane],
        (confirmed, before): (Lsn, Lsn),
        wal_end: Lsn,
    ) -> Past {
        if let ([lane], true) = (found, map.is_single()) {
            let resume = Resume::after(lane.tail, confirmed, wal_end);
            return Past::Events(Box::new(resume));
        }
        let resumes = found.iter().map(|lane| {
            // What is not in this lane was for others.
            let tail = match lane.tail.reach() <= before {
                true => Tail::Removed { stored: before },
                false => lane.tail,
            };
            Resume::after(tail, confirmed, wal_end)
        });
        let lanes = EventLanes::new(Arc::clone(map), resumes.collect());
        Past::EventLanes(Box::new(lanes))
    }

    pub(super) fn past_of_rows(&self, tails: &[Option<RowTail>], confirmed: Lsn) -> Option<Past> {
        (self.config.format == Format::Rows)
            .then(|| Past::Rows(AwaitedUnits::of(tails.iter().flatten(), confirmed)))
    }

    pub(super) fn rows_after(
        &self,
        map: &Arc<LaneMap>,
        tails: &[Option<RowTail>],
        before: Lsn,
    ) -> Option<Rows> {
        let is_rows = self.config.format == Format::Rows;
        is_rows.then(|| Rows::new(self.config, Arc::clone(map), tails, before))
    }

    /// Without a file, only the lanes tell of another process that had the slot in between: if one has
    /// more records than we left there, they are of whoever moved the slot, and we go on as it would.
    fn follow_others(&mut self, source: &Source, ends: &[i64]) -> Result<()> {
        let moved = continuity::check_moved(self.memory.known(), source);
        let mut lanes = ends.iter().enumerate();
        let is_longer = lanes.any(|(lane, &end)| end > self.pasts[lane].left_at);
        if moved.is_err() && !self.memory.is_shared() && is_longer {
            log::info!("another process had the slot in between: going on where it left the topic");
            self.memory.forget();
            return Ok(());
        }
        moved.at(|| self.slot_place())
    }

    /// Finds that records go the ways that they went before, or that everything is confirmed that went those.
    fn check_routing(&self, map: &LaneMap, ends: &[i64]) -> Result<()> {
        let Some(known) = self.memory.known() else {
            return Ok(());
        };
        let routing = map.routing();
        if known.routing == routing {
            return continuity::check_lanes(known, map.names());
        }
        for lane in &known.lanes {
            let place = LanePlace {
                topic: lane.topic.as_str().into(),
                partition: lane.partition,
            };
            let end = match map.names().iter().position(|name| *name == place) {
                Some(at) => Some(ends[at]),
                None => self.end_of(&place)?,
            };
            continuity::check_left(known, lane, end)?;
        }
        log::info!(
            "formats, routes or partitions were changed, and everything was confirmed before"
        );
        Ok(())
    }
}

/// Slot and lanes, which meet.
pub(super) struct Met {
    pub lanes: Lanes,
    pub past: Past,
    pub rows: Option<Rows>,
    pub stored: Stored,
    pub unsettled: Option<Stored>,
}

/// How much of a lane must be kept for what is confirmed. What it has beyond that may go missing again
/// without a loss, and where that begins is not known.
fn confirmed_in(confirmed: Lsn, tail: Tail, end: i64) -> i64 {
    match tail {
        Tail::Empty | Tail::Removed { .. } => end,
        Tail::Complete { end_lsn, .. } if end_lsn <= confirmed => end,
        Tail::Complete { .. } | Tail::Open { .. } | Tail::Headless { .. } => 0,
    }
}
