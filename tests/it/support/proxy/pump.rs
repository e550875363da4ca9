//! The inside of the proxy: one connection, whose two threads each forward one direction.
#![allow(dead_code)]

use super::super::lock;
use super::{Direction, End, POLL_INTERVAL};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const CHUNK_BYTES: usize = 64 * 1024;
/// A lane is locked while it writes, so a receiver that does not read must not hold it long.
const WRITE_TIMEOUT: Duration = Duration::from_millis(5);
/// The other side's time to read a piece before the next one joins it.
const PIECE_PAUSE: Duration = Duration::from_micros(20);
/// Closing a socket with unread bytes makes a reset of a FIN, so they are read for this long.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// The faults and the counter of one direction, common to all connections.
#[derive(Default)]
pub struct Lane {
    faults: Mutex<Faults>,
    changed: Condvar,
    /// How many callers want to change the faults: the threads that forward let them go first.
    waiting: AtomicUsize,
    forwarded: AtomicU64,
}

#[derive(Default)]
pub struct Faults {
    pub is_frozen: bool,
    pub piece: Option<usize>,
    /// Whether an interval passes after each piece.
    pub is_slow: bool,
    pub cut: Option<(u64, End)>,
    pub hold: Option<Hold>,
}

/// A connection stands still before it forwards certain bytes.
pub struct Hold {
    pub bytes: Vec<u8>,
    /// Whether one has come to them.
    pub is_reached: bool,
}

impl Lane {
    /// Bytes are forwarded under the same lock, so a change holds from its return on.
    pub fn change<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let result = change(&mut lock(&self.faults));
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        self.changed.notify_all();
        result
    }

    /// Under the lock, so that bytes which somebody has seen are counted.
    pub fn forwarded(&self) -> u64 {
        self.change(|_| self.forwarded.load(Ordering::SeqCst))
    }

    fn enter(&self) -> MutexGuard<'_, Faults> {
        while self.waiting.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        lock(&self.faults)
    }
}

// The phases of a connection. A greater one wins.
const OPEN: u8 = 0;
/// Both sides are told that nothing more comes; what they still send is thrown away.
const ENDING: u8 = 1;
const CLOSING: u8 = 2;
const RESETTING: u8 = 3;

/// Two sockets and the threads between them, which own the sockets.
pub struct Connection {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    phase: AtomicU8,
    /// The directions that are still forwarded.
    open_directions: AtomicUsize,
}

impl Connection {
    pub fn start(client: TcpStream, server: TcpStream, lanes: &[Arc<Lane>; 2]) -> Arc<Connection> {
        for socket in [&client, &server] {
            socket.set_nodelay(true).expect("TCP has it");
            socket
                .set_read_timeout(Some(POLL_INTERVAL))
                .expect("it is not zero");
            socket
                .set_write_timeout(Some(WRITE_TIMEOUT))
                .expect("it is not zero");
        }
        let shared = Arc::new(Shared {
            phase: AtomicU8::new(OPEN),
            open_directions: AtomicUsize::new(2),
        });
        let sockets = Arc::new([client, server]);
        let threads = [Direction::ToServer, Direction::ToClient].map(|direction| {
            let pump = Pump {
                direction,
                lane: Arc::clone(&lanes[direction as usize]),
                shared: Arc::clone(&shared),
                sockets: Arc::clone(&sockets),
                source: Source::Open,
                buffer: vec![0; CHUNK_BYTES],
                pending: 0..0,
            };
            std::thread::spawn(move || pump.run())
        });
        Arc::new(Connection {
            shared,
            threads: Mutex::new(threads.into()),
        })
    }

    /// Begins to end both sides; [`Self::has_ended`] tells when they were told.
    pub fn end(&self, end: End) {
        self.shared.end(end);
    }

    pub fn has_ended(&self) -> bool {
        self.shared.open_directions.load(Ordering::SeqCst) == 0
    }

    pub fn is_finished(&self) -> bool {
        lock(&self.threads).iter().all(JoinHandle::is_finished)
    }

    /// Closes both sockets and waits for the threads.
    pub fn stop(&self) {
        self.shared.phase.fetch_max(CLOSING, Ordering::SeqCst);
        for thread in lock(&self.threads).drain(..) {
            // A thread that panicked has told so already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn end(&self, end: End) {
        let phase = match end {
            End::Fin => ENDING,
            End::Reset => RESETTING,
        };
        self.phase.fetch_max(phase, Ordering::SeqCst);
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::SeqCst)
    }
}

/// What the reading side of a direction has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Open,
    Ended,
    Broken,
}

/// The thread of one direction of one connection.
struct Pump {
    direction: Direction,
    lane: Arc<Lane>,
    shared: Arc<Shared>,
    /// The client's and the server's.
    sockets: Arc<[TcpStream; 2]>,
    source: Source,
    buffer: Vec<u8>,
    /// What was read and is not written yet.
    pending: std::ops::Range<usize>,
}

