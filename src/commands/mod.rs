//! The verbs, and the command line that names them.

pub mod accept_gap;
pub mod check;
pub mod cli;
pub mod peek;
pub mod provision;
pub mod schema;
pub mod status;
pub mod verify;
