//! The slot is a lease: a process that may have lost it must not write any more.
//!
//! PostgreSQL gives the slot to somebody else once it has heard nothing of us for `wal_sender_timeout`,
//! or when the walsender ended. A process that was frozen, or cut off, does not notice; but somebody
//! else may have delivered meanwhile what it has in hand. So the reader notes when the walsender sent
//! what is read, by its answers to statuses and by the times of its messages, and the producer checks
//! that before it sends a batch, and once more before the last byte of one that took long to send. When
//! the last sign is old, which is so too while the reader waits for a slow topic, the server is asked over
//! a connection of its own who has the slot.
//!
//! That the server closed the stream is seen at once only if nothing stands before its end: the kernel
//! does not take it before there is room for what was sent first.
//!
//! What this cannot exclude is a stop of the whole process between that check and the moment at which
//! the kernel takes the bytes; and a walsender that ended a moment ago, where the server cannot be asked, or
//! is slow to answer.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

use crate::base::error::{Error, Result};

/// What a server is taken to wait for when it waits for ever: its default.
const ASSUMED_TIMEOUT: Duration = Duration::from_secs(60);

/// A sign of the walsender is good for this part of `wal_sender_timeout`, as long as it has not ended. The
/// rest is for what is sent then to arrive.
const GOOD_FOR: u32 = 4;

/// A sign is new for this long at the most: the walsender may have ended since. Whoever has the slot then
/// believes what the topic ends with only after that has been still for a second (see
/// `pipeline::resume`); the other half is for what is sent to arrive.
const NEW_FOR: Duration = Duration::from_millis(500);

/// A server is asked no more often than this, as long as its last sign is good: whoever goes on writing
/// keeps the topic from being still.
const ASKED_APART: Duration = Duration::from_secs(1);

/// A server that is slow to let us in, or does not, takes at most a tenth of the producer's time.
const PAUSE_FOR_ASKING: u32 = 9;

/// An answer to who has the slot may take this part of `wal_sender_timeout`: it is asked for over a
/// connection that is made for it, which takes a moment on a busy machine.
const ANSWERS_WITHIN: u32 = 2;

/// A moment, by a clock that goes on while the machine is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    since_boot_ms: u64,
}

impl Moment {
    /// The present moment.
    pub fn now() -> Moment {
        let now = clock_gettime(ClockId::Boottime);
        Moment::since_boot(now.tv_sec * 1000 + now.tv_nsec / 1_000_000)
    }

    /// The moment `ms` milliseconds after the machine was started.
    pub fn since_boot(ms: i64) -> Moment {
        Moment {
            since_boot_ms: ms.max(0).unsigned_abs(),
        }
    }

    /// How many milliseconds after the start of the machine the moment is.
    pub fn since_boot_ms(self) -> i64 {
        i64::try_from(self.since_boot_ms).unwrap_or(i64::MAX)
    }

    /// How long ago the moment was.
    pub fn elapsed(self) -> Duration {
        Moment::now().since(self)
    }

    /// How long before this moment `earlier` was.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.since_boot_ms.saturating_sub(earlier.since_boot_ms))
    }
}

/// Asks the server whether the slot is still ours; `Err` if it cannot be asked.
pub type AskForSlot = Box<dyn Fn() -> Result<bool> + Send + Sync>;

/// The right to write, for as long as the slot is ours. The reader and the producer share it.
#[derive(Clone)]
pub struct Lease(Arc<Inner>);

struct Inner {
    /// The socket of the stream.
    socket: OwnedFd,
    patience: Duration,
    /// When the server is known to have had the slot for us.
    proved_ms: AtomicU64,
    /// When the server may be asked again.
    ask_from_ms: AtomicU64,
    has_ended: AtomicBool,
    ask: AskForSlot,
}

impl Lease {
    /// The lease of a slot that was taken just now, on a stream over `socket`.
    pub fn begin(socket: OwnedFd, wal_sender_timeout: Option<Duration>, ask: AskForSlot) -> Lease {
        Lease(Arc::new(Inner {
            socket,
            patience: wal_sender_timeout.unwrap_or(ASSUMED_TIMEOUT),
            proved_ms: AtomicU64::new(Moment::now().since_boot_ms),
            ask_from_ms: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
            ask,
        }))
    }

    /// Renews the lease: the server had the slot for us at `proved`, or later.
    pub fn renew(&self, proved: Moment) {
        self.0
            .proved_ms
            .fetch_max(proved.since_boot_ms, Ordering::Relaxed);
    }

    /// Ends the lease: the stream has ended, or is about to, and nothing may be written from now on.
    pub fn end(&self) {
        self.0.has_ended.store(true, Ordering::SeqCst);
    }

    /// Fails when the lease is known to be over: it was ended, or the server closed the stream.
    pub fn check(&self) -> Result<()> {
        if self.0.has_ended.load(Ordering::SeqCst) || self.is_closed() {
            return Err(lost("the stream that holds it has ended"));
        }
        Ok(())
    }

