//! The bytes to and from a Fluvio server, over TCP or TLS, each step before a deadline.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::SockRef;

use super::server::FluvioServer;
use crate::base::error::{Error, Result};
use crate::base::resolver::look_up;
use crate::base::tls;
use crate::base::tls::stream::{TlsStream, is_timeout};
use crate::sink::lease::Lease;

/// How soon a wait notices that the lease it is made under is over.
const LEASE_INTERVAL: Duration = Duration::from_millis(100);

/// A connected socket.
pub struct FluvioStream {
    socket: Socket,
    /// Whoever writes has to give up when it is over.
    lease: Option<Lease>,
}

enum Socket {
    /// Not encrypted.
    Tcp(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream>),
}

impl FluvioStream {
    /// Connects, and makes the TLS handshake if the cluster has TLS. What the server does not take
    /// for `timeout` is given up.
    pub fn connect(server: &FluvioServer, timeout: Duration) -> Result<FluvioStream> {
        let deadline = Instant::now() + timeout;
        let tcp = connect(&server.address, deadline)?;
        give_up_what_is_not_taken(&tcp, timeout).map_err(lost)?;
        let Some((config, name)) = server.tls()? else {
            return Ok(FluvioStream::over(Socket::Tcp(tcp)));
        };
        let tls = TlsStream::connect(tcp, config, name, deadline).map_err(|e| {
            lost(e).with_hint("does this port of the cluster have TLS, as the profile says?")
        })?;
        Ok(FluvioStream::over(Socket::Tls(Box::new(tls))))
    }

    fn over(socket: Socket) -> FluvioStream {
        FluvioStream {
            socket,
            lease: None,
        }
    }

    /// Lets no wait outlast the lease from now on; and the kernel does not try for longer to deliver
    /// something than the server of the slot would keep that for us.
    pub fn hold_under(&mut self, lease: Lease, timeout: Duration) -> Result<()> {
        let longest = timeout.min(lease.patience() / 2);
        give_up_what_is_not_taken(self.socket(), longest).map_err(lost)?;
        self.lease = Some(lease);
        Ok(())
    }

    /// How long the next step may take.
    fn step(&self, deadline: Instant) -> Result<Duration> {
        let left = left(deadline)?;
        match &self.lease {
            Some(lease) => lease.check().map(|()| left.min(LEASE_INTERVAL)),
            None => Ok(left),
        }
    }

    /// Sends the parts, one after the other as if they were one.
    pub fn write_all(&mut self, mut parts: &mut [IoSlice<'_>], deadline: Instant) -> Result<()> {
        // Those that are empty go first.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let step = self.step(deadline)?;
            self.socket().set_write_timeout(Some(step)).map_err(lost)?;
            let written = match &mut self.socket {
                Socket::Tcp(tcp) => tcp.write_vectored(parts),
                Socket::Tls(tls) => tls.write_vectored(parts),
            };
            match written {
                Ok(0) => return Err(lost(ErrorKind::WriteZero.into())),
                Ok(written) => IoSlice::advance_slices(&mut parts, written),
                Err(e) if is_timeout(&e) => {}
                Err(e) => return Err(lost(e)),
            }
        }
        self.flush(deadline)
    }

    /// What is encrypted may still have to be sent.
    fn flush(&mut self, deadline: Instant) -> Result<()> {
        if matches!(self.socket, Socket::Tcp(_)) {
            return Ok(());
        }
        loop {
            let step = self.step(deadline)?;
            let Socket::Tls(tls) = &mut self.socket else {
                return Ok(());
            };
            tls.socket().set_write_timeout(Some(step)).map_err(lost)?;
            match tls.flush() {
                Err(e) if is_timeout(&e) => {}
                flushed => return flushed.map_err(lost),
            }
        }
    }

    /// Fills the buffer.
    pub fn read_exact(&mut self, mut buffer: &mut [u8], deadline: Instant) -> Result<()> {
        while !buffer.is_empty() {
            let step = self.step(deadline)?;
            self.socket().set_read_timeout(Some(step)).map_err(lost)?;
            let read = match &mut self.socket {
                Socket::Tcp(tcp) => tcp.read(buffer),
                Socket::Tls(tls) => tls.read(buffer),
            };
            match read {
                Ok(0) => return Err(lost(ErrorKind::UnexpectedEof.into())),
                Ok(read) => buffer = &mut buffer[read..],
                Err(e) if is_timeout(&e) => {}
                Err(e) => return Err(lost(e)),
            }
        }
        Ok(())
    }

    /// Whether there is something to read, or the end of what there is. What TLS keeps for itself
    /// counts, and a part of what it has decrypted already does not.
    pub fn is_readable(&self) -> Result<bool> {
        let mut polled = [PollFd::new(self.socket(), PollFlags::IN)];
        match poll(&mut polled, Some(&Timespec::default())) {
            Ok(ready) => Ok(ready > 0),
            Err(e) if e == Errno::INTR => Ok(false),
            Err(e) => Err(lost(e.into())),
        }
    }

    fn socket(&self) -> &TcpStream {
        match &self.socket {
            Socket::Tcp(tcp) => tcp,
            Socket::Tls(tls) => tls.socket(),
        }
    }
}

/// An address that does not answer has its share of the time: the ones after it are to have theirs.
fn connect(address: &str, deadline: Instant) -> Result<TcpStream> {
    let addresses = look_up(address.to_owned(), left(deadline)?).map_err(|e| {
        let error = Error::unreachable("cannot resolve the address").with_source(e);
        error.with_hint("the form is host:port")
    })?;
    let mut last = Error::unreachable("no answer in time");
    for (address, others) in addresses.iter().zip((1..=addresses.len() as u32).rev()) {
        match TcpStream::connect_timeout(address, left(deadline)? / others) {
            Ok(stream) => {
                // A request is written whole; waiting for more would only delay it.
                stream.set_nodelay(true).map_err(lost)?;
                return Ok(stream);
            }
            Err(e) => last = Error::unreachable("cannot connect").with_source(e),
        }
    }
    Err(last.with_hint("is the cluster running? See \"fluvio cluster status\""))
}

/// Makes the kernel forget what it has not delivered: at once when the socket is closed or the process
/// is killed, and after `timeout` while it is open. Otherwise it would go on sending behind the back
/// of whoever writes to the partition next, for as long as the network takes to come back.
fn give_up_what_is_not_taken(tcp: &TcpStream, timeout: Duration) -> std::io::Result<()> {
    let socket = SockRef::from(tcp);
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_user_timeout(Some(timeout))
}

fn left(deadline: Instant) -> Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(Error::unreachable("no answer in time")),
        left => Ok(left),
    }
}

fn lost(error: std::io::Error) -> Error {
    tls::explain(&error)
        .unwrap_or_else(|| Error::unreachable("the connection was lost").with_source(error))
}
