//! What people and programs see of a run: metrics, the log, what the service manager hears, and whom a
//! statement waits for.

pub mod logging;
pub(crate) mod long_work;
pub(crate) mod metrics;
pub(crate) mod monitor;
pub(crate) mod notify;
pub(crate) mod peer;
pub(crate) mod waiting;

pub use self::metrics::text::render_metrics;
pub use self::metrics::{Kept, Metrics};
pub use self::notify::Notify;
pub use self::peer::{Peer, Side};
