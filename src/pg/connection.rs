//! A connection to a walsender: start-up, simple queries, and the frames of what follows.

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::auth::{Channel, Exchange, Step};
use super::encryption::{Failure, Protection, Way, encrypt, warn_if_unverified};
use super::frames::{Frame, Frames, MAX_ANSWER_BYTES};
use super::server_error::ServerError;
use super::stream::{Stream, is_timeout};
use super::target::password::Password;
use super::target::{Endpoint, SessionAttrs, Target};
use super::wire::Cursor;
use crate::error::{Context, Error, Kind, Result};
use crate::tls;

/// How long a server may take to answer a command of ours. They are all look-ups; one that waits
/// for this long waits for a lock that somebody forgot.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a write may wait for the server to make room for the few bytes that we send.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the text of values depends on, pinned so that it never depends on who connects. In the
/// startup packet these win over the settings of the role and the database. `search_path` and the
/// next decide how `regclass`, `regtype` and their like name things; and under this path an output
/// function cannot be led to a function of somebody else's.
const PINNED: [(&str, &str); 10] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("search_path", "pg_catalog"),
    ("quote_all_identifiers", "off"),
    // A server from 18 on only warns of changes that it leaves out.
    ("client_min_messages", "notice"),
];

/// A row of a simple query: text, or None for NULL.
pub type Row = Vec<Option<String>>;

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// The commands of the replication protocol, and values whose text depends on nothing else.
    Replication,
    /// Questions in SQL. A pooler takes a connection with no more parameters than these.
    Sql,
}

/// A connection to a server.
pub struct Connection {
    stream: Stream,
    frames: Frames,
    out: BytesMut,
    endpoint: Endpoint,
    protection: Protection,
    has_encoding: bool,
}

impl Connection {
    /// Connects to one address of a server, in the first way of its `sslmode` that it takes.
    pub(super) fn connect_to(
        endpoint: &Endpoint,
        purpose: Purpose,
        target: &Target,
        wanted: SessionAttrs,
    ) -> Result<Connection> {
        // Before the server begins to count the time that we take.
        let password = target.password(endpoint)?;
        let deadline = Instant::now() + target.connect_timeout();
        let password = password.as_ref();
        let attempt = |way| Self::connect_by(way, endpoint, purpose, target, password, deadline);
        let (first, second) = Way::of(target.ssl().mode, &endpoint.host);
        let connected = match (attempt(first), second) {
            (Err(Failure::OfThisWay(error)), Some(second)) => {
                log::info!("PostgreSQL at {endpoint}: {error}; trying again {second}");
                attempt(second)
            }
            (connected, _) => connected,
        };
        let mut connection = connected?;
        if !connection.stream.is_local() {
            warn_if_unverified(connection.protection, endpoint);
        }
        connection.take_bytes_as_they_are()?;
        connection.check_session(wanted)?;
        Ok(connection)
    }

