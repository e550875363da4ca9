//! The byte stream of a server: cut into the same messages however it arrives.

use std::io::{self, Read};

use postgres_source::pg::ServerError;
use postgres_source::pg::StreamMessage;
use postgres_source::pg::row;
use postgres_source::pg::{Frames, MAX_ANSWER_BYTES};

/// The first byte decides how the rest arrives.
pub fn frames(data: &[u8]) {
    let Some((&step, stream)) = data.split_first() else {
        return;
    };
    let (expected, broken) = cut(stream);
    let mut arriving = Arriving {
        rest: stream,
        step: usize::from(step) + 1,
    };
    let mut frames = Frames::default();
    let mut found = Vec::new();
    let refused = loop {
        match frames.take() {
            Ok(Some(frame)) => {
                let body = frames.body(&frame);
                decode(frame.tag, body);
                found.push((frame.tag, body.to_vec()));
            }
            Ok(None) => {
                let _ = frames.unframed_error();
                if frames.fill(&mut arriving).expect("memory can be read") == 0 {
                    break false;
                }
            }
            Err(error) => {
                assert!(error.to_string().contains("claims a length"), "{error}");
                break true;
            }
        }
    };
    assert_eq!(refused, broken);
    assert!(
        found
            .iter()
            .map(|(tag, body)| (*tag, &body[..]))
            .eq(expected),
        "arriving by {} bytes makes other messages",
        arriving.step
    );
}

/// The messages of a whole stream, and whether it ends with one of an impossible length.
fn cut(mut stream: &[u8]) -> (Vec<(u8, &[u8])>, bool) {
    let mut frames = Vec::new();
    while let Some((head, rest)) = stream.split_first_chunk::<5>() {
        let len = i32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let body = usize::try_from(len).ok().and_then(|len| len.checked_sub(4));
        let Some(body) = body.filter(|body| *body <= MAX_ANSWER_BYTES) else {
            return (frames, true);
        };
        let Some((body, rest)) = rest.split_at_checked(body) else {
            break;
        };
        frames.push((head[0], body));
        stream = rest;
    }
    (frames, false)
}

/// What is in the messages that are not the plugin's.
fn decode(tag: u8, body: &[u8]) {
    match tag {
        b'd' => drop(StreamMessage::decode(body)),
        b'D' => {
            if let Ok(row) = row(body) {
                // Each value has a length of four bytes in front of it.
                assert!(row.len() * 4 <= body.len());
            }
        }
        b'E' | b'N' => {
            let fields = ServerError::decode(body);
            let said = fields.message.len() + fields.detail.as_ref().map_or(0, String::len);
            // A byte that is not UTF-8 is written with four characters, `\xff`.
            assert!(said <= 4 * body.len());
            let _ = fields.to_string();
            let _ = fields.clone().into_stream_error().to_string();
            let _ = fields.into_error().to_string();
        }
        _ => {}
    }
}

/// A stream that brings a few bytes at a time, another number each time.
struct Arriving<'a> {
    rest: &'a [u8],
    step: usize,
}

impl Read for Arriving<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.step = self.step * 5 % 257;
        let len = self.step.max(1).min(buf.len());
        self.rest.read(&mut buf[..len])
    }
}