    /// Makes sure that the slot is ours now; asks the server if its last sign is old. Where it cannot be
    /// asked, an older one is good enough.
    pub fn hold(&self) -> Result<()> {
        self.check()?;
        if self.is_new() {
            return Ok(());
        }
        let asked = Moment::now();
        if self.is_good() && asked.since_boot_ms < self.0.ask_from_ms.load(Ordering::Relaxed) {
            return Ok(());
        }
        log::debug!("the walsender's last sign is old: asking who has the slot");
        let answer = (self.0.ask)();
        let took = asked.elapsed();
        let ask_from_ms = (took * PAUSE_FOR_ASKING).max(ASKED_APART).as_millis() as u64;
        let ask_from_ms = Moment::now().since_boot_ms + ask_from_ms;
        self.0.ask_from_ms.store(ask_from_ms, Ordering::Relaxed);
        match answer {
            Ok(true) => self.renew(asked),
            Ok(false) => return Err(lost("another one streams from it, or nobody")),
            Err(error) if self.is_good() => log::debug!("who has the slot is not told: {error}"),
            // Whatever keeps it from answering, the stream itself may be well.
            Err(error) => return Err(lost(&error.message())),
        }
        // It was so at some time since then.
        match took < self.0.patience / ANSWERS_WITHIN {
            true => self.check(),
            false => Err(lost("the server's answer took too long")),
        }
    }

    /// How long the server keeps the slot for somebody who is silent.
    pub fn patience(&self) -> Duration {
        self.0.patience
    }

    /// How long a sign of the walsender is new.
    pub fn new_for(&self) -> Duration {
        NEW_FOR.min(self.0.patience / GOOD_FOR)
    }

    /// The last moment at which the server is known to have had the slot for us.
    pub fn proved(&self) -> Moment {
        Moment {
            since_boot_ms: self.0.proved_ms.load(Ordering::Relaxed),
        }
    }

    fn is_new(&self) -> bool {
        self.proved().elapsed() < self.new_for()
    }

    /// Whether the last sign is good enough where the server cannot be asked.
    fn is_good(&self) -> bool {
        self.proved().elapsed() < self.0.patience / GOOD_FOR
    }

    /// Whether the server has closed its side, or the connection broke; what it sent before may still
    /// have to be read.
    fn is_closed(&self) -> bool {
        let mut polled = [PollFd::new(&self.0.socket, PollFlags::RDHUP)];
        matches!(poll(&mut polled, Some(&Timespec::default())), Ok(ready) if ready > 0)
    }
}

/// The error of a slot that may be somebody else's by now.
pub fn lost(why: &str) -> Error {
    Error::unreachable(format!(
        "nothing more is written, since the slot may be another process's by now: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicUsize;

    /// A lease of so short a time, its peer, and how often the server was asked.
    fn lease(timeout_ms: u64, answer: bool) -> (Lease, UnixStream, Arc<AtomicUsize>) {
        let (ours, peer) = UnixStream::pair().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let ask = move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(answer)
        };
        let timeout = Some(Duration::from_millis(timeout_ms));
        let lease = Lease::begin(OwnedFd::from(ours), timeout, Box::new(ask));
        (lease, peer, asked)
    }

    fn wait_until_old(lease: &Lease) {
        while lease.is_new() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_new_answer_is_enough_and_an_old_one_is_asked_for_again() {
        let (new, _peer, asked) = lease(600_000, false);
        new.hold().unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        let (old, _peer, asked) = lease(4_000, true);
        wait_until_old(&old);
        old.hold().unwrap();
        old.hold().unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let (lost, _peer, _) = lease(40, false);
        wait_until_old(&lost);
        assert!(lost.hold().unwrap_err().kind().is_transient());
    }

    #[test]
    fn a_server_that_cannot_be_asked_ends_it_only_when_its_last_sign_is_good_no_more() {
        let (ours, _peer) = UnixStream::pair().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let ask = move || {
            count.fetch_add(1, Ordering::Relaxed);
            Err(Error::unreachable("too many connections"))
        };
        let timeout = Some(Duration::from_secs(8));
        let lease = Lease::begin(OwnedFd::from(ours), timeout, Box::new(ask));
        wait_until_old(&lease);
        lease.hold().unwrap();
        lease.hold().unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        while lease.is_good() {
            std::thread::yield_now();
        }
        assert!(lease.hold().unwrap_err().kind().is_transient());
    }

    #[test]
    fn what_was_sent_before_proves_nothing_that_is_later() {
        let (lease, _peer, asked) = lease(40, true);
        let sent = Moment::now();
        wait_until_old(&lease);
        while sent.elapsed() < lease.new_for() {
            std::thread::yield_now();
        }
        // As after a freeze: the answer was there, and is read only now.
        lease.renew(sent);
        assert!(!lease.is_new());
        let _ = lease.hold();
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_stream_that_ended_on_either_side_ends_it() {
        let (lease, peer, _) = lease(600_000, true);
        lease.check().unwrap();
        drop(peer);
        assert!(lease.check().is_err() && lease.hold().is_err());
        let (lease, _peer, _) = self::lease(600_000, true);
        lease.clone().end();
        assert!(lease.check().is_err() && lease.hold().is_err());
    }
}
