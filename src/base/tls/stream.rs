//! TLS over a blocking socket with timeouts, for one thread that reads and writes.
//!
//! A read or write that ends for want of time is taken up again by the next: nothing is lost, on
//! neither side.

use std::io::{self, BufReader, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection};

/// The bytes that one read of the socket takes. The records in it are at most 16 KiB each.
const READ_BYTES: usize = 128 * 1024;

/// An encrypted connection.
#[derive(Debug)]
pub struct TlsStream {
    tls: ClientConnection,
    socket: BufReader<TcpStream>,
    /// The error that came behind bytes that were still to be returned.
    failure: Option<io::Error>,
}

impl TlsStream {
    /// Makes the handshake. An error of TLS itself is within the [`io::Error`], as a
    /// [`rustls::Error`]. The socket's timeouts are for the caller to set anew.
    pub fn connect(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        deadline: Instant,
    ) -> io::Result<TlsStream> {
        let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = TlsStream {
            tls,
            socket: BufReader::with_capacity(READ_BYTES, socket),
            failure: None,
        };
        while stream.tls.is_handshaking() || stream.tls.wants_write() {
            match stream.advance(deadline) {
                Err(e) if is_timeout(&e) => {}
                done => done?,
            }
        }
        Ok(stream)
    }

    /// Takes one step of the handshake.
    fn advance(&mut self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left < Duration::from_millis(1) {
            return Err(io::Error::other("the TLS handshake did not end in time"));
        }
        self.socket.get_ref().set_read_timeout(Some(left))?;
        self.socket.get_ref().set_write_timeout(Some(left))?;
        if self.tls.wants_write() {
            return self.push();
        }
        match self.receive()? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The socket, for its options.
    pub fn socket(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// The server's own certificate.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.tls.peer_certificates()?.first()
    }

    /// Whether a read need not ask the socket for anything.
    pub fn has_more(&mut self) -> bool {
        let decrypted = |tls: &mut ClientConnection| {
            let state = tls.process_new_packets();
            state.is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
        };
        self.failure.is_some() || !self.socket.buffer().is_empty() || decrypted(&mut self.tls)
    }

    /// The protocol that the server has chosen of those that we offered.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// Says that nothing more comes, and ends both directions. That the peer was faster is no error.
    pub fn shutdown(&mut self) {
        self.tls.send_close_notify();
        let _ = self.push();
        let _ = self.socket.get_ref().shutdown(Shutdown::Both);
    }

    /// Reads from the socket once, unless something is left of the last time, and decrypts. How
    /// many bytes were read; none at the end.
    fn receive(&mut self) -> io::Result<usize> {
        let read = self.tls.read_tls(&mut self.socket)?;
        if let Err(error) = self.tls.process_new_packets() {
            // The alert tells the server why; it may be gone.
            let _ = self.push();
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        // New keys are to be answered. It may wait until something else is sent.
        match self.push() {
            Err(e) if !is_timeout(&e) => Err(e),
            _ => Ok(read),
        }
    }

    /// Sends what is encrypted.
    fn push(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            if self.tls.write_tls(self.socket.get_mut())? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

impl Read for TlsStream {
    /// Waits for the first byte only. The end that the server has announced is 0, any other is
    /// [`ErrorKind::UnexpectedEof`].
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut read = 0;
        loop {
            match self.tls.reader().read(&mut buf[read..]) {
                Ok(0) => return Ok(read),
                Ok(more) => read += more,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) if read > 0 => return Ok(read),
                Err(e) => return Err(e),
            }
            // What has arrived is decrypted as long as there is room for it.
            if read > 0 && (read == buf.len() || self.socket.buffer().is_empty()) {
                return Ok(read);
            }
            match self.receive() {
                Ok(_) => {}
                Err(e) if read > 0 => {
                    self.failure = Some(e);
                    return Ok(read);
                }
                Err(e) => return Err(e),
            }
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    /// Sends what it takes, or leaves that for the next write or [`Write::flush`] if time is over before.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.push()?;
        let taken = self.tls.writer().write_vectored(parts)?;
        match self.push() {
            Err(e) if !is_timeout(&e) => Err(e),
            _ => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.push()
    }
}

/// Whether a read or write ended because its time was over and not because of the connection.
pub fn is_timeout(error: &io::Error) -> bool {
    use ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}
