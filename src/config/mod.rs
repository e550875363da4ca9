//! The YAML file as written → a valid, typed [`Config`].
//!
//! `file` is what the file may say, `value` how a value is read and written, `message` what is said of
//! a file that is not understood, `secret` where the database URL comes from, `effective` what is
//! printed of the result and what of it a reload cannot change. `routes` is where each table's rows go:
//! `identifier` is how tables are named, `topic` the template of a topic's name, `partition` the way to
//! one of its partitions, `claims` that no two share a topic unawares; `keys` the columns that are a
//! row's key. This module resolves the file and the environment into what the program runs with.
//!
//! A new key has five places: its definition in `file`, its field of [`Config`] and the line of
//! `resolve` that fills it, `config-example.yaml`, which explains it, and `schema.json`. Whatever is
//! missing there does not compile, or fails a test.

mod claims;
mod effective;
pub(crate) mod file;
mod identifier;
pub(crate) mod keys;
mod message;
mod partition;
pub(crate) mod routes;
pub(crate) mod secret;
mod topic;
pub(crate) mod value;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::effective::Effective;
pub use self::file::{File, Retry};
use self::keys::Keys;
use self::routes::{KeyStyle, Route, Routes};
use self::secret::{DatabaseUrl, Secret};
use self::value::{FilePath, Publication, SlotName};
use crate::base::error::{Context, Error, Result};
use crate::base::input;
use crate::observe::logging::{FORMAT_VARIABLE, Format};
use crate::observe::monitor::Places;
use crate::pg::params::ConnectParams;
use crate::pg::params::password::PasswordCommand;
use crate::pg::replication::Origins;
use crate::record::events::RawText;
use crate::record::{self, Int8, JsonStyle, RowStyle};
use crate::sink::fluvio;

/// The schema of the config file, a [JSON Schema](https://json-schema.org/draft/2020-12).
pub const SCHEMA: &str = include_str!("schema.json");

/// The configuration that the program runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The connector's name, which the server shows as `postgres-source/NAME`.
    pub name: String,
    /// The database.
    pub database_url: DatabaseUrl,
    /// The command that prints the password, unless the URL has one.
    pub password_command: Option<Secret>,
    /// The publication.
    pub publication: String,
    /// The replication slot.
    pub slot: String,
    /// The tables of a publication that is made; all when there are none.
    pub tables: Vec<String>,
    /// The options of a publication that is made; the server's own where there are none.
    pub publishing: Publishing,
    /// Whether a slot that is made is kept on standbys too.
    pub failover: Option<bool>,
    /// Whether publication and slot are made when they are missing.
    pub setup: Setup,
    /// The prefixes of the messages that are written.
    pub messages: Vec<String>,
    /// The changes that are asked for, by where they were made.
    pub origin: Origins,
    /// The form of records.
    pub format: record::Format,
    /// The topic and partition of each table.
    pub routes: Routes,
    /// The columns that are a row's key, where the stream does not say which they are.
    pub keys: Keys,
    /// The form of an `int8` in rows.
    pub int8: Int8,
    /// The form of `json` and `jsonb` in rows.
    pub json: JsonStyle,
    /// The cluster, and how its topics are written.
    pub fluvio: fluvio::Options,
    /// The time that a record waits for others.
    pub linger: Duration,
    /// The form of values that have no JSON form of their own.
    pub raw_text: RawText,
    /// The time between two reports of the confirmed position.
    pub status_interval: Duration,
    /// The pause between attempts.
    pub retry: Retry,
    /// The directory for what is known of slot and topic: `$STATE_DIRECTORY` if the file does not say.
    pub state_dir: Option<PathBuf>,
    /// The time that the confirmed position stays behind what is stored.
    pub confirm_delay: Duration,
    /// The WAL that the topic may be behind before `status` says so.
    pub max_lag_bytes: u64,
    /// The places where metrics are shown.
    pub metrics: Places,
    /// The log level, unless `RUST_LOG` is set.
    pub log: Option<log::LevelFilter>,
    /// The form of log lines; what suits standard error if nothing is said.
    pub log_format: Option<Format>,
    /// Every key, for whoever asks what takes effect and what a reload would change.
    pub(crate) effective: Effective,
}

/// A file that was read, and is not understood yet.
pub struct ConfigText<'a> {
    path: &'a Path,
    text: String,
}

/// The options of a publication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publishing {
    /// insert, update, delete, truncate; all when there are none.
    pub operations: Vec<&'static str>,
    /// Whether rows of partitions come under the name of the partitioned table.
    pub via_partition_root: Option<bool>,
    /// The generated columns that rows have.
    pub generated_columns: Option<GeneratedColumns>,
}

