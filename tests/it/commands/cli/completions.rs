//! The shells themselves are asked what follows, by the scripts that the program prints.

use std::fs;
use std::process::Command;

use postgres_source::commands::Arguments;

use crate::support::connector::{run_command, temp_dir};
use crate::support::outcome::FAIL_DEADLINE;

/// The script for a shell.
fn script(shell: &str) -> String {
    let (code, log, stdout) = run_command(&["completions", shell], &[], FAIL_DEADLINE);
    assert_eq!(code, 0, "{log}");
    stdout.join("\n")
}

/// What a shell prints that has read the script and then a question.
fn ask(shell: &[&str], question: &str) -> Vec<String> {
    let directory = temp_dir("completions-");
    let path = directory.path().join("script");
    let text = format!("{}\n{question}\n", script(shell[0]));
    fs::write(&path, text).unwrap();
    let output = Command::new(shell[0])
        .args(&shell[1..])
        .arg(&path)
        .env("HOME", directory.path())
        .current_dir(directory.path())
        .output()
        .unwrap_or_else(|error| panic!("{} cannot be run: {error}; install it", shell[0]));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let answer = String::from_utf8(output.stdout).unwrap();
    answer.lines().map(str::to_owned).collect()
}

/// What bash offers for the last of the words.
fn bash(words: &str) -> Vec<String> {
    let question = format!(
        "touch here.yaml; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
         _postgres_source; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    ask(&["bash", "--norc", "--noprofile"], &question)
}

fn zsh(words: &str) -> String {
    // What zsh would be told, in place of the functions that only its line editor can call.
    let stubs = "_describe() { print -l -- \"${(@P)4}\" }; _arguments() { print -l -- \"$@\" }\n";
    let question = format!("{stubs}words=({words}); CURRENT=${{#words}}; _postgres_source; true");
    let directory = temp_dir("completions-");
    let path = directory.path().join("script");
    let text = format!("compdef() {{ }}\n{}\n{question}\n", script("zsh"));
    fs::write(&path, text).unwrap();
    for arguments in [&["-f", "-n"][..], &["-f"]] {
        let output = Command::new("zsh").args(arguments).arg(&path).output();
        let output = output.expect("zsh is installed");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{errors}");
        if arguments.len() == 1 {
            return String::from_utf8(output.stdout).unwrap();
        }
    }
    unreachable!("the second of them returns")
}

/// The answer of fish to a line that is not yet whole.
fn fish(line: &str) -> Vec<String> {
    ask(&["fish", "--no-config"], &format!("complete -C '{line}'"))
}

#[test]
fn bash_completes_verbs_options_and_values() {
    assert_eq!(bash("postgres-source ru"), ["run"]);
    let verbs = bash("postgres-source ''");
    for verb in ["run", "check", "accept-gap", "completions", "man", "--help"] {
        assert!(verbs.iter().any(|word| word == verb), "{verb}: {verbs:?}");
    }
    assert_eq!(
        bash("postgres-source run --once"),
        ["--once", "--once-drained"]
    );
    assert_eq!(bash("postgres-source run --config her"), ["here.yaml"]);
    assert_eq!(bash("postgres-source check -c her"), ["here.yaml"]);
    assert_eq!(bash("postgres-source accept-gap --reason ''"), [""]);
    assert_eq!(
        bash("postgres-source completions ''")[..3],
        ["bash", "zsh", "fish"]
    );
    let schemas = bash("postgres-source schema ''");
    assert_eq!(schemas[..3], ["events", "rows", "config"]);
}

#[test]
fn zsh_is_told_verbs_options_and_values() {
    let verbs = zsh("postgres-source ''");
    assert!(verbs.contains("run:Stream until stopped\n"), "{verbs}");
    assert!(verbs.contains("accept-gap:"), "{verbs}");
    let run = zsh("postgres-source run ''");
    assert!(
        run.contains("--config[the config file]:file:_files\n"),
        "{run}"
    );
    assert!(run.contains("--once-drained["), "{run}");
    let schemas = zsh("postgres-source schema ''");
    assert!(
        schemas.contains("1:what:(events rows config)\n"),
        "{schemas}"
    );
    let shells = zsh("postgres-source completions ''");
    assert!(shells.contains("1:shell:(bash zsh fish)"), "{shells}");
}

#[test]
fn fish_completes_verbs_options_and_values() {
    assert_eq!(fish("postgres-source ru"), ["run\tStream until stopped"]);
    let options = fish("postgres-source run --onc").join("\n");
    assert!(options.contains("--once-drained\t"), "{options}");
    assert_eq!(fish("postgres-source completions b"), ["bash"]);
}

#[test]
fn each_value_that_is_offered_is_understood() {
    for shell in bash("postgres-source completions ''") {
        if !shell.starts_with("--") {
            assert!(
                Arguments::parse(&["completions", &shell]).is_ok(),
                "{shell}"
            );
        }
    }
    assert!(Arguments::parse(&["completions", "tcsh"]).is_err());
}
