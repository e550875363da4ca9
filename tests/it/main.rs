//! The tests: the program as a child process between real servers, and its parts.
//!
//! - `delivery`: every committed change arrives, in order, whatever breaks
//! - `golden`: the event sequence of the specification, byte for byte
#![allow(missing_docs)]

mod support;

mod delivery;
mod golden;
