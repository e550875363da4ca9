//! A connection to a walsender: start-up, simple queries, and the frames of what follows.

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres::config::TargetSessionAttrs;
use postgres_protocol::message::frontend;

use super::auth::{Exchange, Step};
use super::frames::{Frame, Frames};
use super::server_error::ServerError;
use super::stream::{Stream, is_timeout};
use super::target::{Endpoint, Target};
use super::wire::Cursor;
use crate::error::{Context, Error, Kind, Result};

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

/// A connection in replication mode.
pub struct Connection {
    stream: Stream,
    frames: Frames,
    out: BytesMut,
    endpoint: Endpoint,
    has_encoding: bool,
}

impl Connection {
    /// Connects to the first server of `target` that takes us.
    pub fn connect(target: &Target) -> Result<Connection> {
        let endpoints = target.endpoints();
        let mut failure: Option<Error> = None;
        for endpoint in &endpoints {
            match Self::connect_to(endpoint, target).at(|| format!("PostgreSQL at {endpoint}")) {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    if endpoints.len() > 1 {
                        log::info!("{error}");
                    }
                    // The first is reported, but one that may mend itself goes before one that
                    // cannot.
                    let keep = failure.as_ref().is_some_and(|first| {
                        first.kind().is_transient() || !error.kind().is_transient()
                    });
                    if !keep {
                        failure = Some(error);
                    }
                }
            }
        }
        Err(failure.unwrap_or_else(|| Error::config("the database URL names no host")))
    }

    fn connect_to(endpoint: &Endpoint, target: &Target) -> Result<Connection> {
        let deadline = Instant::now() + target.connect_timeout();
        let stream = Stream::connect(endpoint, target.config(), deadline)?;
        stream
            .set_write_timeout(WRITE_TIMEOUT)
            .map_err(|e| lost(&e))?;
        let mut connection = Connection {
            stream,
            frames: Frames::default(),
            out: BytesMut::new(),
            endpoint: endpoint.clone(),
            has_encoding: true,
        };
        connection.start_up(target, deadline)?;
        connection.take_bytes_as_they_are()?;
        connection.check_session(target.session_attrs())?;
        Ok(connection)
    }

    /// The server's address, for messages.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// StartupMessage, authentication, and the parameters up to ReadyForQuery.
    fn start_up(&mut self, target: &Target, deadline: Instant) -> Result<()> {
        let config = target.config();
        let mut parameters = vec![
            ("user", target.user()),
            ("database", target.database()),
            ("replication", "database"),
        ];
        parameters.extend(PINNED);
        parameters.extend(
            config
                .get_application_name()
                .map(|name| ("application_name", name)),
        );
        parameters.extend(config.get_options().map(|options| ("options", options)));
        frontend::startup_message(parameters, &mut self.out)
            .map_err(|_| Error::config("the database URL contains a zero byte"))?;
        self.send()?;
        let mut exchange = Exchange::new(target.user(), config.get_password());
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

    /// A database whose encoding is SQL_ASCII has bytes, which the server cannot convert. Asked for
    /// UTF-8 it would end the stream at the first that are not.
    fn take_bytes_as_they_are(&mut self) -> Result<()> {
        if self.has_encoding {
            return Ok(());
        }
        self.query("SET client_encoding = 'SQL_ASCII'").map(drop)
    }

    fn check_session(&mut self, wanted: TargetSessionAttrs) -> Result<()> {
        let read_only = match wanted {
            TargetSessionAttrs::ReadWrite => "off",
            TargetSessionAttrs::ReadOnly => "on",
            _ => return Ok(()),
        };
        match self.value("SHOW transaction_read_only")?.as_deref() {
            Some(is) if is == read_only => Ok(()),
            _ => Err(Error::unreachable(
                "the server is not what target_session_attrs asks for",
            )),
        }
    }

    /// Runs one statement and returns its rows as text. After an error the connection is of no
    /// use: it is thrown away with the session.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        let deadline = self.command(sql)?;
        let mut rows = Vec::new();
        loop {
            let frame = self.receive(deadline)?;
            match frame.tag {
                b'D' => rows.push(row(self.frames.body(&frame))?),
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
            b'W' => Ok(()),
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
                    log::info!("PostgreSQL: {notice}");
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

    pub(super) fn server_error(&self, frame: &Frame) -> Error {
        ServerError::decode(self.frames.body(frame)).into_error()
    }

    /// Reads once, for as long as the read timeout allows; false when nothing came.
    pub(super) fn fill(&mut self) -> Result<bool> {
        match self.frames.fill(&mut self.stream) {
            Ok(0) => Err(Error::unreachable("the server closed the connection")),
            Ok(_) => Ok(true),
            Err(e) if is_timeout(&e) => Ok(false),
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

/// DataRow: Int16 number of columns · Int32 length (-1: NULL) and bytes each.
fn row(body: &[u8]) -> Result<Row> {
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
