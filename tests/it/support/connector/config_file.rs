//! The program's config file as a test wants it.
#![allow(dead_code)]

use super::leash;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// Builds the YAML text; values are YAML too. The file goes away on drop.
pub struct ConfigFile {
    dir: TempDir,
    topic: String,
    top: Vec<(String, String)>,
    parameters: Vec<(String, String)>,
    fluvio: Vec<(String, String)>,
    producer: Vec<(String, String)>,
    raw: String,
}

/// In a directory of its own.
impl Clone for ConfigFile {
    fn clone(&self) -> ConfigFile {
        ConfigFile {
            dir: leash::temp_dir("config-"),
            topic: self.topic.clone(),
            top: self.top.clone(),
            parameters: self.parameters.clone(),
            fluvio: self.fluvio.clone(),
            producer: self.producer.clone(),
            raw: self.raw.clone(),
        }
    }
}

impl ConfigFile {
    pub fn new(topic: &str, publication: &str, slot: &str) -> ConfigFile {
        let config = ConfigFile {
            dir: leash::temp_dir("config-"),
            topic: topic.to_owned(),
            top: Vec::new(),
            parameters: Vec::new(),
            fluvio: Vec::new(),
            producer: Vec::new(),
            raw: String::new(),
        };
        config
            .set("version", "0.1.0")
            .set("name", "test")
            .set("type", "postgres-source")
            .set("topic", topic)
            .parameter("publication", publication)
            .parameter("slot", slot)
    }

    /// Sets a key of the top level, such as `status_interval`.
    pub fn set(mut self, key: &str, value: &str) -> ConfigFile {
        put(&mut self.top, key, value);
        self
    }

    /// Takes a key of the top level or of the parameters away.
    pub fn without(mut self, key: &str) -> ConfigFile {
        self.top.retain(|(name, _)| name != key);
        self.parameters.retain(|(name, _)| name != key);
        self
    }

    /// Sets a key of `parameters`.
    pub fn parameter(mut self, key: &str, value: &str) -> ConfigFile {
        put(&mut self.parameters, key, value);
        self
    }

    /// Sets a key of `producer`, such as `linger`.
    pub fn producer(mut self, key: &str, value: &str) -> ConfigFile {
        put(&mut self.producer, key, value);
        self
    }

    /// Sets a key of `fluvio`: where it is, a host and a port, or how long it may take.
    pub fn fluvio(mut self, key: &str, value: &str) -> ConfigFile {
        put(&mut self.fluvio, key, value);
        self
    }

    /// Appends text as it is.
    pub fn raw(mut self, yaml: &str) -> ConfigFile {
        self.raw.push_str(yaml);
        self.raw.push('\n');
        self
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The text of the file.
    pub fn yaml(&self) -> String {
        let mut yaml = String::new();
        let mut line = |indent: &str, key: &str, value: &str| {
            writeln!(yaml, "{indent}{key}: {value}").expect("a string takes it");
        };
        for (key, value) in &self.top {
            line("", key, value);
        }
        let sections = [
            ("parameters", &self.parameters),
            ("fluvio", &self.fluvio),
            ("producer", &self.producer),
        ];
        for (section, entries) in sections {
            if !entries.is_empty() {
                line("", section, "");
            }
            for (key, value) in entries {
                line("  ", key, value);
            }
        }
        yaml.push_str(&self.raw);
        yaml
    }

    /// Writes the file as it is now, unless it is so already, and tells where. A program that is just
    /// starting reads all of the old one or all of the new one.
    pub fn path(&self) -> PathBuf {
        let path = self.dir.path().join("config.yaml");
        let yaml = self.yaml();
        if fs::read(&path).ok().as_deref() != Some(yaml.as_bytes()) {
            let beside = self.dir.path().join("config.yaml.new");
            fs::write(&beside, yaml).expect("the config file can be written");
            fs::rename(&beside, &path).expect("the config file can be replaced");
        }
        path
    }
}

/// Sets a key once, because YAML refuses one that comes twice.
fn put(entries: &mut Vec<(String, String)>, key: &str, value: &str) {
    match entries.iter_mut().find(|(name, _)| name == key) {
        Some(entry) => value.clone_into(&mut entry.1),
        None => entries.push((key.to_owned(), value.to_owned())),
    }
}
