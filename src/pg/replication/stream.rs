//! The stream of a slot: what comes, what is reported back, and how it ends.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bytes::BufMut;
use postgres_protocol::message::frontend;

use super::{POLL, StreamMessage};
use crate::base::clock::postgres_now_us;
use crate::base::error::{Error, Kind, Result};
use crate::base::lsn::Lsn;
use crate::pg::connection::{Connection, lost, unexpected};
use crate::pg::params::Endpoint;
use crate::pg::transport::stream::Arrived;
use crate::pg::wire::frames::Frame;
use crate::pg::wire::server_error::ServerError;

/// The time that a clean end may take: the server sends what it has in its buffers before it answers.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The stream of one slot. Nobody else can stream from the slot while it lives.
pub struct ReplicationStream {
    pub(super) connection: Connection,
    pub(super) poll: Duration,
}

impl ReplicationStream {
    /// The server's address.
    pub fn endpoint(&self) -> &Endpoint {
        self.connection.endpoint()
    }

    /// The next message that has arrived whole; `None` when more has to be read first.
    pub fn message(&mut self) -> Result<Option<StreamMessage<'_>>> {
        while let Some(frame) = self.connection.next_frame()? {
            if !self.is_void(&frame) {
                return self.decode(&frame).map(Some);
            }
        }
        Ok(None)
    }

    /// The error by which the server has ended the stream, if it did; what comes before that is passed over.
    pub fn why_it_ended(&mut self) -> Option<Error> {
        loop {
            let went_on = match self.message() {
                Ok(Some(_)) => Ok(1),
                Ok(None) => self.wait(),
                Err(error) => Err(error),
            };
            match went_on {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(error),
            }
        }
    }

    /// Gives up the memory that ends with the last message: a large one need not be
    /// copied to be kept.
    pub fn give_up(&mut self) -> Vec<u8> {
        self.connection.give_up()
    }

    /// Whether a message has nothing in it. Up to version 13 the server sends such XLogData where it
    /// should name an origin that it does not find, because it was dropped or is as new as the transaction.
    fn is_void(&self, frame: &Frame) -> bool {
        frame.tag == b'd'
            && matches!(self.connection.body(frame), [b'w', header @ ..] if header.len() == 24)
    }

    /// Reads once, and waits for no longer than the `poll` of the start: how many bytes came.
    pub fn wait(&mut self) -> Result<usize> {
        self.connection.fill()
    }

    /// Waits until [`ReplicationStream::wait`] would not, until the bell can be read, or until
    /// `timeout` or the `poll` of the start is over.
    pub fn wait_beside(&mut self, bell: BorrowedFd<'_>, timeout: Duration) -> Result<Arrived> {
        let timeout = timeout.min(self.poll);
        let arrived = self.connection.stream.wait_beside(bell, timeout);
        arrived.map_err(|e| lost(&e))
    }

    fn decode(&self, frame: &Frame) -> Result<StreamMessage<'_>> {
        match frame.tag {
            b'd' => StreamMessage::decode(self.connection.body(frame)),
            b'E' => Err(ServerError::decode(self.connection.body(frame)).into_stream_error()),
            // CopyDone, CommandComplete: the server ends the stream when it shuts down.
            b'c' | b'C' => Err(Error::unreachable("the server ended the stream")),
            tag => Err(unexpected("the stream", tag)),
        }
    }

    /// Reports that everything before `confirmed` is stored: `r` · Int64 written · Int64 flushed ·
    /// Int64 applied · Int64 time · Byte1 reply requested. All three positions are the same: what is
    /// not stored yet must not count as written either, or a synchronous commit on the server would
    /// mean nothing.
    pub fn send_status(&mut self, confirmed: Lsn) -> Result<()> {
        self.write_status(confirmed, 0)
    }

    /// Reports that everything before `confirmed` is stored, and asks the server for a keepalive.
    pub fn send_status_and_ask(&mut self, confirmed: Lsn) -> Result<()> {
        self.write_status(confirmed, 1)
    }

    fn write_status(&mut self, confirmed: Lsn, reply: u8) -> Result<()> {
        let mut status = Vec::with_capacity(34);
        status.put_u8(b'r');
        status.put_u64(confirmed.0);
        status.put_u64(confirmed.0);
        status.put_u64(confirmed.0);
        status.put_i64(postgres_now_us());
        status.put_u8(reply);
        frontend::CopyData::new(&status[..])
            .map_err(|e| Error::new(Kind::Bug, "a status of 34 bytes").with_source(e))?
            .write(self.connection.out());
        self.connection.send()
    }

    /// The socket, for another thread that watches it.
    pub fn socket(&self) -> Result<OwnedFd> {
        self.connection.stream.duplicate().map_err(|e| lost(&e))
    }

    /// Makes the stream fail once the server has not taken what was sent for `timeout`, or earlier if that
    /// was agreed.
    pub fn give_up_after(&self, timeout: Duration) -> Result<()> {
        let given_up = self.connection.stream.give_up_after(timeout);
        given_up.map_err(|e| lost(&e))
    }

    /// Ends the session in the midst of whatever the server sends, and with it what was made for the
    /// session only.
    pub fn leave(mut self) {
        self.connection.terminate();
    }

    /// Ends the stream: CopyDone, what is still under way, ReadyForQuery, Terminate. What still
    /// comes is not confirmed and will come again.
    pub fn end(&mut self) -> Result<()> {
        frontend::copy_done(self.connection.out());
        self.connection.send()?;
        let deadline = Instant::now() + END_TIMEOUT;
        self.connection.set_read_timeout(POLL)?;
        loop {
            while let Some(frame) = self.connection.next_frame()? {
                match frame.tag {
                    b'Z' => {
                        self.connection.terminate();
                        return Ok(());
                    }
                    b'E' => {
                        let error = ServerError::decode(self.connection.body(&frame));
                        return Err(error.without_rows().into_error());
                    }
                    _ => {}
                }
            }
            if Instant::now() >= deadline {
                return Err(Error::unreachable(
                    "the server did not end the stream in time",
                ));
            }
            self.connection.fill()?;
        }
    }
}
