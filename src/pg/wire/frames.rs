//! Cutting the byte stream into messages.

use std::io::{self, Read};
use std::ops::Range;

use crate::base::error::{Error, Result};

/// The size of a read: what a busy walsender has ready while the last read is worked through.
const READ_BYTES: usize = 128 * 1024;

/// The longest message taken. A server cannot build one of 1 GB or more
/// (`MaxAllocSize`), so a longer one means that the stream is broken.
pub const MAX_FRAME_BYTES: usize = 0x3fff_ffff;

/// The longest message taken before the stream begins. A server has little to say until then, and
/// may be none that we trust: it could fill our memory before it lets us in.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// The longest text taken that comes without a frame.
const MAX_UNFRAMED_BYTES: usize = 4096;

/// The most that a buffer grows at a time.
const MOST_GROWTH_BYTES: usize = 8 * 1024 * 1024;

/// The size above which a buffer is given back after the message that needed it.
const KEEP_BYTES: usize = 4 * READ_BYTES;

/// One message: Byte1 tag · Int32 length (of itself and the body) · body
/// ([message flow](https://www.postgresql.org/docs/current/protocol-overview.html)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The kind of the message.
    pub tag: u8,
    body: Range<usize>,
}

/// The bytes that were read and not yet worked through.
pub struct Frames {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The message that may be large, once the server may send such.
    large: Option<u8>,
}

impl Default for Frames {
    /// Takes messages of up to [`MAX_ANSWER_BYTES`].
    fn default() -> Self {
        Frames {
            large: None,
            buffer: vec![0; READ_BYTES],
            start: 0,
            end: 0,
        }
    }
}

impl Frames {
    /// Takes messages of this tag of up to `MAX_FRAME_BYTES` from here on: the server sends rows.
    pub fn take_large(&mut self, tag: u8) {
        self.large = Some(tag);
    }

    /// The next whole message, if it has arrived. Valid until the next [`Frames::fill`].
    pub fn take(&mut self) -> Result<Option<Frame>> {
        let pending = &self.buffer[self.start..self.end];
        let Some((&[tag, a, b, c, d], _)) = pending.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let len = i32::from_be_bytes([a, b, c, d]);
        let body = usize::try_from(len).ok().and_then(|len| len.checked_sub(4));
        let max_body = match self.large == Some(tag) {
            true => MAX_FRAME_BYTES,
            false => MAX_ANSWER_BYTES,
        };
        let Some(body) = body.filter(|body| *body <= max_body) else {
            return Err(Error::undeliverable(format!(
                "message '{}' claims a length of {len} bytes; at most {max_body} are taken",
                tag.escape_ascii()
            ))
            .with_hint(match tag {
                b'E' => "it is an error, whose text is in the server's log",
                _ => "is this a PostgreSQL server?",
            }));
        };
        if pending.len() < 5 + body {
            return Ok(None);
        }
        let body = self.start + 5..self.start + 5 + body;
        self.start = body.end;
        Ok(Some(Frame { tag, body }))
    }

    /// The body of a message that [`Frames::take`] returned last.
    pub fn body(&self, frame: &Frame) -> &[u8] {
        &self.buffer[frame.body.clone()]
    }

    /// Gives up the buffer, which ends with the message that was taken last: a large one need not be
    /// copied to be kept. What has arrived behind it stays here.
    pub fn give_up(&mut self) -> Vec<u8> {
        let behind = &self.buffer[self.start..self.end];
        let mut buffer = vec![0; READ_BYTES.max(behind.len())];
        buffer[..behind.len()].copy_from_slice(behind);
        let end = behind.len();
        let mut given = std::mem::replace(&mut self.buffer, buffer);
        given.truncate(self.start);
        given.shrink_to_fit();
        (self.start, self.end) = (0, end);
        given
    }

    /// The error that a postmaster sends that cannot even start a session, without a frame because it
    /// does not know yet which protocol the client speaks: `E`, text, zero byte, without a length.
    pub fn unframed_error(&self) -> Option<String> {
        let text = self.buffer[self.start..self.end].strip_prefix(b"E")?;
        let text = text.split(|&byte| byte == 0).next()?;
        if text.is_empty() {
            return None;
        }
        let text = &text[..text.len().min(MAX_UNFRAMED_BYTES)];
        Some(String::from_utf8_lossy(text).trim_end().to_owned())
    }

