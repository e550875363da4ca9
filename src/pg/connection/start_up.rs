//! From an address to a session: the connection, its protection, start-up and authentication, and
//! whether the session is what was asked for.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::cancel::Canceller;
use super::notices::Notices;
use super::pinned::{Pinned, Purpose};
use super::{Connection, lost, unexpected};
use crate::base::error::{Context, Error, Kind, Reason, Result};
use crate::pg::auth::{Channel, Exchange, Step};
use crate::pg::params::password::Password;
use crate::pg::params::{ConnectParams, Endpoint, SessionAttrs};
use crate::pg::transport::encryption::{Failure, Protection, Way, encrypt, warn_if_unverified};
use crate::pg::transport::stream::Stream;
use crate::pg::wire::frames::{Frame, Frames};
use crate::pg::wire::server_error::ServerError;

/// How long a write may wait for the server to make room for the few bytes that we send.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a connection is made with.
struct Opening<'a> {
    endpoint: &'a Endpoint,
    purpose: Purpose,
    params: &'a ConnectParams,
    wanted: SessionAttrs,
    password: Option<&'a Password>,
    deadline: Instant,
    pinned: Pinned,
}

impl Connection {
    /// A connection without replication mode to a server that has just let another one in.
    pub fn connect_for_sql_to(endpoint: &Endpoint, params: &ConnectParams) -> Result<Connection> {
        Self::connect_to(endpoint, Purpose::Sql, params, SessionAttrs::Any)
    }

    /// Connects to one address of a server, in the first way of its `sslmode` that it takes.
    pub(super) fn connect_to(
        endpoint: &Endpoint,
        purpose: Purpose,
        params: &ConnectParams,
        wanted: SessionAttrs,
    ) -> Result<Connection> {
        // Before the server begins to count the time that we take.
        let password = params.password(endpoint)?;
        let deadline = Instant::now() + params.connect_timeout();
        let mut opening = Opening {
            endpoint,
            purpose,
            params,
            wanted,
            password: password.as_ref(),
            deadline,
            pinned: Pinned::AtStart,
        };
        let mut connected = Self::connect_by_any_way(&opening);
        // What it lets change nothing is still asked through it, if only to name it.
        if let (Purpose::Sql, Err(error)) = (purpose, &connected)
            && error.reason() == Some(Reason::Pooler)
        {
            opening.pinned = Pinned::InTransactions;
            connected = Self::connect_by_any_way(&opening);
        }
        let mut connection = connected?;
        if !connection.stream.is_local() {
            warn_if_unverified(connection.protection, endpoint);
        }
        connection.take_bytes_as_they_are()?;
        connection.check_session(wanted)?;
        Ok(connection)
    }

    fn connect_by_any_way(opening: &Opening<'_>) -> Result<Connection> {
        let endpoint = opening.endpoint;
        let (first, second) = Way::of(opening.params.ssl().mode, &endpoint.host);
        let connected = match (Self::connect_by(first, opening), second) {
            (Err(Failure::OfThisWay(error)), Some(second)) => {
                log::info!("PostgreSQL at {endpoint}: {error}; trying again {second}");
                Self::connect_by(second, opening)
            }
            (connected, _) => connected,
        };
        Ok(connected?)
    }

    fn connect_by(way: Way, opening: &Opening<'_>) -> Result<Connection, Failure> {
        let Opening {
            endpoint,
            params,
            deadline,
            ..
        } = *opening;
        let stream = Stream::connect(endpoint, params.tcp(), deadline)?;
        stream
            .set_write_timeout(WRITE_TIMEOUT)
            .map_err(|e| lost(&e))?;
        let (stream, protection) = encrypt(stream, way, params.ssl(), &endpoint.host, deadline)?;
        stream
            .set_write_timeout(WRITE_TIMEOUT)
            .map_err(|e| lost(&e))?;
        let mut connection = Connection {
            stream,
            frames: Frames::default(),
            out: BytesMut::new(),
            endpoint: endpoint.clone(),
            protection,
            has_encoding: true,
            notices: Notices::default(),
            purpose: opening.purpose,
            pinned: opening.pinned,
            only_looks: false,
            canceller: None,
            watch: None,
            under_way: None,
            is_given_up: false,
        };
        match connection.start_up(opening) {
            Ok(()) => Ok(connection),
            // It had no TLS to offer: without it has been tried just now.
            Err(failure) if way == Way::TlsIfOffered && protection == Protection::None => {
                Err(Failure::Final(failure.into()))
            }
            Err(failure) => Err(failure),
        }
    }

