//! How far apart the reads of a busy stream are.
//!
//! A walsender sends each row by itself, and a reader that is always there makes it pay for a packet
//! each time: more than half of its work. While nobody reads, the rows gather in the sockets'
//! buffers, where they cost it next to nothing. So while data keeps coming the reader takes all there
//! is and then leaves the stream alone for as long as the buffers last. A quiet stream is read
//! at once.

use std::time::{Duration, Instant};

/// How many reads in a row have to find data waiting before the stream counts as busy. A transaction of
/// a few rows comes in fewer.
const BUSY_READS: u32 = 8;

/// A read that waited for less found its data waiting.
const AT_ONCE: Duration = Duration::from_micros(200);

/// A read that waited for as long says nothing of the pause before it: a busy server has other things
/// to do at times.
const OTHER_THINGS: Duration = Duration::from_millis(2);

/// A read that waited for as long ends what was busy.
const QUIET: Duration = Duration::from_millis(20);

/// The first pauses, and the least.
const SHORTEST: Duration = Duration::from_micros(200);

/// The longest: what a row of a busy stream may be late by. The slower the server's processor, the
/// longer it takes to fill the buffers.
const LONGEST: Duration = Duration::from_millis(12);

/// A stream that brings less is not busy: 10 MB/s.
const BUSY_BYTES_PER_US: f64 = 10.0;

/// A read that brings less has taken all there was.
const ALL_THERE_WAS: usize = 64 * 1024;

/// How many of the shortest pauses come first: a transaction of a thousand rows is over by then.
const FIRST_PAUSES: u32 = 16;

/// How many pauses of one length are judged together. One alone says little: whoever sends may just
/// have lost its processor.
const JUDGED_AFTER: u32 = 4;

/// The share of what the shortest pause brought that a longer one has to bring: then the server did not
/// have to wait.
const AS_MUCH: f64 = 0.95;

/// A pause that brings a smaller share is far too long: it is not tried again.
const FAR_TOO_LITTLE: f64 = 0.5;

/// A shorter pause that brings as many times as much is the better one.
const BETTER: f64 = 1.05;

/// A rate that is a smaller share of the one that was found makes that of no use.
const MUCH_LESS: f64 = 0.6;

/// How long a pause that was found is kept. Other tables may be written then.
const HOLDS_FOR: Duration = Duration::from_secs(5);

/// Decides on the pause before each read.
#[derive(Debug)]
pub struct Pace {
    busy_reads: u32,
    pause: Duration,
    /// Pauses of this length that are left before they are judged.
    left: u32,
    search: Search,
    /// The beginning of the first pause of this length.
    since: Option<Instant>,
    /// How many bytes were read since.
    taken: usize,
    /// How many bytes the last read brought.
    last: usize,
}

/// The search for the pause that brings the most. It goes from the longest down for as long as that
/// helps: those in the middle, which do not yet fill the buffers, say nothing of those that do. Rates
/// are bytes a microsecond.
#[derive(Debug, Clone, Copy)]
enum Search {
    /// The shortest pause shows what comes.
    NotBegun,
    /// A pause is tried: `least` has to come, and `best` came with the longer one before it.
    Trying {
        least: f64,
        longer: Option<(Duration, f64)>,
    },
    /// The pause is found, and `rate` came with it.
    Over { at: Instant, rate: f64 },
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            busy_reads: 0,
            pause: SHORTEST,
            left: FIRST_PAUSES,
            search: Search::NotBegun,
            since: None,
            taken: 0,
            last: 0,
        }
    }
}

impl Pace {
    /// Takes down that a read brought `bytes` after it had waited for `waited`.
    pub fn has_read(&mut self, bytes: usize, waited: Duration) {
        self.taken += bytes;
        self.last = bytes;
        if bytes == 0 || waited >= QUIET {
            *self = Pace::default();
            return;
        }
        if waited >= OTHER_THINGS {
            (self.since, self.left) = (None, self.left.max(JUDGED_AFTER));
        }
        self.busy_reads = match waited < AT_ONCE {
            true => self.busy_reads.saturating_add(1),
            false => 0,
        };
    }

    /// How long to leave the stream alone before the next read.
    pub fn pause(&mut self, now: Instant) -> Duration {
        if self.busy_reads < BUSY_READS || self.last >= ALL_THERE_WAS {
            return Duration::ZERO;
        }
        let since = *self.since.get_or_insert_with(|| {
            self.taken = 0;
            now
        });
        let us = now.duration_since(since).as_secs_f64() * 1e6;
        let rate = self.taken as f64 / us.max(1.0);
        let is_too_long = now > since && self.search.is_far_from(rate);
        if self.left == 0 || is_too_long {
            if rate < BUSY_BYTES_PER_US {
                *self = Pace::default();
                return Duration::ZERO;
            }
            self.judge(rate, now);
            (self.since, self.taken, self.left) = (Some(now), 0, JUDGED_AFTER);
        }
        self.left -= 1;
        self.pause
    }

