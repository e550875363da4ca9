//! Proving, at each connect, that nothing was lost between the topic and the slot.
//!
//! The server sends what follows the confirmed position of the slot; the topic ends somewhere. The
//! two meet only if both are what they were. Each check that fails ends the program with one
//! message: what happened, what is at stake, and the ways out.

use super::Tail;
use super::source::Source;
use super::state_file::{Known, KnownLane};
use crate::base::error::{Error, Kind, Reason, Result};
use crate::base::lsn::Lsn;
use crate::pg::catalog::system::{NAME_THE_PRIMARY, Slot};
use crate::pg::wire::server_error::GIVE_UP;
use crate::pipeline::lane_map::Routing;
use crate::sink::fluvio::LanePlace;
use crate::sink::fluvio::reader::Bounds;

/// The way past every gap.
pub const ACCEPT: &str = "accept what is lost with \"postgres-source accept-gap --config FILE --reason \
    TEXT\", and copy the tables anew if consumers need what is missing";

/// The ways out of every gap.
fn ways_out() -> String {
    format!("if it was a mistake, undo it and start again; else {ACCEPT}")
}

/// A gap, with the ways out.
pub fn gap(message: impl Into<String>) -> Error {
    Error::new(Kind::Gap, message).with_hint(ways_out())
}

/// Adds the ways out to a gap that was found while streaming.
pub fn with_ways_out(error: Error) -> Error {
    match (error.kind(), error.hint()) {
        (Kind::Gap, None) => error.with_hint(ways_out()),
        _ => error,
    }
}

/// The error of what would be a gap anywhere else, on a server in recovery: it may still come, or not be
/// expected here at all.
pub fn on_standby(message: impl Into<String>, hint: &str) -> Error {
    Error::unreachable(message)
        .with_hint(format!("{hint}; if it will not come, {ACCEPT}"))
        .with_reason(Reason::Standby)
}

/// A slot that no acceptance makes this program's own.
fn foreign(message: impl Into<String>) -> Error {
    Error::new(Kind::Gap, message)
        .with_hint("name another slot under \"parameters\", or correct the database URL")
}

/// The partition that continuity is proved of.
#[derive(Debug, Clone, Copy)]
pub struct Topic<'a> {
    /// The topic's name.
    pub name: &'a str,
    /// The partition.
    pub partition: u32,
    /// The offsets that the partition holds.
    pub bounds: Bounds,
    /// How the partition ends.
    pub tail: Tail,
}

/// Checks the slot by itself: whether this program can stream from it. An error of which nothing but a new slot
/// helps has [`Reason::SlotUseless`].
pub fn check_slot(slot: &Slot, database: &str) -> Result<()> {
    check_own(slot, database)?;
    check_readable(slot).map_err(|error| error.with_reason(Reason::SlotUseless))
}

fn check_readable(slot: &Slot) -> Result<()> {
    if slot.two_phase == Some(true) {
        return Err(Error::new(
            Kind::Gap,
            "was made with two_phase: it sends transactions when they are prepared, which this program does \
             not read",
        )
        .with_hint(format!("name another slot under \"parameters\", or {GIVE_UP}")));
    }
    if let Some(missing) = slot.missing_wal {
        return Err(Error::new(
            Kind::Gap,
            format!(
                "the server has not the WAL any more that it needs, from {missing} on: files of pg_wal were \
                 removed by hand, or the server was reset; the changes since {} are lost to it",
                slot.confirmed()
            ),
        )
        .with_hint(format!(
            "if the files were moved, put them back and start again; else {GIVE_UP}"
        )));
    }
    match slot.invalidation() {
        Some(why) => Err(gap(format!(
            "was invalidated by the server ({why}): the changes since {} are lost to it",
            slot.confirmed()
        ))),
        None => Ok(()),
    }
}

/// Checks that a slot is of a kind that this program makes, in its database.
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

/// Checks the source against what is known of it from before.
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
        let message = format!(
            "the cluster is on timeline {}, it was on {}: it is a copy from before a failover",
            system.timeline, known.timeline
        );
        return Err(match source.is_standby {
            true => on_standby(message, NAME_THE_PRIMARY),
            false => gap(message),
        });
    }
    match source.left_timeline_at {
        Some(Lsn::ZERO) => {
            return Err(gap(format!(
                "the cluster never was on timeline {}, of which {} was confirmed: what the topic has of \
                 it never happened here",
                known.timeline, known.confirmed
            )));
        }
        // A standby's stream goes on through its promotion: there the slot may have been confirmed since.
        Some(left) if left < confirmed && !known.is_standby => {
            return Err(gap(format!(
                "the cluster left timeline {} at {left}, of which the slot was confirmed at {confirmed}: \
                 what the topic has of it from there on never happened here, and what did is not sent",
                known.timeline
            )));
        }
        // The slot begins before that. What the topic has of the time after it is compared with that.
        Some(_) => {}
        None if system.wal_flush < known.confirmed => {
            return Err(behind(source, known.confirmed));
        }
        None => {}
    }
    if source.publication_oid != known.publication_oid {
        return Err(gap(
            "the publication was dropped and made again: changes of the time without it are not sent",
        ));
    }
    Ok(())
}

