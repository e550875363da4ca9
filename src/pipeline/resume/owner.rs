//! Whose a state file is: two connectors may share one by mistake, and a server may take the place of
//! another.

use std::path::Path;

use super::continuity::ACCEPT;
use super::state_file::{Known, StateFile};
use crate::base::error::{Error, Kind, Result};
use crate::config::Config;
use crate::pg::catalog::slot_state::system_identifier;
use crate::sink::fluvio::LanePlace;

/// What a state file must be about.
#[derive(Debug, Clone)]
pub struct Owner<'a> {
    /// The system identifier of the cluster that we are connected to.
    pub system_identifier: &'a str,
    /// The slot.
    pub slot: &'a str,
    /// The lanes, and where each ends, if that is known.
    pub lanes: Vec<(LanePlace, Option<i64>)>,
}

impl<'a> Owner<'a> {
    /// The owner that `config` names, in this cluster, with these lanes and their ends.
    pub fn of(
        config: &'a Config,
        system_identifier: &'a str,
        lanes: Vec<(LanePlace, Option<i64>)>,
    ) -> Owner<'a> {
        Owner {
            system_identifier,
            slot: &config.slot,
            lanes,
        }
    }

    /// Whether one of the lanes is known, and has all that is known of it.
    fn has_a_lane_of(&self, known: &Known) -> bool {
        self.lanes.iter().any(|(place, end)| {
            let lane = known.lane(&place.topic, place.partition);
            lane.is_some_and(|lane| end.is_none_or(|end| end >= lane.offset))
        })
    }
}

/// Checks that the state file is about its owner at all, before anything is concluded from what it says. A slot
/// has one cluster, so that there another topic is a change of the config, and tells itself. In another
/// cluster the topic tells a server that was replaced from a file that two connectors share: the file
/// of the other is never given up.
pub fn check(known: &Known, file: &Path, owner: &Owner<'_>) -> Result<()> {
    let file = file.display();
    if known.slot != owner.slot {
        let what = format!("the state file {file} is of another slot, {}", known.slot);
        return Err(Error::config(what).with_hint(
            "a state file has the name of its slot and belongs to it alone: put it back in its place",
        ));
    }
    if known.system_identifier == owner.system_identifier {
        return Ok(());
    }
    let clusters = format!(
        "its system identifier is {}, that of this server {}",
        known.system_identifier, owner.system_identifier
    );
    if owner.has_a_lane_of(known) {
        return Err(Error::new(
            Kind::Gap,
            format!(
                "the state file {file} is of another cluster: {clusters}; what was written there since \
                 {} is not here",
                known.confirmed
            ),
        )
        .with_hint(format!(
            "if another connector writes this file, name another state_dir in the config; if the \
             database URL is wrong, correct it; if this server takes the place of that one, {ACCEPT}"
        )));
    }
    let lanes = known.lanes.first().map_or("no topic".to_owned(), |lane| {
        format!(
            "partition {} of the topic {}, with {} records",
            lane.partition, lane.topic, lane.offset
        )
    });
    Err(Error::config(format!(
        "the state file {file} is of another cluster and topic: {clusters}, and it is about {lanes}"
    ))
    .with_hint(
        "two connectors share it by mistake: name another state_dir in the config; if the other one is \
         no more, remove the file",
    ))
}

/// What the state file says, if it is one of this slot and these lanes, with their ends. Of a server that
/// does not tell who it is, it is taken to be the right one.
pub fn read_known(config: &Config, lanes: Vec<(LanePlace, Option<i64>)>) -> Result<Option<Known>> {
    let Some(directory) = &config.state_dir else {
        return Ok(None);
    };
    let file = StateFile::of(directory, &config.slot);
    let Some(known) = file.read()? else {
        return Ok(None);
    };
    let found = config
        .params()
        .and_then(|params| system_identifier(&params));
    let system_identifier = found.as_deref().unwrap_or(&known.system_identifier);
    let owner = Owner::of(config, system_identifier, lanes);
    check(&known, file.path(), &owner)?;
    Ok(Some(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::resume::state_file::tests::known;

    #[test]
    fn a_file_is_told_apart_by_cluster_slot_and_topic() {
        let lane = |topic: &str, partition, end| {
            let topic = topic.into();
            vec![(LanePlace { topic, partition }, end)]
        };
        let own = Owner {
            system_identifier: "1",
            slot: "s",
            lanes: lane("t", 0, Some(10)),
        };
        let with = |lanes| Owner {
            lanes,
            ..own.clone()
        };
        let elsewhere = |lanes| Owner {
            system_identifier: "2",
            lanes,
            ..own.clone()
        };
        let check = |owner: &Owner<'_>| check(&known(), Path::new("/state/s.json"), owner);
        check(&own).unwrap();
        // In its own cluster a slot is one, and another topic is a change of the config.
        check(&with(lane("u", 0, Some(10)))).unwrap();
        check(&with(lane("t", 0, Some(0)))).unwrap();
        let of_another = Owner {
            slot: "r",
            ..own.clone()
        };
        for (owner, kind) in [
            (of_another, Kind::Config),
            (elsewhere(lane("t", 0, Some(10))), Kind::Gap),
            (elsewhere(lane("t", 0, None)), Kind::Gap),
            (elsewhere(lane("t", 0, Some(9))), Kind::Config),
            (elsewhere(lane("u", 0, Some(10))), Kind::Config),
            (elsewhere(lane("t", 1, Some(10))), Kind::Config),
            (
                elsewhere([lane("u", 0, None), lane("t", 0, None)].concat()),
                Kind::Gap,
            ),
        ] {
            let error = check(&owner).unwrap_err();
            assert_eq!(error.kind(), kind, "{owner:?}: {error}");
            let is_named = error
                .to_string()
                .starts_with("the state file /state/s.json is of another ");
            assert!(is_named, "{error}");
        }
    }
}
