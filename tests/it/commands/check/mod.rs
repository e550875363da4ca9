//! `check`: what is wrong, or will hurt, and what mends it; nothing is changed.
//!
//! - `report`: what a healthy setup is told, in which forms, and that nothing is changed
//! - `server`: settings of a server, and the statements that mend them
//! - `role`: servers and poolers that do not let the program in
//! - `publication`: publications that leave out or break something, and what mends them
//! - `identity`: what is said of replica identities, beside what the server does
//! - `keys`: keys of rows that are not there, or not told
//! - `lanes`: many topics and partitions, and whether they meet the slot
//! - `slot`: slots that cannot be read, made or kept
//! - `topic`: topics that cannot be written, and files that are not as they should be
//! - `script`: names that would be lines of a script, and are none

mod identity;
mod keys;
mod lanes;
mod publication;
mod report;
mod role;
mod script;
mod server;
mod slot;
mod topic;
