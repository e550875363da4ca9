//! What people and programs see.
//!
//! - `logging`: log lines as text, as JSON and for the journal
//! - `secrets`: the password and the rows, which nothing may tell at any log level
//! - `metrics`: what is counted, over HTTP and in a file, and what it says of a program that cannot go on
//! - `long_work`: what is said of a transaction that takes long, and when
//! - `service`: what a service manager hears, and when a watchdog hears no more
//! - `waiting`: statements that wait for others, what is told of it, and what a stop leaves behind

mod logging;
mod long_work;
mod metrics;
mod secrets;
mod service;
pub mod waiting;
