//! The way of a change from the slot to the topic.
//!
//! - `setup`: publication and slot, and what a server must be able to do
//! - `resume`: exactly once: where the topic ends, and whether the slot goes on from there
//! - `reader`: what is read, and when it is confirmed
//! - `session`: the slot taken and lost, and the servers that a session is with
//! - `delivery`: every committed change arrives, in order, whatever breaks
//! - `memory`: what the program holds, and values as large as Fluvio takes and larger
//! - `drained`: everything there is, and then the end, as a timer wants it
//! - `reload`: SIGHUP, and what it changes
//! - `rows`: the row format, in one lane and in many
//! - `stop`: a signal ends the program in time, and nothing comes twice
//! - `torture`: faults drawn at random, one after the other

mod delivery;
mod drained;
mod memory;
pub mod reader;
mod reload;
pub mod resume;
mod rows;
pub mod session;
pub mod setup;
mod stop;
mod torture;
