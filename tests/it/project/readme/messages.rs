//! The messages that the README explains are those that are shown: they stand in the source of this
//! program or in the program of the server.

use std::fs;

use super::readme;
use crate::project::layers::{files, source};
use crate::support::postgres::Postgres;

/// Stands for what differs each time.
pub const ANY: &str = "\u{1}";

/// A cell may have the words of several versions of the server; this one has one of them.
#[test]
fn each_message_that_is_explained_can_be_shown() {
    let cells = cells(&readme());
    assert!(cells.len() > 15, "{cells:?}");
    let ours = our_source();
    let server = fs::read(Postgres::bin_dir().join("postgres")).expect("the server's program");
    let server = without_parameters(&String::from_utf8_lossy(&server), '%', length_in_c);
    let is_shown = |message: &String| ours.contains(message) || server.contains(message);
    let unknown: Vec<_> = cells
        .iter()
        .filter(|messages| !messages.iter().any(is_shown))
        .collect();
    assert!(unknown.is_empty(), "nobody says {unknown:#?}");
}

/// The messages of each row of the table, as [`our_source`] has them. A row without one is about an exit
/// code.
fn cells(readme: &str) -> Vec<Vec<String>> {
    let messages = rows(readme).into_iter().map(|(cell, _)| messages(cell));
    messages
        .filter(|messages: &Vec<_>| !messages.is_empty())
        .collect()
}

/// The rows of the table: what is said, and what to do.
pub fn rows(readme: &str) -> Vec<(&str, &str)> {
    let (_, section) = readme
        .split_once("## Troubleshooting")
        .expect("it has this section");
    let (section, _) = section.split_once("\n## ").expect("another comes after it");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| row.trim_end_matches(" |").split_once(" | "))
        .filter(|(cell, _)| *cell != "message")
        .collect()
}

/// The messages of a cell.
pub fn messages(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(pattern).collect()
}

/// What differs is `...` in the README, a number, or one of the letters that stand for one.
fn pattern(message: &str) -> String {
    let words = message.split(' ').map(|word| {
        let bare = word.trim_end_matches(',');
        match bare {
            "N" | "M" | "PID" => word.replacen(bare, ANY, 1),
            number if number.parse::<u64>().is_ok() => word.replacen(bare, ANY, 1),
            _ => word.to_owned(),
        }
    });
    let words: Vec<String> = words.collect();
    let pattern = words.join(" ").replace("...", ANY);
    pattern.trim_matches([' ', '\u{1}']).to_owned()
}

/// All of it, with each parameter of a message replaced.
fn our_source() -> String {
    let texts = files(&source()).into_iter().map(|file| {
        let text = fs::read_to_string(file).expect("UTF-8");
        // A text goes on behind a backslash, at the first word of the next line.
        text.split("\\\n").map(str::trim_start).collect::<String>()
    });
    let text = texts.collect::<String>().replace("\\\"", "\"");
    without_parameters(&text, '{', length_in_rust)
}

/// Replaces what begins like this and is as long as `length` says of what comes after it.
fn without_parameters(text: &str, begin: char, length: impl Fn(&str) -> Option<usize>) -> String {
    let mut pieces = text.split(begin);
    let mut shown = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match length(piece) {
            Some(length) => {
                shown.push_str(ANY);
                shown.push_str(&piece[length..]);
            }
            None => {
                shown.push(begin);
                shown.push_str(piece);
            }
        }
    }
    shown
}

/// Of `{name:format}`, without its begin.
fn length_in_rust(after: &str) -> Option<usize> {
    let end = after.find(|c: char| !c.is_ascii_alphanumeric() && !"_.:?#".contains(c))?;
    after[end..].starts_with('}').then_some(end + 1)
}

/// Of `%s`, `%d` and `%X`, without its begin.
fn length_in_c(after: &str) -> Option<usize> {
    after.starts_with(['s', 'd', 'u', 'X']).then_some(1)
}
