//! The tests: the program as a child process between real servers, and its parts.
//!
//! - `batches`: how records are batched, and which topic and partition they go to
//! - `delivery`: every committed change arrives, in order, whatever breaks
//! - `golden`: the event sequence of the specification, byte for byte
//! - `memory`: what the program holds, and values as large as Fluvio takes and larger
//! - `slot`: what the slot confirms and keeps, and what the server sees
//! - `stop`: a signal ends the program in time, and nothing comes twice
#![allow(missing_docs)]

mod support;

mod batches;
mod delivery;
mod golden;
mod memory;
mod slot;
mod stop;
