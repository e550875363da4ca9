//! The YAML file as written → a valid, typed [`Config`].
//!
//! `file` is what the file may say, `value` how a value is read, `message` what is said of a
//! file that is not understood, `secret` where the database URL comes from. This module resolves
//! them and the environment into what the program runs with.

mod effective;
pub(crate) mod file;
mod message;
pub(crate) mod secret;
pub(crate) mod value;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::file::File;
use self::secret::{DatabaseUrl, Secret};
use self::value::{Publication, SlotName};
use crate::base::error::{Context, Error, Result};
use crate::base::input;
use crate::observe::logging::{FORMAT_VARIABLE, Format};
use crate::observe::monitor::Places;
use crate::pg::params::ConnectParams;
use crate::pg::params::password::PasswordCommand;
use crate::pg::replication::Origins;
use crate::record::events::RawText;
use crate::sink::fluvio;

/// What the file may say: a [JSON Schema](https://json-schema.org/draft/2020-12).
pub const SCHEMA: &str = include_str!("schema.json");

/// What the program runs with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The connector's name, which the server shows as `postgres-source/NAME`.
    pub name: String,
    /// The database.
    pub database_url: DatabaseUrl,
    /// The command that tells the password, unless the URL does.
    pub password_command: Option<Secret>,
    /// The publication.
    pub publication: String,
    /// The replication slot.
    pub slot: String,
    /// The tables of a publication that is made; all when there are none.
    pub tables: Vec<String>,
    /// What a publication that is made publishes; what the server does by itself where it says
    /// nothing.
    pub publishing: Publishing,
    /// Whether a slot that is made is kept on standbys too.
    pub failover: Option<bool>,
    /// Whether publication and slot are made when they are missing.
    pub setup: Setup,
    /// The prefixes of the messages that are written.
    pub messages: Vec<String>,
    /// Which changes are asked for, by where they were made.
    pub origin: Origins,
    /// Where the records go.
    pub fluvio: fluvio::Options,
    /// How long a record waits for company.
    pub linger: Duration,
    /// How values without a JSON form of their own are written.
    pub raw_text: RawText,
    /// How often the confirmed position is reported.
    pub status_interval: Duration,
    /// How long to wait between attempts.
    pub retry: Retry,
    /// Where what is known of slot and topic is kept; in `$STATE_DIRECTORY` if the file does not say.
    pub state_dir: Option<PathBuf>,
    /// How long the confirmed position stays behind what is stored.
    pub confirm_delay: Duration,
    /// How far the topic may be behind before `status` says so.
    pub max_lag_bytes: u64,
    /// Where metrics are shown.
    pub metrics: Places,
    /// The log level, unless `RUST_LOG` is set.
    pub log: Option<log::LevelFilter>,
    /// The form of log lines; what suits standard error if nothing is said.
    pub log_format: Option<Format>,
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
    /// Which generated columns rows have.
    pub generated_columns: Option<GeneratedColumns>,
}

/// Which generated columns are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeneratedColumns {
    /// None.
    None,
    /// Those that are stored.
    Stored,
}

/// What happens when the publication or the slot is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// It is made.
    Create,
    /// It is an error that says how to make it.
    Require,
}

