//! The keys of the config file, each defined once: its spellings, its kind of value and its default.
//!
//! The parser, the config that takes effect and the list of what needs a restart follow from these
//! definitions; `config-example.yaml` explains each key and has their order, and tests hold it and
//! `schema.json` to the keys that are here.
//!
//! A key may be written with `-` or `_`. What is not understood is an error that names the key's
//! path and line; what it says never includes what could be a secret.

use std::net::SocketAddr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::GeneratedColumns;
use super::identifier::TablePattern;
use super::keys::Keys;
use super::message::message;
use super::partition::{Partitioning, Partitions};
use super::secret::Secret;
use super::topic::TopicTemplate;
use super::value::{
    Endpoint, FilePath, LogLevel, MessagePrefix, Name, Operation, Publication, Refused, SlotName,
    SourceType, TableName, address, batch_bytes, boolean, command, compression, database_url,
    duration, format, generated_columns, int8, json, log_format, origin, positive_duration,
    raw_text, size,
};
use crate::base::error::{Error, Result};
use crate::observe::logging::Format;
use crate::pg::replication::Origins;
use crate::record::events::RawText;
use crate::record::{self, Int8, JsonStyle};

/// The config file as written, or as it takes effect.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "the keys of a connector's config")]
#[allow(missing_docs)] // `config-example.yaml` documents the keys
pub struct File {
    pub(super) version: String,
    pub name: Name,
    #[serde(rename = "type")]
    _type: SourceType,
    #[serde(default, with = "format")]
    pub(super) format: record::Format,
    pub(super) topic: Option<TopicTemplate>,
    #[serde(default = "yes", rename = "create-topic", alias = "create_topic")]
    pub create_topic: bool,
    #[serde(default)]
    pub(super) partitions: Partitions,
    #[serde(default)]
    pub(super) partition: Partitioning,
    #[serde(default)]
    pub(super) routes: Vec<RouteEntry>,
    #[serde(default)]
    pub(super) keys: Keys,
    #[serde(default, with = "int8")]
    pub(super) int8: Option<Int8>,
    #[serde(default, with = "json")]
    pub(super) json: Option<JsonStyle>,
    pub parameters: Parameters,
    #[serde(default)]
    pub(super) secrets: Secrets,
    #[serde(default, alias = "password-command", with = "command")]
    pub password_command: Option<Secret>,
    #[serde(default)]
    pub fluvio: Fluvio,
    #[serde(default)]
    pub producer: Producer,
    #[serde(default, alias = "raw-text", with = "raw_text")]
    pub raw_text: RawText,
    #[serde(
        default = "default_status_interval",
        alias = "status-interval",
        with = "positive_duration"
    )]
    pub status_interval: Duration,
    #[serde(default)]
    pub retry: Retry,
    #[serde(default, alias = "state-dir")]
    pub state_dir: Option<FilePath>,
    #[serde(default, alias = "confirm-delay", with = "duration")]
    pub confirm_delay: Duration,
    #[serde(default = "default_max_lag", alias = "max-lag", with = "size")]
    pub max_lag: u64,
    #[serde(default)]
    pub metrics: Metrics,
    pub log: Option<LogLevel>,
    #[serde(default, alias = "log-format", with = "log_format")]
    pub log_format: Option<Format>,
    #[serde(default, rename = "transforms", skip_serializing)]
    _transforms: Option<Refused>,
}

fn yes() -> bool {
    true
}

/// Often enough that little comes twice after a crash; a status is 39 bytes.
fn default_status_interval() -> Duration {
    Duration::from_secs(1)
}

/// A few minutes of a busy database.
fn default_max_lag() -> u64 {
    1_000_000_000
}

/// `parameters`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "publication and slot")]
#[allow(missing_docs)]
pub struct Parameters {
    pub publication: Publication,
    pub slot: SlotName,
    #[serde(default, alias = "skip-setup", with = "boolean")]
    pub skip_setup: bool,
    #[serde(default)]
    pub tables: Vec<TableName>,
    #[serde(default)]
    pub publish: Vec<Operation>,
    #[serde(default, alias = "publish-via-partition-root", with = "boolean")]
    pub publish_via_partition_root: Option<bool>,
    #[serde(default, alias = "generated-columns", with = "generated_columns")]
    pub generated_columns: Option<GeneratedColumns>,
    #[serde(default, with = "boolean")]
    pub failover: Option<bool>,
    #[serde(default)]
    pub messages: Vec<MessagePrefix>,
    #[serde(default, with = "origin")]
    pub origin: Origins,
    #[serde(skip_serializing)]
    topic: Option<TopicTemplate>,
}

