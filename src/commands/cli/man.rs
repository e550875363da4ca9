//! The manual page, postgres-source(1), as roff.

use std::fmt::Write;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality};

use super::{Arguments, PROGRAM};
use crate::base::error::Kind;

/// Codes that no error ends with, before and after those of `Kind`.
const OTHER_CODES: [(&str, &str); 3] = [
    ("0", "stopped by a signal, or drained (--once-drained)"),
    ("1, 2", "status: lagging, broken"),
    ("128 + n", "ended by a second signal n"),
];

const VARIABLES: &[(&str, &str)] = &[
    (
        "FLUVIO_PG_DATABASE_URL",
        "The URL of the database. A systemd credential of this name goes before it.",
    ),
    (
        "FLUVIO_PG_DATABASE_URL_FILE",
        "A file that holds the URL, where the variable above is not set.",
    ),
    (
        "FLUVIO_PG_PUBLICATION, FLUVIO_PG_SLOT",
        "Override the publication and the slot of the config file.",
    ),
    (
        "PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSWORD, PGPASSFILE, PGSSLMODE, PGSERVICE, ...",
        "What the URL leaves open, as libpq reads it.",
    ),
    (
        "FLV_PROFILE_PATH",
        "The Fluvio profile, where fluvio.endpoint is not set.",
    ),
    (
        "RUST_LOG",
        "What is logged. It goes before the key log of the config file.",
    ),
    (
        "FLUVIO_PG_LOG_FORMAT",
        "How log lines are written: text, json or journal. It goes before the key log_format of the \
         config file.",
    ),
    (
        "CREDENTIALS_DIRECTORY, STATE_DIRECTORY, NOTIFY_SOCKET, WATCHDOG_USEC",
        "Set by systemd for a service.",
    ),
];

const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGTERM, SIGINT",
        "Finish the open transaction, wait for its acknowledgement, confirm it, and exit with 0 \
         within 10 s. A second signal ends at once.",
    ),
    (
        "SIGHUP",
        "Read the config file and the URL anew, and begin a new session after the end of the open \
         transaction. It takes the log level and format, and the URL.",
    ),
];

const FILES: &[(&str, &str)] = &[
    (
        "/etc/postgres-source/NAME.yaml, /etc/postgres-source/NAME.url",
        "The config and the URL of the service postgres-source@NAME.",
    ),
    (
        "/var/lib/postgres-source/NAME",
        "The state directory of that service.",
    ),
    (
        "/usr/share/doc/postgres-source/examples/config-example.yaml",
        "Every key of the config file, explained.",
    ),
    (
        "~/.pgpass, ~/.pg_service.conf, ~/.postgresql",
        "As libpq reads them.",
    ),
    ("~/.fluvio/config", "The Fluvio profile."),
];

/// Every exit code and what it means, in their order.
pub fn exit_codes() -> Vec<(String, &'static str)> {
    let [stopped, status, signal] = OTHER_CODES.map(|(code, meaning)| (code.to_owned(), meaning));
    let kinds = Kind::ALL.map(|kind| (kind.exit_code().to_string(), kind.meaning()));
    let mut codes = vec![stopped, status];
    codes.extend(kinds);
    codes.push(signal);
    codes
}