/// Between attempts: `min` after the first failure, twice as long after each further one, up to
/// `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// After the first failure.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl<'a> ConfigText<'a> {
    /// Reads the file, once: it may be a pipe.
    pub fn read(path: &'a Path) -> Result<Self> {
        let text = input::read_text(path, input::CONFIG_BYTES)
            .map_err(|e| Error::config("cannot read the config file").with_source(e))
            .at(|| path.display().to_string())?;
        Ok(ConfigText { path, text })
    }

    /// The form in which whatever is wrong with the rest is told.
    pub fn log_format(&self) -> Option<Format> {
        File::log_format(&self.text)
    }

    /// What it says, with the secret and the environment.
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

    /// Whom to connect to.
    pub fn params(&self) -> Result<ConnectParams> {
        let application = format!("postgres-source/{}", self.name);
        let command = self.password_command.as_ref();
        let command = command.map(|command| PasswordCommand::new(command.expose()));
        let DatabaseUrl { text, source } = &self.database_url;
        let params = ConnectParams::parse_from(text.expose(), source, &application)?;
        Ok(params.with_password_command(command))
    }

    /// The keys that differ in `fresh` and count at a start only. What leads to a connection (name,
    /// URL, password) and the log are not among them.
    pub fn only_at_a_start(&self, fresh: &Config) -> Vec<&'static str> {
        let (fluvio, new) = (&self.fluvio, &fresh.fluvio);
        let differ = [
            ("publication", self.publication != fresh.publication),
            ("slot", self.slot != fresh.slot),
            ("tables", self.tables != fresh.tables),
            ("publish", self.publishing != fresh.publishing),
            ("failover", self.failover != fresh.failover),
            ("skip_setup", self.setup != fresh.setup),
            ("messages", self.messages != fresh.messages),
            ("origin", self.origin != fresh.origin),
            ("topic", fluvio.topic != new.topic),
            ("partition", fluvio.partition != new.partition),
            ("create-topic", fluvio.create_topic != new.create_topic),
            ("fluvio.endpoint", fluvio.endpoint != new.endpoint),
            ("fluvio.timeout", fluvio.timeout != new.timeout),
            ("producer.batch-size", fluvio.batch_bytes != new.batch_bytes),
            (
                "producer.compression",
                fluvio.compression != new.compression,
            ),
            ("producer.linger", self.linger != fresh.linger),
            ("raw_text", self.raw_text != fresh.raw_text),
            (
                "status_interval",
                self.status_interval != fresh.status_interval,
            ),
            ("retry", self.retry != fresh.retry),
            ("state_dir", self.state_dir != fresh.state_dir),
            ("confirm_delay", self.confirm_delay != fresh.confirm_delay),
            ("metrics", self.metrics != fresh.metrics),
        ];
        let differ = differ.into_iter().filter(|(_, differs)| *differs);
        differ.map(|(key, _)| key).collect()
    }

    fn resolve(file: File, database_url: DatabaseUrl) -> Result<Config> {
        let publication = overridden("FLUVIO_PG_PUBLICATION", Publication::parse)?;
        let slot = overridden("FLUVIO_PG_SLOT", SlotName::parse)?;
        let log_format = overridden(FORMAT_VARIABLE, Format::parse)?;
        let topic = file.topic()?;
        let parameters = file.parameters;
        if file.retry.min > file.retry.max {
            return Err(Error::config("retry: \"min\" is longer than \"max\""));
        }
        Ok(Config {
            name: file.name.0,
            database_url,
            password_command: file.password_command,
            publication: publication.unwrap_or(parameters.publication).0,
            slot: slot.unwrap_or(parameters.slot).0,
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
            fluvio: fluvio::Options {
                endpoint: file.fluvio.endpoint.map(|endpoint| endpoint.0),
                topic,
                partition: file.partition,
                create_topic: file.create_topic,
                batch_bytes: file.producer.batch_size,
                compression: file.producer.compression,
                timeout: file.fluvio.timeout,
            },
            linger: file.producer.linger,
            raw_text: file.raw_text,
            status_interval: file.status_interval,
            retry: Retry {
                min: file.retry.min,
                max: file.retry.max,
            },
            state_dir: file.state_dir.map(|path| path.0).or_else(state_directory),
            confirm_delay: file.confirm_delay,
            max_lag_bytes: file.max_lag,
            metrics: Places {
                listen: file.metrics.listen,
                textfile: file.metrics.textfile.map(|path| path.0),
            },
            log: file.log.map(|level| level.0),
            log_format: log_format.or(file.log_format),
        })
    }
}

/// The directory that a service manager made for this service.
fn state_directory() -> Option<PathBuf> {
    let directory = std::env::var_os("STATE_DIRECTORY").filter(|value| !value.is_empty());
    directory.map(PathBuf::from)
}

/// A value from the environment, held to the same rules as the file's.
fn overridden<T>(
    variable: &str,
    parse: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<Option<T>> {
    match std::env::var(variable) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => match parse(&value) {
            Ok(parsed) => Ok(Some(parsed)),
            Err(expected) => Err(Error::config(format!("{variable}: expected {expected}"))),
        },
        Err(std::env::VarError::NotPresent) => Ok(None),
        // Whatever it is instead is not quoted: it may be a secret in the wrong place.
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Error::config(format!("{variable} is not UTF-8")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Config> {
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
}
