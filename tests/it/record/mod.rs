//! What is written of a change.
//!
//! - `golden`: the event sequence of the specification, byte for byte
//! - `types`: every type, name and encoding at its extremes, against what SQL reads under the pinned settings
//! - `rows`: the row format of what a server sends under each replica identity
//! - `large`: memory of values so large that their records are not held whole

mod golden;
mod large;
mod rows;
mod types;
