//! Log lines of work that takes long: how far it is, how fast it goes, and when it will be done.

use std::fmt::{self, Display};
use std::time::{Duration, Instant};

/// The time between two lines: often enough to see that something moves, and an hour of it is still
/// few pages. Work that is done sooner says nothing.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// How many records are left.
#[derive(Debug, Clone, Copy)]
pub enum Left {
    /// This number.
    Exactly(u64),
    /// This number or fewer: the work ends where something is found.
    AtMost(u64),
}

/// Work on records that may take long.
#[derive(Debug)]
pub struct LongWork {
    what: &'static str,
    began: Instant,
    logged: Instant,
}

impl LongWork {
    /// Begins to measure work.
    pub fn begin(what: &'static str) -> LongWork {
        let now = Instant::now();
        LongWork {
            what,
            began: now,
            logged: now,
        }
    }

    /// Logs, if it is time, how many records are done and what is left.
    pub fn log_progress(&mut self, done: u64, left: &dyn Display) {
        if let Some(line) = self.line_at(Instant::now(), done, left) {
            log::info!("{line}");
        }
    }

    fn line_at(&mut self, now: Instant, done: u64, left: &dyn Display) -> Option<String> {
        if now.duration_since(self.logged) < INTERVAL {
            return None;
        }
        self.logged = now;
        let rate = done as f64 / now.duration_since(self.began).as_secs_f64();
        let what = self.what;
        Some(format!("{what}: {done} records, {rate:.0}/s; {left} left"))
    }
}

impl Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Left::Exactly(records) => write!(f, "{records}"),
            Left::AtMost(records) => write!(f, "at most {records}"),
        }
    }
}

/// The time that what is left will take at this rate; `None` where nobody would wait for it.
pub fn time_left(left: u64, per_second: f64) -> Option<Duration> {
    const LONGEST_S: f64 = 30.0 * 24.0 * 3600.0;
    let seconds = (left as f64 / per_second).ceil();
    (seconds <= LONGEST_S).then(|| Duration::from_secs(seconds as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_comes_before_its_time_nor_soon_after_another() {
        let mut work = LongWork::begin("verifying");
        let began = work.began;
        let mut line = |after_s: f64, done| {
            let now = began + Duration::from_secs_f64(after_s);
            work.line_at(now, done, &Left::Exactly(50))
        };
        assert_eq!(line(0.0, 0), None);
        assert_eq!(line(9.9, 990), None);
        let first = line(10.0, 1000).unwrap();
        assert_eq!(first, "verifying: 1000 records, 100/s; 50 left");
        assert_eq!(line(19.9, 1990), None);
        let second = line(25.0, 5000).unwrap();
        assert_eq!(second, "verifying: 5000 records, 200/s; 50 left");
    }

    #[test]
    fn time_that_is_left() {
        assert_eq!(time_left(150, 10.0), Some(Duration::from_secs(15)));
        assert_eq!(time_left(1, 10.0), Some(Duration::from_secs(1)));
        assert_eq!(time_left(1, 0.0), None);
        assert_eq!(time_left(0, 0.0), None);
        assert_eq!(time_left(u64::MAX, 1.0), None);
    }
}
