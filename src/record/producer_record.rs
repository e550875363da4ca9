//! A record as a sink takes it: measured, rendered whole, or in pieces.

use std::io::{self, Write};

use super::events::{self, RawText};
use super::rows::RowRecord;
use super::text::WriteJson;
use crate::base::error::Result;
use crate::change::Event;

/// The size of the pieces: large enough that handing one over costs nothing next to filling it.
const PIECE_BYTES: usize = 64 * 1024;

/// A record on its way to a sink, rendered as often as somebody asks for it.
///
/// The record of a large event may be more than the memory there is: bytes of a `bytea` are two digits
/// each in the stream and three characters a digit in the record, and a control character of a text is
/// six.
pub struct ProducerRecord<'e> {
    form: Form<'e>,
}

/// The form of a record, and what it is made of.
enum Form<'e> {
    Event {
        event: &'e Event<'e>,
        raw_text: RawText,
    },
    Row {
        record: &'e RowRecord<'e>,
        key: Option<&'e [u8]>,
    },
}

impl<'e> ProducerRecord<'e> {
    /// The record of `event`.
    pub fn new(event: &'e Event<'e>, raw_text: RawText) -> Self {
        ProducerRecord {
            form: Form::Event { event, raw_text },
        }
    }

    /// A record of the row format, and its key in Fluvio.
    pub fn row(record: &'e RowRecord<'e>, key: Option<&'e [u8]>) -> Self {
        ProducerRecord {
            form: Form::Row { record, key },
        }
    }

    /// The record's key in Fluvio, which events have none of.
    pub fn key(&self) -> Option<&'e [u8]> {
        match self.form {
            Form::Event { .. } => None,
            Form::Row { key, .. } => key,
        }
    }

    /// Whether the record may turn out to be its transaction's last in its partition: then
    /// [`LAST`](super::LAST) takes the place of its final byte.
    pub fn is_open(&self) -> bool {
        match self.form {
            Form::Event { .. } => false,
            Form::Row { record, .. } => record.is_open(),
        }
    }

    /// Whether the record is not to be held whole without need.
    pub fn is_large(&self) -> bool {
        match self.form {
            Form::Event { event, .. } => event.is_large(),
            Form::Row { record, .. } => record.is_large(),
        }
    }

    /// The length of the record, which takes as long as rendering it.
    pub fn measure(&self) -> usize {
        let mut len = 0;
        let counted = self.pieces(&mut |piece| {
            len += piece.len();
            Ok(())
        });
        debug_assert!(counted.is_ok(), "counting does not fail");
        len
    }

    /// Appends the record to `out`.
    pub fn render(&self, out: &mut Vec<u8>) {
        self.render_into(out);
    }

    fn render_into(&self, out: &mut impl WriteJson) {
        match self.form {
            Form::Event { event, raw_text } => events::render(event, raw_text, out),
            Form::Row { record, .. } => record.render(out),
        }
    }

    /// Gives the record to `each` piece by piece. After an error nothing more is given.
    pub fn pieces(&self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut out = Pieces {
            buffer: Vec::with_capacity(PIECE_BYTES),
            each,
            given: Ok(()),
        };
        self.render_into(&mut out);
        out.give();
        out.given
    }
}

struct Pieces<'p> {
    buffer: Vec<u8>,
    each: &'p mut dyn FnMut(&[u8]) -> Result<()>,
    given: Result<()>,
}

impl Pieces<'_> {
    fn give(&mut self) {
        if self.given.is_ok() && !self.buffer.is_empty() {
            self.given = (self.each)(&self.buffer);
        }
        self.buffer.clear();
    }

    fn give_at_once(&mut self, bytes: &[u8]) {
        self.give();
        if self.given.is_ok() {
            self.given = (self.each)(bytes);
        }
    }
}

impl Write for Pieces<'_> {
    /// An error is kept for the end: a renderer that asked after each byte would be two.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() >= PIECE_BYTES {
            // A text without anything to escape goes out from where it lies.
            self.give_at_once(bytes);
            return Ok(bytes.len());
        }
        if self.buffer.len() + bytes.len() > PIECE_BYTES {
            self.give();
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Error;

    #[test]
    fn the_pieces_are_the_record() {
        let plain = "plain ".repeat(50_000);
        let escaped = "\u{1}".repeat(50_000);
        let mixed = [&plain, &escaped, &plain, "\n"].concat();
        let bytes: Vec<u8> = (0..=255).cycle().take(300_001).collect();
        for content in [
            plain.as_bytes(),
            escaped.as_bytes(),
            mixed.as_bytes(),
            &bytes,
            b"",
        ] {
            for raw_text in [RawText::Bytes, RawText::String] {
                let event = Event::message(content);
                let record = ProducerRecord::new(&event, raw_text);
                let (mut whole, mut pieces) = (Vec::new(), Vec::new());
                events::render(&event, raw_text, &mut whole);
                record
                    .pieces(&mut |piece| {
                        pieces.extend_from_slice(piece);
                        Ok(())
                    })
                    .unwrap();
                assert!(pieces == whole);
                assert_eq!(record.measure(), whole.len());
            }
        }
    }

    #[test]
    fn an_error_ends_them() {
        let content = vec![0; 1_000_000];
        let event = Event::message(&content);
        let mut given = 0;
        let result = ProducerRecord::new(&event, RawText::Bytes).pieces(&mut |piece| {
            assert!(piece.len() <= PIECE_BYTES);
            given += 1;
            match given {
                3 => Err(Error::undeliverable("full")),
                _ => Ok(()),
            }
        });
        assert_eq!(result.unwrap_err().to_string(), "full");
        assert_eq!(given, 3);
    }
}
