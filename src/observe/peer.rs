//! Whom the program waits for: the one place where its threads say so.
//!
//! Metrics, health and the cause of a retry are read from here, and so is what the service manager
//! hears of the sink.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The other sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The server of the slot.
    Postgres,
    /// The cluster of the topic, or whoever reads standard output.
    Sink,
}

impl Side {
    /// Both sides.
    pub const ALL: [Side; 2] = [Side::Postgres, Side::Sink];

    /// The name of the side in a label.
    pub fn name(self) -> &'static str {
        match self {
            Side::Postgres => "postgres",
            Side::Sink => "fluvio",
        }
    }
}

/// Somebody whom the program may have to wait for.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The side that the peer is on.
    pub side: Side,
    /// The name of the peer, such as `Fluvio at localhost:9003`.
    pub name: String,
    /// The time after which a wait for the peer is a hang.
    pub patience: Duration,
}

/// The waits for each side, and since when they last. A wait that fails goes on until the side answers in a
/// later attempt.
#[derive(Debug)]
pub struct Waits {
    began: Instant,
    /// The begin of the wait for each side, in ms from `began`; 0 while it is not waited for.
    since_ms: [AtomicU64; Side::ALL.len()],
}

impl Default for Waits {
    fn default() -> Self {
        Waits::beginning_at(Instant::now())
    }
}

impl Waits {
    /// Waits in which nobody is waited for yet.
    pub fn beginning_at(began: Instant) -> Waits {
        Waits {
            began,
            since_ms: Default::default(),
        }
    }

    /// Begins to wait for a side, unless that has begun already: nothing goes on without it.
    pub fn begin(&self, side: Side) {
        self.begin_at(side, Instant::now());
    }

    /// Begins to wait for a side at the time `at`, unless that has begun already.
    pub fn begin_at(&self, side: Side, at: Instant) {
        if self.since(side) == 0 {
            self.set(side, self.ms(at));
        }
    }

    /// Begins the wait anew: the side has done a part of what it is waited for.
    pub fn moved(&self, side: Side) {
        if self.since(side) > 0 {
            self.set(side, self.ms(Instant::now()));
        }
    }

    /// Ends the wait: the side has done its part.
    pub fn answered(&self, side: Side) {
        self.set(side, 0);
    }

    /// The time for which nothing has been heard of a side, if it is waited for.
    pub fn of(&self, side: Side) -> Option<Duration> {
        match self.since(side) {
            0 => None,
            since => {
                let waited = self.ms(Instant::now()).saturating_sub(since);
                Some(Duration::from_millis(waited))
            }
        }
    }

    /// The side that has been waited for longest.
    pub fn longest(&self) -> Option<(Side, Duration)> {
        let waits = Side::ALL.into_iter();
        let waits = waits.filter_map(|side| Some((side, self.of(side)?)));
        waits.max_by_key(|(_, waited)| *waited)
    }

    fn since(&self, side: Side) -> u64 {
        self.since_ms[side as usize].load(Ordering::Relaxed)
    }

    fn set(&self, side: Side, since_ms: u64) {
        self.since_ms[side as usize].store(since_ms, Ordering::Relaxed);
    }

    /// The time `at`, but never 0, which means that nobody is waited for.
    fn ms(&self, at: Instant) -> u64 {
        let ms = at.saturating_duration_since(self.began).as_millis() as u64;
        ms.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits that began so long ago that any two moments of a test are apart.
    fn waits() -> (Waits, Instant) {
        let began = Instant::now() - Duration::from_secs(60);
        (Waits::beginning_at(began), began)
    }

    #[test]
    fn a_wait_lasts_until_it_is_answered() {
        let (waits, began) = waits();
        assert_eq!((waits.of(Side::Sink), waits.longest()), (None, None));
        waits.begin_at(Side::Sink, began);
        waits.begin(Side::Sink);
        waits.begin(Side::Postgres);
        let sixty = Duration::from_secs(59);
        assert!(waits.of(Side::Sink) > Some(sixty), "it began before");
        assert!(waits.of(Side::Postgres) < Some(sixty));
        assert!(matches!(waits.longest(), Some((Side::Sink, _))));
        waits.answered(Side::Sink);
        assert_eq!(waits.of(Side::Sink), None);
        assert!(matches!(waits.longest(), Some((Side::Postgres, _))));
    }

    #[test]
    fn a_side_that_moves_is_waited_for_from_then_on() {
        let (waits, began) = waits();
        waits.moved(Side::Sink);
        assert_eq!(waits.of(Side::Sink), None, "nobody waits for it");
        waits.begin_at(Side::Sink, began);
        waits.moved(Side::Sink);
        assert!(waits.of(Side::Sink) < Some(Duration::from_secs(59)));
    }
}
