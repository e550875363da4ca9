//! The tests stand where the thing that they test stands in the source, each folder says what it has, and
//! what the scripts leave out is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project::layers::{files, source};

/// Folders without a room of the source: what the tests stand on, and what is about the repository.
const WITHOUT_ROOM: [&str; 2] = ["project", "support"];

#[test]
fn each_room_has_its_folder_of_tests() {
    let mut rooms = folders(&source());
    rooms.extend(WITHOUT_ROOM.map(str::to_owned));
    assert_eq!(folders(&tests()), rooms);
}

#[test]
fn each_index_has_the_modules_beside_it() {
    let fronts: Vec<PathBuf> = files(&tests())
        .into_iter()
        .filter(|file| !file.starts_with(tests().join("support")))
        .filter(|file| file.ends_with("mod.rs") || file.ends_with("main.rs"))
        .collect();
    assert!(fronts.len() > WITHOUT_ROOM.len());
    for front in fronts {
        let text = fs::read_to_string(&front).unwrap();
        let indexed = names(&text, "//! - `", '`');
        let mut there = names(&text, "mod ", ';');
        there.extend(names(&text, "pub mod ", ';'));
        assert_eq!(indexed, there, "{}", front.display());
    }
}

/// A test that has another name now would be run again, and the list would say what is not so.
#[test]
fn each_name_that_scripts_leave_out_begins_a_test() {
    let path = tests().join("../../scripts/lib/tests.sh");
    let text = fs::read_to_string(path).unwrap();
    let left_out: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .flat_map(str::split_whitespace)
        .filter(|word| word.contains("::"))
        .collect();
    assert!(!left_out.is_empty());
    let list = Command::new(std::env::current_exe().unwrap())
        .arg("--list")
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    for name in left_out {
        assert!(list.lines().any(|test| test.starts_with(name)), "{name}");
    }
}

/// What stands between the beginning of a line and the end of a name.
fn names(text: &str, before: &str, after: char) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix(before)?.split_once(after))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn folders(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it")
}
