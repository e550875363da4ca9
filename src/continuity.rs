//! Proving, at each connect, that nothing was lost between the topic and the slot.
//!
//! The server sends what follows the confirmed position of the slot; the topic ends somewhere. The
//! two meet only if both are what they were. Each check that fails ends the program with one
//! message: what happened, what is at stake, and the ways out.

use crate::error::{Error, Kind, Result};
use crate::lsn::Lsn;
use crate::pg::system::{Slot, System};
use crate::resume::Tail;
use crate::sink::fluvio::reader::Bounds;
use crate::state::Known;

/// The ways out of every gap.
const WAYS_OUT: &str = "if it was a mistake, undo it and start again; else accept what is lost with \
    \"postgres-source accept-gap --config FILE --reason TEXT\", and copy the tables anew if consumers \
    need what is missing";

/// An error of this kind, with the ways out.
pub fn gap(message: impl Into<String>) -> Error {
    Error::new(Kind::Gap, message).with_hint(WAYS_OUT)
}

/// A gap that was found while streaming has the same ways out.
pub fn with_ways_out(error: Error) -> Error {
    match (error.kind(), error.hint()) {
        (Kind::Gap, None) => error.with_hint(WAYS_OUT),
        _ => error,
    }
}

/// A slot that no acceptance makes this program's own.
fn foreign(message: impl Into<String>) -> Error {
    Error::new(Kind::Gap, message)
        .with_hint("name another slot under \"parameters\", or correct the database URL")
}

/// What is found on the side of PostgreSQL.
#[derive(Debug, Clone)]
pub struct Source {
    /// The cluster.
    pub system: System,
    /// Whether it is a standby.
    pub is_standby: bool,
    /// The slot.
    pub slot: Slot,
    /// The publication's OID.
    pub publication_oid: u32,
    /// Where the cluster left the timeline that is known, if it is on a later one; at zero when it
    /// never was on it.
    pub left_timeline_at: Option<Lsn>,
}

/// What is found in the topic.
#[derive(Debug, Clone, Copy)]
pub struct Topic<'a> {
    /// Its name.
    pub name: &'a str,
    /// The partition.
    pub partition: u32,
    /// What it holds.
    pub bounds: Bounds,
    /// How it ends.
    pub tail: Tail,
}

/// The slot by itself: whether this program can stream from it.
pub fn check_slot(slot: &Slot, database: &str) -> Result<()> {
    check_own(slot, database)?;
    match slot.invalidated() {
        Some(reason) => Err(gap(format!(
            "was invalidated by the server ({reason}; max_slot_wal_keep_size is one limit that does \
             this, and on a standby its primary does it that removes rows, unless \
             hot_standby_feedback is on): the changes since {} are lost to it",
            slot.confirmed()
        ))),
        None => Ok(()),
    }
}

/// Whether it is of a kind that this program makes, in its database.
pub fn check_own(slot: &Slot, database: &str) -> Result<()> {
    if slot.temporary {
        return Err(foreign("is another session's temporary slot"));
    }
    match (slot.plugin.as_deref(), slot.database.as_deref()) {
        (Some("pgoutput"), Some(own)) if own == database => Ok(()),
        (Some("pgoutput"), own) => Err(foreign(format!(
            "belongs to the database {}, the connection is to {database}",
            own.unwrap_or_default()
        ))),
        (Some(plugin), _) => Err(foreign(format!(
            "is of the plugin {plugin}, a logical slot of the plugin pgoutput is needed"
        ))),
        (None, _) => Err(foreign(
            "is a physical slot, a logical slot of the plugin pgoutput is needed",
        )),
    }
}