    /// Whether everything that was read has been taken.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Reads once; 0 is the end of the stream. The buffer grows with what has arrived, never with
    /// what a length field promises.
    pub fn fill(&mut self, stream: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let read = stream.read(&mut self.buffer[self.end..])?;
        self.end += read;
        Ok(read)
    }

    fn make_room(&mut self) {
        let pending = self.start..self.end;
        if self.buffer.len() > KEEP_BYTES && pending.start > 0 && pending.len() < READ_BYTES / 2 {
            let mut buffer = vec![0; READ_BYTES];
            buffer[..pending.len()].copy_from_slice(&self.buffer[pending.clone()]);
            self.buffer = buffer;
            (self.start, self.end) = (0, pending.len());
        } else if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.buffer.len() - self.end < READ_BYTES / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.buffer.len() - self.end < READ_BYTES / 8 {
            // A large message: by a little, so that its memory stays near its size. Growing copies
            // nothing: the kernel moves pages.
            let more = (self.buffer.len() / 4).clamp(READ_BYTES, MOST_GROWTH_BYTES);
            self.buffer.reserve_exact(more);
            self.buffer.resize(self.buffer.len() + more, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
    }

    /// At most so many bytes a read.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(buf.len());
            self.0.read(&mut buf[..len])
        }
    }

    #[test]
    fn messages_come_whole_however_they_arrive() {
        let bodies = [
            vec![1; 3],
            vec![],
            vec![2; 300_000],
            vec![3; 70_000],
            vec![4; 1_000_000],
        ];
        let bytes: Vec<u8> = bodies.iter().flat_map(|body| frame(b'd', body)).collect();
        for piece in [1, 7, 4096, 65_536] {
            let mut stream = Pieces(&bytes, piece);
            let (mut frames, mut got) = (Frames::default(), Vec::new());
            loop {
                while let Some(frame) = frames.take().unwrap() {
                    got.push(frames.body(&frame).to_vec());
                }
                if frames.fill(&mut stream).unwrap() == 0 {
                    break;
                }
            }
            assert!(got == bodies, "in pieces of {piece}");
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn impossible_lengths_are_refused_before_anything_is_allocated() {
        let cases = [(MAX_ANSWER_BYTES, false), (MAX_FRAME_BYTES, true)].map(|(max, large)| {
            [3, 0, -1, i32::MIN, i32::MAX, max as i32 + 5].map(|len| (len, large))
        });
        for (len, large) in cases.concat() {
            let bytes = [&b"d"[..], &len.to_be_bytes()].concat();
            let mut frames = Frames::default();
            if large {
                frames.take_large(b'd');
            }
            frames.fill(&mut &bytes[..]).unwrap();
            let error = frames.take().unwrap_err().to_string();
            assert!(error.contains("claims a length"), "{error}");
            assert_eq!(frames.buffer.len(), READ_BYTES);
        }
    }

    #[test]
    fn only_what_is_streamed_may_be_large() {
        let mut frames = Frames::default();
        frames.take_large(b'd');
        for (tag, is_taken) in [(b'd', true), (b'E', false), (b'N', false)] {
            let bytes = [&[tag][..], &(MAX_ANSWER_BYTES as i32 + 5).to_be_bytes()].concat();
            frames.fill(&mut &bytes[..]).unwrap();
            assert_eq!(frames.take().is_ok(), is_taken, "{}", tag.escape_ascii());
            (frames.start, frames.end) = (0, 0);
        }
    }

    #[test]
    fn the_buffer_of_a_large_message_is_given_back() {
        // With nothing behind it, and with the beginning of the next.
        let all = [&b""[..], b"d\0\0\0\x05"].map(|behind| [(behind, false), (behind, true)]);
        for (behind, gives_up) in all.concat() {
            let bytes = [&frame(b'd', &vec![0; 5_000_000]), behind].concat();
            let (mut frames, mut stream) = (Frames::default(), &bytes[..]);
            frames.take_large(b'd');
            while frames.take().unwrap().is_none() {
                frames.fill(&mut stream).unwrap();
            }
            assert!(frames.buffer.len() < 6_500_000);
            if gives_up {
                let given = frames.give_up();
                assert!(given.ends_with(&[0; 5_000_000]) && given.len() < 5_100_000);
            }
            frames.fill(&mut stream).unwrap();
            assert_eq!(frames.buffer.len(), READ_BYTES);
            assert_eq!(&frames.buffer[frames.start..frames.end], behind);
        }
    }
}