    /// StartupMessage, authentication, and the parameters up to ReadyForQuery.
    fn start_up(&mut self, opening: &Opening<'_>) -> Result<(), Failure> {
        let Opening {
            params, purpose, ..
        } = *opening;
        let mut parameters = vec![("user", params.user()), ("database", params.database())];
        if purpose == Purpose::Replication {
            parameters.push(("replication", "database"));
        }
        parameters.extend(opening.pinned.at_start(purpose, params, opening.wanted));
        parameters.push(("application_name", params.application_name()));
        parameters.extend(params.options().map(|options| ("options", options)));
        frontend::startup_message(parameters, &mut self.out)
            .map_err(|_| Error::config("the database URL contains a zero byte"))?;
        self.send()?;
        let channel = self.channel();
        let password = opening.password.map(Password::expose);
        let mut exchange = Exchange::new(params.user(), password, params.ssl(), &channel);
        let mut authenticated = false;
        loop {
            let frame = self
                .receive_any(opening.deadline)
                .map_err(|error| self.without_a_session(error))
                .at(|| "start-up".into())?;
            match frame.tag {
                // Before it knows us, it may refuse what is or is not encrypted.
                b'E' if !authenticated => {
                    return Err(Failure::OfThisWay(self.login_error(&frame)));
                }
                b'E' => return Err(self.login_error(&frame).into()),
                b'R' if !authenticated => {
                    let step = exchange.step(self.frames.body(&frame), &mut self.out)?;
                    authenticated = step == Step::Done;
                    self.send()?;
                }
                // NegotiateProtocolVersion: we ask for 3.0, which is the least there is, and for no
                // options of the protocol; there is nothing to give up.
                b'v' => {}
                // BackendKeyData; without one that can be read, nothing can be cancelled.
                b'K' if authenticated => {
                    let body = self.frames.body(&frame);
                    let (tcp, ssl) = (params.tcp(), params.ssl());
                    let read = Canceller::read(body, &self.endpoint, tcp, ssl, self.protection);
                    self.canceller = read.ok();
                }
                b'Z' if authenticated => {
                    self.notices.let_in();
                    return Ok(());
                }
                tag => return Err(unexpected("start-up", tag).into()),
            }
        }
    }

    fn login_error(&self, frame: &Frame) -> Error {
        let error = ServerError::decode(self.frames.body(frame));
        error.into_login_error().at("start-up")
    }

    /// What a server can prove its identity over.
    fn channel(&self) -> Channel {
        match &self.stream {
            Stream::Tcp(_) | Stream::Unix(_) => Channel::Plain,
            Stream::Tls(tls) => {
                let certificate = tls.certificate();
                Channel::Tls(certificate.map(|der| der.to_vec()).unwrap_or_default())
            }
        }
    }

    /// A message that cannot be one may be the last word of a server out of processes or memory.
    fn without_a_session(&self, error: Error) -> Error {
        match self.frames.unframed_error() {
            Some(text) if error.kind() == Kind::Undeliverable => {
                Error::unreachable(format!("the server says: {text}"))
            }
            _ => error,
        }
    }

    /// A database whose encoding is SQL_ASCII has bytes, which the server cannot convert. Asked for
    /// UTF-8 it would end the stream at the first that are not.
    fn take_bytes_as_they_are(&mut self) -> Result<()> {
        if self.has_encoding {
            return Ok(());
        }
        self.query("SET client_encoding = 'SQL_ASCII'").map(drop)
    }

    fn check_session(&mut self, wanted: SessionAttrs) -> Result<()> {
        let is_read_only = "SHOW transaction_read_only";
        let is_standby = "SELECT pg_catalog.pg_is_in_recovery()";
        let (question, answer) = match wanted {
            SessionAttrs::Any | SessionAttrs::PreferStandby => return Ok(()),
            SessionAttrs::ReadWrite => (is_read_only, "off"),
            SessionAttrs::ReadOnly => (is_read_only, "on"),
            SessionAttrs::Primary => (is_standby, "f"),
            SessionAttrs::Standby => (is_standby, "t"),
        };
        match self.value(question)?.as_deref() {
            Some(is) if is == answer => Ok(()),
            is => Err(not_what_is_asked_for(wanted, is)),
        }
    }
}

fn not_what_is_asked_for(wanted: SessionAttrs, found: Option<&str>) -> Error {
    let error = Error::unreachable("the server is not what target_session_attrs asks for");
    match (wanted, found) {
        (SessionAttrs::ReadWrite, Some("on")) => error.with_hint(
            "its transactions are read-only: it is a standby, or default_transaction_read_only is \
             on for the server, for this role or for this database; \\drds in psql shows what \
             roles and databases have set, target_session_attrs=primary does not look at it",
        ),
        _ => error,
    }
}