/// Checks that nobody else has moved the slot since.
pub fn check_moved(known: Option<&Known>, source: &Source) -> Result<()> {
    let confirmed = source.slot.confirmed();
    match known {
        Some(known) if confirmed > known.confirmed => Err(gap(format!(
            "the slot was confirmed at {confirmed}, this program confirmed {}: it was advanced, or \
             dropped and made again, and what is in between is not sent",
            known.confirmed
        ))),
        _ => Ok(()),
    }
}

/// Checks that one lane of events is the one that was written before. Of many, and of rows, those may be new
/// whose tables are.
pub fn check_lanes(known: &Known, lanes: &[LanePlace]) -> Result<()> {
    let is_one = |lane: &LanePlace| known.lane(&lane.topic, lane.partition).is_some();
    match (&known.routing, known.lanes.first()) {
        (Routing::OneLane, Some(other)) if !lanes.iter().any(is_one) => Err(gap(format!(
            "the slot has been streaming into partition {} of the topic {} up to {}: this one begins \
             later",
            other.partition, other.topic, known.confirmed
        ))),
        _ => Ok(()),
    }
}

/// Checks that a lane, which ends at `end` if its topic is there, has nothing that is not confirmed, since
/// records go other ways from now on.
pub fn check_left(known: &Known, lane: &KnownLane, end: Option<i64>) -> Result<()> {
    let more = end.map_or(0, |end| end - lane.offset);
    if more <= 0 && lane.in_doubt.is_none() {
        return Ok(());
    }
    Err(gap(format!(
        "formats, routes, keys or partitions were changed while partition {} of the topic {} has {more} records \
         of what was not confirmed: up to {} everything is",
        lane.partition, lane.topic, known.confirmed
    ))
    .with_hint(format!(
        "start it with the former config until everything is confirmed, \"run --once-drained\", and change it \
         then; else {ACCEPT}"
    )))
}

/// Checks the topic against the slot, and against what is known of it from before.
pub fn check_topic(known: Option<&Known>, source: &Source, topic: &Topic<'_>) -> Result<()> {
    let end = topic.bounds.end;
    let lane = known.and_then(|known| known.lane(topic.name, topic.partition));
    if let (Some(known), Some(lane)) = (known, lane)
        && end < lane.offset
    {
        let what = if end == 0 {
            "it was deleted or emptied"
        } else {
            "its end is gone"
        };
        return Err(gap(format!(
            "it ends at offset {end}, it had {} records when {} was confirmed: {what}, and PostgreSQL \
             will not send those changes again",
            lane.offset, known.confirmed
        )));
    }
    if lane.is_none() && topic.bounds.is_empty() && end > 0 {
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
        return Err(behind(source, reach));
    }
    // After a promotion within a session the topic is on the new timeline already: all that was not
    // confirmed comes again then, and is compared.
    if let (Some(known), Some(left)) = (known, source.left_timeline_at)
        && !known.is_standby
        && confirmed <= left
        && left < reach
    {
        return Err(gap(format!(
            "the cluster left timeline {} at {left}, the topic goes up to {reach}: what the topic has of it \
             from there on never happened here",
            known.timeline
        )));
    }
    Ok(())
}

/// How the topic ends for resuming: one whose records were all removed by retention says nothing of
/// that itself, but what is known of it may.
pub fn tail_to_resume(known: Option<&Known>, topic: &Topic<'_>) -> Result<Tail> {
    let (Bounds { start, end, .. }, Tail::Empty) = (topic.bounds, topic.tail) else {
        return Ok(topic.tail);
    };
    let is_removed = start == end && end > 0;
    let lane = known.and_then(|known| known.lane(topic.name, topic.partition));
    match known.zip(lane) {
        Some((known, lane)) if is_removed && end > lane.first_offset => match end == lane.offset {
            true => Ok(Tail::Removed {
                stored: known.confirmed,
            }),
            false => Err(gap(format!(
                "its records up to offset {end} were removed by its retention; {} was confirmed when it \
                 had {}, and it cannot be told what came after that",
                known.confirmed, lane.offset
            ))),
        },
        _ => Ok(Tail::Empty),
    }
}

