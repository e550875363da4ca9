//! Which topic and which of its partitions a table's rows go to.

use serde::Serialize;

use super::claims::{self, Claim, HINT};
use super::identifier::{QualifiedTable, TablePattern};
use super::keys::Keys;
pub use super::partition::Partitioning;
use super::topic::{TopicTemplate, is_topic_name};
use super::value;
use crate::base::error::{Context, Error, Kind, Result};
use crate::record::{self, Int8, JsonStyle, RowStyle};

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

/// What the keys of rows depend on, from which their partitions are computed.
#[derive(Debug, Clone, Copy)]
pub struct KeyStyle<'a> {
    /// The columns of the tables whose stream does not tell them.
    pub columns: &'a Keys,
    /// How their values are written.
    pub values: RowStyle,
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

impl Routes {
    /// The routes in their order, then the top level.
    pub fn new(
        mut routes: Vec<Route>,
        top_level: Route,
        format: record::Format,
        keys: KeyStyle<'_>,
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
        claims::check_counts(&claims)?;
        claims::check_names(&claims[of_routes..])
    }

    /// A text that is another where a change could go another way: the format, and of each route its tables
    /// and topic, the partition, or by what and over how many partitions rows are spread; and where rows are
    /// spread by key, what the keys depend on.
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

fn fingerprint(routes: &[Route], format: record::Format, keys: KeyStyle<'_>) -> Result<String> {
    #[derive(Serialize)]
    struct Key {
        columns: Keys,
        #[serde(with = "value::int8")]
        int8: Int8,
        #[serde(with = "value::json")]
        json: JsonStyle,
    }

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
        key: Option<Key>,
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
        key: by_key.then(|| Key {
            columns: keys.columns.sorted(),
            int8: keys.values.int8,
            json: keys.values.json,
        }),
    };
    serde_json::to_string(&ways)
        .map_err(|e| Error::new(Kind::Bug, "cannot write the routes").with_source(e))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::file::File;
    use crate::config::routes_of;

    pub fn routes(text: &str) -> Result<Routes> {
        let file = format!(
            "version: v\nname: n\ntype: postgres-source\nparameters: {{ publication: p, slot: s }}\n{text}"
        );
        routes_of(&File::parse(&file)?)
    }

    fn way(routes: &Routes, schema: &str, table: &str) -> (String, u32, Partitioning) {
        let way = routes.of_table(schema, table).unwrap();
        (way.topic, way.partitions, way.partitioning)
    }

    pub fn tables(names: &[&str]) -> Vec<(String, String)> {
        let names = names.iter().map(|name| name.split_once('.').unwrap());
        names.map(|(s, t)| (s.to_owned(), t.to_owned())).collect()
    }