/// The generated columns that are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeneratedColumns {
    /// No generated columns.
    None,
    /// The generated columns that are stored.
    Stored,
}

/// What happens when the publication or the slot is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// The missing one is made.
    Create,
    /// The missing one is an error that says how to make it.
    Require,
}

impl<'a> ConfigText<'a> {
    /// Reads the file, once: it may be a pipe.
    pub fn read(path: &'a Path) -> Result<Self> {
        let text = input::read_text(path, input::CONFIG_BYTES)
            .map_err(|e| Error::config("cannot read the config file").with_source(e))
            .at(|| path.display().to_string())?;
        Ok(ConfigText { path, text })
    }

    /// The form of the log, in which whatever is wrong with the rest of the file is reported.
    pub fn log_format(&self) -> Option<Format> {
        File::log_format(&self.text)
    }

    /// Parses the text and adds the secret and the environment.
    pub fn config(&self) -> Result<Config> {
        let place = || self.path.display().to_string();
        let file = File::parse(&self.text).at(place)?;
        let database_url = secret::find(file.database_url(), self.path)?;
        Config::resolve(file, database_url).at(place)
    }
}

impl Config {
    /// Reads the file, the secret and the environment.
    pub fn load(path: &Path) -> Result<Config> {
        ConfigText::read(path)?.config()
    }

    /// The parameters of the connection to the database.
    pub fn params(&self) -> Result<ConnectParams> {
        let application = format!("postgres-source/{}", self.name);
        let command = self.password_command.as_ref();
        let command = command.map(|command| PasswordCommand::new(command.expose()));
        let DatabaseUrl { text, source } = &self.database_url;
        let params = ConnectParams::parse_from(text.expose(), source, &application)?;
        Ok(params.with_password_command(command))
    }

    fn resolve(file: File, database_url: DatabaseUrl) -> Result<Config> {
        let file = in_effect(file, &database_url)?;
        let effective = Effective::of(&file)?;
        let routes = routes_of(&file)?;
        let parameters = file.parameters;
        Ok(Config {
            name: file.name.0,
            database_url,
            password_command: file.password_command,
            publication: parameters.publication.0,
            slot: parameters.slot.0,
            tables: parameters.tables.into_iter().map(|table| table.0).collect(),
            publishing: Publishing {
                operations: parameters.publish.iter().map(|op| op.0).collect(),
                via_partition_root: parameters.publish_via_partition_root,
                generated_columns: parameters.generated_columns,
            },
            failover: parameters.failover,
            setup: if parameters.skip_setup {
                Setup::Require
            } else {
                Setup::Create
            },
            messages: parameters
                .messages
                .into_iter()
                .map(|prefix| prefix.0)
                .collect(),
            origin: parameters.origin,
            format: file.format,
            routes,
            keys: file.keys,
            int8: file.int8.unwrap_or_default(),
            json: file.json.unwrap_or_default(),
            fluvio: fluvio::Options {
                endpoint: file.fluvio.endpoint.map(|endpoint| endpoint.0),
                create_topic: file.create_topic,
                batch_bytes: file.producer.batch_size,
                compression: file.producer.compression,
                timeout: file.fluvio.timeout,
            },
            linger: file.producer.linger,
            raw_text: file.raw_text,
            status_interval: file.status_interval,
            retry: file.retry,
            state_dir: file.state_dir.map(|path| path.0),
            confirm_delay: file.confirm_delay,
            max_lag_bytes: file.max_lag,
            metrics: Places {
                listen: file.metrics.listen,
                textfile: file.metrics.textfile.map(|path| path.0),
            },
            log: file.log.map(|level| level.0),
            log_format: file.log_format,
            effective,
        })
    }
}

/// The file with what is said elsewhere: in the environment, and in places that are safe for a secret.
fn in_effect(mut file: File, database_url: &DatabaseUrl) -> Result<File> {
    let parameters = &mut file.parameters;
    let publication = &mut parameters.publication;
    overridden(publication, "FLUVIO_PG_PUBLICATION", Publication::parse)?;
    overridden(&mut parameters.slot, "FLUVIO_PG_SLOT", SlotName::parse)?;
    overridden(&mut file.log_format, FORMAT_VARIABLE, |text| {
        Format::parse(text).map(Some)
    })?;
    file.topic = Some(file.topic()?);
    if file.retry.min > file.retry.max {
        return Err(Error::config("retry: \"min\" is longer than \"max\""));
    }
    of_the_format(&mut file)?;
    file.version = env!("CARGO_PKG_VERSION").to_owned();
    file.secrets.database_url = Some(database_url.text.clone());
    file.state_dir = file.state_dir.or_else(state_directory);
    Ok(file)
}

