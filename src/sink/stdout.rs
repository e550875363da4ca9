//! Records as lines on standard output.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, poll};

use super::{KEEP_BYTES, Sink};
use crate::base::error::{Error, Result};
use crate::base::printable;
use crate::record::{LAST, ProducerRecord};

/// Lines are written in pieces of this size while they keep coming.
const BUFFER_BYTES: usize = 64 * 1024;

/// One record a line ([NDJSON](https://github.com/ndjson/ndjson-spec)). A record counts as stored
/// when the operating system has taken it.
pub struct RecordLines<W: Write + Send> {
    out: W,
    buffer: Vec<u8>,
    /// Where the record begins in `buffer` that is open, but for its last brace.
    open: Option<usize>,
    taken: u64,
    stored: u64,
}

/// Whether the program was started without standard output.
static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Takes down whether standard output is closed, before `main` begins. Later nobody can know: the standard
/// library opens `/dev/null` in its place, and each write to that succeeds.
pub fn note_closed_stdout() {
    let is_closed = rustix::io::fcntl_getfd(io::stdout()).is_err();
    IS_CLOSED.store(is_closed, Ordering::Relaxed);
}

/// Standard output, past the standard library's own buffer, which flushes each line, and takes an
/// output that is closed for one that has taken everything.
pub struct StandardOutput {
    out: File,
    /// Where a terminal is, people read: what moves its cursor is shown as JSON has it. What goes anywhere
    /// else is what it is.
    for_people: Option<Unfinished>,
}

/// The beginning of a character whose rest comes with the next bytes.
type Unfinished = Vec<u8>;

impl StandardOutput {
    /// Opens standard output; fails if it is closed.
    pub fn open() -> Result<Self> {
        if IS_CLOSED.load(Ordering::Relaxed) {
            return Err(cannot_write().with_source("it is closed"));
        }
        let out = io::stdout().as_fd().try_clone_to_owned();
        let out = out.map_err(|e| cannot_write().with_source(e))?;
        let out = File::from(out);
        let for_people = out.is_terminal().then(Unfinished::new);
        Ok(StandardOutput { out, for_people })
    }

    /// Writes one line, or several.
    pub fn print(mut self, lines: &str) -> Result<()> {
        self.write_all(format!("{lines}\n").as_bytes())
            .map_err(|e| cannot_write().with_source(e))
    }
}

impl Write for StandardOutput {
    /// Whoever shares a pipe or a terminal with us may have made it non-blocking.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(unfinished) = &mut self.for_people else {
            return write(&mut self.out, bytes);
        };
        let shown = show(unfinished, bytes);
        let mut rest = shown.as_bytes();
        while !rest.is_empty() {
            match write(&mut self.out, rest)? {
                0 => return Err(ErrorKind::WriteZero.into()),
                written => rest = &rest[written..],
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(out: &mut File, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match out.write(bytes) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(&*out, PollFlags::OUT)], None)?;
            }
            written => return written,
        }
    }
}

/// All whole characters, without those that a terminal would obey.
fn show(unfinished: &mut Unfinished, bytes: &[u8]) -> String {
    let mut all = std::mem::take(unfinished);
    all.extend_from_slice(bytes);
    if let Err(error) = std::str::from_utf8(&all)
        && error.error_len().is_none()
    {
        *unfinished = all.split_off(error.valid_up_to());
    }
    printable::json(&String::from_utf8_lossy(&all))
}

impl RecordLines<StandardOutput> {
    /// Lines on standard output.
    pub fn on_stdout() -> Result<Self> {
        StandardOutput::open().map(RecordLines::new)
    }
}

impl<W: Write + Send> RecordLines<W> {
    /// Lines into `out`.
    pub fn new(out: W) -> Self {
        RecordLines {
            out,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            open: None,
            taken: 0,
            stored: 0,
        }
    }

    /// Writes what the buffer has, but for a record that is open.
    fn write_out(&mut self) -> Result<()> {
        let end = self.open.unwrap_or(self.buffer.len());
        self.out.write_all(&self.buffer[..end]).map_err(closed)?;
        self.buffer.drain(..end);
        self.buffer.shrink_to(KEEP_BYTES);
        self.open = self.open.map(|_| 0);
        Ok(())
    }

    /// Ends the record that is open, if one is: its transaction goes on.
    pub fn go_on(&mut self) {
        self.close(b"}");
    }

    /// Ends the record that is open, if one is.
    fn close(&mut self, end: &[u8]) {
        if self.open.take().is_some() {
            self.buffer.extend_from_slice(end);
            self.buffer.push(b'\n');
        }
    }

    /// Writes a record piece by piece; of one that is open, all but its last byte.
    fn write_large(&mut self, record: &ProducerRecord<'_>) -> Result<usize> {
        self.write_out()?;
        let held = usize::from(record.is_open());
        let (mut len, mut last) = (0, None);
        record.pieces(&mut |piece| {
            len += piece.len();
            // Whether a piece is the last shows only with the next.
            let (now, later) = piece.split_at(piece.len() - held);
            if let Some(last) = last.take() {
                self.out.write_all(&[last]).map_err(closed)?;
            }
            last = later.first().copied();
            self.out.write_all(now).map_err(closed)
        })?;
        match record.is_open() {
            true => self.open = Some(self.buffer.len()),
            false => self.buffer.push(b'\n'),
        }
        self.flush()?;
        Ok(len)
    }
}

