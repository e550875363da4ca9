//! How far apart the reads of a busy stream are.
//!
//! A walsender sends each row by itself, and a reader that is always there makes it pay for a packet
//! each time: more than half of its work. While nobody reads, the rows gather in the sockets'
//! buffers, where they cost it next to nothing. So while data keeps coming the reader takes all there
//! is and then leaves the stream alone for as long as the buffers last. A quiet stream is read
//! at once.

use std::time::{Duration, Instant};

/// So many reads in a row that found data waiting mean that it keeps coming. A transaction of a few
/// rows comes in fewer.
const BUSY_READS: u32 = 8;

/// A read that waited for less found its data waiting.
const AT_ONCE: Duration = Duration::from_micros(200);

/// The first pause, and the least.
const SHORTEST: Duration = Duration::from_micros(200);

/// The longest: what a row of a busy stream may be late by.
const LONGEST: Duration = Duration::from_millis(3);

/// A stream that brings less is not busy: 10 MB/s.
const BUSY_BYTES_PER_US: f64 = 10.0;

/// A read that brings less has taken all there was.
const ALL_THERE_WAS: usize = 64 * 1024;

/// After so many pauses of one length they are judged. One alone says little: whoever sends may just
/// have lost its processor.
const JUDGED_AFTER: u32 = 8;

/// How many such times a length is kept before a longer one is tried again.
const KEPT_FOR: u32 = 16;

/// Decides on the pause before each read.
#[derive(Debug)]
pub struct Pace {
    busy_reads: u32,
    pause: Duration,
    /// When the first pause of this length began; `None` when there was none.
    since: Option<Instant>,
    pauses: u32,
    /// What was read since.
    taken: usize,
    /// What the last read brought.
    last: usize,
    /// The most bytes a microsecond that lately came.
    best: f64,
    kept_for: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            busy_reads: 0,
            pause: SHORTEST,
            since: None,
            pauses: 0,
            taken: 0,
            last: 0,
            best: 0.0,
            kept_for: 0,
        }
    }
}

impl Pace {
    /// Takes down that a read brought `bytes` after it had waited for `waited`.
    pub fn has_read(&mut self, bytes: usize, waited: Duration) {
        self.taken += bytes;
        self.last = bytes;
        if bytes == 0 || waited >= AT_ONCE {
            *self = Pace::default();
        } else {
            self.busy_reads = self.busy_reads.saturating_add(1);
        }
    }

    /// How long to leave the stream alone before the next read.
    pub fn pause(&mut self, now: Instant) -> Duration {
        if self.busy_reads < BUSY_READS || self.last >= ALL_THERE_WAS {
            return Duration::ZERO;
        }
        let since = *self.since.get_or_insert(now);
        if self.pauses == JUDGED_AFTER {
            let us = now.duration_since(since).as_secs_f64() * 1e6;
            let rate = self.taken as f64 / us.max(1.0);
            if rate < BUSY_BYTES_PER_US {
                *self = Pace::default();
                return Duration::ZERO;
            }
            self.judge(rate);
            self.since = Some(now);
        }
        if self.pauses == 0 {
            self.taken = 0;
        }
        self.pauses += 1;
        self.pause
    }

    /// Pauses grow as long as as much comes as before. When less does, the buffers were full and the
    /// server had to wait.
    fn judge(&mut self, rate: f64) {
        if rate < self.best * 0.93 {
            self.pause = (self.pause / 2).max(SHORTEST);
            self.kept_for = KEPT_FOR;
        } else if self.kept_for > 0 {
            self.kept_for -= 1;
        } else {
            self.pause = self.pause.mul_f64(1.5).min(LONGEST);
        }
        // What was is forgotten, or after fast rows slow ones would never be let alone.
        self.best = rate.max(self.best * 0.95);
        self.pauses = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends `bytes_per_us` as long as the buffers, which hold `room`, are not full.
    /// Returns the mean of the later pauses.
    fn settled(pace: &mut Pace, bytes_per_us: usize, room: usize) -> Duration {
        let (mut now, mut pause) = (Instant::now(), SHORTEST);
        let (mut sum, rounds) = (Duration::ZERO, 400);
        for round in 0..rounds {
            now += pause;
            let mut waiting = (pause.as_micros() as usize * bytes_per_us).min(room);
            while waiting >= ALL_THERE_WAS {
                pace.has_read(ALL_THERE_WAS, Duration::ZERO);
                assert_eq!(pace.pause(now), Duration::ZERO, "there may be more");
                waiting -= ALL_THERE_WAS;
            }
            // Nothing more comes while it is read here, so there is always something left.
            pace.has_read(waiting.max(1), Duration::ZERO);
            pause = pace.pause(now).max(SHORTEST);
            if round >= rounds / 2 {
                sum += pause;
            }
        }
        sum / (rounds / 2)
    }

    #[test]
    fn a_quiet_stream_is_read_at_once() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            for _ in 0..BUSY_READS - 1 {
                pace.has_read(500, Duration::ZERO);
                assert_eq!(pace.pause(Instant::now()), Duration::ZERO);
            }
            pace.has_read(500, Duration::from_millis(1));
            assert_eq!(pace.pause(Instant::now()), Duration::ZERO);
        }
    }

    #[test]
    fn pauses_grow_until_the_server_would_have_to_wait() {
        let pause = settled(&mut Pace::default(), 100, usize::MAX);
        assert_eq!(pause, LONGEST);
        // The room lasts for half a millisecond.
        let pause = settled(&mut Pace::default(), 500, 250_000).as_micros();
        assert!((350..650).contains(&pause), "{pause}");
    }

    #[test]
    fn a_stream_that_calms_down_is_read_at_once_again() {
        let mut pace = Pace::default();
        settled(&mut pace, 100, usize::MAX);
        let mut now = Instant::now() + Duration::from_secs(60);
        let pauses = std::iter::repeat_with(|| {
            pace.has_read(1000, Duration::ZERO);
            now += LONGEST;
            pace.pause(now)
        });
        let more = pauses.take_while(|pause| !pause.is_zero()).count();
        assert!(more <= JUDGED_AFTER as usize, "{more}");
        settled(&mut pace, 100, usize::MAX);
        pace.has_read(0, Duration::from_millis(100));
        assert_eq!(pace.pause(now), Duration::ZERO);
    }
}