/// The manual page, as roff.
pub fn man() -> String {
    let arguments = Arguments::get_args_info();
    let mut page = format!(
        ".TH POSTGRES\\-SOURCE 1 \"\" \"{PROGRAM} {}\" \"User Commands\"\n",
        env!("CARGO_PKG_VERSION")
    );
    section(&mut page, "NAME");
    let purpose = "PostgreSQL changes into a Fluvio topic";
    let _ = writeln!(page, "{} \\- {purpose}", escaped(PROGRAM));
    section(&mut page, "SYNOPSIS");
    for verb in &arguments.commands {
        synopsis(&mut page, &verb.command);
    }
    section(&mut page, "DESCRIPTION");
    text(&mut page, arguments.description);
    text(
        &mut page,
        "Every committed insert, update, delete and truncate becomes a JSON record, in commit order \
         and exactly once. Where slot and topic do not meet, the program says so and stops.",
    );
    section(&mut page, "VERBS");
    for verb in &arguments.commands {
        describe(&mut page, &verb.command);
    }
    section(&mut page, "CONFIG FILE");
    text(
        &mut page,
        "YAML with version, name, type: postgres-source, topic, and under parameters the \
         publication and the slot. All other keys have defaults; the example names and explains \
         each. A key that is not understood is an error. \"postgres-source config\" prints what \
         takes effect.",
    );
    section(&mut page, "ENVIRONMENT");
    list(&mut page, VARIABLES);
    section(&mut page, "EXIT STATUS");
    for (code, meaning) in exit_codes() {
        list(&mut page, &[(&code, meaning)]);
    }
    section(&mut page, "SIGNALS");
    list(&mut page, SIGNALS);
    section(&mut page, "FILES");
    list(&mut page, FILES);
    section(&mut page, "SEE ALSO");
    page.push_str(
        ".BR systemctl (1),\n.BR systemd.exec (5),\n.BR psql (1),\n.BR pg_recvlogical (1)",
    );
    page
}

fn section(page: &mut String, title: &str) {
    let _ = writeln!(page, ".SH {title}");
}

fn text(page: &mut String, text: &str) {
    let _ = writeln!(page, ".PP\n{}", escaped(text));
}

fn list(page: &mut String, entries: &[(&str, &str)]) {
    for (term, says) in entries {
        let _ = writeln!(page, ".TP\n\\fB{}\\fR\n{}", escaped(term), escaped(says));
    }
}

/// The verb on one line, with what may follow it.
fn synopsis(page: &mut String, verb: &CommandInfoWithArgs) {
    let _ = write!(
        page,
        ".PP\n\\fB{} {}\\fR",
        escaped(PROGRAM),
        escaped(verb.name)
    );
    for flag in shown(verb) {
        let spelled = spelled(flag, flag.long);
        match flag.optionality {
            Optionality::Required => write!(page, " {spelled}"),
            _ => write!(page, " [{spelled}]"),
        }
        .expect("a string takes everything");
    }
    for positional in verb.positionals {
        let _ = write!(
            page,
            " \\fI{}\\fR",
            escaped(&positional.name.to_uppercase())
        );
    }
    page.push('\n');
}

fn describe(page: &mut String, verb: &CommandInfoWithArgs) {
    let _ = writeln!(page, ".SS {}", escaped(verb.name));
    let _ = writeln!(page, "{}", escaped(verb.description));
    for flag in shown(verb) {
        let short = flag.short.map(|letter| format!("\\fB\\-{letter}\\fR, "));
        let term = short.unwrap_or_default() + &spelled(flag, flag.long);
        let _ = writeln!(page, ".TP\n{term}\n{}", escaped(flag.description));
    }
    for positional in verb.positionals {
        let name = escaped(&positional.name.to_uppercase());
        let _ = writeln!(
            page,
            ".TP\n\\fI{name}\\fR\n{}",
            escaped(positional.description)
        );
    }
}

/// The options but `--help`, which every verb has.
fn shown(verb: &CommandInfoWithArgs) -> impl Iterator<Item = &'static FlagInfo<'static>> + use<> {
    verb.flags.iter().filter(|flag| flag.long != "--help")
}

/// An option with the name of its value.
fn spelled(flag: &FlagInfo, long: &str) -> String {
    let long = escaped(long);
    match flag.kind {
        FlagInfoKind::Switch => format!("\\fB{long}\\fR"),
        FlagInfoKind::Option { arg_name } => {
            format!(
                "\\fB{long}\\fR \\fI{}\\fR",
                escaped(&arg_name.to_uppercase())
            )
        }
    }
}

/// Text in which roff finds nothing to obey: hyphens stay those of the keyboard, and a dot or a
/// quote at the start of a line makes no request of it.
fn escaped(text: &str) -> String {
    let text = text
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('~', "\\(ti");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}
