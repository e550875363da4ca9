//! The tests: the program as a child process between real servers, and its parts.
//!
//! - `delivery`: every committed change arrives, in order, whatever breaks
//! - `ddl`: definitions that change while rows stream, and the messages that they cause
//! - `decoder`: recorded messages of a real server, whole and damaged
//! - `golden`: the event sequence of the specification, byte for byte
//! - `layers`: the layers of the source, which import in one direction
//! - `identity`: what updates and deletes carry of the old row
//! - `types`: every type at its extremes, against what SQL reads under the pinned settings
//! - `resume`: the arithmetic of resuming, with every cut of a small stream
//! - `stop`: a signal ends the program in time, and nothing comes twice
#![allow(missing_docs)]

mod support;

mod ddl;
mod decoder;
mod delivery;
mod golden;
mod identity;
mod layers;
mod resume;
mod stop;
mod types;
