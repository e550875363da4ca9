//! The way of a change from the slot to the topic: both sides opened, the two threads, and what makes
//! it exactly once.

pub mod position;
pub mod producer;
pub mod progress;
pub mod reader;
pub mod resume;
pub mod run;
pub mod session;
pub mod setup;
pub mod summary;
