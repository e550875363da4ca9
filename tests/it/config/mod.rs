//! The config file, and what is beside it.
//!
//! - `file`: what is wrong with a config file, told without its secret
//! - `example`: the example has every key, and its defaults are true
//! - `identifiers`: names of tables mean what they mean to the server
//! - `sources`: where the secret, the names and the cluster come from

pub mod example;
mod file;
mod identifiers;
pub mod sources;

pub use file::{Home, URL, assert_not_in_cmdline, refused, with};