/// Refuses the keys that the format of the file does not have, and sets those that it has.
fn of_the_format(file: &mut File) -> Result<()> {
    if file.format == record::Format::Rows {
        file.int8.get_or_insert_default();
        file.json.get_or_insert_default();
        return Ok(());
    }
    let of_rows = [
        ("keys", !file.keys.is_empty()),
        ("int8", file.int8.is_some()),
        ("json", file.json.is_some()),
    ];
    match of_rows.into_iter().find(|(_, is_set)| *is_set) {
        Some((key, _)) => Err(Error::config(format!(
            "\"{key}\" does nothing with \"format: events\": it is of the rows of \"format: rows\""
        ))
        .with_hint("take it out, or set \"format: rows\"")),
        None => Ok(()),
    }
}

/// The routes, with what they leave out from the top level.
fn routes_of(file: &File) -> Result<Routes> {
    let topic = file.topic()?;
    let routes = file.routes.iter().map(|entry| Route {
        tables: entry.tables.clone(),
        topic: entry.topic.as_ref().unwrap_or(&topic).clone(),
        partitions: entry.partitions.unwrap_or(file.partitions).0,
        partitioning: entry.partition.unwrap_or(file.partition),
    });
    let routes = routes.collect();
    let top_level = Route {
        tables: Vec::new(),
        topic,
        partitions: file.partitions.0,
        partitioning: file.partition,
    };
    let keys = KeyStyle {
        columns: &file.keys,
        values: RowStyle {
            int8: file.int8.unwrap_or_default(),
            json: file.json.unwrap_or_default(),
        },
    };
    Routes::new(routes, top_level, file.format, keys)
}

/// The directory that a service manager made for this service.
fn state_directory() -> Option<FilePath> {
    let directory = std::env::var_os("STATE_DIRECTORY").filter(|value| !value.is_empty());
    directory.map(|path| FilePath(path.into()))
}

