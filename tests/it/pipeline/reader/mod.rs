//! What is read, and when it is confirmed.
//!
//! - `slot`: what the slot confirms and keeps, and what the server sees
//! - `confirmation`: what is stored is confirmed at once, whatever the interval of reports is
//! - `confirm_delay`: a slot that stays behind, and a topic that loses its last seconds
//! - `silence`: a PostgreSQL that is there and silent, and what is said of it

mod confirm_delay;
mod confirmation;
pub mod silence;
mod slot;
