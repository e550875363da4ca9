//! Publication and slot, and what a server must be able to do.
//!
//! - `making`: publication and slot: made, found or missing
//! - `parameters`: what not every version has: it does what it says, or names the version that has it
//! - `foreign`: a slot or publication that is somebody else's, or is taken away
//! - `limits`: what a server's configuration, or a role's rights, do not allow
//! - `first_start`: several processes on a server and a cluster that have nothing yet

mod first_start;
mod foreign;
mod limits;
pub mod making;
mod parameters;
