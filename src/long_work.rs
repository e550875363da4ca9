//! What is said of work that takes long: how far it is, how fast it goes, and when it will be done.

use std::time::{Duration, Instant};

/// How often a line says so. Work that is done sooner says nothing.
const INTERVAL: Duration = Duration::from_secs(10);

/// How many records are left.
#[derive(Debug, Clone, Copy)]
pub enum Left {
    /// So many.
    Exactly(u64),
    /// So many, or fewer: it ends where something is found.
    AtMost(u64),
}

/// Work on records.
#[derive(Debug)]
pub struct LongWork {
    what: &'static str,
    began: Instant,
    told: Instant,
}

impl LongWork {
    /// Work that begins now.
    pub fn begin(what: &'static str) -> LongWork {
        let now = Instant::now();
        LongWork {
            what,
            began: now,
            told: now,
        }
    }

    /// Says, if it is time, how many records are done and how many are left.
    pub fn tell(&mut self, done: u64, left: Left) {
        if self.told.elapsed() >= INTERVAL {
            self.told = Instant::now();
            log::info!("{}", self.line(done, left, self.began.elapsed()));
        }
    }

    fn line(&self, done: u64, left: Left, elapsed: Duration) -> String {
        let rate = done as f64 / elapsed.as_secs_f64();
        let left = match left {
            Left::Exactly(left) => format!("{left} left{}", time_left(left, rate)),
            Left::AtMost(left) => format!("at most {left} left"),
        };
        format!("{}: {done} records, {rate:.0}/s, {left}", self.what)
    }
}

/// `: 12s`, the time that what is left will take; nothing where it cannot be told.
pub fn time_left(left: u64, per_second: f64) -> String {
    let seconds = (left as f64 / per_second).ceil();
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) => format!(": {}", humantime::format_duration(time)),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line() {
        let work = LongWork::begin("verifying");
        let line = |done, left| work.line(done, left, Duration::from_secs(10));
        assert_eq!(
            line(100_000, Left::Exactly(150_000)),
            "verifying: 100000 records, 10000/s, 150000 left: 15s"
        );
        assert_eq!(
            line(0, Left::Exactly(5)),
            "verifying: 0 records, 0/s, 5 left"
        );
        assert_eq!(
            line(10, Left::AtMost(5)),
            "verifying: 10 records, 1/s, at most 5 left"
        );
    }

    #[test]
    fn short_work_says_nothing_and_long_work_does_not_say_it_again_at_once() {
        let mut work = LongWork::begin("verifying");
        let began = work.told;
        work.tell(1, Left::Exactly(1));
        assert_eq!(work.told, began);
        work.told -= INTERVAL;
        work.tell(1, Left::Exactly(1));
        assert!(work.told >= began);
    }
}
