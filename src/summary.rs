//! The line that says, every half minute while there is traffic, what went through.

use std::time::{Duration, Instant};

use bytesize::ByteSize;

use crate::position::Position;

/// How often it is logged.
const INTERVAL: Duration = Duration::from_secs(30);

/// What went through since the last line.
#[derive(Debug)]
pub struct Summary {
    since: Instant,
    events: u64,
    transactions: u64,
    bytes: u64,
}

impl Default for Summary {
    fn default() -> Self {
        Summary {
            since: Instant::now(),
            events: 0,
            transactions: 0,
            bytes: 0,
        }
    }
}

impl Summary {
    /// One message of so many bytes.
    pub fn count(&mut self, bytes: usize, committed: bool) {
        self.events += 1;
        self.transactions += u64::from(committed);
        self.bytes += bytes as u64;
    }

    /// Logs the line when it is time and there is something to say.
    pub fn log_if_due(&mut self, position: &Position) {
        let elapsed = self.since.elapsed();
        if elapsed < INTERVAL {
            return;
        }
        if self.events > 0 {
            log::info!("{}", self.line(elapsed, position));
        }
        *self = Summary::default();
    }

    fn line(&self, elapsed: Duration, position: &Position) -> String {
        format!(
            "{} events, {} transactions, {} in {} s: {:.0} events/s; confirmed {}, lag {}",
            self.events,
            self.transactions,
            ByteSize(self.bytes),
            elapsed.as_secs(),
            self.events as f64 / elapsed.as_secs_f64(),
            position.confirmed(),
            ByteSize(position.lag_bytes()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;

    #[test]
    fn a_line() {
        let mut summary = Summary::default();
        summary.count(1000, false);
        summary.count(24, true);
        let position = Position::starting_at(Lsn(0x16_0000_0010), Lsn(0x16_0000_0010));
        assert_eq!(
            summary.line(Duration::from_secs(2), &position),
            "2 events, 1 transactions, 1.0 KiB in 2 s: 1 events/s; confirmed 16/10, lag 0 B"
        );
    }
}
