//! The tests stand where the thing that they test stands in the source, and each folder says what it has.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

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
