//! A file names only what stands to its left: the layers import in one direction.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules from the lowest to the highest; those in one group do not name each other.
const LAYERS: &[&[&str]] = &[
    &[
        "input",
        "lsn",
        "orphans",
        "peer",
        "printable",
        "replace",
        "resolver",
        "shell",
    ],
    &["error"],
    &["tls", "metrics", "logging"],
    &["pg"],
    &["lease", "relation"],
    &["event"],
    &["json", "record"],
    &["sink"],
    &["progress"],
    &["config"],
    &["signals", "notify", "long_work"],
    &["waiting"],
    &["setup", "state", "pace", "position", "resume", "monitor"],
    &["summary", "continuity"],
    &["owner"],
    &["tail"],
    &["reader", "producer"],
    &["session"],
    &[
        "run",
        "accept",
        "check",
        "peek",
        "provision",
        "schema",
        "status",
        "verify",
    ],
    &["cli"],
];

/// The same within `pg`.
const PG_LAYERS: &[&[&str]] = &[
    &["wire", "ssl", "saslprep"],
    &["scram"],
    &[
        "pgoutput",
        "server_error",
        "params",
        "frames",
        "auth",
        "system",
        "tls",
        "blocked",
    ],
    &["stream", "resolve", "notices", "pinned"],
    &["encryption"],
    &["cancel"],
    &["connection"],
    &["wal_files"],
    &["start_up", "sql"],
    &["search"],
    &["replication"],
    &["peek"],
];

#[test]
fn modules_name_only_what_stands_to_their_left() {
    check(LAYERS, &source(), |_, name| format!("crate::{name}"));
}

#[test]
fn pg_is_layered_too_and_of_use_by_itself() {
    check(PG_LAYERS, &source().join("pg"), |text, name| {
        // Both ways of naming a sibling.
        let path = format!("crate::pg::{name}");
        if text.contains(&path) {
            path
        } else {
            format!("super::{name}")
        }
    });
    for file in files(&source().join("pg")) {
        let named = imports(&code(&file), "crate::");
        let foreign: Vec<_> = named
            .iter()
            .filter(|name| {
                ![
                    "lsn",
                    "error",
                    "input",
                    "orphans",
                    "printable",
                    "resolver",
                    "tls",
                    "pg",
                ]
                .contains(&name.as_str())
            })
            .collect();
        assert!(foreign.is_empty(), "{} names {foreign:?}", file.display());
    }
}

#[test]
fn every_module_has_its_place() {
    for (layers, directory) in [(LAYERS, source()), (PG_LAYERS, source().join("pg"))] {
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

/// The first names after `prefix`.
fn imports(text: &str, prefix: &str) -> BTreeSet<String> {
    text.split(prefix)
        .skip(1)
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
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
