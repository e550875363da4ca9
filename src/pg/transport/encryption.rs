//! Whether a connection is encrypted: what each `sslmode` tries, and the request for TLS
//! ([SSL session encryption](https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL)).

use std::io::{Read, Write};
use std::sync::{Arc, Once};
use std::time::Instant;

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::stream::{Stream, is_timeout};
use super::tls::{PROTOCOL, TlsSettings};
use crate::base::error::{Context, Error, Kind, Result};
use crate::base::tls::{self, stream::TlsStream};
use crate::pg::params::ssl::{Negotiation, Ssl, SslMode};
use crate::pg::params::{Endpoint, Host};

/// The encryption that one attempt tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// No TLS.
    Plain,
    /// TLS if the server has it.
    TlsIfOffered,
    /// TLS or no connection.
    Tls,
}

/// The protection that a connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// None: whoever is on the way can read and change the connection.
    None,
    /// Encryption: only whoever poses as the server can read and change it.
    Encrypted,
    /// Encryption, and a certificate of the server that leads to a root that is trusted.
    Verified,
}

/// An attempt that failed.
#[derive(Debug)]
pub enum Failure {
    /// The error would have come another way, too.
    Final(Error),
    /// The server may take us another way.
    OfThisWay(Error),
}

impl Way {
    /// The way that a mode tries first, and the one it tries then. A unix socket needs no TLS and has none.
    pub fn of(mode: SslMode, host: &Host) -> (Way, Option<Way>) {
        match (mode, host) {
            (SslMode::Disable, _) | (_, Host::Unix(_)) => (Way::Plain, None),
            (SslMode::Allow, _) => (Way::Plain, Some(Way::TlsIfOffered)),
            (SslMode::Prefer, _) => (Way::TlsIfOffered, Some(Way::Plain)),
            _ => (Way::Tls, None),
        }
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Way::Plain => "without TLS",
            Way::TlsIfOffered | Way::Tls => "with TLS",
        })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Final(error) | Failure::OfThisWay(error) => error,
        }
    }
}

/// Encrypts a new connection to `host`, as far as this way asks for it.
pub fn encrypt(
    mut stream: Stream,
    way: Way,
    ssl: &Ssl,
    host: &Host,
    deadline: Instant,
) -> Result<(Stream, Protection), Failure> {
    let Host::Tcp(host) = host else {
        return Ok((stream, Protection::None));
    };
    let is_direct = ssl.negotiation == Negotiation::Direct;
    let wants_tls = match way {
        Way::Plain => false,
        Way::Tls if is_direct => true,
        Way::Tls | Way::TlsIfOffered => {
            request(&mut stream, deadline).at(|| "request for TLS".into())?
        }
    };
    match (wants_tls, way) {
        (false, Way::Tls) => Err(Failure::Final(
            Error::config("the server does not offer TLS").with_hint(
                "sslmode demands it: set ssl = on at the server, or, on a trusted network only, \
                 sslmode=prefer",
            ),
        )),
        (false, _) => Ok((stream, Protection::None)),
        // Also what is wrong with our own files: so libpq sees it.
        (true, _) => hand_shake(stream, ssl, host, deadline).map_err(Failure::OfThisWay),
    }
}

/// Warns once in the whole process: who runs it has decided, and need not hear it at each connect.
pub fn warn_if_unverified(protection: Protection, endpoint: &Endpoint) {
    static WARNED: Once = Once::new();
    let Some(what) = weakness(protection) else {
        return;
    };
    WARNED.call_once(|| {
        log::warn!(
            "the connection to PostgreSQL at {endpoint} {what}: somebody on the way could read and \
             change it; add sslmode=verify-full and sslrootcert to the database URL"
        );
    });
}

fn weakness(protection: Protection) -> Option<&'static str> {
    match protection {
        Protection::Verified => None,
        Protection::None => Some("is not encrypted"),
        Protection::Encrypted => Some("is encrypted, but the server's certificate is not verified"),
    }
}

