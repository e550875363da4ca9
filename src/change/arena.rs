//! The bytes of a batch.

use bytes::Bytes;

use super::LARGE_BYTES;

/// Where the spans of a large message begin: beyond all that is copied.
const LARGE_START: u32 = 1 << 31;

/// What the events of a batch hold in bytes, one after the other.
#[derive(Default)]
pub struct Arena {
    bytes: Vec<u8>,
    /// A large message, which is kept where it is instead of copied.
    large: Bytes,
}

/// A part of the arena. 32 bits suffice: the arena ends with the message that fills it, and the
/// server's messages end at 1 GB.
#[derive(Clone, Copy)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Arena {
    /// An empty arena with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Arena {
            bytes: Vec::with_capacity(bytes),
            large: Bytes::new(),
        }
    }

    /// How many bytes were copied into the arena.
    pub fn copied(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the arena has a large message.
    pub fn has_large(&self) -> bool {
        !self.large.is_empty()
    }

    /// Shares a large message: what is kept of it is not copied. Of a second one it is.
    pub fn share(&mut self, message: &Bytes) {
        if !self.has_large() {
            self.large = message.clone();
        }
    }

    /// Keeps a copy of `bytes`, unless they are a part of the large message.
    pub fn keep(&mut self, bytes: &[u8]) -> Span {
        if bytes.len() >= LARGE_BYTES
            && let Some(span) = self.shared(bytes)
        {
            return span;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.span_from(start)
    }

    /// Keeps what an iterator gives.
    pub fn collect(&mut self, bytes: impl Iterator<Item = u8>) -> Span {
        let start = self.bytes.len();
        self.bytes.extend(bytes);
        self.span_from(start)
    }

    /// The bytes of a span.
    pub fn slice(&self, span: Span) -> &[u8] {
        if span.start >= LARGE_START {
            return &self.large[(span.start - LARGE_START) as usize..][..span.len as usize];
        }
        &self.bytes[span.start as usize..][..span.len as usize]
    }

    /// Where `part` lies in the large message, if it is a part of it.
    fn shared(&self, part: &[u8]) -> Option<Span> {
        let start = part
            .as_ptr()
            .addr()
            .checked_sub(self.large.as_ptr().addr())?;
        (start + part.len() <= self.large.len()).then(|| Span {
            start: LARGE_START + start as u32,
            len: part.len() as u32,
        })
    }

    /// The text of a span that was kept from a `str`: the decoder checked it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_not_copied_and_the_rest_is() {
        let large = Bytes::from([vec![1; 10], vec![2; LARGE_BYTES], vec![3; 10]].concat());
        let other = vec![4; LARGE_BYTES];
        let mut arena = Arena::default();
        arena.share(&large);
        // The first stays.
        arena.share(&Bytes::from(vec![5; LARGE_BYTES]));
        let parts = [
            &large[..7],
            &large[10..10 + LARGE_BYTES],
            &large[3..],
            &other,
        ];
        let spans = parts.map(|part| arena.keep(part));
        for (part, span) in parts.iter().zip(spans) {
            assert!(arena.slice(span) == *part);
        }
        assert_eq!(arena.copied(), 7 + other.len());
        assert!(arena.has_large());
    }
}
