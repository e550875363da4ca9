//! The lanes of a session, and which of them the rows of a table go to.
//!
//! Lanes are known before the stream begins, so that they are opened together: those of topics with a name of
//! their own from the config alone, those of a topic a table from the tables that the publication has.
//! A table that comes later ends the session, and the next one begins with its lanes too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::base::error::Result;
use crate::config::Config;
use crate::config::routes::{Partitioning, Routes, TableRoute};
use crate::record::Format;
use crate::record::rows::table_key;
use crate::sink::fluvio::{LanePlace, WantedTopic};
use crate::sink::partition_of;

/// A table, by its schema and its name.
pub type TableName = (String, String);

/// The lanes that the rows of one table go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// All rows go to one lane.
    One(u32),
    /// Rows go to one of `partitions` lanes from `first` on, by their key; those without a key to
    /// `keyless`.
    ByKey {
        /// The lane of partition 0.
        first: u32,
        /// How many there are.
        partitions: u32,
        /// The lane of rows without a key.
        keyless: u32,
    },
}

impl Spread {
    /// The lane of a row with this key.
    pub fn lane_of(self, key: Option<&[u8]>) -> usize {
        let lane = match (self, key) {
            (Spread::One(lane), _) => lane,
            (Spread::ByKey { keyless, .. }, None) => keyless,
            (
                Spread::ByKey {
                    first, partitions, ..
                },
                Some(key),
            ) => first + partition_of(key, partitions),
        };
        lane as usize
    }

    /// Whether the rows of the table go to lanes by their keys.
    pub fn is_by_key(self) -> bool {
        matches!(self, Spread::ByKey { .. })
    }

    /// All lanes of the table.
    pub fn lanes(self) -> std::ops::Range<usize> {
        let (first, count) = match self {
            Spread::One(lane) => (lane, 1),
            Spread::ByKey {
                first, partitions, ..
            } => (first, partitions),
        };
        first as usize..(first + count) as usize
    }
}

/// The ways that records took to their lanes: into one partition as events, or as a text says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Routing {
    /// Into one partition, as events.
    #[default]
    OneLane,
    /// By a format, routes and keys, as the config has them in one text.
    Of(String),
}

/// The lanes of a session.
#[derive(Debug)]
pub struct LaneMap {
    topics: Vec<WantedTopic>,
    names: Vec<LanePlace>,
    ways: Ways,
    routing: Routing,
}

#[derive(Debug)]
enum Ways {
    /// Everything goes to the one lane that there is.
    Single,
    Routed {
        routes: Routes,
        /// For each topic the lane of each of its partitions that is written.
        of_topics: HashMap<String, BTreeMap<u32, u32>>,
        messages: Option<Spread>,
    },
}

/// What stands for schema and table of a message, which has neither.
pub const MESSAGES: &str = "message";

impl LaneMap {
    /// The lane of standard output, which everything goes to.
    pub fn standard_output() -> LaneMap {
        let only = LanePlace {
            topic: "".into(),
            partition: 0,
        };
        LaneMap {
            topics: Vec::new(),
            names: vec![only],
            ways: Ways::Single,
            routing: Routing::OneLane,
        }
    }

    /// The lanes that the config has, with those of `tables`, if a topic's name depends on the table's.
    pub fn of(config: &Config, tables: &[TableName]) -> Result<LaneMap> {
        let (routes, has_messages) = (&config.routes, !config.messages.is_empty());
        routes.check(tables, has_messages)?;
        let mut wanted = Wanted::default();
        for route in routes.fixed() {
            wanted.add(&route, None);
        }
        for (schema, table) in tables {
            let route = routes.of_table(schema, table)?;
            wanted.add(&route, Some((schema, table)));
        }
        let messages = match has_messages {
            true => Some(routes.of_messages()?),
            false => None,
        };
        if let Some(route) = &messages {
            wanted.add(route, Some((MESSAGES, MESSAGES)));
        }
        let (topics, names, of_topics) = wanted.numbered();
        let messages = messages.and_then(|route| spread(&of_topics, &route, MESSAGES, MESSAGES));
        let ways = match names.len() {
            1 if !routes.needs_tables() => Ways::Single,
            _ => Ways::Routed {
                routes: routes.clone(),
                of_topics,
                messages,
            },
        };
        let is_plain = matches!(ways, Ways::Single) && config.format == Format::Events;
        Ok(LaneMap {
            topics,
            names,
            ways,
            routing: match is_plain {
                true => Routing::OneLane,
                false => Routing::Of(routes.fingerprint()),
            },
        })
    }

    /// The topics.
    pub fn topics(&self) -> &[WantedTopic] {
        &self.topics
    }

