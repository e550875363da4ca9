//! What the lanes of a session have already, in whatever format.

use super::event_lanes::EventLanes;
use super::row_tail::AwaitedUnits;
use super::{Dropped, Outstanding, Resume};
use crate::base::error::Result;
use crate::base::lsn::Lsn;

/// What is still to come of what the lanes have.
pub enum Past {
    /// One lane of events: what it has is dropped by the reader.
    Events(Box<Resume>),
    /// Several lanes of events: as above.
    EventLanes(Box<EventLanes>),
    /// Lanes of rows: the producer drops what each has, since only it knows where a row goes.
    Rows(AwaitedUnits),
}

impl Default for Past {
    fn default() -> Past {
        Past::Events(Box::default())
    }
}

impl Past {
    /// Whether the stream has yet to show that it is the one that the lanes have. Until then nothing may be
    /// confirmed.
    pub fn is_awaiting(&self) -> bool {
        match self {
            Past::Events(resume) => resume.is_awaiting(),
            Past::EventLanes(lanes) => lanes.is_awaiting(),
            Past::Rows(units) => units.is_awaiting(),
        }
    }

    /// Whether the last of what the lanes have is still to come.
    pub fn is_resuming(&self) -> bool {
        match self {
            Past::Events(resume) => resume.is_resuming(),
            Past::EventLanes(lanes) => lanes.is_resuming(),
            Past::Rows(units) => units.is_awaiting(),
        }
    }

    /// What is still to come, while something is.
    pub fn left(&self) -> Option<Outstanding> {
        match self {
            Past::Events(resume) => resume.left(),
            Past::EventLanes(lanes) => lanes.left(),
            Past::Rows(units) => units.left(),
        }
    }

    /// Notes that everything before `wal_end` was sent.
    pub fn sent_up_to(&self, wal_end: Lsn) -> Result<()> {
        match self {
            Past::Events(resume) => resume.sent_up_to(wal_end),
            Past::EventLanes(lanes) => lanes.sent_up_to(wal_end),
            Past::Rows(units) => units.sent_up_to(wal_end),
        }
    }

    /// What was dropped by the reader.
    pub fn dropped(&self) -> Dropped {
        match self {
            Past::Events(resume) => resume.dropped(),
            Past::EventLanes(lanes) => lanes.dropped(),
            Past::Rows(_) => Dropped::default(),
        }
    }

    /// Whether everything that the reader reads from here on is new.
    pub fn is_over(&self) -> bool {
        match self {
            Past::Events(resume) => resume.is_over(),
            Past::EventLanes(lanes) => lanes.is_over(),
            Past::Rows(units) => !units.is_awaiting(),
        }
    }
}