/// The slot and what is known of it from before.
pub fn check_source(known: Option<&Known>, source: &Source) -> Result<()> {
    let Some(known) = known else { return Ok(()) };
    if let Some(found) = &known.gap {
        return Err(gap(format!(
            "a gap was found before and not accepted since: {found}"
        )));
    }
    let (system, confirmed) = (&source.system, source.slot.confirmed());
    if known.system_identifier != system.identifier {
        return Err(gap(format!(
            "this is another cluster: its system identifier is {}, it was {}; what was written there \
             since {} is not here",
            system.identifier, known.system_identifier, known.confirmed
        )));
    }
    if system.timeline < known.timeline {
        return Err(gap(format!(
            "the cluster is on timeline {}, it was on {}: it is a copy from before a failover",
            system.timeline, known.timeline
        )));
    }
    if system.wal_flush < known.confirmed {
        return Err(restored(system.wal_flush, known.confirmed));
    }
    // A stream from a standby goes on when that is promoted; and the slot is where it was left.
    let was_promoted = known.is_standby && confirmed == known.confirmed;
    if let Some(left) = source.left_timeline_at
        && left < known.confirmed
        && !was_promoted
    {
        let parted = if left == Lsn::ZERO {
            format!("the cluster never was on timeline {}", known.timeline)
        } else {
            format!("the cluster left timeline {} at {left}", known.timeline)
        };
        return Err(gap(format!(
            "{parted}, of which {} was confirmed: what the topic has of it from there on never \
             happened here",
            known.confirmed
        )));
    }
    if source.publication_oid != known.publication_oid {
        return Err(gap(
            "the publication was dropped and made again: changes of the time without it are not sent",
        ));
    }
    if confirmed > known.confirmed {
        return Err(gap(format!(
            "the slot was confirmed at {confirmed}, this program confirmed {}: it was advanced, or \
             dropped and made again, and what is in between is not sent",
            known.confirmed
        )));
    }
    Ok(())
}

/// The topic against the slot, and against what is known of it from before.
pub fn check_topic(known: Option<&Known>, source: &Source, topic: &Topic<'_>) -> Result<()> {
    let end = topic.bounds.end;
    if let Some(known) = known
        && (&*known.topic, known.partition) != (topic.name, topic.partition)
    {
        return Err(gap(format!(
            "the slot has been streaming into partition {} of the topic {} up to {}: this one begins \
             later",
            known.partition, known.topic, known.confirmed
        )));
    }
    if let Some(known) = known
        && end < known.offset
    {
        let what = if end == 0 {
            "it was deleted or emptied"
        } else {
            "its end is gone"
        };
        return Err(gap(format!(
            "it ends at offset {end}, it had {} records when {} was confirmed: {what}, and PostgreSQL \
             will not send those changes again",
            known.offset, known.confirmed
        )));
    }
    if known.is_none() && topic.bounds.is_empty() && end > 0 {
        return Err(gap(format!(
            "its {end} records were removed by its retention: it cannot be told what it had"
        )));
    }
    let confirmed = source.slot.confirmed();
    if let Tail::Open { final_lsn, .. } = topic.tail
        && confirmed > final_lsn
    {
        return Err(gap(format!(
            "it ends inside the transaction at {final_lsn}, the slot was confirmed at {confirmed}: the \
             rest of it is not sent"
        )));
    }
    let reach = topic.tail.reach();
    if reach > source.system.wal_flush {
        return Err(restored(source.system.wal_flush, reach));
    }
    Ok(())
}

