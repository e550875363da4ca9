//! The script's side of one connection: what it expects and what it sends.
#![allow(dead_code)]

use super::frames;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Why a step of a script failed, in words for the end of the test.
pub type Step<T = ()> = Result<T, String>;

/// How often a read looks whether the script is over.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
/// No client of ours sends a longer message to a script.
const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

const PROTOCOL_3_0: i32 = 196_608;
const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;

/// What a client reports in a standby status update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub written: u64,
    pub flushed: u64,
    pub applied: u64,
    pub wants_reply: bool,
}

pub struct Peer {
    stream: TcpStream,
    ordinal: usize,
    deadline: Duration,
    stops: Arc<AtomicBool>,
    /// What was read and not asked for yet: a deadline in the midst of a message loses nothing.
    read: Vec<u8>,
}

impl Peer {
    pub(super) fn new(stream: TcpStream, ordinal: usize, stops: Arc<AtomicBool>) -> Peer {
        stream.set_nodelay(true).expect("TCP has it");
        stream
            .set_read_timeout(Some(POLL_INTERVAL))
            .expect("it is not zero");
        // A client that does not read fails the script instead of holding it.
        stream
            .set_write_timeout(Some(DEFAULT_DEADLINE))
            .expect("it is not zero");
        Peer {
            stream,
            ordinal,
            deadline: DEFAULT_DEADLINE,
            stops,
            read: Vec::new(),
        }
    }

    /// The number of this connection, from 0 on.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// How long every later step may wait.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Reads the startup message and returns its parameters. Requests for TLS and GSSAPI
    /// that come before it are declined.
    pub fn expect_startup(&mut self) -> Step<BTreeMap<String, String>> {
        loop {
            let body = self.expect_untagged("a startup message")?;
            match code_of(&body)? {
                SSL_REQUEST | GSS_REQUEST => self.send(b"N")?,
                PROTOCOL_3_0 => return startup_parameters(&body[4..]),
                other => return Err(format!("not a startup message but code {other}")),
            }
        }
    }

    /// The same without requests before it.
    pub fn expect_plain_startup(&mut self) -> Step<BTreeMap<String, String>> {
        let body = self.expect_untagged("a startup message")?;
        match code_of(&body)? {
            PROTOCOL_3_0 => startup_parameters(&body[4..]),
            other => Err(format!("not a startup message but code {other}")),
        }
    }

    /// Waits for the end of the connection; whatever comes before it is a failure.
    pub fn expect_nothing_more(&mut self) -> Step {
        let end = Instant::now() + self.deadline;
        match self.read.is_empty() && !self.read_some(end, "the end of the connection")? {
            true => Ok(()),
            false => Err(format!("not the end but {}", self.read.escape_ascii())),
        }
    }

    /// Reads a request for TLS, which the script answers itself.
    pub fn expect_ssl_request(&mut self) -> Step {
        let body = self.expect_untagged("a request for TLS")?;
        match code_of(&body)? {
            SSL_REQUEST => Ok(()),
            other => Err(format!("not a request for TLS but code {other}")),
        }
    }

    /// Reads a message and returns its body.
    pub fn expect(&mut self, tag: u8) -> Step<Vec<u8>> {
        let what = format!("message {}", tag.escape_ascii());
        let (found, body) = self.next_frame(&what)?;
        if found == tag {
            return Ok(body);
        }
        let found = found.escape_ascii();
        let body = body.escape_ascii();
        Err(format!("not {what} but {found} with {body}"))
    }

    /// Reads a message of any kind.
    pub fn next_frame(&mut self, what: &str) -> Step<(u8, Vec<u8>)> {
        let head = self.expect_bytes(5, what)?;
        let body = self.expect_body(&head[1..], what)?;
        Ok((head[0], body))
    }

    /// Reads a simple query.
    pub fn expect_query(&mut self) -> Step<String> {
        let body = self.expect(b'Q')?;
        text_of(&body)
    }

    /// Reads a simple query that contains `part`.
    pub fn expect_query_with(&mut self, part: &str) -> Step<String> {
        let query = self.expect_query()?;
        if query.contains(part) {
            return Ok(query);
        }
        Err(format!("not a query with {part} but {query}"))
    }

    /// Answers queries until one contains `part`, which is returned and not answered.
    pub fn answer_until(&mut self, part: &str, answer: impl Fn(&str) -> Vec<u8>) -> Step<String> {
        loop {
            let query = self.expect_query()?;
            if query.contains(part) {
                return Ok(query);
            }
            self.send(&answer(&query))?;
        }
    }

    /// Reads the answer to a request for a password.
    pub fn expect_password(&mut self) -> Step<String> {
        let body = self.expect(b'p')?;
        text_of(&body)
    }