    fn connect_by(
        way: Way,
        endpoint: &Endpoint,
        purpose: Purpose,
        target: &Target,
        password: Option<&Password>,
        deadline: Instant,
    ) -> Result<Connection, Failure> {
        let stream = Stream::connect(endpoint, target.tcp(), deadline)?;
        stream
            .set_write_timeout(WRITE_TIMEOUT)
            .map_err(|e| lost(&e))?;
        let (stream, protection) = encrypt(stream, way, target.ssl(), &endpoint.host, deadline)?;
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
        };
        match connection.start_up(purpose, target, password, deadline) {
            Ok(()) => Ok(connection),
            // It had no TLS to offer: without it has been tried just now.
            Err(failure) if way == Way::TlsIfOffered && protection == Protection::None => {
                Err(Failure::Final(failure.into()))
            }
            Err(failure) => Err(failure),
        }
    }

    /// How far the connection is protected.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// The server's address, for messages.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// StartupMessage, authentication, and the parameters up to ReadyForQuery.
    fn start_up(
        &mut self,
        purpose: Purpose,
        target: &Target,
        password: Option<&Password>,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let mut parameters = vec![("user", target.user()), ("database", target.database())];
        match purpose {
            Purpose::Replication => {
                parameters.push(("replication", "database"));
                parameters.extend(PINNED);
            }
            Purpose::Sql => parameters.push(("client_encoding", "UTF8")),
        }
        parameters.push(("application_name", target.application_name()));
        parameters.extend(target.options().map(|options| ("options", options)));
        frontend::startup_message(parameters, &mut self.out)
            .map_err(|_| Error::config("the database URL contains a zero byte"))?;
        self.send()?;
        let channel = self.channel();
        let password = password.map(Password::expose);
        let mut exchange = Exchange::new(target.user(), password, target.ssl(), &channel);
        let mut authenticated = false;
        loop {
            let frame = self
                .receive_any(deadline)
                .map_err(|error| self.without_a_session(error))
                .at(|| "start-up".into())?;
            match frame.tag {
                // Before it knows us, it may refuse what is or is not encrypted.
                b'E' if !authenticated => {
                    return Err(Failure::OfThisWay(self.server_error(&frame).at("start-up")));
                }
                b'E' => return Err(self.server_error(&frame).at("start-up").into()),
                b'R' if !authenticated => {
                    let step = exchange.step(self.frames.body(&frame), &mut self.out)?;
                    authenticated = step == Step::Done;
                    self.send()?;
                }
                // NegotiateProtocolVersion: we ask for 3.0, which is the least there is, and for no
                // options of the protocol; there is nothing to give up.
                b'v' => {}
                // BackendKeyData: used to cancel queries, which is not needed.
                b'K' if authenticated => {}
                b'Z' if authenticated => return Ok(()),
                tag => return Err(unexpected("start-up", tag).into()),
            }
        }
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
            _ => Err(Error::unreachable(
                "the server is not what target_session_attrs asks for",
            )),
        }
    }

    /// Runs one statement and returns its rows as text. After an error the connection is of no
    /// use: it is thrown away with the session.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        let deadline = self.command(sql)?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        loop {
            let frame = self.receive(deadline)?;
            match frame.tag {
                b'D' => {
                    let body = self.frames.body(&frame);
                    bytes += body.len();
                    if bytes > MAX_ANSWER_BYTES {
                        return Err(Error::undeliverable(format!(
                            "an answer of more than {MAX_ANSWER_BYTES} bytes"
                        )));
                    }
                    rows.push(row(body)?);
                }
                b'T' | b'C' | b'I' => {}
                b'Z' => return Ok(rows),
                tag => return Err(unexpected("query", tag)),
            }
        }
    }

    /// The first column of the first row.
    pub fn value(&mut self, sql: &str) -> Result<Option<String>> {
        let rows = self.query(sql)?;
        Ok(rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next())
            .flatten())
    }

    /// Runs a command that answers with CopyBothResponse.
    pub(super) fn copy_both(&mut self, command: &str) -> Result<()> {
        let deadline = self.command(command)?;
        let frame = self.receive(deadline)?;
        match frame.tag {
            b'W' => {
                self.frames.take_large();
                Ok(())
            }
            tag => Err(unexpected("START_REPLICATION", tag)),
        }
    }

    fn command(&mut self, sql: &str) -> Result<Instant> {
        frontend::query(sql, &mut self.out)
            .map_err(|_| Error::config("a name in the configuration contains a zero byte"))?;
        self.send()?;
        Ok(Instant::now() + ANSWER_TIMEOUT)
    }

    /// The next message that is an answer and no error.
    fn receive(&mut self, deadline: Instant) -> Result<Frame> {
        let frame = self.receive_any(deadline)?;
        match frame.tag {
            b'E' => Err(self.server_error(&frame)),
            _ => Ok(frame),
        }
    }

    /// The next message that is an answer.
    fn receive_any(&mut self, deadline: Instant) -> Result<Frame> {
        loop {
            if let Some(frame) = self.next_frame()? {
                return Ok(frame);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::unreachable("the server did not answer in time"));
            }
            self.set_read_timeout(left)?;
            self.fill()?;
        }
    }

    /// The next message that has arrived whole. What the server sends at any time, notices and
    /// changed parameters, is dealt with here.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>> {
        while let Some(frame) = self.frames.take()? {
            match frame.tag {
                b'N' => {
                    let notice = ServerError::decode(self.frames.body(&frame));
                    if notice.publication_is_too_young() {
                        return Err(notice.into_stream_error());
                    }
                    log::info!("PostgreSQL: {}", notice.without_rows());
                }
                b'S' => {
                    let sql_ascii = b"server_encoding\0SQL_ASCII\0";
                    self.has_encoding &= self.frames.body(&frame) != sql_ascii;
                }
                b'A' => {}
                _ => return Ok(Some(frame)),
            }
        }
        Ok(None)
    }

    /// The body of the message that [`Connection::next_frame`] returned last.
    pub(super) fn body(&self, frame: &Frame) -> &[u8] {
        self.frames.body(frame)
    }

    fn server_error(&self, frame: &Frame) -> Error {
        ServerError::decode(self.frames.body(frame)).into_error()
    }

    /// Reads once, for as long as the read timeout allows: how many bytes came.
    pub(super) fn fill(&mut self) -> Result<usize> {
        match self.frames.fill(&mut self.stream) {
            Ok(0) => Err(Error::unreachable("the server closed the connection")),
            Ok(read) => Ok(read),
            Err(e) if is_timeout(&e) => Ok(0),
            Err(e) => Err(lost(&e)),
        }
    }

    /// How long one read may wait.
    pub(super) fn set_read_timeout(&mut self, timeout: Duration) -> Result<()> {
        self.stream.set_read_timeout(timeout).map_err(|e| lost(&e))
    }

    /// Where the bytes of the next [`Connection::send`] are written.
    pub(super) fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// Sends what was written.
    pub(super) fn send(&mut self) -> Result<()> {
        let sent = self.stream.write_all(&self.out);
        let sent = sent.and_then(|()| self.stream.flush());
        self.out.clear();
        sent.map_err(|e| lost(&e))
    }

    /// Says good-bye. The connection is not usable afterwards.
    pub fn terminate(&mut self) {
        frontend::terminate(&mut self.out);
        let _ = self.send();
        self.stream.shutdown();
    }
}

