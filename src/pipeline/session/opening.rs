//! Opening both sides.
//!
//! Fluvio is opened first, so that a dead one does not hold the slot. Then START_REPLICATION takes
//! the slot (`taking`): from that moment nobody else can stream from it, and only then the ends of the lanes
//! are read (`settling`) and found to meet it (`meeting`).

use std::sync::Arc;
use std::time::Duration;

use super::taking::{Taken, give_back};
use super::{Opened, Output, Program};
use crate::base::error::{Context, Error, Result};
use crate::base::lsn::Lsn;
use crate::observe::peer::{Peer, Side};
use crate::pg::connection::Connection;
use crate::pipeline::lane_map::{LaneMap, TableName};
use crate::pipeline::progress::Stored;
use crate::pipeline::resume::continuity;
use crate::sink::fluvio::Leaders;
use crate::sink::lane::Lanes;
use crate::sink::stdout::RecordLines;

impl Program<'_> {
    /// Opens both sides and finds that they meet.
    pub fn open(&mut self) -> Result<Opened> {
        match self.output {
            Output::Topic => self.open_topics(),
            Output::Stdout => self.open_stdout(),
        }
    }

    fn open_stdout(&mut self) -> Result<Opened> {
        let lines = RecordLines::on_stdout()?;
        self.metrics.waits.answered(Side::Sink);
        let Taken {
            stream,
            lease,
            status_interval,
            source,
        } = self.take_slot(false)?;
        self.metrics.wal_end.set(source.system.wal_flush.0);
        let confirmed = source.slot.confirmed();
        continuity::check_moved(self.memory.known(), &source).at(|| self.slot_place())?;
        let stored = Stored::in_one(confirmed, 0);
        let map = Arc::new(LaneMap::standard_output());
        self.memory
            .begin(self.first_known(&source, &map, Vec::new()))?;
        Ok(Opened {
            lanes: Lanes::new(Box::new(lines), &stored),
            stream,
            lease,
            past: self.past_of_rows(&[], confirmed).unwrap_or_default(),
            rows: self.rows_after(&map, &[None], Lsn::ZERO),
            map,
            messages: self.config.messages.clone(),
            confirmed,
            stored,
            unsettled: None,
            status_interval,
            goal: source.decodable,
            // Whoever reads it may take all the time in the world.
            peer: Peer {
                side: Side::Sink,
                name: "the reader of standard output".to_owned(),
                patience: Duration::MAX,
            },
        })
    }

    fn open_topics(&mut self) -> Result<Opened> {
        // The first of a connector may have made the publication, whose tables were not known before.
        match self.open_mapped()? {
            Some(opened) => Ok(opened),
            None => {
                let tables =
                    || Error::unreachable("the tables of the publication change all the time");
                self.open_mapped()?.ok_or_else(tables)
            }
        }
    }

    /// Opens the lanes of the tables that there are; nothing if there are more once the slot is ours.
    fn open_mapped(&mut self) -> Result<Option<Opened>> {
        let map = self.map_lanes()?;
        self.wait_for(&self.cluster());
        let mut leaders = Leaders::find(&self.config.fluvio, map.topics(), map.names())?;
        self.metrics.waits.answered(Side::Sink);
        self.pasts.align(map.names());
        for lane in 0..leaders.count() {
            self.pasts[lane].end = Some(leaders.bounds(lane).end);
        }
        let mut lanes = map.names().iter().enumerate();
        let has_history =
            lanes.any(|(lane, name)| leaders.bounds(lane).end > self.first_offset(name));
        let mut taken = self.take_slot(has_history)?;
        let met = match self.has_all_lanes(&map) {
            Ok(true) => self.meet(&mut leaders, &map, &mut taken).map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        match met {
            Ok(Some(met)) => Ok(Some(Opened {
                lanes: met.lanes,
                stream: taken.stream,
                lease: taken.lease,
                past: met.past,
                rows: met.rows,
                map,
                messages: self.config.messages.clone(),
                confirmed: taken.source.slot.confirmed(),
                stored: met.stored,
                unsettled: met.unsettled,
                status_interval: taken.status_interval,
                goal: taken.source.decodable,
                peer: self.leader(&leaders),
            })),
            unmet => {
                give_back(&mut taken.stream);
                unmet.map(|_| None)
            }
        }
    }

    /// The lanes of the tables that the publication has now, and of those that have come.
    pub(super) fn map_lanes(&self) -> Result<Arc<LaneMap>> {
        let mut tables = Vec::new();
        if self.config.routes.needs_tables() {
            self.wait_for(&self.server());
            tables = self.published_tables()?;
            self.metrics.waits.answered(Side::Postgres);
            tables.extend(self.met_tables.iter().cloned());
            tables.sort();
            tables.dedup();
        }
        LaneMap::of(self.config, &tables).map(Arc::new)
    }

    /// Whether the tables that the publication has now have their lanes.
    fn has_all_lanes(&self, map: &LaneMap) -> Result<bool> {
        if !self.config.routes.needs_tables() {
            return Ok(true);
        }
        for (schema, table) in self.published_tables()? {
            if map.of_table(&schema, &table)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The tables that the publication has, if it is there.
    fn published_tables(&self) -> Result<Vec<TableName>> {
        let mut connection = Connection::connect_for_sql(&self.params)?;
        let tables = connection.published_tables(&self.config.publication);
        connection.terminate();
        tables
    }
}
