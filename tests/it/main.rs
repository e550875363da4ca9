//! The tests: the program as a child process between real servers, and its parts.
//!
//! - `auth`: who is let in and who is not, by real servers and by scripted ones
//! - `auth_script`: servers that let nobody in, each in its own way
//! - `cli`: arguments, outputs, log levels and exit codes of the program
//! - `config`: what is wrong with a config file, told without its secret
//! - `config_example`: the example has every key, and its defaults are true
//! - `config_sources`: where the secret, the names and the cluster come from
//! - `golden`: the event sequence of the specification, byte for byte
//! - `session_script`: servers that fail in the midst of a session
//! - `setup`: publication and slot: made, found or missing
//! - `setup_foreign`: a slot or publication that is somebody else's, or is taken away
//! - `setup_limits`: what a server's configuration, or a role's rights, do not allow
//! - `stdout`: records on standard output, confirmed when they are written
#![allow(missing_docs)]

mod support;

mod auth;
mod auth_script;
mod cli;
mod config;
mod config_example;
mod config_sources;
mod golden;
mod session_script;
mod setup;
mod setup_foreign;
mod setup_limits;
mod stdout;
