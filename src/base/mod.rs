//! What every room stands on: errors, the clock, positions, names, files, signals, TLS. Nothing here knows of
//! PostgreSQL's messages or of Fluvio.

pub(crate) mod clock;
pub(crate) mod error;
pub(crate) mod input;
pub(crate) mod lsn;
pub(crate) mod orphans;
pub(crate) mod printable;
pub(crate) mod replace;
pub(crate) mod resolver;
pub(crate) mod shell;
pub(crate) mod signals;
pub(crate) mod tls;

pub use self::error::{Error, Kind, Result};
pub use self::lsn::Lsn;
pub use self::signals::Signals;
pub use self::tls::client_config;
pub use self::tls::verifier::Demand;
