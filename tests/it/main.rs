//! The tests: the program as a child process between real servers, and its parts.
//!
//! - `golden`: the event sequence of the specification, byte for byte
//! - `layers`: the layers of the source, which import in one direction
#![allow(missing_docs)]

mod support;

mod golden;
mod layers;
