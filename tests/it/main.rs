//! The tests: the program as a child process between real servers, and its parts.
//!
//! - `ddl`: definitions that change while rows stream, and the messages that they cause
//! - `decoder`: recorded messages of a real server, whole and damaged
//! - `golden`: the event sequence of the specification, byte for byte
//! - `identity`: what updates and deletes carry of the old row
//! - `types`: every type at its extremes, against what SQL reads under the pinned settings
#![allow(missing_docs)]

mod support;

mod ddl;
mod decoder;
mod golden;
mod identity;
mod types;
