//! What the YAML parser says of a file, with the line of each mistake and without what could be the
//! secret.

use std::borrow::Cow;

use super::identifier::QualifiedTable;

/// The reason why `text` is no config.
pub fn message(error: &yaml_serde::Error, text: &str) -> String {
    without_values(&without_tables(&with_line(error, text)))
}

/// The message without the table that stands in the path to a value of `keys`.
fn without_tables(message: &str) -> Cow<'_, str> {
    let Some(path) = message.strip_prefix("keys.") else {
        return message.into();
    };
    // The parser writes "?" for an alias. Anything else would not have been taken for a table.
    let rest = QualifiedTable::skip(path).or_else(|| path.strip_prefix('?'));
    format!("keys{}", rest.unwrap_or(": not understood")).into()
}

/// The message with its line: the parser names none at the very beginning, and places a key that comes
/// twice where the map begins.
fn with_line(error: &yaml_serde::Error, text: &str) -> String {
    let message = error.to_string();
    let Some(place) = error.location() else {
        return message;
    };
    let (what, line) = match message.find(" at line ") {
        Some(end) => (&message[..end], &message[end..]),
        None => (&message[..], " at line 1"),
    };
    match second_key(what, text, place.line(), place.column()) {
        Some(line) => format!("{what} at line {line}"),
        None => format!("{what}{line}"),
    }
}

/// The line where a key comes the second time in the map that begins at `line` and `column`.
fn second_key(what: &str, text: &str, line: usize, column: usize) -> Option<usize> {
    let (_, key) = what.split_once("duplicate field `")?;
    let key = key.strip_suffix('`')?.replace('-', "_");
    let begins = |text: &str| {
        let indent = text.len() - text.trim_start_matches(' ').len();
        let found = text.trim_start().split_once(':').map(|(key, _)| key);
        indent + 1 == column && found.is_some_and(|found| found.trim_end().replace('-', "_") == key)
    };
    let lines = text.lines().enumerate().skip(line - 1);
    let mut found = lines.filter(|(_, text)| begins(text));
    found.nth(1).map(|(index, _)| index + 1)
}

/// The parser repeats what it found. A value, or a key that looks like none, may be the secret in the
/// wrong place: `string "..."` becomes `a string`, and such a key is left out.
fn without_values(message: &str) -> String {
    const KEY: &str = "unknown field `";
    // From both ends: the key itself may have anything in it.
    if let Some((before, rest)) = message.split_once(KEY)
        && let Some((key, after)) = rest.rsplit_once("`, expected ")
    {
        let shown = if looks_like_a_key(key) { key } else { "..." };
        return format!("{before}{KEY}{shown}`, expected {after}");
    }
    let mut out = String::new();
    let mut rest = message;
    while let Some(start) = rest.find('"') {
        let (before, quoted) = rest.split_at(start);
        let (quoted, after) = quoted.split_at(closing(quoted.as_bytes()));
        match before.strip_suffix("string ") {
            Some(before) => out.extend([before, "a string"]),
            None => out.extend([before, quoted]),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn looks_like_a_key(text: &str) -> bool {
    let of_a_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text == "<<" || text.bytes().all(of_a_key)
}

/// Where a quoted text ends, its closing quote included.
fn closing(quoted: &[u8]) -> usize {
    let mut escaped = false;
    for (i, &byte) in quoted.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return i + 1,
            _ => {}
        }
    }
    quoted.len()
}
