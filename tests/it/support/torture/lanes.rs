//! The lanes that the program writes: which topics and partitions there are, and what is read of each.

use std::time::Duration;

use postgres_source::sink::{LanePlace, Options, Partition};

use super::super::connector::ConfigFile;
use super::super::fluvio::{Cluster, FluvioServer};
use super::super::random::Random;
use super::plan;

/// How long one look at a cluster may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// What is written of each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Events,
    Rows,
}

/// What the topics are to be like.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub format: Format,
    /// Over so many partitions records are spread, or over more topics.
    pub partitions: u32,
}

impl Wanted {
    /// The event format in one partition.
    pub const ONE_STREAM: Wanted = Wanted {
        format: Format::Events,
        partitions: 1,
    };
}

/// What the topics of a round are like.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub format: Format,
    pub partitions: u32,
    /// Whether each table has a topic of its own.
    pub is_topic_a_table: bool,
}

impl Layout {
    /// One topic or one a table, where there are several lanes.
    pub fn draw(random: &mut Random, wanted: Wanted) -> Layout {
        Layout {
            format: wanted.format,
            partitions: wanted.partitions,
            is_topic_a_table: wanted.partitions > 1 && random.one_in(3),
        }
    }

    /// Whether everything goes to one lane.
    pub fn is_one_lane(self) -> bool {
        self.partitions == 1
    }

    pub fn config(self, config: ConfigFile, base: &str) -> ConfigFile {
        let config = match self.format {
            Format::Events => config,
            Format::Rows => config.set("format", "rows"),
        };
        if self.is_one_lane() {
            return config;
        }
        let config = match self.is_topic_a_table {
            true => config.set("topic", &format!("{base}-{{table}}")),
            false => config,
        };
        let partition = match self.format {
            Format::Events => "table",
            Format::Rows => "key",
        };
        config
            .set("partition", partition)
            .set("partitions", &self.partitions.to_string())
    }

    /// The lanes, in the order in which they are read; some of them may stay empty.
    pub fn lanes(self, base: &str, writers: usize) -> Vec<LanePlace> {
        let topics = match self.is_topic_a_table {
            true => plan::tables(writers)
                .iter()
                .map(|table| topic_of(base, table))
                .collect(),
            false => vec![base.to_owned()],
        };
        let of_topic = |topic: &String| {
            let topic = topic.as_str().into();
            let place = move |partition| LanePlace {
                topic: std::sync::Arc::clone(&topic),
                partition,
            };
            (0..self.partitions).map(place)
        };
        topics.iter().flat_map(of_topic).collect()
    }

    /// Whether a lane is one of those that a table's records may be in.
    pub fn may_have(self, lane: &LanePlace, base: &str, table: &str) -> bool {
        !self.is_topic_a_table || *lane.topic == *topic_of(base, table)
    }

    /// How many lanes a truncate of a table is in.
    pub fn copies_of_truncate(self) -> usize {
        match self.format {
            Format::Events => 1,
            Format::Rows => self.partitions as usize,
        }
    }
}

/// The topic that a table has for itself.
fn topic_of(base: &str, table: &str) -> String {
    format!("{base}-{}", table.replace('_', "-"))
}

/// Where the records of a lane come from.
pub enum Source<'a> {
    InProcess(&'a FluvioServer),
    /// The ordinary client sees no further than the last stable offset, which a server that was
    /// killed finds again only later; the log goes further.
    Real(Box<Options>),
}

impl<'a> Source<'a> {
    pub fn of(cluster: &'a Cluster) -> Source<'a> {
        match cluster {
            Cluster::InProcess(server) => Source::InProcess(server),
            Cluster::Real(sc_addr) => Source::Real(Box::new(Options {
                endpoint: Some(sc_addr.clone()),
                create_topic: false,
                batch_bytes: 1,
                compression: None,
                timeout: READ_TIMEOUT,
            })),
        }
    }

    /// The records from `offset` on; some of them at least, if there are any. None when the cluster
    /// does not answer: the deadline of who waits decides.
    pub fn read(&self, lane: &LanePlace, offset: i64) -> Option<Vec<Vec<u8>>> {
        match self {
            Source::InProcess(server) => {
                if server.end_offset(&lane.topic, lane.partition) <= offset {
                    return Some(Vec::new());
                }
                Some(server.records_from(&lane.topic, lane.partition, offset))
            }
            Source::Real(options) => {
                let partition = Partition::open(options, lane).ok()?;
                if partition.bounds().end <= offset {
                    return Some(Vec::new());
                }
                let records = partition.reader().ok()?.fetch(offset).ok()?;
                let values = records.into_iter().map(|record| record.value.to_vec());
                Some(values.collect())
            }
        }
    }
}