/// One of `routes`. What it leaves out it takes from the top level.
#[derive(Debug, Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a route: { tables: [public.t], topic: t }"
)]
#[allow(missing_docs)]
pub struct RouteEntry {
    #[serde(deserialize_with = "some_patterns")]
    pub(super) tables: Vec<TablePattern>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) topic: Option<TopicTemplate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) partitions: Option<Partitions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) partition: Option<Partitioning>,
}

/// Patterns, of which there is at least one: a route without any would never be taken.
fn some_patterns<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<TablePattern>, D::Error> {
    let patterns = Vec::deserialize(deserializer)?;
    match patterns.is_empty() {
        true => Err(D::Error::custom("expected at least one of \"tables\"")),
        false => Ok(patterns),
    }
}

/// `secrets`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "FLUVIO_PG_DATABASE_URL")]
#[allow(missing_docs)]
pub struct Secrets {
    #[serde(rename = "FLUVIO_PG_DATABASE_URL", default, with = "database_url")]
    pub database_url: Option<Secret>,
}

/// `producer`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, expecting = "a map")]
#[allow(missing_docs)]
pub struct Producer {
    #[serde(with = "duration")]
    pub linger: Duration,
    #[serde(rename = "batch-size", alias = "batch_size", with = "batch_bytes")]
    pub batch_size: usize,
    #[serde(with = "compression")]
    pub compression: Option<fluvio::Compression>,
}

impl Default for Producer {
    fn default() -> Self {
        Producer {
            linger: Duration::ZERO,
            batch_size: 1_000_000,
            compression: None,
        }
    }
}

/// `fluvio`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, expecting = "a map")]
#[allow(missing_docs)]
pub struct Fluvio {
    pub endpoint: Option<Endpoint>,
    #[serde(with = "positive_duration")]
    pub timeout: Duration,
}

impl Default for Fluvio {
    fn default() -> Self {
        Fluvio {
            endpoint: None,
            timeout: Duration::from_secs(30),
        }
    }
}

/// `retry`: the pause between attempts is `min` after the first failure, twice as long after each
/// further one, up to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, expecting = "a map")]
#[allow(missing_docs)]
pub struct Retry {
    #[serde(with = "positive_duration")]
    pub min: Duration,
    #[serde(with = "positive_duration")]
    pub max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            min: Duration::from_millis(500),
            max: Duration::from_secs(30),
        }
    }
}

/// `metrics`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, expecting = "a map")]
#[allow(missing_docs)]
pub struct Metrics {
    #[serde(with = "address")]
    pub listen: Option<SocketAddr>,
    pub textfile: Option<FilePath>,
}

impl File {
    /// Parses the text of a file.
    pub fn parse(text: &str) -> Result<File> {
        if opens(text) > MOST_BRACKETS {
            return Err(Error::config(format!(
                "it has more than {MOST_BRACKETS} opening brackets: it is no config"
            )));
        }
        yaml_serde::from_str(text).map_err(|e| {
            Error::config(message(&e, text)).with_hint(match merges(text) {
                true => "a merge key (<<) is not understood: write the keys out where they belong",
                false => "config-example.yaml names and explains every key",
            })
        })
    }

    /// The format of the log, also of a file that is wrong elsewhere, which is reported in it.
    pub fn log_format(text: &str) -> Option<Format> {
        #[derive(Deserialize)]
        struct Glance {
            #[serde(default, alias = "log-format", with = "log_format")]
            log_format: Option<Format>,
        }
        if opens(text) > MOST_BRACKETS {
            return None;
        }
        let glance = yaml_serde::from_str::<Glance>(text);
        glance.ok().and_then(|glance| glance.log_format)
    }

    /// The topic, which connectors of this family have had in either place.
    pub fn topic(&self) -> Result<TopicTemplate> {
        match (&self.topic, &self.parameters.topic) {
            (Some(a), Some(b)) if a != b => {
                Err(Error::config("\"topic\" and \"parameters.topic\" differ"))
            }
            (Some(topic), _) | (None, Some(topic)) => Ok(topic.clone()),
            (None, None) => Err(Error::config(
                "missing field `topic`: the topic to write into",
            )),
        }
    }

    /// `secrets.FLUVIO_PG_DATABASE_URL`.
    pub fn database_url(&self) -> Option<&Secret> {
        self.secrets.database_url.as_ref()
    }
}

/// The parser takes a time that grows with the square of the brackets that are open.
const MOST_BRACKETS: usize = 1000;

fn opens(text: &str) -> usize {
    let is_open = |byte: &u8| matches!(byte, b'[' | b'{');
    text.bytes().filter(is_open).count()
}