    /// Reads a CopyData with a status update.
    pub fn expect_status(&mut self) -> Step<Status> {
        let body = self.expect(b'd')?;
        let number = |at: usize| {
            let bytes = body.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_be_bytes(bytes))
        };
        match (body.first(), body.len(), number(1), number(9), number(17)) {
            (Some(b'r'), 34, Some(written), Some(flushed), Some(applied)) => Ok(Status {
                written,
                flushed,
                applied,
                wants_reply: body[33] != 0,
            }),
            _ => Err(format!("not a status update but {}", body.escape_ascii())),
        }
    }

    /// Reads status updates until one confirms `lsn` or more.
    pub fn wait_flushed(&mut self, lsn: u64) -> Step<Status> {
        let end = Instant::now() + self.deadline;
        loop {
            let status = self.expect_status()?;
            if status.flushed >= lsn {
                return Ok(status);
            }
            if Instant::now() >= end {
                return Err(format!(
                    "{lsn} is not confirmed, the last status was {status:?}"
                ));
            }
        }
    }

    /// Reads and throws away everything until the client has closed the connection.
    pub fn expect_closed(&mut self) -> Step {
        let end = Instant::now() + self.deadline;
        while self.read_some(end, "the end of the connection")? {
            self.read.clear();
        }
        Ok(())
    }

    /// Fails if the client sends or closes anything within `time`.
    pub fn expect_silence(&mut self, time: Duration) -> Step {
        let end = Instant::now() + time;
        let waited = if self.read.is_empty() {
            self.read_some(end, "")
        } else {
            Ok(true)
        };
        match waited {
            Ok(true) => Err(format!("not silence but {}", self.read.escape_ascii())),
            Ok(false) => Err("not silence but the end of the connection".to_owned()),
            Err(_) => Ok(()),
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Step {
        self.stream
            .write_all(bytes)
            .map_err(|error| format!("{} bytes cannot be sent: {error}", bytes.len()))
    }

    /// What a server says to a client that it has let in.
    pub fn send_welcome(&mut self) -> Step {
        let welcome = [
            frames::authentication_ok(),
            frames::parameter_status("server_version", "15.0 (script)"),
            frames::parameter_status("server_encoding", "UTF8"),
            frames::parameter_status("client_encoding", "UTF8"),
            frames::parameter_status("integer_datetimes", "on"),
            frames::parameter_status("standard_conforming_strings", "on"),
            frames::backend_key_data(4711, 42),
            frames::ready_for_query(b'I'),
        ];
        self.send(&welcome.concat())
    }

    /// Answers what the program asks of every server before it begins.
    pub fn expect_beginning(&mut self) -> Step {
        self.expect_query_with("IDENTIFY_SYSTEM")?;
        self.send(&frames::rows(
            &["systemid", "timeline", "xlogpos", "dbname"],
            &[&[Some("7"), Some("1"), Some("0/10"), Some("db")]],
        ))?;
        self.expect_query_with("transaction_timeout")?;
        self.send(&frames::rows(&["set_config"], &[]))
    }

    /// Ends the connection in order and waits for the client to do the same. To return from
    /// the script also ends it, but with a reset if something was not read.
    pub fn close(&mut self) -> Step {
        self.shut_down();
        self.expect_closed()
    }

    /// Tells the client that nothing more comes, and goes on reading.
    pub fn shut_down(&mut self) {
        // The client may be gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Makes the end of the script on this connection a reset.
    pub fn reset_at_end(&mut self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    fn expect_untagged(&mut self, what: &str) -> Step<Vec<u8>> {
        let head = self.expect_bytes(4, what)?;
        self.expect_body(&head, what)
    }

    fn expect_body(&mut self, length: &[u8], what: &str) -> Step<Vec<u8>> {
        let length = u32::from_be_bytes(length.try_into().expect("a length has four bytes"));
        match (length as usize).checked_sub(4) {
            Some(length) if length <= MAX_FRAME_BYTES => self.expect_bytes(length, what),
            _ => Err(format!("{length} is no length of {what}")),
        }
    }

    pub fn expect_bytes(&mut self, count: usize, what: &str) -> Step<Vec<u8>> {
        let end = Instant::now() + self.deadline;
        while self.read.len() < count {
            if !self.read_some(end, what)? {
                let read = self.read.escape_ascii();
                return Err(format!(
                    "the connection ended instead of {what}, after \"{read}\""
                ));
            }
        }
        Ok(self.read.drain(..count).collect())
    }

    /// Reads what there is, at least a byte; false at the end of the connection.
    fn read_some(&mut self, end: Instant, what: &str) -> Step<bool> {
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.read.extend(&chunk[..count]);
                    return Ok(true);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    // Whether a client closes or resets is its own affair.
                    ErrorKind::ConnectionReset => return Ok(false),
                    _ => return Err(format!("{what} cannot be read: {error}")),
                },
            }
            if Instant::now() >= end {
                return Err(format!("the deadline passed before {what}"));
            }
            if self.stops.load(Ordering::SeqCst) {
                return Err(format!("the test ended before {what}"));
            }
        }
    }
}

fn code_of(body: &[u8]) -> Step<i32> {
    let code = body.first_chunk().ok_or("a message without a code")?;
    Ok(i32::from_be_bytes(*code))
}

fn startup_parameters(mut body: &[u8]) -> Step<BTreeMap<String, String>> {
    let mut parameters = BTreeMap::new();
    while body != [0] {
        let name = take_text(&mut body)?;
        let value = take_text(&mut body)?;
        parameters.insert(name, value);
    }
    Ok(parameters)
}

fn take_text(bytes: &mut &[u8]) -> Step<String> {
    let end = bytes.iter().position(|byte| *byte == 0);
    let (text, rest) = bytes.split_at(end.ok_or("a string without an end")?);
    *bytes = &rest[1..];
    String::from_utf8(text.to_vec()).map_err(|error| format!("not UTF-8: {error}"))
}

/// The string that is the whole body.
fn text_of(mut body: &[u8]) -> Step<String> {
    let text = take_text(&mut body)?;
    if body.is_empty() {
        return Ok(text);
    }
    Err(format!("{} bytes after {text}", body.len()))
}
