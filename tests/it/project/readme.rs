//! What the README points at is there, and what it shows is true.

mod commands;
mod consuming;
mod formats;
pub mod messages;

use std::collections::HashSet;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn each_link_inside_has_its_heading() {
    let readme = readme();
    let headings: HashSet<String> = readme.lines().filter_map(anchor).collect();
    let links: Vec<&str> = targets(&readme)
        .filter_map(|target| target.strip_prefix('#'))
        .collect();
    assert!(!links.is_empty(), "the README has links into itself");
    for link in links {
        assert!(headings.contains(link), "no heading for #{link}");
    }
}

#[test]
fn each_file_that_is_linked_or_run_exists() {
    let readme = readme();
    let linked =
        targets(&readme).filter(|target| !target.starts_with('#') && !target.contains(':'));
    let scripts = readme
        .split(|c: char| c.is_whitespace() || "`(),;".contains(c))
        .filter(|word| word.starts_with("scripts/"))
        .map(|word| word.trim_end_matches(['.', ':']));
    let files: HashSet<&str> = linked.chain(scripts).collect();
    assert!(files.contains("scripts/demo"), "found {files:?}");
    for file in files {
        assert!(Path::new(ROOT).join(file).exists(), "{file} is missing");
    }
}

pub fn readme() -> String {
    std::fs::read_to_string(Path::new(ROOT).join("README.md")).expect("README.md can be read")
}

/// The indented blocks, each without its indent.
fn blocks(readme: &str) -> Vec<String> {
    let (mut blocks, mut open): (Vec<String>, Option<usize>) = (Vec::new(), None);
    for line in readme.lines() {
        let indent = line.len() - line.trim_start().len();
        match open {
            Some(begin) if indent >= begin => {
                let block = blocks.last_mut().expect("a block is open");
                block.push('\n');
                block.push_str(&line[begin..]);
            }
            _ if indent >= 4 => {
                open = Some(indent);
                blocks.push(line[indent..].to_owned());
            }
            _ => open = None,
        }
    }
    blocks
}

/// The first block that begins with these words.
#[track_caller]
fn block(readme: &str, begin: &str) -> String {
    let block = blocks(readme).into_iter().find(|b| b.starts_with(begin));
    block.unwrap_or_else(|| panic!("the README has nothing that begins with {begin:?}"))
}

/// The targets of all links of the form `](target)`.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}

/// The anchor of a heading, made as GitHub makes it.
fn anchor(line: &str) -> Option<String> {
    let heading = line
        .strip_prefix('#')?
        .trim_start_matches('#')
        .strip_prefix(' ')?;
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}
