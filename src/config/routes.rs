//! Which topic and which of its partitions a table's rows go to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::identifier::{QualifiedTable, TablePattern};
use super::keys::Keys;
pub use super::partition::Partitioning;
use super::topic::{TopicTemplate, is_topic_name};
use super::value;
use crate::base::error::{Context, Error, Kind, Result};
use crate::record;

/// The way of every table's rows: the routes in their order, the top level of the config last.
#[derive(Debug, Clone)]
pub struct Routes {
    routes: Vec<Route>,
    fingerprint: String,
}

/// The way of the rows of some tables.
#[derive(Debug, Clone)]
pub struct Route {
    /// The tables; the top level has those that no route before it has, and no pattern.
    pub tables: Vec<TablePattern>,
    pub topic: TopicTemplate,
    pub partitions: u32,
    pub partitioning: Partitioning,
}

/// The way of a table's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRoute {
    /// The topic.
    pub topic: String,
    /// The topic's name with the names of the table as they are: two that differ here and not in `topic`
    /// are in one topic by the mapping alone.
    pub unmapped: String,
    /// The partitions that a topic has that is made, and over which keys and tables are spread.
    pub partitions: u32,
    /// The way to one of the partitions.
    pub partitioning: Partitioning,
}

/// What stands for the schema and the table of messages in a template.
const OF_MESSAGES: &str = "message";

/// What helps where a table's names make no topic, or that of another.
const HINT: &str = "give the table a topic of its own under \"routes\"";

impl Routes {
    /// The routes in their order, then the top level.
    pub fn new(
        mut routes: Vec<Route>,
        top_level: Route,
        format: record::Format,
        keys: &Keys,
    ) -> Result<Routes> {
        routes.push(top_level);
        for route in &routes {
            route.check_partition(format)?;
        }
        let fingerprint = fingerprint(&routes, format, keys)?;
        let routes = Routes {
            routes,
            fingerprint,
        };
        routes.check(&[], false)?;
        Ok(routes)
    }

    /// Where a table's rows go. An error names the table: its topic's name is too long, or nothing is left
    /// of it.
    pub fn of_table(&self, schema: &str, table: &str) -> Result<TableRoute> {
        let named = |route: &&Route| route.tables.iter().any(|t| t.matches(schema, table));
        let route = self.routes.iter().find(named);
        let route = route.unwrap_or(self.top_level());
        route
            .way_of(schema, table)
            .at(|| format!("the table {}", QualifiedTable::new(schema, table)))
    }

    /// Where messages go, which have no table: the topic of the top level, and where that is a template,
    /// both names are "message".
    pub fn of_messages(&self) -> Result<TableRoute> {
        let route = self.top_level().way_of(OF_MESSAGES, OF_MESSAGES);
        route.at(|| "the messages".to_owned())
    }

    /// The routes whose topics are no templates and therefore known without any table.
    pub fn fixed(&self) -> impl Iterator<Item = TableRoute> {
        self.fixed_claims().map(|claim| claim.way)
    }

    /// Whether a topic depends on the table's name: then the tables of the publication have to be asked for.
    pub fn needs_tables(&self) -> bool {
        self.routes.iter().any(|route| route.topic.names_table())
    }

    /// Fails where two tables, or a table and the messages, would be in one topic by the mapping of their
    /// names alone, and where one topic is wanted with two numbers of partitions.
    pub fn check(&self, tables: &[(String, String)], has_messages: bool) -> Result<()> {
        let mut claims: Vec<Claim> = self.fixed_claims().collect();
        let of_routes = claims.len();
        for (schema, table) in tables {
            let who = format!("the table {}", QualifiedTable::new(schema, table));
            let way = self.of_table(schema, table)?;
            claims.push(Claim { who, way });
        }
        if has_messages {
            let who = "the messages".to_owned();
            let way = self.of_messages()?;
            claims.push(Claim { who, way });
        }
        if let Some((a, b)) = conflict(&claims, |a, b| a.partitions != b.partitions) {
            return Err(two_counts(a, b));
        }
        match conflict(&claims[of_routes..], |a, b| a.unmapped != b.unmapped) {
            Some((a, b)) => Err(one_topic(a, b)),
            None => Ok(()),
        }
    }

    /// A text that is another where a change could go another way: the format, and of each route its tables
    /// and topic, the partition, or by what and over how many partitions rows are spread; the keys where a
    /// route goes by key.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn top_level(&self) -> &Route {
        self.routes.last().expect("new puts one there")
    }

    fn fixed_claims(&self) -> impl Iterator<Item = Claim> {
        let fixed = self
            .routes
            .iter()
            .filter(|route| !route.topic.names_table());
        fixed.map(|route| Claim {
            who: route.who(),
            way: route.filled("", ""),
        })
    }
}

