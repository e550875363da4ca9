//! What every room stands on: errors, positions, names, files, signals, TLS. Nothing here knows of
//! PostgreSQL's messages or of Fluvio.

pub mod error;
pub mod input;
pub mod lsn;
pub mod orphans;
pub mod printable;
pub mod replace;
pub mod resolver;
pub mod shell;
pub mod signals;
pub mod tls;
