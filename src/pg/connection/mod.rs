//! A connection to a server: simple queries, and the frames of what follows.

pub(crate) mod cancel;
pub(crate) mod notices;
pub(crate) mod pinned;
pub(crate) mod search;
pub(crate) mod start_up;

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use self::cancel::Canceller;
use self::notices::Notices;
use self::pinned::{Access, Pinned, Purpose, lift_limits};
use crate::base::error::{Error, Result};
use crate::base::tls;
use crate::pg::params::{Endpoint, FOR_EVER};
use crate::pg::transport::encryption::Protection;
use crate::pg::transport::stream::{Stream, is_timeout};
use crate::pg::wire::cursor::Cursor;
use crate::pg::wire::frames::{Frame, Frames, MAX_ANSWER_BYTES};
use crate::pg::wire::server_error::ServerError;

/// The time that a server may take to answer a command of ours. All commands are look-ups; one that waits
/// for this long waits for a lock that somebody forgot.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The limits of a read-only query: the time that it may take, and wait for others.
const PATIENCE: &str = "SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = '5s'";

/// How often a wait is checked, which decides how soon a stop is noticed.
const WATCH: Duration = Duration::from_millis(20);

/// The time that the server may take to end a statement that it is asked to end. Nobody waits for us
/// longer than that who wants us to stop.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(3);

/// The time after which the server is asked again to end a statement: what arrives before the statement
/// has begun is lost.
const CANCEL_AGAIN: Duration = Duration::from_millis(250);

/// The SELECT that has the server check every two seconds whether we are still there, while a statement
/// changes something (14+, where its system can), so that not even a process that was killed leaves one
/// that waits.
const OF_A_CHANGE: &str = "SELECT pg_catalog.set_config(name, '2s', true) FROM pg_catalog.pg_settings \
     WHERE name = 'client_connection_check_interval' AND pg_catalog.version() LIKE '%linux%'";

/// A row of a simple query: text, or None for NULL.
pub type Row = Vec<Option<String>>;

/// A watch over the waits for answers.
pub trait Watch {
    /// Hears that nothing has come for the time `waited` since the statement was sent. An error ends the
    /// statement, on the server too.
    fn on_wait(&mut self, waited: Duration) -> Result<()>;
}

/// A connection to a server.
pub struct Connection {
    pub(super) stream: Stream,
    pub(super) frames: Frames,
    pub(super) out: BytesMut,
    pub(super) endpoint: Endpoint,
    pub(super) protection: Protection,
    pub(super) has_encoding: bool,
    pub(super) notices: Notices,
    pub(super) purpose: Purpose,
    pub(super) pinned: Pinned,
    pub(super) only_reads: bool,
    /// The key that ends the statement that is under way.
    pub(super) canceller: Option<Canceller>,
    pub(super) watch: Option<Box<dyn Watch>>,
    /// The time at which the server got a statement that it has not answered.
    pub(super) under_way: Option<Instant>,
    /// Whether nobody waits for the answer any more.
    pub(super) is_given_up: bool,
}

