//! `schema`: what records, and the config file, may be, for programs
//! ([JSON Schema](https://json-schema.org/draft/2020-12)).
//!
//! They are written by hand. Tests hold those of records to what a real server sends, and that of the
//! config file to the parser and to `config-example.yaml`.

use argh::FromArgValue;

use crate::{config, record};

/// What a schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromArgValue)]
pub enum SchemaOf {
    /// A record of the event format.
    Events,
    /// A record of the row format.
    Rows,
    /// The config file.
    Config,
}

impl SchemaOf {
    /// The schema.
    pub fn schema(self) -> &'static str {
        match self {
            SchemaOf::Events => record::events::SCHEMA,
            SchemaOf::Rows => record::rows::SCHEMA,
            SchemaOf::Config => config::SCHEMA,
        }
    }
}