fn restored(wal_flush: Lsn, reach: Lsn) -> Error {
    gap(format!(
        "the server's WAL ends at {wal_flush}, changes up to {reach} have been read: the database was \
         restored to an earlier point, or this is another one"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Stored;
    use crate::record::Unit;
    use crate::state::{Identity, Memory};

    fn known() -> Known {
        let identity = Identity {
            system_identifier: "1".into(),
            timeline: 2,
            is_standby: false,
            publication_oid: 3,
            slot: "s".into(),
            topic: "t".into(),
            partition: 0,
        };
        let mut memory = Memory::default();
        memory
            .begin(
                identity,
                Stored {
                    lsn: Lsn(100),
                    offset: 10,
                },
            )
            .unwrap();
        memory.known().unwrap().clone()
    }

    fn source(confirmed: &str) -> Source {
        let slot = format!(
            "{{\"plugin\":\"pgoutput\",\"database\":\"d\",\"temporary\":false,\
             \"confirmed_flush_lsn\":\"{confirmed}\"}}"
        );
        Source {
            system: System {
                identifier: "1".into(),
                timeline: 2,
                wal_flush: Lsn(200),
            },
            slot: serde_json::from_str(&slot).unwrap(),
            is_standby: false,
            publication_oid: 3,
            left_timeline_at: None,
        }
    }

    fn topic(end: i64, tail: Tail) -> Topic<'static> {
        Topic {
            name: "t",
            partition: 0,
            bounds: Bounds {
                start: 0,
                end,
                stable: end,
            },
            tail,
        }
    }

    #[test]
    fn what_was_left_is_found_again() {
        let (known, source) = (known(), source("0/64"));
        check_slot(&source.slot, "d").unwrap();
        check_source(Some(&known), &source).unwrap();
        let tail = Tail::Complete {
            last: Unit::transaction(Lsn(90)),
            end_lsn: Lsn(100),
        };
        check_topic(Some(&known), &source, &topic(10, tail)).unwrap();
        let open = Tail::Open {
            final_lsn: Lsn(150),
            rows: 3,
            last_message: Lsn::ZERO,
        };
        check_topic(Some(&known), &source, &topic(14, open)).unwrap();
        check_topic(None, &source, &topic(0, Tail::Empty)).unwrap();
    }

    #[test]
    fn a_standby_that_was_promoted_is_the_same_history() {
        let mut known = known();
        known.is_standby = true;
        let promoted = Source {
            left_timeline_at: Some(Lsn(99)),
            ..source("0/64")
        };
        check_source(Some(&known), &promoted).unwrap();
        // It is not the one that was read.
        let another = Source {
            left_timeline_at: Some(Lsn(99)),
            ..source("0/63")
        };
        assert!(check_source(Some(&known), &another).is_err());
    }

    #[test]
    fn each_change_of_the_source_is_noticed() {
        let known = known();
        let changed = |change: fn(&mut Source)| {
            let mut source = source("0/64");
            change(&mut source);
            check_source(Some(&known), &source).unwrap_err().to_string()
        };
        for (error, says) in [
            (
                changed(|source| source.system.identifier = "2".into()),
                "another cluster",
            ),
            (changed(|source| source.system.timeline = 1), "timeline 1"),
            (
                changed(|source| source.system.wal_flush = Lsn(99)),
                "restored to an earlier point",
            ),
            (
                changed(|source| source.left_timeline_at = Some(Lsn(99))),
                "left timeline 2",
            ),
            (
                changed(|source| source.left_timeline_at = Some(Lsn::ZERO)),
                "never was on timeline 2",
            ),
            (changed(|source| source.publication_oid = 4), "made again"),
            (
                changed(|s| {
                    *s = Source {
                        ..self::source("0/65")
                    }
                }),
                "advanced",
            ),
        ] {
            assert!(
                error.contains(says) && error.contains("accept-gap"),
                "{says}: {error}"
            );
        }
    }

    #[test]
    fn each_change_of_the_topic_is_noticed() {
        let (known, source) = (known(), source("0/64"));
        let error = |known: Option<&Known>, topic: Topic<'_>| {
            check_topic(known, &source, &topic).unwrap_err().to_string()
        };
        assert!(error(Some(&known), topic(9, Tail::Empty)).contains("its end is gone"));
        assert!(error(Some(&known), topic(0, Tail::Empty)).contains("deleted or emptied"));
        let open = Tail::Open {
            final_lsn: Lsn(99),
            rows: 0,
            last_message: Lsn::ZERO,
        };
        assert!(error(None, topic(10, open)).contains("ends inside the transaction"));
        let ahead = Tail::Complete {
            last: Unit::transaction(Lsn(199)),
            end_lsn: Lsn(201),
        };
        assert!(error(None, topic(10, ahead)).contains("restored to an earlier point"));
        let moved = Topic {
            name: "u",
            ..topic(10, Tail::Empty)
        };
        assert!(error(Some(&known), moved).contains("into partition 0 of the topic t"));
        let moved = Topic {
            partition: 1,
            ..topic(10, Tail::Empty)
        };
        assert!(error(Some(&known), moved).contains("into partition 0 of the topic t"));
        let evicted = Topic {
            bounds: Bounds {
                start: 9,
                end: 9,
                stable: 9,
            },
            ..topic(9, Tail::Empty)
        };
        assert!(error(None, evicted).contains("retention"));
    }

    #[test]
    fn a_slot_of_another_kind() {
        let with = |json: &str| {
            check_slot(&serde_json::from_str(json).unwrap(), "d")
                .unwrap_err()
                .to_string()
        };
        assert!(with(r#"{"temporary":false}"#).contains("physical"));
        assert!(
            with(r#"{"plugin":"wal2json","database":"d","temporary":false}"#).contains("wal2json")
        );
        assert!(
            with(r#"{"plugin":"pgoutput","database":"e","temporary":false}"#)
                .contains("database e")
        );
        let lost = r#"{"plugin":"pgoutput","database":"d","temporary":false,"wal_status":"lost"}"#;
        assert!(with(lost).contains("invalidated"));
        // One that is invalidated may be somebody else's all the same.
        assert!(with(&lost.replace(r#""d""#, r#""e""#)).contains("database e"));
    }
}