impl Connection {
    /// The protection of the connection.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// The server's address, for messages.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Runs one statement and returns its rows as text. After an error the connection is of no
    /// use: it is thrown away with the session.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        match self.purpose {
            // The commands of replication are none of a transaction.
            Purpose::Replication => self.run(sql),
            Purpose::Sql => {
                if self.only_reads {
                    return self.query_read_only(sql);
                }
                let begin = self.begin(Access::Any);
                self.run(&format!("{begin}; {sql}; COMMIT"))
            }
        }
    }

    fn begin(&self, access: Access) -> String {
        self.pinned.begin(access, self.process())
    }

    /// Makes each query [read-only](Connection::query_read_only).
    pub fn only_read(&mut self) {
        self.only_reads = true;
    }

    /// Runs a SELECT that the server lets change nothing, and wait for others no longer than seconds.
    pub fn query_read_only(&mut self, select: &str) -> Result<Vec<Row>> {
        let begin = self.begin(Access::ReadOnly);
        self.run(&format!("{begin}; {PATIENCE}; {select}; COMMIT"))
    }

    /// Runs a statement that changes nothing and looks names up as the user does, under the `search_path`
    /// that the role, the database or the URL sets. It must call nothing without a schema: anybody may
    /// have put something of that name into the user's path.
    pub(super) fn query_as_user(&mut self, statement: &str) -> Result<Vec<Row>> {
        let begin = self.pinned.begin_as_user(Access::ReadOnly);
        self.run(&format!("{begin}; {statement}; COMMIT"))
    }

    /// Has `watch` hear of each wait for an answer.
    pub fn watch(&mut self, watch: Box<dyn Watch>) {
        self.watch = Some(watch);
    }

    /// The id of the server's process, unless it is one that does not tell.
    pub fn process(&self) -> Option<i32> {
        self.canceller.as_ref().map(Canceller::process)
    }

    /// Runs a statement that waits for what others do, however long that takes, and whatever the
    /// role's settings say: each attempt would wait from the start again.
    pub fn wait_for(&mut self, sql: &str) -> Result<()> {
        let begin = self.begin(Access::Any);
        self.run(&format!("{begin}; {OF_A_CHANGE}"))?;
        let deadline = self.command(sql, FOR_EVER)?;
        if let Err(error) = self.rows(deadline) {
            // The server may not have noticed that the connection broke.
            self.cancel();
            return Err(error);
        }
        self.run("COMMIT").map(drop)
    }

    /// Lifts the limits of time that the role or the database sets, those included that only later
    /// versions have.
    pub(super) fn lift_timeouts(&mut self) -> Result<()> {
        self.run(&lift_limits()).map(drop)
    }

    /// Runs statements as they are; the rows are those of the last that has any.
    fn run(&mut self, sql: &str) -> Result<Vec<Row>> {
        let deadline = self.command(sql, ANSWER_TIMEOUT)?;
        self.rows(deadline)
    }

    fn rows(&mut self, deadline: Instant) -> Result<Vec<Row>> {
        let rows = self.all_rows(deadline);
        if self.is_given_up {
            self.cancel();
        }
        rows
    }

    /// Has the server end the statement that is under way, and waits until it has. It is tried once.
    fn cancel(&mut self) {
        let Some(canceller) = self.canceller.take() else {
            return;
        };
        let end = Instant::now() + CANCEL_TIMEOUT;
        while self.under_way.is_some() && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            if let Err(error) = canceller.request(left) {
                log::debug!("a statement could not be cancelled: {error}");
                return;
            }
            if self.fails_before(end.min(Instant::now() + CANCEL_AGAIN)) {
                return;
            }
        }
    }

    /// Whether the connection breaks before the statement under way ends, or the time is up.
    fn fails_before(&mut self, deadline: Instant) -> bool {
        while self.under_way.is_some() && Instant::now() < deadline {
            match self.receive_any(deadline) {
                Ok(_) => {}
                Err(_) => return Instant::now() < deadline,
            }
        }
        false
    }

    fn all_rows(&mut self, deadline: Instant) -> Result<Vec<Row>> {
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
                b'T' => (rows, bytes) = (Vec::new(), 0),
                b'C' | b'I' => {}
                b'Z' => return Ok(rows),
                tag => return Err(unexpected("query", tag)),
            }
        }
    }

    /// Runs one statement and returns the first column of the first row.
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
        let deadline = self.command(command, ANSWER_TIMEOUT)?;
        let received = self.receive(deadline);
        if self.is_given_up {
            self.cancel();
        }
        let frame = received?;
        match frame.tag {
            b'W' => {
                self.frames.take_large(b'd');
                Ok(())
            }
            tag => Err(unexpected("START_REPLICATION", tag)),
        }
    }

    pub(super) fn command(&mut self, sql: &str, timeout: Duration) -> Result<Instant> {
        frontend::query(sql, &mut self.out)
            .map_err(|_| Error::config("a name in the configuration contains a zero byte"))?;
        self.send()?;
        let now = Instant::now();
        self.under_way = Some(now);
        Ok(now + timeout)
    }

    /// The next message that is an answer and no error.
    fn receive(&mut self, deadline: Instant) -> Result<Frame> {
        let frame = self.receive_watched(deadline)?;
        match frame.tag {
            b'E' => Err(self.server_error(&frame)),
            _ => Ok(frame),
        }
    }

    /// The next message that is an answer; the watch hears of the wait for it.
    fn receive_watched(&mut self, deadline: Instant) -> Result<Frame> {
        let Some(mut watch) = self.watch.take() else {
            return self.receive_any(deadline);
        };
        let received = loop {
            let soon = deadline.min(Instant::now() + WATCH);
            match self.receive_before(soon) {
                Ok(None) if soon < deadline => {
                    let waited = self.under_way.map(|since| since.elapsed());
                    if let Err(error) = watch.on_wait(waited.unwrap_or_default()) {
                        self.is_given_up = true;
                        break Err(error);
                    }
                }
                Ok(Some(frame)) => break Ok(frame),
                Ok(None) => break self.receive_any(deadline),
                Err(error) => break Err(error),
            }
        };
        self.watch = Some(watch);
        received
    }

    /// The next message that is an answer.
    pub(super) fn receive_any(&mut self, deadline: Instant) -> Result<Frame> {
        let received = self.receive_before(deadline)?;
        received.ok_or_else(|| {
            self.is_given_up = true;
            Error::unreachable("the server did not answer in time")
        })
    }

    /// The next message that is an answer, if it comes in time.
    fn receive_before(&mut self, deadline: Instant) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.next_frame()? {
                if matches!(frame.tag, b'E' | b'Z' | b'W') {
                    self.under_way = None;
                }
                return Ok(Some(frame));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
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
                    self.notices.log(notice);
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

    /// Gives up the buffer, which ends with the message that was returned last.
    pub(super) fn give_up(&mut self) -> Vec<u8> {
        self.frames.give_up()
    }

    pub(super) fn server_error(&self, frame: &Frame) -> Error {
        ServerError::decode(self.frames.body(frame)).into_statement_error()
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

    /// Sets the time that one read may wait.
    pub(super) fn set_read_timeout(&mut self, timeout: Duration) -> Result<()> {
        self.stream.set_read_timeout(timeout).map_err(|e| lost(&e))
    }

    /// The buffer into which the bytes of the next [`Connection::send`] are written.
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

pub(super) fn lost(error: &std::io::Error) -> Error {
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