    /// Whether records go to a cluster, which has their keys too.
    pub fn has_topics(&self) -> bool {
        !self.topics.is_empty()
    }

    /// The lanes, in their order.
    pub fn names(&self) -> &[LanePlace] {
        &self.names
    }

    /// The ways of records to the lanes, as the state file remembers them.
    pub fn routing(&self) -> Routing {
        self.routing.clone()
    }

    /// The name of a lane for errors; where there is one, that of its topic is enough.
    pub fn place_of(&self, name: &LanePlace) -> String {
        match self.names.len() {
            1 => format!("topic {}", name.topic),
            _ => name.to_string(),
        }
    }

    /// Whether everything goes to one lane.
    pub fn is_single(&self) -> bool {
        matches!(self.ways, Ways::Single)
    }

    /// The lanes of a table; nothing if they are not among these.
    pub fn of_table(&self, schema: &str, table: &str) -> Result<Option<Spread>> {
        match &self.ways {
            Ways::Single => Ok(Some(Spread::One(0))),
            Ways::Routed {
                routes, of_topics, ..
            } => {
                let route = routes.of_table(schema, table)?;
                Ok(spread(of_topics, &route, schema, table))
            }
        }
    }

    /// The lane of messages.
    pub fn of_messages(&self) -> Spread {
        match self.ways {
            Ways::Routed {
                messages: Some(spread),
                ..
            } => spread,
            Ways::Single | Ways::Routed { messages: None, .. } => Spread::One(0),
        }
    }
}

/// The lanes of a table by its route, if all of them are there.
fn spread(
    of_topics: &HashMap<String, BTreeMap<u32, u32>>,
    route: &TableRoute,
    schema: &str,
    table: &str,
) -> Option<Spread> {
    let lanes = of_topics.get(&route.topic)?;
    let of_table = || lanes.get(&table_partition(route, schema, table)).copied();
    Some(match route.partitioning {
        Partitioning::Fixed(partition) => Spread::One(*lanes.get(&partition)?),
        Partitioning::Table => Spread::One(of_table()?),
        // All partitions up to that number are lanes, one after the other.
        Partitioning::Key => Spread::ByKey {
            first: *lanes.get(&0)?,
            partitions: lanes
                .get(&(route.partitions - 1))
                .map(|_| route.partitions)?,
            keyless: of_table()?,
        },
    })
}

/// The partition of a topic that a row goes to by the route of its table; `key` is the one that its record has.
pub fn partition_of_row(route: &TableRoute, schema: &str, table: &str, key: Option<&[u8]>) -> u32 {
    match (route.partitioning, key) {
        (Partitioning::Fixed(partition), _) => partition,
        (Partitioning::Key, Some(key)) => partition_of(key, route.partitions),
        (Partitioning::Table, _) | (Partitioning::Key, None) => {
            table_partition(route, schema, table)
        }
    }
}

/// The partition of a table whose rows stay together.
fn table_partition(route: &TableRoute, schema: &str, table: &str) -> u32 {
    let mut key = Vec::new();
    table_key(schema, table, &mut key);
    partition_of(&key, route.partitions)
}

/// The partitions of each topic that are wanted, and how many it must have.
#[derive(Default)]
struct Wanted(BTreeMap<String, (u32, BTreeSet<u32>)>);

type Numbered = (
    Vec<WantedTopic>,
    Vec<LanePlace>,
    HashMap<String, BTreeMap<u32, u32>>,
);

impl Wanted {
    /// Adds the lanes of a route: those of a table, or of any table.
    fn add(&mut self, route: &TableRoute, table: Option<(&str, &str)>) {
        let topic = self.0.entry(route.topic.clone()).or_default();
        topic.0 = topic.0.max(route.partitions);
        match (route.partitioning, table) {
            (Partitioning::Fixed(partition), _) => topic.1.extend([partition]),
            (Partitioning::Table, Some((schema, table))) => {
                topic.1.extend([table_partition(route, schema, table)]);
            }
            (Partitioning::Table, None) | (Partitioning::Key, _) => {
                topic.1.extend(0..route.partitions);
            }
        }
    }

    fn numbered(self) -> Numbered {
        let (mut topics, mut names, mut of_topics) = (Vec::new(), Vec::new(), HashMap::new());
        for (name, (partitions, wanted)) in self.0 {
            let mut lanes = BTreeMap::new();
            let topic: Arc<str> = name.as_str().into();
            for partition in wanted {
                lanes.insert(partition, names.len() as u32);
                names.push(LanePlace {
                    topic: Arc::clone(&topic),
                    partition,
                });
            }
            of_topics.insert(name, lanes);
            let name = topic;
            topics.push(WantedTopic { name, partitions });
        }
        (topics, names, of_topics)
    }
}
