//! Bytes as an array of numbers.

use super::{PIECE, Writer};

impl Writer<'_> {
    /// Numbers with a comma behind each, in pieces: the last comma is taken away again.
    pub(super) fn bytes(&mut self, text: &[u8]) {
        self.raw(b"{\"RawText\":[");
        let mut piece = [0; 4 * PIECE];
        for bytes in text.chunks(PIECE) {
            let mut len = 0;
            for &byte in bytes {
                let number = &DECIMAL[usize::from(byte)];
                // Always four bytes: what is too much is written over by the next.
                piece[len..len + 4].copy_from_slice(&number.text);
                len += usize::from(number.len);
            }
            self.raw(&piece[..len]);
        }
        if !text.is_empty() {
            self.out.pop();
        }
        self.raw(b"]}");
    }
}

/// A byte as a decimal number with a comma behind it.
struct Decimal {
    text: [u8; 4],
    len: u8,
}

/// Each byte.
const DECIMAL: [Decimal; 256] = {
    let mut table = [const {
        Decimal {
            text: [b','; 4],
            len: 0,
        }
    }; 256];
    let mut byte = 0;
    while byte < 256 {
        let digits = [byte / 100, byte / 10 % 10, byte % 10];
        let skipped = if byte < 10 {
            2
        } else if byte < 100 {
            1
        } else {
            0
        };
        let mut at = skipped;
        while at < 3 {
            table[byte].text[at - skipped] = b'0' + digits[at] as u8;
            at += 1;
        }
        table[byte].len = 4 - skipped as u8;
        byte += 1;
    }
    table
};