/// DataRow: Int16 number of columns · Int32 length (-1: NULL) and bytes each.
pub fn row(body: &[u8]) -> Result<Row> {
    let mut c = Cursor::new(body);
    let columns = c.u16("number of columns")?;
    let mut row = Row::new();
    for _ in 0..columns {
        row.push(match c.i32("column length")? {
            -1 => None,
            len => {
                let len = usize::try_from(len)
                    .map_err(|_| Error::undeliverable(format!("column length {len}")))?;
                Some(String::from_utf8_lossy(c.bytes(len, "column")?).into_owned())
            }
        });
    }
    c.end()?;
    Ok(row)
}

fn lost(error: &std::io::Error) -> Error {
    if let Some(explained) = tls::explain(error) {
        return explained;
    }
    Error::unreachable("the connection was lost").with_source(error.to_string())
}

pub(super) fn unexpected(during: &str, tag: u8) -> Error {
    Error::undeliverable(format!(
        "unexpected message '{}' during {during}",
        tag.escape_ascii()
    ))
    .with_hint("is this a PostgreSQL server?")
}

/// An identifier, quoted for SQL.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string, quoted for SQL. Backslashes need the `E` form: the setting
/// `standard_conforming_strings` of the server is not known.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!(" E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\'"), " E'a\\\\'''");
    }

    #[test]
    fn rows() {
        assert_eq!(
            row(b"\0\x02\xFF\xFF\xFF\xFF\0\0\0\x01x").unwrap(),
            [None, Some("x".into())]
        );
        assert!(row(b"\0\x01\xFF\xFF\xFF\xFE").is_err());
        assert!(row(b"\0\x01\0\0\0\x02x").is_err());
    }
}
