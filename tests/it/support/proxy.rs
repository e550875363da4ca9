//! A TCP proxy between two programs that makes the faults of a network on demand.
#![allow(dead_code)]

mod pump;

use super::{lock, ports, wait_until};
use pump::{Connection, Faults, Hold, Lane};
use socket2::SockRef;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a thread that waits on a socket looks at the proxy's modes.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FAULT_DEADLINE: Duration = Duration::from_secs(60);

/// One of the two ways through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order: the other side reads an end of file.
    Fin,
    /// By force: the other side reads "connection reset by peer".
    Reset,
}

/// What a new connection meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody listens: "connection refused".
    NotListening,
    /// The connection is accepted and ends at once.
    Accepted(End),
}

/// The proxy. Its faults hold for all of its connections, those to come included.
///
/// It ends with all of its threads and connections on drop.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    target: Mutex<String>,
    listener: Mutex<Option<Arc<TcpListener>>>,
    refusal: Mutex<Option<End>>,
    lanes: [Arc<Lane>; 2],
    connections: Mutex<Vec<Arc<Connection>>>,
    accepted: AtomicU64,
    stops: AtomicBool,
}

impl Proxy {
    /// A proxy on a port of its own that forwards to `target`, a host and a port.
    pub fn start(target: impl Into<String>) -> Proxy {
        let listener = std::iter::repeat_with(ports::free_port)
            .take(10)
            .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
            .expect("a proxy finds a port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            target: Mutex::new(target.into()),
            listener: Mutex::new(Some(prepare(listener))),
            refusal: Mutex::new(None),
            lanes: Default::default(),
            connections: Mutex::default(),
            accepted: AtomicU64::new(0),
            stops: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || for_thread.accept_until_stopped());
        Proxy {
            port,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The proxy's own host and port.
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Lets new connections go elsewhere.
    pub fn set_target(&self, target: impl Into<String>) {
        *lock(&self.shared.target) = target.into();
    }

    /// Ends every fault: connections are accepted and bytes pass as they come.
    pub fn pass(&self) {
        for lane in &self.shared.lanes {
            lane.change(|faults| *faults = Faults::default());
        }
        self.accept_again();
    }

    /// From the return of this call on nothing is read and nothing is forwarded.
    pub fn freeze(&self) {
        self.freeze_direction(Direction::ToServer);
        self.freeze_direction(Direction::ToClient);
    }

    pub fn freeze_direction(&self, direction: Direction) {
        self.lane(direction)
            .change(|faults| faults.is_frozen = true);
    }

    pub fn thaw(&self) {
        for lane in &self.shared.lanes {
            lane.change(|faults| faults.is_frozen = false);
        }
    }

    /// Every connection stands still before it forwards what has `bytes` in it, and the other
    /// direction goes on.
    pub fn hold_before(&self, direction: Direction, bytes: &str) {
        let hold = Hold {
            bytes: bytes.into(),
            is_reached: false,
        };
        self.lane(direction)
            .change(|faults| faults.hold = Some(hold));
    }

    /// Whether a connection stands still since [`Self::hold_before`].
    pub fn is_holding(&self, direction: Direction) -> bool {
        let hold = |faults: &mut Faults| faults.hold.as_ref().is_some_and(|hold| hold.is_reached);
        self.lane(direction).change(hold)
    }

    /// Ends [`Self::hold_before`].
    pub fn release(&self, direction: Direction) {
        self.lane(direction).change(|faults| faults.hold = None);
    }

    /// Forwards pieces of at most `bytes` bytes, each in a segment of its own.
    pub fn fragment(&self, bytes: usize) {
        assert_ne!(bytes, 0, "a piece has a byte at least");
        for lane in &self.shared.lanes {
            lane.change(|faults| faults.piece = Some(bytes));
        }
    }

    /// A slow link: at most `bytes` bytes pass in each interval of 20 ms.
    pub fn slow(&self, direction: Direction, bytes: usize) {
        assert_ne!(bytes, 0, "a piece has a byte at least");
        self.lane(direction).change(|faults| {
            faults.piece = Some(bytes);
            faults.is_slow = true;
        });
    }

    /// Ends the connection that forwards the last of `bytes` more bytes, right after it.
    /// With no bytes left, the next byte to come ends its connection and does not pass.
    pub fn cut_after(&self, direction: Direction, bytes: u64, end: End) {
        self.lane(direction)
            .change(|faults| faults.cut = Some((bytes, end)));
    }

    /// True from [`Self::cut_after`] until a connection was cut.
    pub fn is_cut_due(&self, direction: Direction) -> bool {
        self.lane(direction).change(|faults| faults.cut.is_some())
    }

    /// Refuses new connections. Those that exist go on.
    pub fn refuse(&self, refusal: Refusal) {
        match refusal {
            Refusal::Accepted(end) => {
                self.listen();
                *lock(&self.shared.refusal) = Some(end);
            }
            Refusal::NotListening => {
                // The acceptor holds the listener for one interval more. Only the last one
                // to let go closes it, and then the port is free.
                let listener = lock(&self.shared.listener).take();
                if let Some(listener) = listener {
                    wait_until("the acceptor lets go", FAULT_DEADLINE, || {
                        Arc::strong_count(&listener) == 1
                    });
                }
            }
        }
    }

    /// Ends every refusal.
    pub fn accept_again(&self) {
        *lock(&self.shared.refusal) = None;
        self.listen();
    }

    /// Resets every connection on both sides and returns when that is done.
    pub fn reset_all(&self) {
        self.end_all(End::Reset);
    }

    /// Closes every connection on both sides in order.
    pub fn close_all(&self) {
        self.end_all(End::Fin);
    }

    pub fn end_all(&self, end: End) {
        let connections = lock(&self.shared.connections).clone();
        for connection in &connections {
            connection.end(end);
        }
        wait_until("the connections end", FAULT_DEADLINE, || {
            connections.iter().all(|connection| connection.has_ended())
        });
    }

    /// The bytes forwarded in one direction over all connections so far.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.lane(direction).forwarded()
    }

    /// The connections accepted so far, refused ones included.
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// The connections that exist now.
    pub fn open_connections(&self) -> usize {
        let connections = lock(&self.shared.connections);
        connections
            .iter()
            .filter(|connection| !connection.has_ended())
            .count()
    }

    fn lane(&self, direction: Direction) -> &Lane {
        &self.shared.lanes[direction as usize]
    }

    /// Opens the listener again on the same port if it is closed.
    fn listen(&self) {
        let mut listener = lock(&self.shared.listener);
        if listener.is_none() {
            // The system does not give this port away, but another process may have asked for it.
            wait_until("the proxy's port is free again", FAULT_DEADLINE, || {
                *listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))
                    .ok()
                    .map(prepare);
                listener.is_some()
            });
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::SeqCst);
        // A thread that panicked has told so already.
        let _ = self.acceptor.take().map(JoinHandle::join);
        for connection in lock(&self.shared.connections).drain(..) {
            connection.stop();
        }
    }
}

