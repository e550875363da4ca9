//! JSON that others wrote: whether it is some, and where a value ends. Nothing is held of it.

use crate::record::text::first_escaped;

/// How deep a value may be that is skipped: a bit each.
const DEEPEST: u32 = 127;

/// A number of less bytes and without an exponent is finite, even as an `f32`.
const SHORT: usize = 30;

/// Whether there are line breaks between the tokens of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    One,
    Several,
}

/// The lines of a document that every parser takes: text of at most this depth, whose strings are
/// characters and whose numbers are finite. `None` if it is no such document.
pub fn document(text: &[u8], max_depth: u32) -> Option<Lines> {
    std::str::from_utf8(text).ok()?;
    let mut scanner = Scanner::new(text);
    scanner.space();
    scanner.value(max_depth)?;
    scanner.space();
    scanner.rest().is_empty().then_some(scanner.lines)
}

/// Whether all of `text` is a number, and as such one that `is_finite`.
pub fn is_number(text: &[u8], is_finite: impl Fn(&str) -> bool) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.number(is_finite).is_some() && scanner.rest().is_empty()
}

/// Walks over JSON, whose text is known to be UTF-8.
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    lines: Lines,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a [u8]) -> Scanner<'a> {
        Scanner {
            text,
            at: 0,
            lines: Lines::One,
        }
    }

    /// What was not walked over yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Walks over these bytes, if they are next.
    pub fn take(&mut self, bytes: &[u8]) -> Option<()> {
        self.rest()
            .starts_with(bytes)
            .then(|| self.at += bytes.len())
    }

    /// Walks over what `walk` walks over, and gives it.
    pub fn slice(&mut self, walk: impl FnOnce(&mut Self) -> Option<()>) -> Option<&'a [u8]> {
        let begin = self.at;
        walk(self)?;
        Some(&self.text[begin..self.at])
    }

    fn space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => {}
                b'\n' | b'\r' => self.lines = Lines::Several,
                _ => return,
            }
            self.at += 1;
        }
    }

    /// Walks over a value, of any depth that a record has.
    pub fn any(&mut self) -> Option<()> {
        self.value(DEEPEST)
    }

    /// Walks over a value and the space around it.
    pub fn spaced(&mut self) -> Option<()> {
        self.space();
        self.any()?;
        self.space();
        Some(())
    }

    fn value(&mut self, max_depth: u32) -> Option<()> {
        // The innermost is the lowest bit: 1 for an object.
        let (mut inside, mut depth) = (0_u128, 0);
        loop {
            match self.peek()? {
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    depth += 1;
                    if depth > max_depth.min(DEEPEST) {
                        return None;
                    }
                    let is_object = open == b'{';
                    inside = inside << 1 | u128::from(is_object);
                    self.space();
                    if self.peek()? != if is_object { b'}' } else { b']' } {
                        if is_object {
                            self.name()?;
                        }
                        continue;
                    }
                }
                b'"' => self.string()?,
                b't' => self.take(b"true")?,
                b'f' => self.take(b"false")?,
                b'n' => self.take(b"null")?,
                _ => self.number(|text| text.parse().is_ok_and(f64::is_finite))?,
            }
            // Behind a value, or before the end of what is empty.
            loop {
                if depth == 0 {
                    return Some(());
                }
                self.space();
                let is_object = inside & 1 == 1;
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        self.space();
                        if is_object {
                            self.name()?;
                        }
                        break;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return None,
                }
                self.at += 1;
                inside >>= 1;
                depth -= 1;
            }
        }
    }

    /// Walks over a name, its colon, and the space around that.
    fn name(&mut self) -> Option<()> {
        self.string()?;
        self.space();
        self.take(b":")?;
        self.space();
        Some(())
    }

    /// Walks over a string whose escapes are whole characters.
    pub fn string(&mut self) -> Option<()> {
        self.take(b"\"")?;
        loop {
            self.at += first_escaped(self.rest())?;
            match self.rest() {
                [b'"', ..] => {
                    self.at += 1;
                    return Some(());
                }
                [b'\\', b'u', ..] => match self.unit()? {
                    0xD800..0xDC00 => {
                        let low = self.unit()?;
                        (0xDC00..0xE000).contains(&low).then_some(())?;
                    }
                    0xDC00..0xE000 => return None,
                    _ => {}
                },
                [
                    b'\\',
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
                    ..,
                ] => self.at += 2,
                _ => return None,
            }
        }
    }

    /// Walks over `\u00e9`.
    fn unit(&mut self) -> Option<u32> {
        self.take(b"\\u")?;
        let digits = self.rest().get(..4)?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, digit| {
            Some(unit << 4 | char::from(*digit).to_digit(16)?)
        })
    }

    fn number(&mut self, is_finite: impl Fn(&str) -> bool) -> Option<()> {
        let begin = self.at;
        let _ = self.take(b"-");
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.take(b".").is_some() {
            self.digits()?;
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if has_exponent || self.at - begin > SHORT {
            let text = std::str::from_utf8(&self.text[begin..self.at]).ok()?;
            is_finite(text).then_some(())?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit());
        let count = digits.count();
        self.at += count;
        (count > 0).then_some(())
    }
}
