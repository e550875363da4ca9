//! The bytes to and from a server, over TCP, TLS or a unix socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use postgres::config::{Config, Host};
use socket2::{SockRef, TcpKeepalive};

use super::target::{Endpoint, socket_path};
use crate::error::{Error, Result};
use crate::tls::stream::TlsStream;

pub use crate::tls::stream::is_timeout;

/// How long what was sent may stay unacknowledged by the other host, which then counts as dead. We
/// send often, so this notices a host that vanished; the kernel's own limit is a quarter of an hour.
const DEAD_AFTER: Duration = Duration::from_secs(60);

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// Over the network.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
    /// Over the network, encrypted.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Connects to one server, to the first of its addresses that answers before `deadline`.
    pub fn connect(endpoint: &Endpoint, config: &Config, deadline: Instant) -> Result<Stream> {
        match &endpoint.host {
            Host::Tcp(host) => tcp(host, endpoint.port, config, deadline),
            Host::Unix(directory) => {
                let path = socket_path(directory, endpoint.port);
                UnixStream::connect(path).map(Stream::Unix).map_err(|e| {
                    Error::unreachable("cannot connect")
                        .with_source(e)
                        .with_hint("is PostgreSQL running on this machine?")
                })
            }
        }
    }

    /// How long one read may wait for the first byte. Zero does not mean for ever here.
    pub fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        match self {
            Stream::Tcp(tcp) => tcp.set_read_timeout(timeout),
            Stream::Unix(unix) => unix.set_read_timeout(timeout),
            Stream::Tls(tls) => tls.socket().set_read_timeout(timeout),
        }
    }

    /// How long one write may wait for the peer to make room.
    pub fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(tcp) => tcp.set_write_timeout(Some(timeout)),
            Stream::Unix(unix) => unix.set_write_timeout(Some(timeout)),
            Stream::Tls(tls) => tls.socket().set_write_timeout(Some(timeout)),
        }
    }

    /// Whether the server is on this machine.
    pub fn is_local(&self) -> bool {
        let tcp = match self {
            Stream::Unix(_) => return true,
            Stream::Tcp(tcp) => tcp,
            Stream::Tls(tls) => tls.socket(),
        };
        tcp.peer_addr()
            .is_ok_and(|peer| peer.ip().to_canonical().is_loopback())
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

fn tcp(host: &str, port: u16, config: &Config, deadline: Instant) -> Result<Stream> {
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|e| Error::unreachable(format!("cannot resolve {host}")).with_source(e))?;
    let mut last = Error::unreachable(format!("{host} has no address"));
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now());
        match TcpStream::connect_timeout(&address, left.max(Duration::from_millis(1))) {
            Ok(tcp) => {
                configure(&tcp, config)
                    .map_err(|e| Error::unreachable("cannot set socket options").with_source(e))?;
                return Ok(Stream::Tcp(tcp));
            }
            Err(e) => {
                last = Error::unreachable(format!("cannot connect to {address}")).with_source(e)
            }
        }
    }
    Err(last)
}

fn configure(tcp: &TcpStream, config: &Config) -> io::Result<()> {
    // A status update is small and must not wait for company.
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    if config.get_keepalives() {
        let mut keepalive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
        if let Some(interval) = config.get_keepalives_interval() {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(retries) = config.get_keepalives_retries() {
            keepalive = keepalive.with_retries(retries);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    let dead_after = config.get_tcp_user_timeout().copied().unwrap_or(DEAD_AFTER);
    socket.set_tcp_user_timeout(Some(dead_after))
}
