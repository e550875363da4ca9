//! What the stream shows that does not fit what the topic has.

use super::tail::RowPlace;
use crate::base::error::{Error, Kind, Result};
use crate::base::lsn::Lsn;
use crate::change::Envelope;
use crate::pg::wire::pgoutput::Message;
use crate::record::readback::Unit;

pub(super) fn another_history(last: Unit) -> Error {
    gap(format!(
        "the topic ends with the {last}, which the slot has not confirmed and does not send: the \
         database was restored to an earlier point, or is another one, or \"messages\" or \"origin\" \
         were changed since and exclude it"
    ))
}

/// The last row that the topic has must be what comes in its place.
pub(super) fn is_there(
    last_row: RowPlace,
    envelope: Envelope,
    message: &Message<'_>,
) -> Result<()> {
    let rel_id = match message {
        Message::Insert { rel_id, .. }
        | Message::Update { rel_id, .. }
        | Message::Delete { rel_id, .. } => Some(*rel_id),
        _ => None,
    };
    if envelope.wal_start == last_row.wal_start && rel_id == last_row.rel_id {
        return Ok(());
    }
    Err(gap(format!(
        "the last row that the topic has is at {}, and another change comes in its place, at {}: the \
         database was restored to an earlier point, or what it publishes is not what it was",
        last_row.wal_start, envelope.wal_start
    )))
}

pub(super) fn rewritten(last: Unit) -> Error {
    gap(format!(
        "the topic ends with the {last}, and another one is in its place now: the database was restored \
         to an earlier point and has been written to since; what the topic has of the time after that \
         point never happened here, and what was written since is not in it"
    ))
}

pub(super) fn undecidable(position: Lsn) -> Error {
    gap(format!(
        "the topic ends inside a transaction whose begin its retention has removed, and several rows of \
         it have the position {position}: it cannot be told how many of these are there"
    ))
}

pub(super) fn not_found(last_row: RowPlace) -> Error {
    gap(format!(
        "the topic ends inside a transaction whose begin its retention has removed, with a row at {}, \
         which the slot does not send again",
        last_row.wal_start
    ))
}

pub(super) fn gap(message: String) -> Error {
    Error::new(Kind::Gap, message)
}
