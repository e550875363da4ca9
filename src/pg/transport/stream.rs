//! The bytes to and from a server, over TCP, TLS or a unix socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::base::error::{Error, Result};
use crate::base::tls::stream::TlsStream;
use crate::pg::params::{Endpoint, Host, TcpOptions, socket_path};

pub use crate::base::tls::stream::is_timeout;

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A unix socket of this machine.
    Unix(UnixStream),
    /// A TCP connection with TLS.
    Tls(Box<TlsStream>),
}

/// The end of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// Data to read has arrived, and the bell may have rung too.
    Data,
    /// The bell alone has rung.
    Bell,
    /// The time is over, and nothing has arrived.
    Nothing,
}

impl Stream {
    /// Connects to one server, at the address that its name was resolved to.
    pub fn connect(endpoint: &Endpoint, options: &TcpOptions, deadline: Instant) -> Result<Stream> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_millis(1));
        match (&endpoint.host, endpoint.address) {
            (Host::Tcp(host), None) => Err(Error::unreachable(format!("{host} has no address"))),
            (Host::Tcp(_), Some(address)) => {
                let tcp = TcpStream::connect_timeout(&address, left).map_err(|e| {
                    Error::unreachable(format!("cannot connect to {address}")).with_source(e)
                })?;
                configure(&tcp, options)
                    .map_err(|e| Error::unreachable("cannot set socket options").with_source(e))?;
                Ok(Stream::Tcp(tcp))
            }
            (Host::Unix(directory), _) => {
                let path = socket_path(directory, endpoint.port);
                unix(&path, left).map(Stream::Unix).map_err(|e| {
                    Error::unreachable("cannot connect")
                        .with_source(e)
                        .with_hint("is PostgreSQL running on this machine?")
                })
            }
        }
    }

    /// Sets the time that one read may wait for the first byte. Zero does not mean for ever here.
    pub fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        match self {
            Stream::Tcp(tcp) => tcp.set_read_timeout(timeout),
            Stream::Unix(unix) => unix.set_read_timeout(timeout),
            Stream::Tls(tls) => tls.socket().set_read_timeout(timeout),
        }
    }

    /// Sets the time that one write may wait for the peer to make room.
    pub fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(tcp) => tcp.set_write_timeout(Some(timeout)),
            Stream::Unix(unix) => unix.set_write_timeout(Some(timeout)),
            Stream::Tls(tls) => tls.socket().set_write_timeout(Some(timeout)),
        }
    }

    /// Sets the time for which the server may not take what was sent before the connection counts as
    /// broken, unless it counts as that earlier already. A unix socket has no such limit: nothing is
    /// ever under way.
    pub fn give_up_after(&self, timeout: Duration) -> io::Result<()> {
        let Some(tcp) = self.tcp() else {
            return Ok(());
        };
        let socket = SockRef::from(tcp);
        let agreed = socket
            .tcp_user_timeout()?
            .filter(|agreed| !agreed.is_zero());
        socket.set_tcp_user_timeout(Some(agreed.unwrap_or(timeout).min(timeout)))
    }

    /// Waits until there is something to read, the bell can be read, or `timeout` is over.
    pub fn wait_beside(&mut self, bell: BorrowedFd<'_>, timeout: Duration) -> io::Result<Arrived> {
        if let Stream::Tls(tls) = self
            && tls.has_more()
        {
            return Ok(Arrived::Data);
        }
        let socket = match &*self {
            Stream::Tcp(tcp) => tcp.as_fd(),
            Stream::Unix(unix) => unix.as_fd(),
            Stream::Tls(tls) => tls.socket().as_fd(),
        };
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        let mut polled = [
            PollFd::from_borrowed_fd(socket, PollFlags::IN),
            PollFd::from_borrowed_fd(bell, PollFlags::IN),
        ];
        match poll(&mut polled, Some(&timeout)) {
            Err(Errno::INTR) => return Ok(Arrived::Nothing),
            ready => ready?,
        };
        let [socket, bell] = polled.map(|fd| !fd.revents().is_empty());
        Ok(match (socket, bell) {
            (true, _) => Arrived::Data,
            (false, true) => Arrived::Bell,
            (false, false) => Arrived::Nothing,
        })
    }

    /// A second handle of the socket, for another thread that watches it.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Stream::Tcp(tcp) => tcp.try_clone().map(OwnedFd::from),
            Stream::Unix(unix) => unix.try_clone().map(OwnedFd::from),
            Stream::Tls(tls) => tls.socket().try_clone().map(OwnedFd::from),
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(tcp) => Some(tcp),
            Stream::Unix(_) => None,
            Stream::Tls(tls) => Some(tls.socket()),
        }
    }

    /// Whether the server is on this machine.
    pub fn is_local(&self) -> bool {
        self.tcp().is_none_or(|tcp| {
            tcp.peer_addr()
                .is_ok_and(|peer| peer.ip().to_canonical().is_loopback())
        })
    }

    /// Ends both directions. That the peer was faster is no error.
    pub fn shutdown(&mut self) {
        let _ = match self {
            Stream::Tcp(tcp) => tcp.shutdown(Shutdown::Both),
            Stream::Unix(unix) => unix.shutdown(Shutdown::Both),
            Stream::Tls(tls) => {
                tls.shutdown();
                Ok(())
            }
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(tcp) => tcp.read(buf),
            Stream::Unix(unix) => unix.read(buf),
            Stream::Tls(tls) => tls.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(tcp) => tcp.write(buf),
            Stream::Unix(unix) => unix.write(buf),
            Stream::Tls(tls) => tls.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => Ok(()),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

/// Connects to a unix socket within a time: the standard library knows no limit here, and a server that
/// hangs makes us wait.
fn unix(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.connect_timeout(&SockAddr::unix(path)?, timeout)?;
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

fn configure(tcp: &TcpStream, options: &TcpOptions) -> io::Result<()> {
    // A status update is small and must not wait for company.
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    if options.keepalives {
        socket.set_keepalive(true)?;
        let mut keepalive = TcpKeepalive::new();
        if let Some(idle) = options.idle {
            keepalive = keepalive.with_time(idle);
        }
        if let Some(interval) = options.interval {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(count) = options.count {
            keepalive = keepalive.with_retries(count);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    socket.set_tcp_user_timeout(options.user_timeout)
}
