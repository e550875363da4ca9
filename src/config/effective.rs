//! The config as it takes effect: printed as a config file without its secrets, and compared key by
//! key with the one that a reload brings.

use std::fmt;

use yaml_serde::{Mapping, Value};

use super::Config;
use super::file::File;
use crate::base::error::{Error, Kind, Result};
use crate::base::printable::is_hidden;

/// The keys that a reload takes, or that `run` does not use. Every other one needs a restart.
pub(super) const NO_RESTART: [&str; 8] = [
    "version",
    "name",
    "type",
    "secrets",
    "password_command",
    "max_lag",
    "log",
    "log_format",
];

/// The sections whose keys are named one by one when they differ.
const SECTIONS: [&str; 3] = ["parameters", "fluvio", "producer"];

/// Every key with the value that takes effect, null where it has none.
#[derive(Clone)]
pub(crate) struct Effective(pub(super) Mapping);

/// Leaves the keys out, because the fields of [`Config`] beside them say as much.
impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl Effective {
    /// Takes the keys of a file that has been resolved.
    pub fn of(file: &File) -> Result<Effective> {
        let keys = yaml_serde::to_value(file).and_then(yaml_serde::from_value);
        keys.map(Effective).map_err(not_written)
    }

    /// Leaves out the keys that have no value.
    pub(super) fn without_nulls(mut self) -> Mapping {
        let sections = self.0.values_mut().filter_map(Value::as_mapping_mut);
        sections.for_each(|section| section.retain(|_, value| !value.is_null()));
        self.0.retain(|_, value| !value.is_null());
        self.0
    }

    /// The keys that need a restart, each by the name that the log has for it, with their values.
    fn of_a_start(&self) -> Vec<(String, &Value)> {
        let mut named = Vec::new();
        for (key, value) in self.0.iter() {
            let key = key.as_str().unwrap_or_default();
            match value.as_mapping() {
                _ if NO_RESTART.contains(&key) => {}
                Some(section) if SECTIONS.contains(&key) => {
                    named.extend(section.iter().map(|(below, value)| {
                        (logged_name(key, below.as_str().unwrap_or_default()), value)
                    }));
                }
                _ => named.push((key.to_owned(), value)),
            }
        }
        named
    }
}

fn logged_name(section: &str, key: &str) -> String {
    match (section, key) {
        // Options of what a publication publishes.
        (_, "publish_via_partition_root" | "generated_columns") => "publish".to_owned(),
        ("parameters", key) => key.to_owned(),
        (section, key) => format!("{section}.{key}"),
    }
}

fn not_written(error: yaml_serde::Error) -> Error {
    Error::new(Kind::Bug, "cannot write the config").with_source(error)
}

impl Config {
    /// What the program runs with, the environment and the defaults included, as a config file.
    pub fn effective(&self) -> Result<String> {
        let params = self.params()?;
        let hosts: Vec<String> = params.endpoints().iter().map(ToString::to_string).collect();
        let keys = self.effective.clone().without_nulls();
        let yaml = yaml_serde::to_string(&keys).map_err(not_written)?;
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

    /// The keys that differ in `fresh` and count at a start only. What leads to a connection (name,
    /// URL, password) and the log are not among them.
    pub fn only_at_a_start(&self, fresh: &Config) -> Vec<String> {
        let fresh = fresh.effective.of_a_start();
        let pairs = self.effective.of_a_start().into_iter().zip(fresh);
        let differ = pairs.filter(|((_, before), (_, after))| before != after);
        let mut names: Vec<String> = differ.map(|((name, _), _)| name).collect();
        names.dedup();
        names
    }
}
