//! The tests: the program as a child process between real servers, and its parts.
//!
//! - `delivery`: every committed change arrives, in order, whatever breaks
//! - `golden`: the event sequence of the specification, byte for byte
//! - `stop`: a signal ends the program in time, and nothing comes twice
#![allow(missing_docs)]

mod support;

mod delivery;
mod golden;
mod stop;
