//! Ending the statement that a session waits for: a CancelRequest
//! ([cancelling requests](https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS)).
//!
//! A server does not notice that its client is gone while a statement waits for a lock or for a
//! transaction. It would go on waiting, and then make the slot or drop the publication that nobody wants
//! any more. A CancelRequest and not `pg_cancel_backend`: it needs no log-in, no right and no free
//! connection, and a pooler passes it on to the server that has the statement.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use crate::base::error::{Error, Result};
use crate::pg::params::ssl::Ssl;
use crate::pg::params::{Endpoint, TcpOptions};
use crate::pg::transport::encryption::{Protection, Way, encrypt};
use crate::pg::transport::stream::Stream;
use crate::pg::wire::cursor::Cursor;

/// The key that ends a session's statement. There is no `Debug`, because of the secret.
#[derive(Clone)]
pub struct Canceller {
    endpoint: Endpoint,
    tcp: TcpOptions,
    ssl: Ssl,
    way: Way,
    process: i32,
    secret: i32,
}

impl Canceller {
    /// Reads the body of BackendKeyData, Int32 process · Int32 secret, of a session with `endpoint` that
    /// is protected so far. The request goes the same way, for the secret is worth as much.
    pub fn read(
        body: &[u8],
        endpoint: &Endpoint,
        tcp: &TcpOptions,
        ssl: &Ssl,
        protection: Protection,
    ) -> Result<Canceller> {
        let mut c = Cursor::new(body);
        let (process, secret) = (c.i32("process")?, c.i32("secret")?);
        c.end()?;
        Ok(Canceller {
            endpoint: endpoint.clone(),
            tcp: *tcp,
            ssl: ssl.clone(),
            way: match protection {
                Protection::None => Way::Plain,
                Protection::Encrypted | Protection::Verified => Way::Tls,
            },
            process,
            secret,
        })
    }

    /// The id of the server's process.
    pub fn process(&self) -> i32 {
        self.process
    }

    /// Sends a CancelRequest: Int32 16 · Int32 80877102 · Int32 process · Int32 secret. The server answers
    /// nothing; it has sent the signal when it closes the connection.
    pub fn request(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let stream = Stream::connect(&self.endpoint, &self.tcp, deadline)?;
        stream.set_write_timeout(timeout).map_err(lost)?;
        let (mut stream, _) = encrypt(stream, self.way, &self.ssl, &self.endpoint.host, deadline)?;
        let mut request = BytesMut::new();
        frontend::cancel_request(self.process, self.secret, &mut request);
        stream.write_all(&request).map_err(lost)?;
        stream.flush().map_err(lost)?;
        let left = deadline.saturating_duration_since(Instant::now());
        stream.set_read_timeout(left).map_err(lost)?;
        // However it ends, the request is with the server.
        let _ = stream.read(&mut [0; 1]);
        Ok(())
    }
}

fn lost(error: std::io::Error) -> Error {
    Error::unreachable("the request to cancel was lost").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::params::Host;

    #[test]
    fn a_key_of_another_length_is_refused() {
        let endpoint = Endpoint {
            host: Host::Unix("/nowhere".into()),
            address: None,
            port: 1,
        };
        let read = |body: &[u8]| {
            let tcp = TcpOptions {
                keepalives: false,
                idle: None,
                interval: None,
                count: None,
                user_timeout: None,
            };
            Canceller::read(body, &endpoint, &tcp, &Ssl::default(), Protection::None)
        };
        assert_eq!(read(b"\0\0\0\x07\0\0\0\x08").unwrap().process(), 7);
        for len in [0, 4, 7] {
            assert!(read(&[0; 8][..len]).is_err());
        }
        assert!(read(&[0; 9]).is_err());
    }
}