impl Pump {
    fn run(mut self) {
        while self.shared.phase() == OPEN && self.step() {}
        let phase = self.shared.phase();
        if phase == RESETTING {
            self.sockets.iter().for_each(reset_on_close);
        } else if phase != CLOSING {
            // The other side may be gone already, and then it needs no word.
            let [_, to] = self.direction.source_and_target(&self.sockets);
            let _ = to.shutdown(Shutdown::Write);
        }
        let Pump {
            shared,
            sockets,
            direction,
            ..
        } = self;
        if phase == ENDING {
            shared.open_directions.fetch_sub(1, Ordering::SeqCst);
            let [from, _] = direction.source_and_target(&sockets);
            drain(from, &shared);
        } else {
            // Last of all, so that who sees the end also sees the sockets closed.
            drop(sockets);
            shared.open_directions.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Forwards one chunk if there is one; false when the direction has ended in order.
    fn step(&mut self) -> bool {
        if self.pending.is_empty() && self.source == Source::Open && !self.wait_readable() {
            return true;
        }
        let lane = Arc::clone(&self.lane);
        let mut faults = lane.enter();
        if faults.is_frozen || self.is_held(&mut faults) {
            let _unused = lane.changed.wait_timeout(faults, POLL_INTERVAL);
            return true;
        }
        match self.source {
            Source::Open => {}
            Source::Ended => return false,
            Source::Broken => {
                self.shared.end(End::Reset);
                return true;
            }
        }
        let left = faults.cut.map_or(u64::MAX, |(left, _)| left);
        let limit = CHUNK_BYTES
            .min(faults.piece.unwrap_or(CHUNK_BYTES))
            .min(usize::try_from(left).unwrap_or(CHUNK_BYTES));
        let written = if limit == 0 {
            Ok(0)
        } else {
            self.forward(limit)
        };
        match &written {
            Ok(written) => {
                self.lane
                    .forwarded
                    .fetch_add(*written as u64, Ordering::SeqCst);
                if let Some((left, end)) = &mut faults.cut {
                    *left -= *written as u64;
                    if *left == 0 {
                        self.shared.end(*end);
                        faults.cut = None;
                    }
                }
            }
            Err(kind) if is_timeout(*kind) => {}
            Err(_) => self.shared.end(End::Reset),
        }
        let pause = match (&written, faults.piece) {
            // The receiver does not read: another connection may have the lane meanwhile.
            (Err(_), _) => WRITE_TIMEOUT,
            (Ok(_), Some(_)) if faults.is_slow => POLL_INTERVAL,
            (Ok(_), Some(_)) => PIECE_PAUSE,
            (Ok(_), None) => Duration::ZERO,
        };
        drop(faults);
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        true
    }

    /// Whether what would be read next has bytes to stand still before. A message that is sent in
    /// one piece is also found in one.
    fn is_held(&mut self, faults: &mut Faults) -> bool {
        let Some(hold) = &mut faults.hold else {
            return false;
        };
        let [from, _] = self.direction.source_and_target(&self.sockets);
        if !self.pending.is_empty() {
            return false;
        }
        let there = from.peek(&mut self.buffer).unwrap_or(0);
        let mut windows = self.buffer[..there].windows(hold.bytes.len());
        let is_held = windows.any(|window| window == hold.bytes);
        hold.is_reached |= is_held;
        is_held
    }

    /// Waits for bytes without taking them, so that a freeze leaves them in the system.
    fn wait_readable(&mut self) -> bool {
        let [from, _] = self.direction.source_and_target(&self.sockets);
        match from.peek(&mut [0]) {
            Ok(0) => self.source = Source::Ended,
            Ok(_) => {}
            Err(error) if is_timeout(error.kind()) => return false,
            Err(_) => self.source = Source::Broken,
        }
        true
    }

    /// Writes at most `limit` bytes, which it reads first if none are left over.
    fn forward(&mut self, limit: usize) -> Result<usize, ErrorKind> {
        let sockets = Arc::clone(&self.sockets);
        let [mut from, mut to] = self.direction.source_and_target(&sockets);
        if self.pending.is_empty() {
            let read = from.read(&mut self.buffer[..limit]);
            self.pending = 0..read.map_err(|error| error.kind())?;
        }
        let end = self.pending.end.min(self.pending.start + limit);
        let written = to.write(&self.buffer[self.pending.start..end]);
        let written = written.map_err(|error| error.kind())?;
        self.pending.start += written;
        Ok(written)
    }
}

impl Direction {
    fn source_and_target(self, [client, server]: &[TcpStream; 2]) -> [&TcpStream; 2] {
        match self {
            Direction::ToServer => [client, server],
            Direction::ToClient => [server, client],
        }
    }
}

/// Ends a connection that was only just accepted.
pub fn end_stream(stream: &TcpStream, end: End) {
    match end {
        End::Reset => reset_on_close(stream),
        // What the client has sent already would make a reset of it.
        End::Fin => {
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.set_read_timeout(Some(POLL_INTERVAL));
            read_until(stream, || false);
        }
    }
}

/// Throws away what comes until the other side closes too or the time is over.
fn drain(stream: &TcpStream, shared: &Shared) {
    read_until(stream, || shared.phase() != ENDING);
}

fn read_until(mut stream: &TcpStream, is_over: impl Fn() -> bool) {
    let end = Instant::now() + DRAIN_TIME;
    let mut waste = [0; 4096];
    while Instant::now() < end && !is_over() {
        match stream.read(&mut waste) {
            Ok(0) => return,
            Err(error) if !is_timeout(error.kind()) => return,
            _ => {}
        }
    }
}

fn reset_on_close(stream: &TcpStream) {
    // A socket that has a fault already is as good as reset.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