impl<W: Write + Send> Sink for RecordLines<W> {
    /// All lanes are one here.
    fn write(&mut self, _: usize, record: &ProducerRecord<'_>) -> Result<usize> {
        self.go_on();
        self.taken += 1;
        if record.is_large() {
            return self.write_large(record);
        }
        let start = self.buffer.len();
        record.render(&mut self.buffer);
        let len = self.buffer.len() - start;
        if record.is_open() {
            self.buffer.pop();
            self.open = Some(start);
        } else {
            self.buffer.push(b'\n');
        }
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(len)
    }

    fn end_unit(&mut self, _: usize) -> Result<()> {
        self.close(LAST);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.write_out()?;
        self.out.flush().map_err(closed)?;
        self.stored = self.taken - u64::from(self.open.is_some());
        Ok(())
    }

    fn stored(&self, _: usize) -> u64 {
        self.stored
    }

    fn acknowledged(&self) -> u64 {
        self.stored
    }
}

/// Nothing can reopen standard output, so this is never tried again.
fn closed(error: io::Error) -> Error {
    cannot_write()
        .with_source(error)
        .with_hint("what was not written has not been confirmed and will come again")
}

fn cannot_write() -> Error {
    Error::undeliverable("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::lsn::Lsn;
    use crate::change::{Event, LARGE_BYTES};
    use crate::pg::wire::pgoutput::{Begin, Logical};
    use crate::record::{Place, RawText, RowOp, RowRecord, Transaction};

    #[test]
    fn stored_only_when_written() {
        let contents = [
            &b"{}"[..],
            &[b'x'; BUFFER_BYTES],
            &[b'x'; LARGE_BYTES],
            b"[]",
        ];
        let events = contents.map(Event::message);
        let records = events
            .each_ref()
            .map(|event| ProducerRecord::new(event, RawText::String));
        let mut written = Vec::new();
        let mut lines = RecordLines::new(&mut written);
        let mut lens = Vec::new();
        for (record, stored) in records.iter().zip([0, 2, 3, 3]) {
            lens.push(lines.write(0, record).unwrap());
            assert_eq!(lines.stored(0), stored);
        }
        lines.flush().unwrap();
        assert_eq!(lines.stored(0), 4);
        let mut expected = Vec::new();
        for (record, len) in records.iter().zip(lens) {
            let start = expected.len();
            record.render(&mut expected);
            assert_eq!(len, expected.len() - start);
            expected.push(b'\n');
        }
        assert!(written == expected);
    }

    /// A record inside a transaction, with a content of this length.
    fn write_open(lines: &mut RecordLines<&mut Vec<u8>>, len: usize) -> String {
        let begin = Begin {
            final_lsn: Lsn(1),
            timestamp: 0,
            xid: 1,
        };
        let record = RowRecord {
            op: RowOp::Message(Logical {
                flags: 1,
                lsn: Lsn(1),
                prefix: b"p",
                content: &vec![b'x'; len],
            }),
            place: Place::Within {
                transaction: &Transaction::new(&begin),
                seq: 0,
            },
        };
        let mut rendered = Vec::new();
        record.render(&mut rendered);
        let record = ProducerRecord::row(&record, None);
        assert_eq!(lines.write(0, &record).unwrap(), rendered.len());
        String::from_utf8(rendered).unwrap()
    }

    #[test]
    fn the_last_record_of_a_transaction_says_so() {
        for len in [1, BUFFER_BYTES, LARGE_BYTES, LARGE_BYTES + 65_000] {
            let mut written = Vec::new();
            let mut lines = RecordLines::new(&mut written);
            let first = write_open(&mut lines, len);
            lines.flush().unwrap();
            assert_eq!(lines.stored(0), 0, "it is held");
            let second = write_open(&mut lines, len);
            lines.flush().unwrap();
            assert_eq!(lines.stored(0), 1);
            lines.end_unit(0).unwrap();
            lines.end_unit(0).unwrap();
            lines.flush().unwrap();
            assert_eq!(lines.stored(0), 2);
            let last = second.strip_suffix('}').unwrap();
            let expected = format!("{first}\n{last},\"last\":true}}\n");
            assert!(written == expected.as_bytes(), "{len}");
        }
    }

    #[test]
    fn a_terminal_is_shown_characters_that_come_in_pieces() {
        let text = "é\u{9b}31m漢\n\u{2028}\u{85}".as_bytes();
        for cut in 0..text.len() {
            let mut unfinished = Unfinished::new();
            let (first, second) = text.split_at(cut);
            let shown = show(&mut unfinished, first) + &show(&mut unfinished, second);
            assert_eq!(shown, "é\\u009b31m漢\n\\u2028\\u0085", "cut at {cut}");
            assert!(unfinished.is_empty());
        }
        assert_eq!(show(&mut Unfinished::new(), b"a\xffb"), "a\u{fffd}b");
    }

    #[test]
    fn a_closed_output_ends_the_program() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut lines = RecordLines::new(Closed);
        let event = Event::message(b"{}");
        let record = ProducerRecord::new(&event, RawText::Bytes);
        lines.write(0, &record).unwrap();
        assert!(!lines.flush().unwrap_err().kind().is_transient());
        assert_eq!(lines.stored(0), 0);
    }
}
