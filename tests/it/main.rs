//! The tests: the program as a child process between real servers, and its parts.
//!
//! They are laid out as `src/` is, so that a test is found where the thing that it tests is; each room
//! has its index at the top of its `mod.rs`.
//!
//! - `base`: files, names and processes of others
//! - `pg`: the client of PostgreSQL, beside real servers and scripted ones
//! - `change`: events, and the tables that they are about
//! - `record`: what is written of a change, to the byte
//! - `sink`: a topic, or standard output
//! - `observe`: metrics, the log, the service manager, what is waited for
//! - `config`: the config file, and what is beside it
//! - `pipeline`: both sides opened, exactly once, whatever breaks
//! - `commands`: the verbs, and the command line
//! - `project`: the repository itself: its source, its README and what is shipped beside the program
//! - `support`: what starts servers, clusters and the program, and comes between them
#![allow(missing_docs)]

mod support;

mod base;
mod change;
mod commands;
mod config;
mod observe;
mod pg;
mod pipeline;
mod project;
mod record;
mod sink;
