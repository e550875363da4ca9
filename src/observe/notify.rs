//! What the service manager hears: that the program is ready, how far it is, that it stops or
//! reloads, and that it lives ([sd_notify](https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html)).
//!
//! A message is a datagram of lines `NAME=value` to the unix socket that `NOTIFY_SOCKET` names.
//! Nothing depends on it: without that variable nobody listens, and what cannot be sent is lost.
//!
//! Where a watchdog is asked for, a thread of its own says `WATCHDOG=1`, because the main thread may
//! be inside a call that waits for a peer. It says so only as long as the main thread has promised:
//! for a moment each time that its loop turns, and for as long as a wait that it begins may take. A
//! loop that hangs, or a wait that exceeds its deadline, ends the signs of life.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::peer::Peer;
use crate::base::printable::{Printable, Shortened};

/// The length at which a status is cut: the manager ignores a message of more than 4096 bytes.
const MAX_STATUS_BYTES: usize = 2048;

/// The time in which a service manager must take a message, or else do without it.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The number of signs of life that are given in the time after which one is missed.
const SIGNS_PER_TIMEOUT: u32 = 4;

/// The way to the service manager, if there is one.
#[derive(Debug, Clone, Default)]
pub struct Notify(Option<Arc<Manager>>);

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    watchdog: Option<Watchdog>,
}

#[derive(Debug)]
struct Watchdog {
    timeout: Duration,
    begun: Instant,
    /// The end of the time for which the main thread has promised to be well, in ms after `begun`.
    promised_ms: AtomicU64,
}

impl Notify {
    /// Connects to the service manager that the environment names.
    pub fn from_environment() -> Notify {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Notify::default();
        };
        let begun = connect(&name).and_then(|socket| {
            let watchdog = watchdog_timeout().map(Watchdog::new);
            let manager = Arc::new(Manager { socket, watchdog });
            if manager.watchdog.is_some() {
                let manager = Arc::clone(&manager);
                let thread = thread::Builder::new().name("watchdog".to_owned());
                thread.spawn(move || manager.give_signs())?;
            }
            Ok(manager)
        });
        match begun {
            Ok(manager) => Notify(Some(manager)),
            Err(error) => {
                let name = name.display();
                log::warn!("NOTIFY_SOCKET={name}: the service manager hears nothing: {error}");
                Notify::default()
            }
        }
    }

    /// Says that both sides are open and meet; also after a reload.
    pub fn ready(&self, status: &str) {
        self.send("READY=1", status);
    }

    /// Says what the program does.
    pub fn status(&self, status: &str) {
        self.send("", status);
    }

    /// Says that the session ends, to begin anew with what was read anew.
    pub fn reloading(&self) {
        // As the manager's own clock has it, which tells a reload from the one before.
        let now = clock_gettime(ClockId::Monotonic);
        let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        let reloading = format!("RELOADING=1\nMONOTONIC_USEC={now_us}");
        self.send(&reloading, "reloading");
    }

    /// Says that the program ends.
    pub fn stopping(&self, status: &str) {
        self.send("STOPPING=1", status);
    }

    /// Promises life for a moment: the main thread's loop turns.
    pub fn alive(&self) {
        if let Some(watchdog) = self.watchdog() {
            watchdog.promise(watchdog.timeout / 2);
        }
    }

    /// Promises life while the main thread does something that takes this long at the most.
    pub fn promise(&self, longest: Duration) {
        if let Some(watchdog) = self.watchdog() {
            watchdog.promise(longest);
        }
    }

    /// Promises life for a call of the main thread that waits for `peer`, and says so.
    pub fn waits_for(&self, peer: &Peer) {
        self.promise(peer.patience);
        self.status(&format!("waiting for {}", peer.name));
    }

    fn watchdog(&self) -> Option<&Watchdog> {
        self.0.as_ref()?.watchdog.as_ref()
    }

    fn send(&self, state: &str, status: &str) {
        let Some(manager) = &self.0 else { return };
        let status = Printable(Shortened(status, MAX_STATUS_BYTES));
        let message = format!("{state}\nSTATUS={status}");
        manager.send(message.trim_start());
    }
}

impl Manager {
    fn send(&self, message: &str) {
        if let Err(error) = self.socket.send(message.as_bytes()) {
            log::debug!("the service manager did not take a message: {error}");
        }
    }

    /// Gives signs of life for ever. While the program starts there is no watchdog yet, but a limit that
    /// is put off in the same way.
    fn give_signs(&self) {
        let Some(watchdog) = &self.watchdog else {
            return;
        };
        let timeout_us = watchdog.timeout.as_micros();
        let sign = format!("WATCHDOG=1\nEXTEND_TIMEOUT_USEC={timeout_us}");
        loop {
            if watchdog.is_well() {
                self.send(&sign);
            }
            thread::sleep(watchdog.timeout / SIGNS_PER_TIMEOUT);
        }
    }
}

impl Watchdog {
    fn new(timeout: Duration) -> Watchdog {
        let watchdog = Watchdog {
            timeout,
            begun: Instant::now(),
            promised_ms: AtomicU64::new(0),
        };
        watchdog.promise(timeout / 2);
        watchdog
    }

    fn promise(&self, longest: Duration) {
        let until = milliseconds(self.begun.elapsed().saturating_add(longest));
        self.promised_ms.store(until, Ordering::Relaxed);
    }

    fn is_well(&self) -> bool {
        milliseconds(self.begun.elapsed()) <= self.promised_ms.load(Ordering::Relaxed)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Connects to a path, or after an `@` to a name in the abstract namespace.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => return Err(io::Error::other("neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    Ok(socket)
}

/// The silence after which the service manager ends this process, if it is this one that it means.
fn watchdog_timeout() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id())) {
        return None;
    }
    let timeout_us = number("WATCHDOG_USEC").filter(|timeout_us| *timeout_us > 0)?;
    Some(Duration::from_micros(timeout_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_ends() {
        let watchdog = Watchdog::new(Duration::from_secs(60));
        assert!(watchdog.is_well());
        watchdog.promise(Duration::MAX);
        assert!(watchdog.is_well(), "a wait without an end");
        watchdog.promised_ms.store(0, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(1));
        assert!(!watchdog.is_well());
    }

    #[test]
    fn names_of_other_families_are_refused() {
        for name in ["vsock:2:1234", "relative", ""] {
            assert!(connect(OsStr::new(name)).is_err(), "{name}");
        }
    }
}
