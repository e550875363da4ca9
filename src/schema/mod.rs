//! `schema`: what records, and the config file, may be, for programs
//! ([JSON Schema](https://json-schema.org/draft/2020-12)).
//!
//! Both are written by hand. Tests hold `events.json` to the records of a real server, and
//! `config.json` to the parser and to `config-example.yaml`.

use argh::FromArgValue;

/// What a schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromArgValue)]
pub enum Described {
    /// A record of the topic.
    Events,
    /// The config file.
    Config,
}

impl Described {
    /// The schema.
    pub fn schema(self) -> &'static str {
        match self {
            Described::Events => include_str!("events.json"),
            Described::Config => include_str!("config.json"),
        }
    }
}
