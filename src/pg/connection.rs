//! A connection to a walsender: start-up, simple queries, and the frames of what follows.

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::auth::{Exchange, Step};
use super::frames::{Frame, Frames, MAX_ANSWER_BYTES};
use super::resolve::{arrange, resolve};
use super::server_error::ServerError;
use super::stream::{Stream, is_timeout};
use super::target::password::Password;
use super::target::{Endpoint, SessionAttrs, Target};
use super::wire::Cursor;
use crate::error::{Context, Error, Kind, Result};

/// How long a server may take to answer a command of ours. They are all look-ups; one that waits
/// for this long waits for a lock that somebody forgot.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a write may wait for the server to make room for the few bytes that we send.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the text of values depends on, pinned so that it never depends on who connects. In the
/// startup packet these win over the settings of the role and the database. `search_path` and the next decide how
/// `regclass`, `regtype` and their like name things; and under this path an output function cannot
/// be led to a function of somebody else's.
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

/// A connection in replication mode.
pub struct Connection {
    stream: Stream,
    frames: Frames,
    out: BytesMut,
    endpoint: Endpoint,
}

impl Connection {
    /// Connects to the first server of `target` that takes us.
    ///
    /// One that cannot be reached, or is not what is wanted, is passed over; one that refuses us ends
    /// the search, as in libpq: the next one would be asked with the same password.
    pub fn connect(target: &Target) -> Result<Connection> {
        let mut search = Search::default();
        let found = match target.session_attrs() {
            SessionAttrs::PreferStandby => search
                .pass(target, SessionAttrs::Standby)
                .or_else(|| search.pass(target, SessionAttrs::Any)),
            wanted => search.pass(target, wanted),
        };
        match (found, search.failure) {
            (Some(connection), failure) => {
                if let Some(passed_over) = failure {
                    log::info!("{passed_over}");
                }
                Ok(connection)
            }
            (None, failure) => {
                Err(failure.unwrap_or_else(|| Error::config("the database URL names no host")))
            }
        }
    }

    /// Connects to one address of a server.
    fn connect_to(
        endpoint: &Endpoint,
        target: &Target,
        wanted: SessionAttrs,
    ) -> Result<Connection> {
        // Before the server begins to count the time that we take.
        let password = target.password(endpoint)?;
        let deadline = Instant::now() + target.connect_timeout();
        let stream = Stream::connect(endpoint, target.tcp(), deadline)?;
        stream
            .set_write_timeout(WRITE_TIMEOUT)
            .map_err(|e| lost(&e))?;
        let mut connection = Connection {
            stream,
            frames: Frames::default(),
            out: BytesMut::new(),
            endpoint: endpoint.clone(),
        };
        connection.start_up(target, password.as_ref(), deadline)?;
        connection.check_session(wanted)?;
        Ok(connection)
    }

    /// The server's address, for messages.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// StartupMessage, authentication, and the parameters up to ReadyForQuery.
    fn start_up(
        &mut self,
        target: &Target,
        password: Option<&Password>,
        deadline: Instant,
    ) -> Result<()> {
        let mut parameters = vec![
            ("user", target.user()),
            ("database", target.database()),
            ("replication", "database"),
        ];
        parameters.extend(PINNED);
        parameters.push(("application_name", target.application_name()));
        parameters.extend(target.options().map(|options| ("options", options)));
        frontend::startup_message(parameters, &mut self.out)
            .map_err(|_| Error::config("the database URL contains a zero byte"))?;
        self.send()?;
        let mut exchange = Exchange::new(target.user(), password.map(Password::expose));
        let mut authenticated = false;
        loop {
            let frame = self
                .receive(deadline)
                .map_err(|error| self.without_a_session(error))
                .at(|| "start-up".into())?;
            match frame.tag {
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
                tag => return Err(unexpected("start-up", tag)),
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

    /// The next message that is an answer.
    fn receive(&mut self, deadline: Instant) -> Result<Frame> {
        loop {
            match self.next_frame()? {
                Some(frame) if frame.tag == b'E' => return Err(self.server_error(&frame)),
                Some(frame) => return Ok(frame),
                None => {}
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
                b'S' | b'A' => {}
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
        self.out.clear();
        sent.map_err(|e| lost(&e))
    }

    /// Says good-bye. The connection is not usable afterwards.
    pub(super) fn terminate(&mut self) {
        frontend::terminate(&mut self.out);
        let _ = self.send();
        self.stream.shutdown();
    }
}

/// The search for a server, and why none was taken so far.
#[derive(Default)]
struct Search {
    failure: Option<Error>,
    is_over: bool,
}

impl Search {
    /// Tries every address of every server once.
    fn pass(&mut self, target: &Target, wanted: SessionAttrs) -> Option<Connection> {
        for endpoint in arrange(target.endpoints().to_vec(), target.order()) {
            let place = || format!("PostgreSQL at {endpoint}");
            let addresses = match resolve(&endpoint, target.connect_timeout()).at(place) {
                Ok(addresses) => arrange(addresses, target.order()),
                Err(error) => {
                    self.failed(error);
                    continue;
                }
            };
            for address in &addresses {
                if self.is_over {
                    return None;
                }
                match Connection::connect_to(address, target, wanted).at(place) {
                    Ok(connection) => return Some(connection),
                    Err(error) => self.failed(error),
                }
            }
        }
        None
    }

    /// The first failure is reported, but one that may mend itself goes before one that cannot. The
    /// others are only logged.
    fn failed(&mut self, error: Error) {
        self.is_over = !error.kind().is_transient();
        let Some(first) = self.failure.take() else {
            self.failure = Some(error);
            return;
        };
        let (reported, other) = match first.kind().is_transient() {
            false if !self.is_over => (error, first),
            _ => (first, error),
        };
        log::info!("{other}");
        self.failure = Some(reported);
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