/// The error of a server whose WAL does not reach as far as what was read.
fn behind(source: &Source, reach: Lsn) -> Error {
    let wal_flush = source.system.wal_flush;
    match source.is_standby {
        true => on_standby(
            format!(
                "this standby has WAL up to {wal_flush}, changes up to {reach} have been read: it has \
                 not replayed them again, or is not as far as the server that they were read from"
            ),
            NAME_THE_PRIMARY,
        ),
        false => gap(format!(
            "the server's WAL ends at {wal_flush}, changes up to {reach} have been read: the database \
             was restored to an earlier point, or this is another one"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::catalog::system::System;
    use crate::pipeline::resume::Mark;
    use crate::pipeline::resume::state_file::tests::known;
    use crate::record::readback::Unit;

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
            decodable: Lsn(200),
        }
    }

    fn complete(commit: u64, end: u64) -> Tail {
        Tail::Complete {
            last: Unit::transaction(Lsn(commit)),
            end_lsn: Lsn(end),
            mark: Mark::default(),
        }
    }

    fn open(final_lsn: u64, rows: u64) -> Tail {
        Tail::Open {
            final_lsn: Lsn(final_lsn),
            mark: Mark::default(),
            rows,
            last_row: None,
            last_message: Lsn::ZERO,
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
        check_moved(Some(&known), &source).unwrap();
        check_topic(Some(&known), &source, &topic(10, complete(90, 100))).unwrap();
        check_topic(Some(&known), &source, &topic(14, open(150, 3))).unwrap();
        check_topic(None, &source, &topic(0, Tail::Empty)).unwrap();
    }

    /// At (left, confirmed) of a cluster that is a timeline further than what is known, which was
    /// confirmed at 100, and a topic that ends at `reach`.
    fn further(is_standby: bool, left: u64, confirmed: &str, reach: u64) -> Result<()> {
        let mut known = known();
        known.is_standby = is_standby;
        let source = Source {
            left_timeline_at: Some(Lsn(left)),
            ..source(confirmed)
        };
        check_source(Some(&known), &source)?;
        check_topic(
            Some(&known),
            &source,
            &topic(10, complete(reach - 1, reach)),
        )
    }

    #[test]
    fn a_standby_that_was_promoted_is_the_same_history() {
        further(true, 99, "0/64", 100).unwrap();
        // Its slot came back a little behind after a crash: what the topic has more is compared.
        further(true, 99, "0/63", 100).unwrap();
        further(true, 90, "0/62", 100).unwrap();
    }

    #[test]
    fn what_a_primary_that_is_gone_had_more_never_happened_here() {
        let error = |left, confirmed, reach| {
            let error = further(false, left, confirmed, reach).unwrap_err();
            assert_eq!(error.kind(), Kind::Gap);
            error.to_string()
        };
        assert!(error(99, "0/64", 90).contains("the slot was confirmed at 0/64"));
        assert!(error(90, "0/5A", 100).contains("the topic goes up to 0/64"));
        // Only positions that had nothing for the topic were confirmed of that.
        further(false, 90, "0/5A", 90).unwrap();
    }

    #[test]
    fn on_a_standby_what_is_behind_may_still_come() {
        let known = known();
        let behind = Source {
            is_standby: true,
            ..source("0/60")
        };
        let mut early = behind.clone();
        early.system.wal_flush = Lsn(99);
        let mut before_failover = behind.clone();
        before_failover.system.timeline = 1;
        for source in [early, before_failover] {
            let error = check_source(Some(&known), &source).unwrap_err();
            assert_eq!(error.reason(), Some(Reason::Standby), "{error}");
            assert!(error.kind().is_transient());
        }
        let ahead = topic(10, complete(199, 201));
        let error = check_topic(None, &behind, &ahead).unwrap_err();
        assert!(error.kind().is_transient(), "{error}");
    }

    #[test]
    fn what_retention_removed_is_known_up_to_what_was_confirmed() {
        let known = known();
        let removed = |end| Topic {
            bounds: Bounds {
                start: end,
                end,
                stable: end,
            },
            ..topic(end, Tail::Empty)
        };
        let stored = Lsn(100);
        assert_eq!(
            tail_to_resume(Some(&known), &removed(10)).unwrap(),
            Tail::Removed { stored }
        );
        let error = tail_to_resume(Some(&known), &removed(11))
            .unwrap_err()
            .to_string();
        assert!(error.contains("removed by its retention"), "{error}");
        for (known, topic) in [
            (None, removed(10)),
            (Some(&known), topic(0, Tail::Empty)),
            (Some(&known), topic(10, complete(90, 91))),
        ] {
            assert_eq!(tail_to_resume(known, &topic).unwrap(), topic.tail);
        }
    }

    #[test]
    fn each_change_of_the_source_is_noticed() {
        let known = known();
        let changed = |change: fn(&mut Source)| {
            let mut source = source("0/64");
            change(&mut source);
            let checked = check_source(Some(&known), &source)
                .and_then(|()| check_moved(Some(&known), &source));
            checked.unwrap_err().to_string()
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
        assert!(error(None, topic(10, open(99, 0))).contains("ends inside the transaction"));
        assert!(
            error(None, topic(10, complete(199, 201))).contains("restored to an earlier point")
        );
        let lane = |topic: &str, partition| {
            let topic = topic.into();
            [LanePlace { topic, partition }]
        };
        check_lanes(&known, &lane("t", 0)).unwrap();
        for moved in [lane("u", 0), lane("t", 1)] {
            let error = check_lanes(&known, &moved).unwrap_err().to_string();
            assert!(error.contains("into partition 0 of the topic t"), "{error}");
        }
        let left = |end| check_left(&known, &known.lanes[0], end);
        left(Some(10)).unwrap();
        left(None).unwrap();
        let more = left(Some(12)).unwrap_err().to_string();
        assert!(more.contains("has 2 records"), "{more}");
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