impl Route {
    /// Fails where no change could go this way.
    fn check_partition(&self, format: record::Format) -> Result<()> {
        match (self.partitioning, format) {
            (Partitioning::Key, record::Format::Events) => Err(Error::config(format!(
                "{}: \"partition: key\" with \"format: events\": the changes of a row would be taken out of \
                 their transactions, whose begin and commit are in one partition",
                self.who()
            ))
            .with_hint("set \"partition: table\", or \"format: rows\"")),
            // One partition is what a topic has unless the config says otherwise: it may have more.
            (Partitioning::Fixed(partition), _) if (2..=partition).contains(&self.partitions) => {
                Err(Error::config(format!(
                    "{}: \"partition: {partition}\" with \"partitions: {}\", which are counted from 0",
                    self.who(),
                    self.partitions
                )))
            }
            _ => Ok(()),
        }
    }

    /// What errors call it.
    fn who(&self) -> String {
        match self.tables.as_slice() {
            [] => "the tables without a route".to_owned(),
            tables => {
                let tables: Vec<String> = tables.iter().map(ToString::to_string).collect();
                format!("the route of {}", tables.join(", "))
            }
        }
    }

    fn way_of(&self, schema: &str, table: &str) -> Result<TableRoute> {
        let way = self.filled(schema, table);
        match way.topic.len() {
            _ if is_topic_name(&way.topic) => return Ok(way),
            0 => Err(Error::config(format!(
                "nothing is left of \"{}\" as the name of a topic, which has a to z, 0 to 9 and inner hyphens",
                way.unmapped
            ))),
            length => Err(Error::config(format!(
                "its topic would be {}, a name of {length} characters, and a topic's has at most 63",
                way.topic
            ))),
        }
        .map_err(|error| error.with_hint(HINT))
    }

    fn filled(&self, schema: &str, table: &str) -> TableRoute {
        TableRoute {
            topic: self.topic.mapped(schema, table),
            unmapped: self.topic.unmapped(schema, table),
            partitions: self.partitions,
            partitioning: self.partitioning,
        }
    }
}

/// Who wants a topic.
struct Claim {
    who: String,
    way: TableRoute,
}

/// The first two that want one topic and differ.
fn conflict(
    claims: &[Claim],
    differ: fn(&TableRoute, &TableRoute) -> bool,
) -> Option<(&Claim, &Claim)> {
    let mut first: BTreeMap<&str, &Claim> = BTreeMap::new();
    claims.iter().find_map(|claim| {
        let first = *first.entry(&claim.way.topic).or_insert(claim);
        differ(&first.way, &claim.way).then_some((first, claim))
    })
}

fn two_counts(a: &Claim, b: &Claim) -> Error {
    Error::config(format!(
        "the topic {} would have {} partitions for {} and {} for {}",
        a.way.topic, a.way.partitions, a.who, b.way.partitions, b.who
    ))
    .with_hint("write the same \"partitions\" for both, or two topics")
}

fn one_topic(a: &Claim, b: &Claim) -> Error {
    Error::config(format!(
        "{} and {} would be in one topic, {}, only because a topic's name has a to z, 0 to 9 and hyphens",
        a.who, b.who, a.way.topic
    ))
    .with_hint(HINT)
}

fn fingerprint(routes: &[Route], format: record::Format, keys: &Keys) -> Result<String> {
    #[derive(Serialize)]
    struct Way<'a> {
        tables: &'a [TablePattern],
        topic: &'a TopicTemplate,
        #[serde(skip_serializing_if = "Option::is_none")]
        partitions: Option<u32>,
        partition: Partitioning,
    }

    #[derive(Serialize)]
    struct Ways<'a> {
        #[serde(with = "value::format")]
        format: record::Format,
        routes: Vec<Way<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        keys: Option<&'a Keys>,
    }

    let ways = routes.iter().map(|route| Way {
        tables: &route.tables,
        topic: &route.topic,
        partitions: match route.partitioning {
            Partitioning::Fixed(_) => None,
            Partitioning::Table | Partitioning::Key => Some(route.partitions),
        },
        partition: route.partitioning,
    });
    let by_key = routes.iter().any(|r| r.partitioning == Partitioning::Key);
    let ways = Ways {
        format,
        routes: ways.collect(),
        keys: Some(keys).filter(|_| by_key),
    };
    serde_json::to_string(&ways)
        .map_err(|e| Error::new(Kind::Bug, "cannot write the routes").with_source(e))
}
