//! The slot taken and lost, and the servers that a session is with.
//!
//! - `takeover`: another process that had the slot between the look at it and the taking of it
//! - `frozen`: a program that has lost its slot and does not know it, with batches in hand
//! - `network`: a network that is cut below TCP, where the kernel goes on with what was sent
//! - `several_hosts`: a URL with several hosts, whose primary is away for a while
//! - `standby`: a standby as source: made, promoted, in conflict with its primary; or refused
//! - `standby_behind`: a standby whose replay is behind what was read of it, or what it received
//! - `promotion`: a standby that is promoted while it is read, and what comes after that
//! - `sync_standby`: a program that is the synchronous standby, and how long a commit then takes

pub mod frozen;
mod network;
mod promotion;
mod several_hosts;
mod standby;
pub mod standby_behind;
mod sync_standby;
mod takeover;