impl Shared {
    fn accept_until_stopped(&self) {
        while !self.stops.load(Ordering::SeqCst) {
            let listener = lock(&self.listener).clone();
            let Some(listener) = listener else {
                std::thread::sleep(POLL_INTERVAL);
                continue;
            };
            let Ok((client, _)) = listener.accept() else {
                continue;
            };
            // What was refused is not to be accepted just because it came in the last interval.
            let is_closed = lock(&self.listener).is_none();
            drop(listener);
            let refusal = *lock(&self.refusal);
            self.accepted.fetch_add(1, Ordering::SeqCst);
            match (is_closed, refusal) {
                (true, _) => pump::end_stream(&client, End::Reset),
                (false, Some(end)) => pump::end_stream(&client, end),
                (false, None) => self.connect_through(client),
            }
        }
    }

    fn connect_through(&self, client: TcpStream) {
        let target = lock(&self.target).clone();
        let Some(server) = connect(&target) else {
            // There is no way to refuse what is accepted; a reset comes closest.
            pump::end_stream(&client, End::Reset);
            return;
        };
        let connection = Connection::start(client, server, &self.lanes);
        let mut connections = lock(&self.connections);
        connections.retain(|connection| !connection.is_finished());
        connections.push(connection);
    }
}

/// The first address of `target` that answers.
fn connect(target: &str) -> Option<TcpStream> {
    let addresses: Vec<SocketAddr> = target.to_socket_addrs().ok()?.collect();
    addresses
        .iter()
        .find_map(|address| TcpStream::connect_timeout(address, CONNECT_TIMEOUT).ok())
}

/// Lets an accept end after an interval, so that its thread sees that it is to stop.
fn prepare(listener: TcpListener) -> Arc<TcpListener> {
    SockRef::from(&listener)
        .set_read_timeout(Some(POLL_INTERVAL))
        .expect("a listener takes a timeout");
    Arc::new(listener)
}
