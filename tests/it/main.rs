//! The tests: the program as a child process between real servers, and its parts.
//!
//! - `golden`: the event sequence of the specification, byte for byte
//! - `layers`: the layers of the source, which import in one direction
//! - `identity`: what updates and deletes carry of the old row
//! - `types`: every type at its extremes, against what SQL reads under the pinned settings
#![allow(missing_docs)]

mod support;

mod golden;
mod layers;
mod identity;
mod types;
