//! The lanes of a config as they are, for the verbs that only read: nothing is made for them.
//!
//! However many there are, they take few requests: the SC is asked for all topics at once, and each SPU for
//! all lanes that it leads.

use std::collections::HashMap;

use fluvio_sc_schema::topic::TopicSpec;

use crate::base::error::{Error, Result};
use crate::config::Config;
use crate::pg::connection::Connection;
use crate::pipeline::lane_map::{LaneMap, TableName};
use crate::pipeline::resume::continuity;
use crate::pipeline::resume::row_tail::other_format;
use crate::record::{Format, Placed, Record};
use crate::sink::fluvio::reader::{Bounds, PartitionReader};
use crate::sink::fluvio::unpack::StoredRecord;
use crate::sink::fluvio::{LanePlace, Leaders, Options, WantedTopic, cluster};

/// The lanes of a config, and what the cluster has of them.
pub struct ConfiguredLanes {
    /// The lanes.
    pub map: LaneMap,
    /// Those of their topics that exist.
    pub topics: HashMap<String, TopicSpec>,
    partitions: Partitions,
}

/// Partitions of topics, of which some may not be there.
pub struct Partitions {
    places: Vec<LanePlace>,
    /// The leaders of those that are there.
    leaders: Option<Leaders>,
    /// For each partition its number with the leaders, if it is there.
    led: Vec<Option<usize>>,
}

/// The tables that the publication has, if the lanes depend on them.
pub fn tables_of(config: &Config) -> Result<Vec<TableName>> {
    if !config.routes.needs_tables() {
        return Ok(Vec::new());
    }
    let mut connection = Connection::connect_for_sql(&config.params()?)?;
    let tables = connection.published_tables(&config.publication)?;
    connection.terminate();
    Ok(tables)
}

impl ConfiguredLanes {
    /// Finds the lanes of the config, and who leads those that are there.
    pub fn find(config: &Config) -> Result<ConfiguredLanes> {
        let map = LaneMap::of(config, &tables_of(config)?)?;
        ConfiguredLanes::of(config, map)
    }

    /// Finds who leads those of the lanes that are there.
    pub fn of(config: &Config, map: LaneMap) -> Result<ConfiguredLanes> {
        let topics = topics(&config.fluvio, map.topics())?;
        ConfiguredLanes::among(config, map, topics)
    }

    /// Finds who leads the lanes that `topics`, all that exist of theirs, have.
    pub fn among(
        config: &Config,
        map: LaneMap,
        topics: HashMap<String, TopicSpec>,
    ) -> Result<ConfiguredLanes> {
        let is_there = |place: &LanePlace| {
            let topic = topics.get(&*place.topic);
            topic.is_some_and(|topic| place.partition < topic.replicas().partitions())
        };
        let partitions = Partitions::find(&config.fluvio, map.names(), is_there)?;
        Ok(ConfiguredLanes {
            map,
            topics,
            partitions,
        })
    }

    /// The partitions.
    pub fn partitions(&self) -> &Partitions {
        &self.partitions
    }

    /// The partitions alone.
    pub fn into_partitions(self) -> Partitions {
        self.partitions
    }

    /// The partitions, to be asked.
    pub fn partitions_mut(&mut self) -> &mut Partitions {
        &mut self.partitions
    }

    /// Fails when a lane is not there: its topic does not exist, or has too few partitions.
    pub fn check(&self, lane: usize) -> Result<()> {
        let place = &self.map.names()[lane];
        let mut wanted = self.map.topics().iter();
        let wanted = wanted.find(|topic| topic.name == place.topic);
        match (self.topics.get(&*place.topic), wanted) {
            (None, Some(wanted)) => Err(cluster::does_not_exist(wanted)),
            (Some(found), Some(wanted)) => cluster::check_count(found, wanted)
                .and_then(|()| cluster::check_partition(Some(found), place)),
            (found, None) => cluster::check_partition(found, place),
        }
    }

    /// Each lane with the offset of its next record; nothing for those that are not there.
    pub fn ends(&self) -> Vec<(LanePlace, Option<i64>)> {
        let names = self.map.names().iter().enumerate();
        let end = |lane| self.partitions.bounds(lane).map(|bounds| bounds.end);
        names
            .map(|(lane, place)| (place.clone(), end(lane)))
            .collect()
    }
}

impl Partitions {
    /// Finds who leads the partitions, of which those are there that `is_there` says.
    pub fn find(
        options: &Options,
        places: &[LanePlace],
        is_there: impl Fn(&LanePlace) -> bool,
    ) -> Result<Partitions> {
        let options = Options {
            create_topic: false,
            // What the config wants of batches to come says nothing of those that are there.
            compression: None,
            ..options.clone()
        };
        let (mut there, mut led) = (Vec::new(), Vec::with_capacity(places.len()));
        for place in places {
            led.push(is_there(place).then_some(there.len()));
            if is_there(place) {
                there.push(place.clone());
            }
        }
        let leaders = match there.is_empty() {
            true => None,
            false => Some(Leaders::find(&options, &[], &there)?),
        };
        Ok(Partitions {
            places: places.to_vec(),
            leaders,
            led,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Which partition a number means.
    pub fn place(&self, number: usize) -> &LanePlace {
        &self.places[number]
    }

    /// What a partition holds, if it is there.
    pub fn bounds(&self, number: usize) -> Option<Bounds> {
        let (leaders, led) = self.leader(number)?;
        Some(leaders.bounds(led))
    }

    /// A new connection to read a partition, if it is there.
    pub fn reader(&self, number: usize) -> Result<Option<PartitionReader>> {
        let leader = self.leader(number);
        leader.map(|(leaders, led)| leaders.reader(led)).transpose()
    }

    /// An error of a partition, with its server.
    pub fn error(&self, number: usize, error: Error) -> Error {
        match self.leader(number) {
            Some((leaders, led)) => leaders.error(led, error),
            None => error.at(self.places[number].to_string()),
        }
    }

    /// The last record of each partition; None for those that are empty or not there.
    pub fn last_records(&mut self) -> Result<Vec<Option<StoredRecord>>> {
        let Some(leaders) = &mut self.leaders else {
            return Ok(vec![None; self.places.len()]);
        };
        let all: Vec<usize> = (0..leaders.count()).collect();
        let mut found = leaders.last_records(&all)?;
        let mut last = |led: &Option<usize>| found[(*led)?].take();
        Ok(self.led.iter().map(&mut last).collect())
    }

    fn leader(&self, number: usize) -> Option<(&Leaders, usize)> {
        Some((self.leaders.as_ref()?, self.led[number]?))
    }
}

/// Those of the topics that exist.
pub fn topics(options: &Options, wanted: &[WantedTopic]) -> Result<HashMap<String, TopicSpec>> {
    let cluster = cluster::endpoint(options)?;
    cluster::topics_named(&cluster, options, wanted.iter().map(|topic| &*topic.name))
}

/// Reads the last record of a lane back, which is to be of the format that the config has.
pub fn parse_last(format: Format, record: &[u8]) -> Result<Placed> {
    let Some(placed) = Placed::parse(record) else {
        return Err(continuity::gap(
            "its last record was not written by this program",
        ));
    };
    let found = match placed.record {
        Record::OfRows(_) => Format::Rows,
        _ => Format::Events,
    };
    match found == format {
        true => Ok(placed),
        false => Err(other_format(found)),
    }
}
