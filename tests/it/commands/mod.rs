//! The verbs, and the command line.
//!
//! - `cli`: arguments, outputs and exit codes, completions and the manual page
//! - `output`: standard output and standard error that go nowhere
//! - `looked_into`: what others on the machine see of the program
//! - `check`: what is wrong, or will hurt, and what mends it
//! - `provision`: `setup` and `teardown`, which say what they do before they do it
//! - `peek`: what is pending, shown and left pending, whoever reads the slot
//! - `status`: what it says, and that its exit code tells the healthy, the late and the broken apart
//! - `verify`: a topic as the program writes it, and each thing that it would never write
//! - `accept_gap`: the only way past a gap, and what it leaves on record
//! - `schema`: the JSON Schemas, held to real records, to the parser and to the example
//! - `least_role`: a role with the fewest rights that a server streams to, and each verb under it

mod accept_gap;
mod check;
mod cli;
pub mod least_role;
mod looked_into;
mod output;
mod peek;
mod provision;
mod schema;
mod status;
mod verify;
