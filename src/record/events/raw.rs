//! Bytes as an array of numbers.

use std::io::Write;

use super::Writer;
use crate::record::text::PIECE;

impl<W: Write> Writer<'_, W> {
    /// Numbers with a comma between them, in pieces.
    pub(super) fn bytes(&mut self, text: &[u8]) {
        self.raw(b"{\"RawText\":[");
        let mut piece = [0; 4 * PIECE + 1];
        let mut rest = text;
        while let Some((bytes, behind)) = rest.split_at_checked(PIECE)
            && !behind.is_empty()
        {
            let len = numbers(bytes, &mut piece);
            self.raw(&piece[..len]);
            rest = behind;
        }
        // The end takes the place of the last comma.
        let comma = numbers(rest, &mut piece).saturating_sub(1);
        piece[comma..comma + 2].copy_from_slice(b"]}");
        self.raw(&piece[..comma + 2]);
    }
}

/// Each byte as a number with a comma behind it: how long they are together.
fn numbers(bytes: &[u8], piece: &mut [u8; 4 * PIECE + 1]) -> usize {
    let mut len = 0;
    for &byte in bytes {
        let number = &DECIMAL[usize::from(byte)];
        // Always four bytes: what is too much is written over by the next.
        piece[len..len + 4].copy_from_slice(&number.text);
        len += usize::from(number.len);
    }
    len
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
