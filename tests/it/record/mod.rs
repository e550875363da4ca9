//! What is written of a change.
//!
//! - `golden`: the event sequence of the specification, byte for byte
//! - `types`: every type, name and encoding at its extremes, against what SQL reads under the pinned settings
//! - `large`: memory of values so large that their records are not held whole

mod golden;
mod large;
mod types;
