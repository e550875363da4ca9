//! The time of day by this machine's clock, as those count it who are told it. How long something
//! takes is measured with [`std::time::Instant`] instead, which nobody sets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of day.
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// The time since 1970-01-01 UTC; zero by a clock that is set to before.
pub fn since_unix_epoch() -> Duration {
    let since = now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// The time as PostgreSQL counts it: microseconds since 2000-01-01 UTC.
pub fn postgres_now_us() -> i64 {
    const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
    since_unix_epoch().as_micros() as i64 - POSTGRES_EPOCH_US
}
