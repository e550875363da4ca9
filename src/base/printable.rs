//! Text of others on its way to a terminal, a log or a report: a name, or what a server says, must not
//! make a line of its own, move a cursor, or turn around what stands beside it.

use std::fmt::{self, Write};

/// A value whose text is shown with everything escaped that is not seen, as in Rust: `\n`, `\u{1b}`.
#[derive(Debug, Clone, Copy)]
pub struct Printable<T>(pub T);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Escapes what is written through it.
pub struct Escaping<W>(pub W);

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, hidden)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
            self.0.write_str(&rest[..at])?;
            match hidden {
                '\n' | '\r' | '\t' => write!(self.0, "{}", hidden.escape_default())?,
                other => write!(self.0, "{}", other.escape_unicode())?,
            }
            rest = &rest[at + hidden.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// A value whose text is cut where it would need more than this number of bytes as [`Printable`], or in JSON.
#[derive(Debug, Clone, Copy)]
pub struct Shortened<T>(pub T, pub usize);

impl<T: fmt::Display> fmt::Display for Shortened<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = Remaining {
            out: f,
            bytes: Some(self.1),
        };
        write!(left, "{}", self.0)
    }
}

struct Remaining<W> {
    out: W,
    /// `None` once it has been cut.
    bytes: Option<usize>,
}

impl<W: Write> Write for Remaining<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(mut left) = self.bytes else {
            return Ok(());
        };
        let is_too_much = |c: char| {
            let fits = left.checked_sub(shown_bytes(c));
            left = fits.unwrap_or_default();
            fits.is_none()
        };
        match text.find(is_too_much) {
            Some(end) => {
                self.bytes = None;
                write!(self.out, "{}...", &text[..end])
            }
            None => {
                self.bytes = Some(left);
                self.out.write_str(text)
            }
        }
    }
}

/// The bytes that a character takes at the most, in any form: `\u{202e}`.
fn shown_bytes(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        hidden if is_hidden(hidden) => 8,
        other => other.len_utf8(),
    }
}

/// Escapes what is not seen in a text of JSON and what a JSON writer may leave as it is inside of its
/// strings. The meaning stays, and so do line breaks between values.
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) && !c.is_ascii_whitespace() {
            // All of them are below U+10000.
            true => out.extend(format!("\\u{:04x}", u32::from(c)).chars()),
            false => out.push(c),
        }
    }
    out
}

/// The limit of [`capped`]: more than anybody reads of what one server says at once.
pub const MAX_WORDS_BYTES: usize = 4096;

/// Cuts what a server says at [`MAX_WORDS_BYTES`]: a log is not its to fill.
pub fn capped(words: &str) -> String {
    if words.len() <= MAX_WORDS_BYTES {
        return words.to_owned();
    }
    let is_boundary = |end: &usize| words.is_char_boundary(*end);
    let end = (0..=MAX_WORDS_BYTES).rev().find(is_boundary);
    format!("{}...", &words[..end.unwrap_or_default()])
}

/// Whether a character is one of the control characters of C0 and C1, the separators of lines and
/// paragraphs, and what changes the direction of a text ([UAX
/// #9](https://www.unicode.org/reports/tr9/)).
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind.
    const HIDDEN: &str = "\n\r\t\0\u{1b}\u{7f}\u{85}\u{9b}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\
        \u{202a}\u{202e}\u{2066}\u{2069}";

    #[test]
    fn nothing_hidden_is_left() {
        let shown = Printable(HIDDEN).to_string();
        assert!(
            shown.starts_with(r"\n\r\t\u{0}\u{1b}\u{7f}\u{85}\u{9b}"),
            "{shown}"
        );
        assert!(shown.is_ascii(), "{shown}");
        assert_eq!(
            Printable("é\u{1b}[2J\"'\\漢🐘").to_string(),
            "é\\u{1b}[2J\"'\\漢🐘"
        );
        assert_eq!(Printable("").to_string(), "");
    }

    #[test]
    fn what_is_too_long_is_cut_whatever_it_takes_to_show_it() {
        for (piece, count) in [
            ("a", 100),
            ("é", 50),
            ("\"", 50),
            ("\u{202e}", 12),
            ("\n", 12),
        ] {
            let text = piece.repeat(count);
            assert_eq!(Shortened(&text, 100).to_string(), text);
            let long = text.clone() + piece + "more";
            let short = Shortened(&long, 100);
            assert_eq!(short.to_string(), format!("{text}..."));
            assert!(Printable(short).to_string().len() <= 103, "{piece:?}");
            assert!(serde_json::to_string(&short.to_string()).unwrap().len() <= 105);
        }
        let pieces = Shortened(format_args!("{}{}{}", "a", "bcd", "e"), 3);
        assert_eq!(pieces.to_string(), "abc...");
    }

    #[test]
    fn json_means_the_same() {
        let value = serde_json::json!({ "é": [HIDDEN, 1] });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = json(&text);
        assert!(shown.chars().all(|c| c == '\n' || !is_hidden(c)), "{shown}");
        assert_eq!(shown.lines().count(), text.split('\n').count());
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, value);
    }
}
