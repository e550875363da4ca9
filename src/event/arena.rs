//! The bytes of a batch.

/// What the events of a batch hold in bytes, one after the other.
#[derive(Default)]
pub struct Arena {
    bytes: Vec<u8>,
}

/// A part of the arena. 32 bits suffice: the arena ends with the message that fills it, and the
/// server's messages end at 1 GB.
#[derive(Clone, Copy)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Arena {
    /// An empty one with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Arena {
            bytes: Vec::with_capacity(bytes),
        }
    }

    /// How many bytes it holds.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes a copy.
    pub fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.span_from(start)
    }

    /// Takes what comes.
    pub fn collect(&mut self, bytes: impl Iterator<Item = u8>) -> Span {
        let start = self.bytes.len();
        self.bytes.extend(bytes);
        self.span_from(start)
    }

    /// What was kept.
    pub fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..][..span.len as usize]
    }

    /// What was kept from a `str` is one: the decoder checked it.
    pub fn str(&self, span: Span) -> &str {
        std::str::from_utf8(self.slice(span)).unwrap_or_default()
    }

    fn span_from(&self, start: usize) -> Span {
        Span {
            start: start as u32,
            len: (self.bytes.len() - start) as u32,
        }
    }
}