/// Sends SSLRequest: Int32 8 · Int32 80877103. The answer is one byte: S, or N if there is no TLS.
fn request(stream: &mut Stream, deadline: Instant) -> Result<bool> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).map_err(lost)?;
    // Room for more than the answer: nothing may follow it.
    let mut answer = [0; 64];
    let len = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::unreachable("the server did not answer in time"));
        }
        stream.set_read_timeout(left).map_err(lost)?;
        match stream.read(&mut answer) {
            Err(e) if is_timeout(&e) => {}
            read => break read.map_err(lost)?,
        }
    };
    match &answer[..len] {
        b"S" => Ok(true),
        b"N" => Ok(false),
        [] => Err(Error::unreachable(
            "the server closed the connection when asked for TLS",
        )),
        [b'S' | b'N', ..] => Err(Error::new(
            Kind::Permission,
            "unencrypted data after the answer to the request for TLS",
        )
        .with_hint("something between alters the connection")),
        // Nobody knows yet who says so: the words are not shown.
        [b'E', ..] => Err(Error::unreachable(
            "the server answers the request for TLS with an error",
        )
        .with_hint("its log says which; it may be out of processes or memory")),
        [other, ..] => Err(Error::undeliverable(format!(
            "the server answers the request for TLS with '{}'",
            other.escape_ascii()
        ))
        .with_hint("is this a PostgreSQL server?")),
    }
}

fn hand_shake(
    stream: Stream,
    ssl: &Ssl,
    host: &str,
    deadline: Instant,
) -> Result<(Stream, Protection)> {
    let settings = TlsSettings::read(ssl, host)?;
    let Stream::Tcp(socket) = stream else {
        return Err(Error::new(Kind::Bug, "TLS over something else than TCP"));
    };
    let config = Arc::new(settings.config);
    let stream = TlsStream::connect(socket, config, settings.name, deadline)
        .map_err(|e| lost_in_handshake(&e, ssl))?;
    // Without it another protocol's server could be led to take our bytes for its own.
    if ssl.negotiation == Negotiation::Direct && stream.protocol() != Some(PROTOCOL) {
        return Err(
            Error::config("the server does not know sslnegotiation=direct")
                .with_hint("only version 17 and later do: take it out of the database URL"),
        );
    }
    let protection = match settings.is_verified {
        true => Protection::Verified,
        false => Protection::Encrypted,
    };
    Ok((Stream::Tls(Box::new(stream)), protection))
}

fn lost_in_handshake(error: &std::io::Error, ssl: &Ssl) -> Error {
    let explained = tls::explain(error).unwrap_or_else(|| {
        Error::unreachable("the connection was lost in the TLS handshake")
            .with_source(error.to_string())
    });
    match (ssl.negotiation, explained.hint()) {
        (Negotiation::Direct, None) => {
            explained.with_hint("only version 17 and later know sslnegotiation=direct")
        }
        _ => explained,
    }
}

fn lost(error: std::io::Error) -> Error {
    Error::unreachable("the connection was lost").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_verified_is_not_weak() {
        assert_eq!(weakness(Protection::Verified), None);
        assert!(weakness(Protection::None).unwrap().contains("encrypted"));
        let encrypted = weakness(Protection::Encrypted).unwrap();
        assert!(encrypted.contains("not verified"));
    }

    #[test]
    fn a_unix_socket_has_no_tls_whatever_the_mode() {
        let unix = Host::Unix("/tmp".into());
        let tcp = Host::Tcp("db".into());
        for mode in [SslMode::Disable, SslMode::Prefer, SslMode::VerifyFull] {
            assert_eq!(Way::of(mode, &unix), (Way::Plain, None));
        }
        let allow = (Way::Plain, Some(Way::TlsIfOffered));
        assert_eq!(Way::of(SslMode::Allow, &tcp), allow);
        let prefer = (Way::TlsIfOffered, Some(Way::Plain));
        assert_eq!(Way::of(SslMode::Prefer, &tcp), prefer);
        for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
            assert_eq!(Way::of(mode, &tcp), (Way::Tls, None));
        }
    }
}
