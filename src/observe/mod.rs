//! What people and programs see of a run: metrics, the log, what the service manager hears, and whom a
//! statement waits for.

pub mod logging;
pub mod long_work;
pub mod metrics;
pub mod monitor;
pub mod notify;
pub mod peer;
pub mod waiting;
