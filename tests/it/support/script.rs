//! A scripted Postgres server for what a real one never says: odd authentication, faults and
//! malformed messages.
//!
//! ```ignore
//! let script = Script::start(|peer| {
//!     let parameters = peer.expect_startup()?;
//!     peer.send(&frames::authentication_md5([1, 2, 3, 4]))?;
//!     peer.expect_password()?;
//!     peer.send(&frames::error_response("28P01", "password authentication failed"))?;
//!     peer.expect_closed()
//! });
//! // … the client runs against script.url("db") …
//! script.finish();
//! ```
#![allow(dead_code)]

pub mod frames;
pub mod peer;

pub use peer::{Peer, Step};

use super::{lock, wait_until};
use socket2::SockRef;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the listener looks whether the script is over.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Longer than any deadline within a script, so that the script's own words are told.
const FINISH_DEADLINE: Duration = Duration::from_secs(60);

/// What is said on a connection. Connections run at the same time, each on its own thread.
pub type Play = dyn Fn(&mut Peer) -> Step + Send + Sync;

/// The server. Its failures are told by [`Script::finish`], which every test calls last.
pub struct Script {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    play: Box<Play>,
    /// The connections without which the test has not shown what it is to show.
    expected: usize,
    accepted: AtomicUsize,
    finished: AtomicUsize,
    failures: Mutex<Vec<String>>,
    stops: Arc<AtomicBool>,
}

impl Script {
    /// A server that plays the same on every connection; `peer.ordinal()` tells them apart.
    pub fn start(play: impl Fn(&mut Peer) -> Step + Send + Sync + 'static) -> Script {
        Script::listen(Ipv4Addr::LOCALHOST.into(), Box::new(play), 1)
    }

    /// The same at another address of this machine.
    pub fn start_at(
        address: IpAddr,
        play: impl Fn(&mut Peer) -> Step + Send + Sync + 'static,
    ) -> Script {
        Script::listen(address, Box::new(play), 1)
    }

    /// A server that plays one after the other, a connection each. One more is a failure, and
    /// so is one less.
    pub fn sequence(plays: Vec<Box<Play>>) -> Script {
        let expected = plays.len();
        let play = move |peer: &mut Peer| match plays.get(peer.ordinal()) {
            Some(play) => play(peer),
            None => Err("nobody was to connect any more".to_owned()),
        };
        Script::listen(Ipv4Addr::LOCALHOST.into(), Box::new(play), expected)
    }

    fn listen(address: IpAddr, play: Box<Play>, expected: usize) -> Script {
        let listener = TcpListener::bind((address, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            play,
            expected,
            accepted: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            failures: Mutex::default(),
            stops: Arc::default(),
        });
        let for_thread = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept_until_stopped(&for_thread, &listener));
        Script {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The URL of a user `postgres` with the password `secret`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres:secret@{}/{database}", self.address)
    }

    /// The connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// The failures so far.
    pub fn failures(&self) -> Vec<String> {
        lock(&self.shared.failures).clone()
    }

    /// Waits until so many connections have been played to their end.
    #[track_caller]
    pub fn wait_finished(&self, connections: usize) {
        let what = format!("{connections} connections of the script end");
        wait_until(&what, FINISH_DEADLINE, || {
            self.shared.finished.load(Ordering::SeqCst) >= connections
        });
    }

    /// Waits until every connection so far has been played and panics with what failed.
    #[track_caller]
    pub fn finish(mut self) {
        self.wait_finished(self.connections());
        self.stop();
        let failures = self.failures();
        assert!(
            failures.is_empty(),
            "the script failed:\n{}",
            failures.join("\n")
        );
        let (found, expected) = (self.connections(), self.shared.expected);
        assert!(
            found >= expected,
            "{found} connections came to the script, not {expected}"
        );
    }

    fn stop(&mut self) {
        self.shared.stops.store(true, Ordering::SeqCst);
        // A failure of a connection is among the failures, never a panic of this thread.
        let _ = self.acceptor.take().map(JoinHandle::join);
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept_until_stopped(shared: &Arc<Shared>, listener: &TcpListener) {
    // Linux lets an accept end after the time of a read.
    SockRef::from(listener)
        .set_read_timeout(Some(POLL_INTERVAL))
        .expect("a listener takes a timeout");
    let mut threads = Vec::new();
    while !shared.stops.load(Ordering::SeqCst) {
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        let ordinal = shared.accepted.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || shared.play(stream, ordinal)));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

impl Shared {
    fn play(&self, stream: TcpStream, ordinal: usize) {
        let mut peer = Peer::new(stream, ordinal, Arc::clone(&self.stops));
        // An assertion within a script is a failure like any other.
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.play)(&mut peer)))
            .unwrap_or_else(|panic| Err(words_of(&*panic)));
        if let Err(failure) = outcome {
            lock(&self.failures).push(format!("connection {ordinal}: {failure}"));
        }
        drop(peer);
        self.finished.fetch_add(1, Ordering::SeqCst);
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
    words.unwrap_or("a panic without words").to_owned()
}
