//! What a shell is told of the command line, so that it can complete it.

use std::fmt::Write;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, FromArgValue, SubCommandInfo};

use super::{Arguments, PROGRAM};

/// The shells that there are completions for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromArgValue)]
pub enum Shell {
    /// GNU's, with or without the package bash-completion.
    Bash,
    /// Zsh with compinit.
    Zsh,
    /// Fish from version 3 on.
    Fish,
}

/// The shells as they are written on the command line.
const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// What there are schemas of.
const SCHEMAS: &[&str] = &["events", "rows", "config"];

/// The script that a shell is to read.
pub fn completions(shell: Shell) -> String {
    let arguments = Arguments::get_args_info();
    let script = match shell {
        Shell::Bash => bash(&arguments),
        Shell::Zsh => zsh(&arguments),
        Shell::Fish => fish(&arguments),
    };
    script.trim_end().to_owned()
}

/// What may follow an option.
enum Value {
    None,
    File,
    Text,
}

fn value(flag: &FlagInfo) -> Value {
    match flag.kind {
        FlagInfoKind::Switch => Value::None,
        FlagInfoKind::Option { .. } if flag.long == "--config" => Value::File,
        FlagInfoKind::Option { .. } => Value::Text,
    }
}

/// The words of a fixed set that a verb takes besides its options.
fn fixed_words(verb: &CommandInfoWithArgs) -> &'static [&'static str] {
    match verb.positionals {
        [shell] if shell.name == "shell" => SHELLS,
        [what] if what.name == "what" => SCHEMAS,
        _ => &[],
    }
}

/// All ways of writing an option.
fn spellings(flag: &FlagInfo) -> Vec<String> {
    let short = flag.short.map(|letter| format!("-{letter}"));
    short.into_iter().chain([flag.long.to_owned()]).collect()
}

fn bash(arguments: &CommandInfoWithArgs) -> String {
    let verbs: Vec<&str> = arguments.commands.iter().map(|verb| verb.name).collect();
    let mut cases = String::new();
    for verb in &arguments.commands {
        cases.push_str(&bash_case(verb));
    }
    format!(
        r#"# Completions of {PROGRAM} for bash.
_postgres_source() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words= files=
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        words="{} --help"
    else
        case ${{COMP_WORDS[1]}} in
{cases}        esac
    fi
    if [ -n "$files" ]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    fi
}}
complete -F _postgres_source {PROGRAM}
"#,
        verbs.join(" ")
    )
}

/// Sets `words`, or `files` after an option that takes one.
fn bash_case(verb: &SubCommandInfo) -> String {
    let mut words: Vec<&str> = fixed_words(&verb.command).to_vec();
    let mut after = String::new();
    for flag in verb.command.flags {
        words.push(flag.long);
        let then = match value(flag) {
            Value::None => continue,
            Value::File => "files=yes",
            Value::Text => ":",
        };
        let spelled = spellings(flag).join(" | ");
        let _ = writeln!(after, "                {spelled}) {then} ;;");
    }
    format!(
        "        {})\n            case $before in\n{after}                *) words=\"{}\" ;;\n            esac\n            ;;\n",
        verb.name,
        words.join(" ")
    )
}

fn zsh(arguments: &CommandInfoWithArgs) -> String {
    let mut verbs = String::new();
    let mut cases = String::new();
    for verb in &arguments.commands {
        let says = first_sentence(verb.command.description).replace(':', "\\:");
        let _ = writeln!(
            verbs,
            "        {}",
            quoted(&format!("{}:{says}", verb.name))
        );
        let _ = write!(cases, "        {})\n            _arguments", verb.name);
        for spec in zsh_specs(&verb.command) {
            let _ = write!(cases, " \\\n                {spec}");
        }
        cases.push_str("\n            ;;\n");
    }
    format!(
        r#"#compdef {PROGRAM}
# Completions of {PROGRAM} for zsh.
_postgres_source() {{
    local -a verbs
    verbs=(
{verbs}    )
    if (( CURRENT == 2 )); then
        _describe -t verbs verb verbs
        return
    fi
    shift words
    (( CURRENT-- ))
    case $words[1] in
{cases}    esac
}}
# Called where zsh loads it by its name; to be called where it is sourced.
if [[ $funcstack[1] = _postgres-source ]]; then
    _postgres_source "$@"
else
    compdef _postgres_source {PROGRAM}
fi
"#
    )
}

/// What `_arguments` is told of each option and word.
fn zsh_specs(verb: &CommandInfoWithArgs) -> Vec<String> {
    let mut specs = Vec::new();
    for flag in verb.flags {
        let says = flag.description.replace('[', "\\[").replace(']', "\\]");
        let takes = match value(flag) {
            Value::None => String::new(),
            Value::File => ":file:_files".to_owned(),
            Value::Text => format!(":{}: ", &flag.long[2..]),
        };
        let all = spellings(flag).join(" ");
        for spelling in spellings(flag) {
            specs.push(quoted(&format!("({all}){spelling}[{says}]{takes}")));
        }
    }
    let words = fixed_words(verb).join(" ");
    for positional in verb.positionals {
        specs.push(quoted(&format!("1:{}:({words})", positional.name)));
    }
    specs
}

fn fish(arguments: &CommandInfoWithArgs) -> String {
    let mut script = format!(
        r#"# Completions of {PROGRAM} for fish.
function __postgres_source_verb
    set -l words (commandline -opc)
    test (count $words) -gt 1; and test $words[2] = $argv[1]
end
complete -c {PROGRAM} -f
"#
    );
    for verb in &arguments.commands {
        let _ = writeln!(
            script,
            "complete -c {PROGRAM} -n 'test (count (commandline -opc)) -eq 1' -a {} -d {}",
            verb.name,
            fish_quoted(first_sentence(verb.command.description))
        );
        let of_verb = format!(
            "complete -c {PROGRAM} -n '__postgres_source_verb {}'",
            verb.name
        );
        for flag in verb.command.flags {
            let short = flag.short.map(|letter| format!(" -s {letter}"));
            let takes = match value(flag) {
                Value::None => "",
                Value::File => " -r -F",
                Value::Text => " -x",
            };
            let _ = writeln!(
                script,
                "{of_verb}{} -l {}{takes} -d {}",
                short.unwrap_or_default(),
                &flag.long[2..],
                fish_quoted(flag.description)
            );
        }
        let words = fixed_words(&verb.command);
        if !words.is_empty() {
            let _ = writeln!(script, "{of_verb} -a '{}'", words.join(" "));
        }
    }
    script
}

/// The first sentence of a description: a list of verbs has no room for more.
fn first_sentence(description: &str) -> &str {
    let end = description.find(". ").unwrap_or(description.len());
    description[..end].trim_end_matches('.')
}

/// A text as one word for a shell of Bourne's kind, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A text as one word for fish, where a backslash means something between quotes too.
fn fish_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}
