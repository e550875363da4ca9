//! The config as it takes effect, written as a config file without its secrets.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::{Config, GeneratedColumns, Setup};
use crate::base::error::{Error, Kind, Result};
use crate::base::printable::is_hidden;
use crate::observe::logging::Format;
use crate::pg::replication::Origins;
use crate::record::events::RawText;

/// What stands in place of a secret.
const SECRET: &str = "[secret]";

/// The keys in the order of `config-example.yaml`; those that are not set are left out.
#[derive(Serialize)]
struct Effective<'a> {
    version: &'a str,
    name: &'a str,
    r#type: &'a str,
    topic: &'a str,
    #[serde(rename = "create-topic")]
    create_topic: bool,
    partition: u32,
    parameters: Parameters<'a>,
    secrets: Secrets,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_command: Option<&'a str>,
    fluvio: Fluvio<'a>,
    producer: Producer,
    raw_text: &'a str,
    status_interval: String,
    retry: Retry,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_dir: Option<&'a Path>,
    confirm_delay: String,
    max_lag: String,
    metrics: Metrics<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<&'a str>,
}

#[derive(Serialize)]
struct Parameters<'a> {
    publication: &'a str,
    slot: &'a str,
    skip_setup: bool,
    tables: &'a [String],
    publish: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    publish_via_partition_root: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generated_columns: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failover: Option<bool>,
    messages: &'a [String],
    origin: &'a str,
}

#[derive(Serialize)]
struct Secrets {
    #[serde(rename = "FLUVIO_PG_DATABASE_URL")]
    database_url: &'static str,
}

#[derive(Serialize)]
struct Fluvio<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a str>,
    timeout: String,
}

#[derive(Serialize)]
struct Producer {
    linger: String,
    #[serde(rename = "batch-size")]
    batch_size: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<String>,
}

#[derive(Serialize)]
struct Retry {
    min: String,
    max: String,
}

#[derive(Serialize)]
struct Metrics<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    textfile: Option<&'a Path>,
}

impl Config {
    /// What the program runs with, the environment and the defaults included, as a config file.
    pub fn effective(&self) -> Result<String> {
        let params = self.params()?;
        let hosts: Vec<String> = params.endpoints().iter().map(ToString::to_string).collect();
        let yaml = yaml_serde::to_string(&self.as_file())
            .map_err(|e| Error::new(Kind::Bug, "cannot write the config").with_source(e))?;
        let comment = format!(
            "# {} connects to the database {} at {}",
            params.user(),
            params.database(),
            hosts.join(", ")
        );
        // A name may have anything in it, and must not end the comment.
        let comment = comment.replace(is_hidden, " ");
        Ok(format!("{comment}\n{}", yaml.trim_end()))
    }

    fn as_file(&self) -> Effective<'_> {
        Effective {
            version: env!("CARGO_PKG_VERSION"),
            name: &self.name,
            r#type: "postgres-source",
            topic: &self.fluvio.topic,
            create_topic: self.fluvio.create_topic,
            partition: self.fluvio.partition,
            parameters: self.parameters(),
            secrets: Secrets {
                database_url: SECRET,
            },
            password_command: self.password_command.as_ref().map(|_| SECRET),
            fluvio: Fluvio {
                endpoint: self.fluvio.endpoint.as_deref(),
                timeout: duration(self.fluvio.timeout),
            },
            producer: Producer {
                linger: duration(self.linger),
                batch_size: format!("{}B", self.fluvio.batch_bytes),
                compression: self.fluvio.compression.map(|wanted| wanted.to_string()),
            },
            raw_text: match self.raw_text {
                RawText::Bytes => "bytes",
                RawText::String => "string",
            },
            status_interval: duration(self.status_interval),
            retry: Retry {
                min: duration(self.retry.min),
                max: duration(self.retry.max),
            },
            state_dir: self.state_dir.as_deref(),
            confirm_delay: duration(self.confirm_delay),
            max_lag: format!("{}B", self.max_lag_bytes),
            metrics: Metrics {
                listen: self.metrics.listen,
                textfile: self.metrics.textfile.as_deref(),
            },
            log: self.log.map(|level| level.to_string().to_lowercase()),
            log_format: self.log_format.map(Format::name),
        }
    }

    fn parameters(&self) -> Parameters<'_> {
        Parameters {
            publication: &self.publication,
            slot: &self.slot,
            skip_setup: self.setup == Setup::Require,
            tables: &self.tables,
            publish: &self.publishing.operations,
            publish_via_partition_root: self.publishing.via_partition_root,
            generated_columns: self
                .publishing
                .generated_columns
                .map(|columns| match columns {
                    GeneratedColumns::None => "none",
                    GeneratedColumns::Stored => "stored",
                }),
            failover: self.failover,
            messages: &self.messages,
            origin: match self.origin {
                Origins::Any => "any",
                Origins::None => "none",
            },
        }
    }
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}
