//! Where records are written.
//!
//! - `batches`: how records are batched, and which topic and partition they go to
//! - `in_flight`: the batch that is under way, and the one behind it
//! - `lanes`: many lanes, on several SPUs
//! - `leaders`: finding who leads many lanes, and what they hold
//! - `replicas`: records that not every replica has yet when a session opens
//! - `fluvio_tls`: TLS to Fluvio, as the profile has it
//! - `hostile`: clusters that mean harm, or are out of their mind
//! - `stdout`: records on standard output, confirmed when they are written

mod batches;
mod fluvio_tls;
mod hostile;
mod in_flight;
mod lanes;
mod leaders;
mod replicas;
mod stdout;
