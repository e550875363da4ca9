//! Numbers that one thread writes and another reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper bounds of the histogram's buckets, in seconds: from a peer in the same rack to a day
/// that a topic was away for.
pub const BOUNDS_S: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0, 3600.0, 86400.0,
];

/// A number that anybody may read.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Adds `more`.
    pub fn add(&self, more: u64) {
        if more > 0 {
            self.0.fetch_add(more, Relaxed);
        }
    }

    /// Subtracts `less`.
    pub fn subtract(&self, less: u64) {
        self.0.fetch_sub(less, Relaxed);
    }

    /// Sets the number to `value`.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Sets the number to `value` if it is less.
    pub fn raise(&self, value: u64) {
        self.0.fetch_max(value, Relaxed);
    }

    /// The number as it is now.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The times that transactions were on their way.
#[derive(Debug, Default)]
pub struct Histogram {
    /// A bucket for each of [`BOUNDS_S`], and one for what took longer.
    buckets: [Number; BOUNDS_S.len() + 1],
    sum_us: Number,
}

impl Histogram {
    /// Counts a transaction that took this time.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS_S.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].add(1);
        self.sum_us.add(took.as_micros() as u64);
    }

    /// The number of transactions in each bucket.
    pub fn buckets(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(Number::value)
    }

    /// The time that all transactions took together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_its_bound_is() {
        let histogram = Histogram::default();
        for seconds in [0.0, 0.001, 0.0011, 1e6] {
            histogram.observe(Duration::from_secs_f64(seconds));
        }
        let buckets: Vec<u64> = histogram.buckets().collect();
        assert_eq!((buckets[0], buckets[1], buckets[14]), (2, 1, 1));
        assert_eq!(histogram.sum().as_secs(), 1_000_000);
    }
}
