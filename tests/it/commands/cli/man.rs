//! The manual page: roff without a warning, with all verbs, options and exit codes.

use std::io::Write;
use std::process::{Command, Stdio};

use argh::ArgsInfo;
use postgres_source::commands::{Arguments, exit_codes, man};

/// What groff says and prints of the page.
fn groff(arguments: &[&str]) -> (String, String) {
    let mut child = Command::new("groff")
        .args(["-man", "-Tutf8", "-ww", "-P-cbou"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("groff cannot be run: {error}; install groff-base"));
    let page = man() + "\n";
    child
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let [said, printed] = [output.stderr, output.stdout];
    (
        String::from_utf8(said).unwrap(),
        String::from_utf8(printed).unwrap(),
    )
}

#[test]
fn the_page_is_roff_without_a_warning() {
    assert_eq!(groff(&["-z"]), (String::new(), String::new()));
}

#[test]
fn the_page_has_every_verb_option_and_exit_code() {
    let (_, printed) = groff(&[]);
    let words: Vec<&str> = printed.split_whitespace().collect();
    let has = |word: &str| {
        words
            .iter()
            .any(|w| w.trim_matches([',', '[', ']']) == word)
    };
    for verb in Arguments::get_args_info().commands {
        assert!(has(verb.name), "{}: {printed}", verb.name);
        for flag in verb
            .command
            .flags
            .iter()
            .filter(|flag| flag.long != "--help")
        {
            assert!(has(flag.long), "{} {}: {printed}", verb.name, flag.long);
        }
    }
    let unwrapped = words.join(" ");
    for (code, meaning) in exit_codes() {
        let entry = format!("{code} {meaning}");
        assert!(unwrapped.contains(&entry), "{entry}: {unwrapped}");
    }
}

#[test]
fn the_readme_has_the_same_exit_codes() {
    let readme = include_str!("../../../../README.md");
    let table = readme
        .split("| exit code | meaning |\n|---|---|\n")
        .nth(1)
        .unwrap();
    let rows: Vec<(String, String)> = table
        .lines()
        .map_while(|line| {
            line.strip_prefix("| ")?
                .strip_suffix(" |")?
                .split_once(" | ")
        })
        .map(|(code, meaning)| (code.to_owned(), meaning.replace('`', "")))
        .collect();
    let expected: Vec<(String, String)> = exit_codes()
        .into_iter()
        .map(|(code, meaning)| (code, meaning.to_owned()))
        .collect();
    assert_eq!(rows, expected);
}