/// Whether the file has a [merge key](https://yaml.org/type/merge.html).
fn merges(text: &str) -> bool {
    text.split("<<").skip(1).any(|after| {
        let after = after.trim_start_matches(['"', '\'']);
        after.trim_start_matches(' ').starts_with(':')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        File::parse(text).unwrap_err().to_string()
    }

    fn with(more: &str) -> String {
        format!(
            "version: 0.2.0\nname: n\ntype: postgres-source\ntopic: t\nparameters:\n  publication: p\n{more}"
        )
    }

    #[test]
    fn errors_name_path_line_and_what_was_expected() {
        for (text, says) in [
            (
                with("  slot: Upper"),
                "parameters.slot: expected a slot name",
            ),
            (with("  slot: Upper"), "at line 7"),
            (
                with("  slot: s\nproducer: { linger: 10 }"),
                "producer.linger: expected a duration",
            ),
            (
                with("  slot: s\nproducer: { batch-size: 1GB }"),
                "producer.batch-size: expected a size",
            ),
            (
                with("  slot: s\nraw_text: hex"),
                "raw_text: expected bytes or string",
            ),
            (
                with("  slot: s\nfrobnicate: 1"),
                "unknown field `frobnicate`",
            ),
            (
                with("  slot: s\n  slott: 1"),
                "parameters: unknown field `slott`",
            ),
            (
                with("  slot: s\ntransforms: []"),
                "transforms: invalid type: sequence, expected no such key: SmartModules do not run",
            ),
            (with("  slot: s\npartition: -1"), "partition: invalid"),
            (with(""), "missing field `slot`"),
            (
                with("  slot: s\nkeys: { a.b: [&c x, *c] }"),
                "keys: expected the columns of the key, each of them once at line 8",
            ),
            (
                with("  slot: s\n  tables: [&t a.b]\nkeys: { *t : [1] }"),
                "keys[0]: expected the name of a column, quoted as in SQL where that is needed at line 9",
            ),
            (
                "type: http-source".into(),
                "type: expected \"postgres-source\"",
            ),
            (
                with("  slot: s\ntopic: u"),
                "duplicate field `topic` at line 8 (hint",
            ),
            (
                with("  slot: s\ncreate-topic: true\ncreate_topic: true"),
                "duplicate field `create-topic` at line 9 (hint",
            ),
            (
                with("  slot: s\n  publication: q"),
                "parameters: duplicate field `publication` at line 8 (hint",
            ),
            (
                with("  slot: s\nretry: { min: 1s, min: 2s }"),
                "retry: duplicate field `min` at line 8 column 8",
            ),
            ("topic: t\n".into(), "missing field `version` at line 1"),
            ("\tversion: 1".into(), "cannot start any token"),
            (
                with("  slot: s\nfluvio: { endpoint: localhost }"),
                "fluvio.endpoint: expected host:port",
            ),
            (
                with("  slot: s\npassword_command: [hunter2]"),
                "password_command: invalid type: sequence, expected a shell command",
            ),
            ("- a".into(), "expected the keys of a connector's config"),
        ] {
            let error = error(&text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn the_log_format_of_a_file_that_is_wrong_elsewhere() {
        for (text, format) in [
            ("log_format: json\nno: config", Some(Format::Json)),
            ("log-format: journal\nparameters: 1", Some(Format::Journal)),
            ("log_format: xml", None),
            ("topic: t", None),
            ("\t", None),
            ("", None),
        ] {
            assert_eq!(File::log_format(text), format, "{text}");
        }
    }

    #[test]
    fn no_error_shows_a_value() {
        const URL: &str = "postgres://u:hunter2@h/db";
        for text in [
            with(&format!("  slot: s\nsecrets: {URL}")),
            with(&format!("  slot: s\nsecrets: {{ {URL}: x }}")),
            with(&format!(
                "  slot: s\nsecrets: {{ FLUVIO_PG_DATABASE_URL: [{URL}] }}"
            )),
            with(&format!("  slot: s\n\"{URL}\": x")),
            with(&format!("  slot: s\nx`{URL}: x")),
            with(&format!("  slot: s\nx`, expected `{URL}: x")),
            with(&format!("  slot: {URL}")),
            with(&format!("  slot: s\npartition: '\"{URL}'")),
            with(&format!("  slot: s\nraw_text: {URL}")),
            URL.into(),
        ] {
            let error = error(&text);
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_topic_in_either_place() {
        let text = with("  slot: s\n  topic: t");
        assert_eq!(File::parse(&text).unwrap().topic().unwrap().text(), "t");
        let text = with("  slot: s\n  topic: other");
        assert!(File::parse(&text).unwrap().topic().is_err());
    }
}
