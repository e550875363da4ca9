//! Hostile input: what the fuzzer found worth keeping, and damage to it.

#[path = "../../fuzz/targets/mod.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use targets::{ALL, Target};

/// So many inputs of each target are damaged in every place; all are run as they are.
const DAMAGED: usize = 12;

/// An input is damaged in no more places than this.
const PLACES: usize = 400;

/// The inputs that are kept for a target, the smallest first.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut inputs: Vec<Vec<u8>> = files(&directory.join(target))
        .iter()
        .map(|path| fs::read(path).expect("it was just listed"))
        .collect();
    inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    inputs
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries
        .map(|entry| entry.expect("it can be listed").path())
        .collect()
}

#[test]
fn whatever_the_fuzzer_found_worth_keeping() {
    for (name, target) in ALL {
        let corpus = corpus(name);
        assert!(corpus.len() >= 10, "{name} has {}", corpus.len());
        corpus.iter().for_each(|input| target(input));
    }
}

#[test]
fn inputs_that_are_cut_or_flipped_anywhere() {
    for (name, target) in ALL {
        let corpus = corpus(name);
        // Evenly, from the smallest to the largest.
        let step = corpus.len().div_ceil(DAMAGED);
        corpus
            .iter()
            .step_by(step)
            .for_each(|input| damage(target, input));
    }
}

fn damage(target: Target, input: &[u8]) {
    let step = input.len().div_ceil(PLACES).max(1);
    let mut flipped = input.to_vec();
    for at in (0..input.len()).step_by(step) {
        target(&input[..at]);
        for bits in [0x01, 0x80, 0xFF] {
            flipped[at] ^= bits;
            target(&flipped);
            flipped[at] ^= bits;
        }
    }
}
