//! A room names only those above it, and so does what is inside of the two large ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, from the lowest to the highest.
const ROOMS: &[&[&str]] = &[
    &["base"],
    &["pg"],
    &["change"],
    &["record"],
    &["sink"],
    &["observe"],
    &["config"],
    &["pipeline"],
    &["commands"],
];

/// The same within `pg`; those in one group do not name each other.
const PG: &[&[&str]] = &[
    &["wire"],
    &["params"],
    &["auth", "transport"],
    &["connection"],
    &["catalog"],
    &["sql"],
    &["replication"],
];

/// The same within `pipeline`.
const PIPELINE: &[&[&str]] = &[
    &["progress", "setup", "lane_map"],
    &["position", "resume"],
    &["summary", "rows"],
    &["reader", "producer"],
    &["session"],
    &["run"],
];

/// Where each table is about.
const TABLES: &[(&[&[&str]], &str)] = &[(ROOMS, ""), (PG, "pg"), (PIPELINE, "pipeline")];

#[test]
fn modules_name_only_what_stands_above_them() {
    check(ROOMS, &source(), |_, name| format!("crate::{name}"));
    for (layers, room) in &TABLES[1..] {
        check(layers, &source().join(room), |text, name| {
            // Both ways of naming a sibling.
            let path = format!("crate::{room}::{name}");
            match text.contains(&path) {
                true => path,
                false => format!("super::{name}"),
            }
        });
    }
}

#[test]
fn every_module_has_its_place() {
    for (layers, room) in TABLES {
        let directory = source().join(room);
        let placed: BTreeSet<_> = layers
            .iter()
            .flat_map(|layer| layer.iter().copied())
            .collect();
        let there: BTreeSet<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .filter(|name| !["lib", "main", "mod"].contains(&name.as_str()))
            .collect();
        assert_eq!(
            there.iter().map(String::as_str).collect::<BTreeSet<_>>(),
            placed
        );
    }
}

/// The program has two threads of its own, no async, and no unsafe code.
#[test]
fn no_async_and_no_unsafe() {
    for file in files(&source()) {
        for (number, line) in code(&file).lines().enumerate() {
            for word in ["async", ".await", "tokio", "unsafe"] {
                assert!(
                    !names(line, word),
                    "{}:{}: {word}",
                    file.display(),
                    number + 1
                );
            }
        }
    }
}

fn check(layers: &[&[&str]], directory: &Path, path_of: impl Fn(&str, &str) -> String) {
    for (level, layer) in layers.iter().enumerate() {
        for module in *layer {
            let mut own = files(&directory.join(module));
            own.extend(Some(directory.join(format!("{module}.rs"))).filter(|file| file.exists()));
            assert!(!own.is_empty(), "no module {module}");
            let above = layers[level..].iter().flat_map(|layer| layer.iter());
            for name in above.filter(|name| *name != module) {
                for file in &own {
                    let text = code(file);
                    let path = path_of(&text, name);
                    let named = text.lines().find(|line| names(line, &path));
                    assert!(
                        named.is_none(),
                        "{} names {path}: {named:?}",
                        file.display()
                    );
                }
            }
        }
    }
}

fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let next = line[at + path.len()..].chars().next();
        !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// A file without its tests, which stand at its end, and without comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    let lines = text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

pub fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files
}

pub fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