/// Takes the value from the environment, if it is there, held to the same rules as the file's.
fn overridden<T>(
    value: &mut T,
    variable: &str,
    parse: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<()> {
    match std::env::var(variable) {
        Ok(text) if text.is_empty() => {}
        Ok(text) => {
            *value = parse(&text)
                .map_err(|expected| Error::config(format!("{variable}: expected {expected}")))?;
        }
        Err(std::env::VarError::NotPresent) => {}
        // Whatever it is instead is not quoted: it may be a secret in the wrong place.
        Err(std::env::VarError::NotUnicode(_)) => {
            return Err(Error::config(format!("{variable} is not UTF-8")));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use yaml_serde::{Mapping, Value};

    use super::*;
    use crate::config::partition::Partitioning;

    /// The config of this text.
    pub fn resolve(text: &str) -> Result<Config> {
        Config::resolve(
            File::parse(text)?,
            DatabaseUrl {
                text: Secret::new("postgres://u:p@h/db".into()),
                source: "of the test".into(),
            },
        )
    }

    const MINIMAL: &str = "
version: 0.2.0
name: n
type: postgres-source
topic: t
parameters: { publication: p, slot: s }
";

    #[test]
    fn defaults() {
        let config = resolve(MINIMAL).unwrap();
        assert_eq!(config.setup, Setup::Create);
        assert_eq!(config.raw_text, RawText::Bytes);
        assert_eq!(config.linger, Duration::ZERO);
        assert_eq!(config.status_interval, Duration::from_secs(1));
        let retry = Retry {
            min: Duration::from_millis(500),
            max: Duration::from_secs(30),
        };
        assert_eq!(config.retry, retry);
        assert_eq!(config.fluvio.batch_bytes, 1_000_000);
        assert!(config.fluvio.create_topic && config.tables.is_empty());
        assert_eq!(config.format, record::Format::Events);
        assert!(config.keys.is_empty() && !config.routes.needs_tables());
        let way = config.routes.of_table("public", "pets").unwrap();
        assert_eq!((way.topic.as_str(), way.partitions), ("t", 1));
        assert_eq!(way.partitioning, Partitioning::Fixed(0));
    }

    #[test]
    fn rows_are_written_as_the_file_says() {
        let rows = resolve(&format!("{MINIMAL}format: rows")).unwrap();
        assert_eq!(
            (rows.format, rows.int8, rows.json),
            (record::Format::Rows, Int8::Number, JsonStyle::Value)
        );
        let text = "format: rows\nint8: string\njson: text\nkeys: { public.T: [ID, '\"Id\"'] }";
        let rows = resolve(&format!("{MINIMAL}{text}")).unwrap();
        assert_eq!((rows.int8, rows.json), (Int8::String, JsonStyle::Text));
        let key = rows.keys.of_table("public", "t").unwrap();
        assert_eq!(key.collect::<Vec<_>>(), ["id", "Id"]);
        assert!(rows.keys.of_table("public", "T").is_none());
    }

    #[test]
    fn dashes_and_underscores_mean_the_same() {
        let dashes = "create-topic: false\nstatus-interval: 2s\nproducer: { batch-size: 2KB }";
        let underscores = "create_topic: false\nstatus_interval: 2s\nproducer: { batch_size: 2KB }";
        for more in [dashes, underscores] {
            let config = resolve(&format!("{MINIMAL}{more}")).unwrap();
            assert!(!config.fluvio.create_topic);
            assert_eq!(config.status_interval, Duration::from_secs(2));
            assert_eq!(config.fluvio.batch_bytes, 2000);
        }
    }

    /// Values of each kind that a key may have.
    const VALUES: [&str; 17] = [
        "true",
        "false",
        "7",
        "3s",
        "[insert]",
        "none",
        "string",
        "warn",
        "json",
        "h:1",
        "127.0.0.1:1",
        "/x",
        "x",
        "rows",
        "text",
        "[{ tables: [p.t], partition: table }]",
        "{ p.t: [id] }",
    ];

    /// A config, and one that differs from it in one key.
    #[derive(Clone)]
    struct Change {
        before: Config,
        after: Config,
    }

    /// The keys of a file, each with a change of it alone, if there may be one: in [`MINIMAL`], or in the
    /// rows that some keys need.
    fn changes() -> Vec<(String, Option<Change>)> {
        let minimal = resolve(MINIMAL).unwrap().effective;
        let mut changes = Vec::new();
        for (key, value) in &minimal.0 {
            let name = key.as_str().unwrap().to_owned();
            match value {
                Value::Mapping(section) if !section.is_empty() => {
                    changes.extend(section.keys().map(|below| {
                        let changed = changed(|keys, value| keys[key][below] = value);
                        (format!("{name}.{}", below.as_str().unwrap()), changed)
                    }));
                }
                _ => changes.push((name, changed(|keys, value| keys[key] = value))),
            }
        }
        changes
    }

    fn changed(set: impl Fn(&mut Mapping, Value)) -> Option<Change> {
        let mut bases = ["", "format: rows"].into_iter();
        bases.find_map(|format| {
            let before = resolve(&format!("{MINIMAL}{format}")).unwrap();
            let after = VALUES.iter().find_map(|value| {
                let mut keys = before.effective.clone();
                set(&mut keys.0, yaml_serde::from_str(value).unwrap());
                let text = yaml_serde::to_string(&keys.without_nulls()).unwrap();
                let after = resolve(&text).ok()?;
                (after.effective.0 != before.effective.0).then_some(after)
            })?;
            Some(Change { before, after })
        })
    }

    #[test]
    fn every_key_is_taken_into_the_config() {
        let is_taken =
            |change: Change| format!("{:?}", change.after) != format!("{:?}", change.before);
        let of_no_use = changes()
            .into_iter()
            .filter(|(_, change)| !change.clone().is_some_and(is_taken));
        let of_no_use: Vec<String> = of_no_use.map(|(key, _)| key).collect();
        assert_eq!(
            of_no_use,
            ["version", "type", "secrets.FLUVIO_PG_DATABASE_URL"]
        );
    }

    #[test]
    fn every_key_counts_at_a_start_only_unless_a_reload_takes_it() {
        let (mut named, mut silent) = (Vec::new(), Vec::new());
        for (key, change) in changes() {
            let names = change.map_or(Vec::new(), |c| c.before.only_at_a_start(&c.after));
            match names.is_empty() {
                true => silent.push(key.split('.').next().unwrap().to_owned()),
                false => named.extend(names),
            }
        }
        let special =
            "slot publish fluvio.endpoint producer.batch-size retry metrics format keys routes";
        for name in special.split(' ') {
            assert!(named.contains(&name.to_owned()), "{name}: {named:?}");
        }
        assert_eq!(named.iter().filter(|name| *name == "publish").count(), 3);
        assert_eq!(silent, effective::NO_RESTART);
    }
}
