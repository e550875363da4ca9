//! Listeners, and what a test can do to them and to their connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::connection::Connection;
use super::faults::Close;
use super::{Shared, sc, spu};

/// How long closing and opening again may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// The two servers of a cluster. They need two ports: the same request keys mean other things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The controller: topics, partitions and the address of the SPU.
    Sc,
    /// The one that stores and serves records.
    Spu,
}

/// What happens to a connection that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepting {
    /// It is served.
    Serve,
    /// It is closed at once.
    ThenClose(Close),
}

/// Lets everything pass, or nothing while the server is frozen.
#[derive(Clone)]
pub(super) struct Gate(watch::Receiver<bool>);

impl Gate {
    pub(super) fn new(frozen: &watch::Sender<bool>) -> Self {
        Self(frozen.subscribe())
    }

    pub(super) async fn open(&mut self) {
        // An error says that the server is gone, and then nothing is frozen either.
        let _ = self.0.wait_for(|frozen| !frozen).await;
    }

    pub(super) async fn closed(&mut self) {
        if self.0.wait_for(|frozen| *frozen).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Counts tasks, so that a thread can wait for their end.
#[derive(Default)]
struct Counter {
    count: Mutex<usize>,
    left: Condvar,
}

struct Counted(Arc<Counter>);

impl Counter {
    fn enter(self: &Arc<Self>) -> Counted {
        *self.count.lock().unwrap() += 1;
        Counted(Arc::clone(self))
    }

    fn wait_for_none(&self, what: &str) {
        let count = self.count.lock().unwrap();
        let (count, _) = self
            .left
            .wait_timeout_while(count, PATIENCE, |count| *count > 0)
            .unwrap();
        assert_eq!(*count, 0, "{what} did not end within {PATIENCE:?}");
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.count.lock().unwrap() -= 1;
        self.0.left.notify_all();
    }
}

/// One listener with its connections.
pub(super) struct Endpoint {
    side: Side,
    /// The number of the SPU; zero for the SC.
    number: usize,
    address: SocketAddr,
    runtime: Handle,
    gate: Gate,
    closing: watch::Sender<Close>,
    accepting: Mutex<Accepting>,
    accept_task: Mutex<Option<AbortHandle>>,
    listeners: Arc<Counter>,
    connections: Arc<Counter>,
}

impl Endpoint {
    /// Binds and does not listen yet: requests need the state that needs the port.
    pub(super) fn bind(
        (side, number): (Side, usize),
        port: u16,
        runtime: &Handle,
        gate: Gate,
    ) -> io::Result<(Arc<Self>, std::net::TcpListener)> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let endpoint = Arc::new(Self {
            side,
            number,
            address: listener.local_addr()?,
            runtime: runtime.clone(),
            gate,
            closing: watch::Sender::new(Close::Fin),
            accepting: Mutex::new(Accepting::Serve),
            accept_task: Mutex::new(None),
            listeners: Arc::default(),
            connections: Arc::default(),
        });
        Ok((endpoint, listener))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn set_accepting(&self, accepting: Accepting) {
        *self.accepting.lock().unwrap() = accepting;
    }

    pub(super) fn listen(self: &Arc<Self>, listener: std::net::TcpListener, shared: &Arc<Shared>) {
        let counted = self.listeners.enter();
        self.spawn_accepting(accept(
            counted,
            Arc::clone(self),
            Arc::clone(shared),
            listener,
        ));
    }

    pub(super) fn listen_again(self: &Arc<Self>, shared: &Arc<Shared>) {
        self.close_listener();
        let started = Instant::now();
        let listener = loop {
            match std::net::TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                // An ephemeral port may have become the local port of some connection.
                Err(_) if started.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => panic!("{} cannot be bound again: {error}", self.address),
            }
        };
        self.listen(listener, shared);
    }

    pub(super) fn listen_after(self: &Arc<Self>, pause: Duration, shared: &Arc<Shared>) {
        self.close_listener();
        let counted = self.listeners.enter();
        let endpoint = Arc::clone(self);
        let shared = Arc::clone(shared);
        self.spawn_accepting(async move {
            tokio::time::sleep(pause).await;
            loop {
                match std::net::TcpListener::bind(endpoint.address) {
                    Ok(listener) => return accept(counted, endpoint, shared, listener).await,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
    }

    fn spawn_accepting(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.runtime.spawn(task).abort_handle();
        *self.accept_task.lock().unwrap() = Some(handle);
    }

    /// New connections are refused when this returns.
    pub(super) fn close_listener(&self) {
        if let Some(task) = self.accept_task.lock().unwrap().take() {
            task.abort();
        }
        self.listeners.wait_for_none("the listener");
    }

    /// Every connection is closed when this returns.
    pub(super) fn close_connections(&self, how: Close) {
        self.closing.send_replace(how);
        self.connections.wait_for_none("a connection");
    }

    /// Tells every connection to close and does not wait.
    pub(super) fn drop_connections(&self, how: Close) {
        self.closing.send_replace(how);
    }
}

async fn accept(
    // The first to be taken is the last to be dropped: the listener is closed before it.
    _counted: Counted,
    endpoint: Arc<Endpoint>,
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
) {
    listener
        .set_nonblocking(true)
        .expect("a listener can be set to not block");
    let listener = TcpListener::from_std(listener).expect("the runtime takes the listener");
    let mut gate = endpoint.gate.clone();
    loop {
        gate.open().await;
        let accepted = tokio::select! {
            biased;
            () = gate.closed() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("fluvio for the tests: accept: {error}");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let counted = endpoint.connections.enter();
        let closing = endpoint.closing.subscribe();
        let accepting = *endpoint.accepting.lock().unwrap();
        let connection = Connection::new(stream, endpoint.gate.clone());
        tokio::spawn(serve(
            counted,
            (endpoint.side, endpoint.number),
            Arc::clone(&shared),
            connection,
            closing,
            accepting,
        ));
    }
}

async fn serve(
    _counted: Counted,
    (side, number): (Side, usize),
    shared: Arc<Shared>,
    mut connection: Connection,
    mut closing: watch::Receiver<Close>,
    accepting: Accepting,
) {
    if let Accepting::ThenClose(how) = accepting {
        return connection.finish(how).await;
    }
    let requests = async {
        match side {
            Side::Sc => sc::serve(&mut connection, &shared).await,
            Side::Spu => spu::serve(&mut connection, &shared, number).await,
        }
    };
    let how = tokio::select! {
        ended = requests => ended.unwrap_or_else(|error| {
            // A client that goes away is no news.
            if error.kind() != io::ErrorKind::ConnectionReset
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                eprintln!("fluvio for the tests: {side:?} closes a connection: {error}");
            }
            Close::Fin
        }),
        _ = closing.changed() => *closing.borrow_and_update(),
    };
    connection.finish(how).await;
}
