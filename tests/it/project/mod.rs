//! The repository itself: its source, its README and what is shipped beside the program.
//!
//! - `layers`: the layers of the source, which import in one direction
//! - `layout`: the tests, which are laid out as the source is
//! - `readme`: what the README points at is there
//! - `troubleshooting`: each message that the README explains, and what it says to do, which is done
//! - `dashboard`: the dashboard and the alerts, in a real Prometheus that scrapes a real connector
//! - `fuzz`: hostile input that a fuzzer found worth keeping, run again and damaged

mod dashboard;
mod fuzz;
pub mod layers;
mod layout;
pub mod readme;
mod troubleshooting;
