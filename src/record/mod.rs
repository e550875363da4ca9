//! What is written of a change: its records, and their place in the stream read back.

pub mod events;
pub mod readback;