    const ROUTES: &str = "
format: rows
topic: cdc-{table}
partitions: 4
partition: key
routes:
  - tables: [public.orders, \"audit.*\"]
    topic: orders
    partitions: 8
  - tables: [\"audit.*\", 'public.\"*\"']
    topic: never
  - tables: [\"public.log_*\"]
    topic: \"{schema}-{table}\"
    partition: table
  - tables: [public.one]
    partition: 2
";

    #[test]
    fn the_first_route_that_has_the_table_is_taken() {
        let routes = routes(ROUTES).unwrap();
        let orders = ("orders".to_owned(), 8, Partitioning::Key);
        assert_eq!(way(&routes, "public", "orders"), orders);
        assert_eq!(way(&routes, "audit", "Any Thing"), orders);
        let never = ("never".to_owned(), 4, Partitioning::Key);
        assert_eq!(way(&routes, "public", "*"), never);
        let log = ("public-log-1".to_owned(), 4, Partitioning::Table);
        assert_eq!(way(&routes, "public", "log_1"), log);
        let one = ("cdc-one".to_owned(), 4, Partitioning::Fixed(2));
        assert_eq!(way(&routes, "public", "one"), one);
        for (schema, table) in [("public", "Orders"), ("other", "orders")] {
            let other = ("cdc-orders".to_owned(), 4, Partitioning::Key);
            assert_eq!(way(&routes, schema, table), other);
        }
        let way = routes.of_table("public", "A_b").unwrap();
        assert_eq!(
            (way.topic.as_str(), way.unmapped.as_str()),
            ("cdc-a-b", "cdc-A_b")
        );
    }

    #[test]
    fn messages_go_where_the_top_level_says() {
        let of = |text: &str| routes(text).unwrap().of_messages().unwrap().topic;
        assert_eq!(of(ROUTES), "cdc-message");
        assert_eq!(of("topic: t"), "t");
        assert_eq!(of("topic: \"{schema}-{table}\""), "message-message");
        assert_eq!(
            of("topic: t\nroutes: [{ tables: [message.message], topic: u }]"),
            "t"
        );
        let long = format!("topic: {}{{table}}", "x".repeat(60));
        let error = routes(&long)
            .unwrap()
            .of_messages()
            .unwrap_err()
            .to_string();
        let says = "the messages: its topic would be xxx";
        assert!(error.starts_with(says), "{error}");
    }

    #[test]
    fn topics_that_are_known_without_tables() {
        let fixed = |text: &str| -> Vec<String> {
            let routes = routes(text).unwrap();
            routes.fixed().map(|way| way.topic).collect()
        };
        assert_eq!(fixed(ROUTES), ["orders", "never"]);
        assert_eq!(fixed("topic: t"), ["t"]);
        assert_eq!(
            fixed("topic: t\nroutes: [{ tables: [a.b], topic: u }]"),
            ["u", "t"]
        );
        assert_eq!(fixed("topic: \"{table}\""), [""; 0]);
        for (text, needs) in [
            (ROUTES, true),
            ("topic: t", false),
            ("topic: t\nroutes: [{ tables: [a.b], topic: u }]", false),
            (
                "topic: t\nroutes: [{ tables: [a.b], topic: 'u-{table}' }]",
                true,
            ),
            (
                "topic: '{schema}'\nroutes: [{ tables: [a.b], topic: u }]",
                true,
            ),
        ] {
            assert_eq!(routes(text).unwrap().needs_tables(), needs, "{text}");
        }
    }

    #[test]
    fn a_name_that_no_topic_has_names_the_table() {
        let of_table = routes("topic: \"{table}\"").unwrap();
        for (table, says) in [
            (
                "???",
                "the table public.\"???\": nothing is left of \"???\" as the name of a topic, which has a to z, \
                 0 to 9 and inner hyphens (hint: give the table a topic of its own under \"routes\")",
            ),
            (&"t".repeat(64), "tt: its topic would be ttt"),
            (
                &"t".repeat(64),
                "ttt, a name of 64 characters, and a topic's has at most 63 (hint: give the table",
            ),
        ] {
            let error = of_table.of_table("public", table).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.to_string().contains(says), "{error}");
            let tables = vec![("public".to_owned(), table.to_owned())];
            let checked = of_table.check(&tables, false).unwrap_err();
            assert_eq!(checked.to_string(), error.to_string());
        }
        assert!(of_table.of_table("public", &"t".repeat(63)).is_ok());
    }

    #[test]
    fn partitions_that_nothing_could_go_to() {
        let rows_only = "\"partition: key\" with \"format: events\": the changes of a row would be taken out of \
                         their transactions, whose begin and commit are in one partition (hint: set \
                         \"partition: table\", or \"format: rows\")";
        for (text, who, says) in [
            (
                "topic: t\npartition: key",
                "the tables without a route",
                rows_only,
            ),
            (
                "topic: t\nroutes: [{ tables: [a.b], partition: key }]",
                "the route of a.b",
                rows_only,
            ),
            (
                "topic: t\npartitions: 4\npartition: 4",
                "the tables without a route",
                "\"partition: 4\" with \"partitions: 4\", which are counted from 0",
            ),
            (
                "topic: t\npartition: 2\nroutes: [{ tables: [a.b], topic: u, partitions: 2 }]",
                "the route of a.b",
                "\"partition: 2\" with \"partitions: 2\", which are counted from 0",
            ),
        ] {
            let error = routes(text).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert_eq!(error.to_string(), format!("{who}: {says}"));
        }
        for text in [
            "topic: t\npartition: 7",
            "topic: t\npartitions: 4\npartition: 3",
            "topic: t\npartitions: 4\npartition: table",
            "format: rows\ntopic: t\npartitions: 4\npartition: key",
        ] {
            routes(text).unwrap();
        }
    }

    /// What changes no row's way does not change it, and what may does.
    #[test]
    fn the_fingerprint_is_another_where_a_row_may_go_another_way() {
        let of = |text: &str| routes(text).unwrap().fingerprint();
        assert_eq!(
            of(&format!("{ROUTES}keys: {{ public.b: [y, x], a.b: [id] }}")),
            "{\"format\":\"rows\",\"routes\":[\
             {\"tables\":[\"public.orders\",\"audit.*\"],\"topic\":\"orders\",\"partitions\":8,\"partition\":\"key\"},\
             {\"tables\":[\"audit.*\",\"public.\\\"*\\\"\"],\"topic\":\"never\",\"partitions\":4,\"partition\":\"key\"},\
             {\"tables\":[\"public.log_*\"],\"topic\":\"{schema}-{table}\",\"partitions\":4,\"partition\":\"table\"},\
             {\"tables\":[\"public.one\"],\"topic\":\"cdc-{table}\",\"partition\":2},\
             {\"tables\":[],\"topic\":\"cdc-{table}\",\"partitions\":4,\"partition\":\"key\"}],\
             \"key\":{\"columns\":{\"a.b\":[\"id\"],\"public.b\":[\"x\",\"y\"]},\"int8\":\"number\",\"json\":\"value\"}}"
        );
        let by_table =
            "topic: t\npartition: table\npartitions: 2\nroutes: [{ tables: [a.b], partition: 1 }]";
        for (other, is_same) in [
            (
                "partitions: 2\npartition: table\ntopic: t\nroutes: [{ tables: [A.\"b\"], partition: 1 }]",
                true,
            ),
            (
                "topic: t\npartition: table\npartitions: 2\nroutes: [{ tables: [a.b], partition: 0 }]",
                false,
            ),
            (
                "topic: t\npartition: table\npartitions: 2\nroutes: [{ tables: [a.c], partition: 1 }]",
                false,
            ),
            (
                "topic: t\npartition: table\npartitions: 3\nroutes: [{ tables: [a.b], partition: 1 }]",
                false,
            ),
            (
                "topic: u\npartition: table\npartitions: 2\nroutes: [{ tables: [a.b], partition: 1 }]",
                false,
            ),
            ("topic: t\npartition: table\npartitions: 2", false),
        ] {
            assert_eq!(of(by_table) == of(other), is_same, "{other}");
        }
        // Where rows go to a partition by its number, the others change nothing.
        assert_eq!(of("topic: t"), of("topic: t\npartitions: 2"));
        assert_ne!(of("topic: t"), of("topic: t\nformat: rows"));
        let rows = "format: rows\ntopic: t\npartition: ";
        let keys = "\nkeys: { a.b: [id] }";
        for more in [keys, "\nint8: string", "\njson: text"] {
            assert_ne!(of(&format!("{rows}key{more}")), of(&format!("{rows}key")));
            assert_eq!(of(&format!("{rows}3{more}")), of(&format!("{rows}3")));
        }
    }
}