    /// Judges the pause, with which `came` bytes a microsecond came.
    fn judge(&mut self, came: f64, now: Instant) {
        let Pace { pause, search, .. } = *self;
        let over = Search::Over {
            at: now,
            rate: came,
        };
        (self.pause, self.search) = match search {
            Search::NotBegun => {
                let (least, longer) = (came * AS_MUCH, None);
                (LONGEST, Search::Trying { least, longer })
            }
            Search::Trying { least, longer } => match longer {
                Some((longer, rate)) if rate >= least && came < rate * BETTER => {
                    (longer, Search::Over { at: now, rate })
                }
                _ if pause == SHORTEST => (pause, over),
                _ => {
                    let longer = Some((pause, came));
                    let part = came / least * AS_MUCH;
                    (shorter(pause, part), Search::Trying { least, longer })
                }
            },
            Search::Over { at, rate }
                if came < rate * MUCH_LESS || now.duration_since(at) > HOLDS_FOR =>
            {
                (SHORTEST, Search::NotBegun)
            }
            Search::Over { .. } => (pause, search),
        };
    }
}

/// The next pause to try after one that brought this part of what the shortest did: for the rest of
/// the time the server had to wait.
fn shorter(pause: Duration, part: f64) -> Duration {
    pause.mul_f64(part.clamp(0.0, 0.5)).max(SHORTEST)
}

impl Search {
    fn is_far_from(&self, rate: f64) -> bool {
        matches!(self, Search::Trying { least, .. } if rate < least * FAR_TOO_LITTLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `slow` bytes a microsecond until `fills` of them wait, then `fast` of them until there is no
    /// more `room`.
    struct Server {
        slow: usize,
        fills: usize,
        fast: usize,
        room: usize,
    }

    impl Server {
        /// What it has sent when nobody has read for so long.
        fn sends(&self, pause: Duration) -> usize {
            let us = pause.as_micros() as usize;
            let filled = self.fills / self.slow;
            let sent = self.slow * us.min(filled) + self.fast * us.saturating_sub(filled);
            sent.min(self.room)
        }
    }

    /// Returns the mean of the later pauses.
    fn settled(pace: &mut Pace, server: &Server) -> Duration {
        let (mut now, mut pause) = (Instant::now(), SHORTEST);
        let (mut sum, rounds) = (Duration::ZERO, 400);
        for round in 0..rounds {
            now += pause;
            let mut waiting = server.sends(pause);
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

    /// Pauses never help.
    fn even(bytes_per_us: usize, room: usize) -> Server {
        Server {
            slow: bytes_per_us,
            fills: 0,
            fast: bytes_per_us,
            room,
        }
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
        let pause = settled(&mut Pace::default(), &even(100, usize::MAX));
        assert!(pause > LONGEST.mul_f64(0.9), "{pause:?}");
        // The room lasts for half a millisecond.
        let pause = settled(&mut Pace::default(), &even(500, 250_000)).as_micros();
        assert!((350..650).contains(&pause), "{pause}");
    }

    /// It takes 5 ms to fill, and 1.7 ms more until the server has to wait.
    #[test]
    fn the_best_pause_fills_the_buffers_and_does_not_outlast_them() {
        let server = Server {
            slow: 20,
            fills: 100_000,
            fast: 60,
            room: 200_000,
        };
        let pause = settled(&mut Pace::default(), &server);
        let best = Duration::from_millis(6);
        assert!(pause.abs_diff(best) < best / 10, "{pause:?}");
    }

    #[test]
    fn a_stream_that_calms_down_is_read_at_once_again() {
        let mut pace = Pace::default();
        settled(&mut pace, &even(100, usize::MAX));
        let mut now = Instant::now() + Duration::from_secs(60);
        let pauses = std::iter::repeat_with(|| {
            pace.has_read(1000, Duration::ZERO);
            now += LONGEST;
            pace.pause(now)
        });
        let more = pauses.take_while(|pause| !pause.is_zero()).count();
        assert!(more <= JUDGED_AFTER as usize, "{more}");
        settled(&mut pace, &even(100, usize::MAX));
        pace.has_read(0, Duration::from_millis(100));
        assert_eq!(pace.pause(now), Duration::ZERO);
    }
}
