//! When what is stored is confirmed.
//!
//! At once when nothing that was read is missing: a synchronous commit of the server may wait for it, and
//! so may its shutdown. On a busy stream something always is, and a status goes out at its interval.

use std::time::{Duration, Instant};

use crate::pipeline::progress::Stored;

/// A status costs the walsender some ten microseconds.
const APART: Duration = Duration::from_millis(1);

/// With a state file each position is on disk before it is confirmed.
const APART_ON_DISK: Duration = Duration::from_millis(20);

/// A position behind which no record is stored, only WAL that is not for us, is worth less of a disk's
/// life: a database that writes nothing else brings them for ever.
const APART_WITHOUT_RECORDS: Duration = Duration::from_millis(200);

/// A slow disk takes at most a fifth of the reader's time.
const PAUSE_FOR_DISK: u32 = 4;

/// The last confirmation.
#[derive(Debug)]
pub struct Confirmation {
    at: Instant,
    took: Duration,
    of: Stored,
    is_on_disk: bool,
}

impl Confirmation {
    /// Begins with what was confirmed before the stream. `is_on_disk`: whether each further position goes to
    /// a state file first.
    pub fn of(confirmed: Stored, is_on_disk: bool) -> Confirmation {
        Confirmation {
            at: Instant::now(),
            took: Duration::ZERO,
            of: confirmed,
            is_on_disk,
        }
    }

    /// Takes down that `confirmed` was confirmed, which began at `begun`.
    pub fn made(&mut self, confirmed: Stored, begun: Instant) {
        if confirmed.lsn > self.of.lsn {
            let at = Instant::now();
            (self.at, self.took, self.of) = (at, at.duration_since(begun), confirmed);
        }
    }

    /// How soon `next` may be confirmed.
    pub fn due_in(&self, next: &Stored) -> Duration {
        self.apart(next).saturating_sub(self.at.elapsed())
    }

    fn apart(&self, next: &Stored) -> Duration {
        if !self.is_on_disk {
            return APART;
        }
        let least = match next.offsets != self.of.offsets {
            true => APART_ON_DISK,
            false => APART_WITHOUT_RECORDS,
        };
        least.max(self.took * PAUSE_FOR_DISK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_spared() {
        let at = |lsn, offset| Stored::in_one(crate::base::lsn::Lsn(lsn), offset);
        let (records, none) = (at(20, 3), at(20, 2));
        let mut confirmation = Confirmation::of(at(10, 2), false);
        assert_eq!(confirmation.apart(&records), APART);
        assert_eq!(confirmation.apart(&none), APART);
        confirmation.is_on_disk = true;
        assert_eq!(confirmation.apart(&records), APART_ON_DISK);
        assert_eq!(confirmation.apart(&none), APART_WITHOUT_RECORDS);
        confirmation.took = Duration::from_millis(50);
        assert_eq!(confirmation.apart(&records), Duration::from_millis(200));
    }
}
