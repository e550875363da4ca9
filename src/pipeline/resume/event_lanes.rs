//! The event format over many lanes: each a whole stream of its own.
//!
//! A lane has `begin` before the first change of a transaction in it, `commit` after the last, and the
//! description of a table before its first row in a session; of a transaction that has nothing for it, it
//! has nothing. Each lane resumes by itself.

use std::sync::Arc;

use super::{Dropped, Outstanding, Resume, Verdict};
use crate::base::error::Result;
use crate::base::lsn::Lsn;
use crate::change::relation::Catalog;
use crate::change::{Batch, Envelope, NO_LANE};
use crate::pg::wire::pgoutput::{Begin, Logical, Message, Origin, Truncate, Type};
use crate::pipeline::lane_map::{LaneMap, Spread};

/// What the lanes have already, and what they have of the open transaction.
pub struct EventLanes {
    lanes: Arc<LaneMap>,
    resumes: Vec<Resume>,
    /// The lanes that have something that is still to come again.
    unfinished: Vec<usize>,
    begin: Option<(Envelope, Begin)>,
    origin: Option<(Envelope, Origin<'static>)>,
    /// The lanes that have the begin.
    begun: Vec<usize>,
    /// The types that were described since the last table.
    types: Vec<(Envelope, Type<'static>)>,
}

impl EventLanes {
    /// Begins after lanes that have what `resumes` say.
    pub fn new(lanes: Arc<LaneMap>, resumes: Vec<Resume>) -> EventLanes {
        let is_unfinished = |lane: &usize| !resumes[*lane].is_over();
        EventLanes {
            unfinished: (0..resumes.len()).filter(is_unfinished).collect(),
            lanes,
            resumes,
            begin: None,
            origin: None,
            begun: Vec::new(),
            types: Vec::new(),
        }
    }

    fn unfinished(&self) -> impl Iterator<Item = &Resume> {
        self.unfinished.iter().map(|&lane| &self.resumes[lane])
    }

    /// Whether the stream has yet to show that it is the one that some lane has.
    pub fn is_awaiting(&self) -> bool {
        self.unfinished().any(Resume::is_awaiting)
    }

    /// Whether the last of what some lane has is still to come.
    pub fn is_resuming(&self) -> bool {
        self.unfinished().any(Resume::is_resuming)
    }

    /// What is still to come of what the lane that is furthest has.
    pub fn left(&self) -> Option<Outstanding> {
        self.unfinished().filter_map(Resume::left).max()
    }

    /// Notes that everything before `wal_end` was sent.
    pub fn sent_up_to(&self, wal_end: Lsn) -> Result<()> {
        self.unfinished()
            .try_for_each(|resume| resume.sent_up_to(wal_end))
    }

    /// What was dropped.
    pub fn dropped(&self) -> Dropped {
        let mut sum = Dropped::default();
        for resume in &self.resumes {
            sum.transactions += resume.dropped().transactions;
            sum.messages += resume.dropped().messages;
        }
        sum
    }

    /// Whether everything that comes from here on is new.
    pub fn is_over(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// Takes a message into the lanes that it goes to. What is not wanted is judged all the same.
    pub fn take(
        &mut self,
        envelope: Envelope,
        message: &Message<'_>,
        is_wanted: bool,
        catalog: &mut Catalog,
        batch: &mut Batch,
    ) -> Result<()> {
        match message {
            Message::Begin(begin) => self.begin(envelope, begin, message, catalog)?,
            Message::Commit(_) => self.commit(envelope, message, catalog, batch)?,
            Message::Origin(origin) => {
                let name = origin.name.clone().into_owned().into();
                let commit_lsn = origin.commit_lsn;
                self.origin = Some((envelope, Origin { commit_lsn, name }));
            }
            Message::Type(described) => {
                catalog.describe_type(described);
                self.types.push((envelope, described.to_static()));
            }
            Message::Relation(described) => {
                let lane = self.lane_of(&described.namespace, &described.name)?;
                for (envelope, described) in std::mem::take(&mut self.types) {
                    let message = Message::Type(described);
                    self.one(lane, envelope, &message, catalog, batch)?;
                }
                self.one(lane, envelope, message, catalog, batch)?;
            }
            Message::Insert { rel_id, .. }
            | Message::Update { rel_id, .. }
            | Message::Delete { rel_id, .. } => {
                let lane = self.lane_of_table(*rel_id, catalog)?;
                self.one(lane, envelope, message, catalog, batch)?;
            }
            Message::Truncate(truncate) => self.truncate(envelope, truncate, catalog, batch)?,
            Message::Logical(logical) => {
                self.logical(envelope, logical, message, is_wanted, catalog, batch)?;
            }
        }
        Ok(())
    }

    fn begin(
        &mut self,
        envelope: Envelope,
        begin: &Begin,
        message: &Message<'_>,
        catalog: &mut Catalog,
    ) -> Result<()> {
        self.begin = Some((envelope, *begin));
        self.origin = None;
        self.begun.clear();
        for &lane in &self.unfinished {
            self.resumes[lane].judge(envelope, message, catalog)?;
            if self.resumes[lane].is_in_part() {
                self.begun.push(lane);
            }
        }
        Ok(())
    }

    fn commit(
        &mut self,
        envelope: Envelope,
        message: &Message<'_>,
        catalog: &mut Catalog,
        batch: &mut Batch,
    ) -> Result<()> {
        let mut is_dropped = |lane: usize| -> Result<bool> {
            let resume = &mut self.resumes[lane];
            Ok(!resume.is_over() && resume.judge(envelope, message, catalog)? == Verdict::Drop)
        };
        let mut written = Vec::new();
        for &lane in &self.begun {
            if !is_dropped(lane)? {
                written.push(lane);
            }
        }
        for &lane in &self.unfinished {
            if !self.begun.contains(&lane) {
                is_dropped(lane)?;
            }
        }
        for lane in written {
            batch.go_to(lane as u32);
            batch.push(envelope, message, catalog)?;
        }
        // It ends the transaction, whatever lanes have of it.
        batch.go_to(NO_LANE);
        batch.push(envelope, message, catalog)?;
        self.begun.clear();
        self.begin = None;
        self.forget_finished();
        Ok(())
    }

    fn forget_finished(&mut self) {
        let resumes = &self.resumes;
        self.unfinished.retain(|&lane| !resumes[lane].is_over());
    }

    /// Takes a message into one lane.
    fn one(
        &mut self,
        lane: usize,
        envelope: Envelope,
        message: &Message<'_>,
        catalog: &mut Catalog,
        batch: &mut Batch,
    ) -> Result<()> {
        if self.is_new(lane, envelope, message, catalog)? {
            self.open(lane, catalog, batch)?;
            self.resumes[lane].release(message, batch, catalog)?;
            batch.push(envelope, message, catalog)?;
        }
        Ok(())
    }

    fn is_new(
        &mut self,
        lane: usize,
        envelope: Envelope,
        message: &Message<'_>,
        catalog: &mut Catalog,
    ) -> Result<bool> {
        let resume = &mut self.resumes[lane];
        Ok(resume.is_over() || resume.judge(envelope, message, catalog)? == Verdict::Write)
    }

    /// Turns to a lane, which gets the begin if it has not got it.
    fn open(&mut self, lane: usize, catalog: &mut Catalog, batch: &mut Batch) -> Result<()> {
        batch.go_to(lane as u32);
        let is_begun = self.begun.last() == Some(&lane) || self.begun.contains(&lane);
        if let (false, Some((envelope, begin))) = (is_begun, self.begin) {
            batch.push(envelope, &Message::Begin(begin), catalog)?;
            self.begun.push(lane);
            if let Some((envelope, origin)) = &self.origin {
                batch.push(*envelope, &Message::Origin(origin.clone()), catalog)?;
            }
        }
        Ok(())
    }

    /// A truncate of tables of several lanes is one in each of them, of its own tables.
    fn truncate(
        &mut self,
        envelope: Envelope,
        truncate: &Truncate<'_>,
        catalog: &mut Catalog,
        batch: &mut Batch,
    ) -> Result<()> {
        let mut of_lanes: Vec<(usize, Vec<u32>)> = Vec::new();
        for rel_id in truncate.rel_ids() {
            let lane = self.lane_of_table(rel_id, catalog)?;
            match of_lanes.iter_mut().find(|(known, _)| *known == lane) {
                Some((_, tables)) => tables.push(rel_id),
                None => of_lanes.push((lane, vec![rel_id])),
            }
        }
        let message = Message::Truncate(*truncate);
        for (lane, tables) in of_lanes {
            if self.is_new(lane, envelope, &message, catalog)? {
                self.open(lane, catalog, batch)?;
                for &table in &tables {
                    self.resumes[lane].release_table(table, batch, catalog)?;
                }
                batch.push_truncate(envelope, truncate.options, &tables);
            }
        }
        Ok(())
    }

    fn logical(
        &mut self,
        envelope: Envelope,
        logical: &Logical<'_>,
        message: &Message<'_>,
        is_wanted: bool,
        catalog: &mut Catalog,
        batch: &mut Batch,
    ) -> Result<()> {
        let lane = self.lanes.of_messages().lane_of(None);
        if logical.is_transactional() {
            let is_new = self.is_new(lane, envelope, message, catalog)?;
            if is_wanted && is_new {
                self.open(lane, catalog, batch)?;
                batch.push(envelope, message, catalog)?;
            }
            return Ok(());
        }
        // It shows the other lanes, too, how far the stream is.
        let mut is_new = true;
        for &unfinished in &self.unfinished {
            let verdict = self.resumes[unfinished].judge(envelope, message, catalog)?;
            is_new &= unfinished != lane || verdict == Verdict::Write;
        }
        self.forget_finished();
        if is_wanted {
            batch.go_to(if is_new { lane as u32 } else { NO_LANE });
            batch.push(envelope, message, catalog)?;
        }
        Ok(())
    }

    fn lane_of_table(&self, rel_id: u32, catalog: &Catalog) -> Result<usize> {
        let relation = catalog.relation(rel_id)?;
        self.lane_of(&relation.namespace, relation.name())
    }

    /// The lane of a table. The reader begins no table whose lane is not there.
    fn lane_of(&self, schema: &str, table: &str) -> Result<usize> {
        let spread = self.lanes.of_table(schema, table)?;
        Ok(spread.unwrap_or(Spread::One(0)).lane_of(None))
    }
}
