//! The command line: what may be said, from which the help is made.

mod completions;
mod man;

pub use completions::{Shell, completions};
pub use man::{exit_codes, man};

use std::borrow::Cow;
use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use crate::commands::schema::SchemaOf;

/// The name that the program calls itself by.
pub const PROGRAM: &str = "postgres-source";

/// Why no arguments came of a command line.
pub enum Instead {
    /// The command line asked for this help.
    Help(String),
    /// What is wrong with the command line.
    Wrong(String),
}

impl Arguments {
    /// Understands a command line as the system gives it. Only paths need not be UTF-8.
    pub fn parse_os(words: &[OsString]) -> Result<Arguments, Instead> {
        let as_text: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let texts: Vec<&str> = as_text.iter().map(Cow::as_ref).collect();
        let mut arguments = Self::parse(&texts)?;
        if let Some(path) = arguments.verb.config_mut()
            && let Some(at) = texts.iter().position(|text| path.as_os_str() == *text)
        {
            *path = PathBuf::from(&words[at]);
        }
        Ok(arguments)
    }

    /// Understands a command line without its first word.
    pub fn parse(words: &[&str]) -> Result<Arguments, Instead> {
        // As every program has it.
        let words = match words {
            ["--version" | "-V"] => &["version"],
            others => others,
        };
        Arguments::from_args(&[PROGRAM], words).map_err(|early| {
            let text = early.output.trim_end().to_owned();
            match early.status {
                Ok(()) => Instead::Help(text),
                Err(()) => Instead::Wrong(text),
            }
        })
    }
}

/// Reads the logical replication stream of a PostgreSQL database into a Fluvio topic.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
pub struct Arguments {
    #[argh(subcommand)]
    #[allow(missing_docs)]
    pub verb: Verb,
}

/// What is to be done, one variant for each verb.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
#[allow(missing_docs)]
pub enum Verb {
    Run(Run),
    Check(Check),
    Config(ShowConfig),
    Peek(Peek),
    Schema(Schema),
    Setup(Setup),
    Status(Status),
    Teardown(Teardown),
    Verify(Verify),
    AcceptGap(AcceptGap),
    Completions(Completions),
    Man(Man),
    Version(Version),
}

impl Verb {
    fn config_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Verb::Run(Run { config, .. })
            | Verb::Check(Check { config, .. })
            | Verb::Config(ShowConfig { config, .. })
            | Verb::Peek(Peek { config, .. })
            | Verb::Setup(Setup { config, .. })
            | Verb::Status(Status { config, .. })
            | Verb::Teardown(Teardown { config, .. })
            | Verb::Verify(Verify { config, .. })
            | Verb::AcceptGap(AcceptGap { config, .. }) => Some(config),
            Verb::Schema(_) | Verb::Completions(_) | Verb::Man(_) | Verb::Version(_) => None,
        }
    }
}

/// Stream until stopped.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "run",
    note = "Exit codes: EXIT STATUS in the manual page, \"postgres-source man\"."
)]
pub struct Run {
    /// the config file
    #[argh(option, short = 'c')]
    pub config: PathBuf,

    /// write the records to standard output, one a line, instead of the topic
    #[argh(switch)]
    pub stdout: bool,

    /// end at the first failure instead of trying again
    #[argh(switch)]
    pub once: bool,

    /// end with 0 once everything is delivered that the server has at the start, and at the first
    /// failure; with 75 when another process reads the slot
    #[argh(switch)]
    pub once_drained: bool,
}

/// Look at everything that a run needs, change nothing, and say what mends what is wrong. The exit
/// code is 0 if nothing fails, warnings or not; otherwise what "run" would end with for the first
/// failure.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "check",
    note = "Exit codes: EXIT STATUS in the manual page, \"postgres-source man\"."
)]
pub struct Check {
    /// the config file
    #[argh(option, short = 'c')]
    pub config: PathBuf,

    /// print the report as JSON
    #[argh(switch)]
    pub json: bool,

    /// print only the SQL that mends, in the order to run it
    #[argh(switch)]
    pub sql: bool,
}

/// Print the config as it takes effect, the environment and the defaults included, without secrets.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "config",
    note = "Exit codes: EXIT STATUS in the manual page, \"postgres-source man\"."
)]
pub struct ShowConfig {
    /// the config file
    #[argh(option, short = 'c')]
    pub config: PathBuf,
}

/// Show what is pending for the connector, as JSON records, one a line, and leave it pending. A
/// connector that runs is not disturbed.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "peek",
    note = "Exit codes: EXIT STATUS in the manual page, \"postgres-source man\"."
)]
pub struct Peek {
    /// the config file
    #[argh(option, short = 'c')]
    pub config: PathBuf,

    /// how many records at the most; 10 without it, or with "--follow" no limit
    #[argh(option, short = 'n')]
    pub number: Option<NonZeroU32>,

    /// go on with what is committed later, until stopped
    #[argh(switch)]
    pub follow: bool,
}

/// Print a JSON Schema: "schema events" or "schema rows" of the records, by their format, "schema
/// config" of the config file.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "schema",
    note = "Exit codes: EXIT STATUS in the manual page, \"postgres-source man\"."
)]
pub struct Schema {
    /// events, rows or config
    #[argh(positional)]
    pub what: SchemaOf,
}

/// Print the SQL that makes what is missing, publication and slot, and run it.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "setup",
    note = "Exit codes: EXIT STATUS in the manual page, \"postgres-source man\"."
)]
pub struct Setup {
    /// the config file
    #[argh(option, short = 'c')]
    pub config: PathBuf,

    /// only print the SQL
    #[argh(switch)]
    pub dry_run: bool,
}

/// Print the SQL that removes slot and publication, and what is given up; with "--yes", run it.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "teardown",
    note = "Exit codes: EXIT STATUS in the manual page, \"postgres-source man\"."
)]
pub struct Teardown {
    /// the config file
    #[argh(option, short = 'c')]
    pub config: PathBuf,

    /// do it
    #[argh(switch)]
    pub yes: bool,

    /// leave the publication
    #[argh(switch)]
    pub keep_publication: bool,
}

/// Say how the connector is. The exit code is 0 if it is healthy, 1 if the topic is further behind
/// than "max_lag", 2 if something is missing, lost, or cannot be asked.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "status",
    note = "Exit codes: EXIT STATUS in the manual page, \"postgres-source man\"."
)]
pub struct Status {
    /// the config file
    #[argh(option, short = 'c')]
    pub config: PathBuf,

    /// print JSON
    #[argh(switch)]
    pub json: bool,

    /// show each partition that is written, and not only the one that is furthest behind
    #[argh(switch)]
    pub lanes: bool,
}

/// Read all partitions that the config has, or those of one topic, and report whatever this program
/// would never have written.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "verify",
    note = "Exit codes: EXIT STATUS in the manual page, \"postgres-source man\"."
)]
pub struct Verify {
    /// the config file
    #[argh(option, short = 'c')]
    pub config: PathBuf,

    /// only this topic, be it in the config or not
    #[argh(option)]
    pub topic: Option<String>,

    /// only this partition of the topic
    #[argh(option)]
    pub partition: Option<u32>,

    /// the first offset to read of one partition; its first if there is none
    #[argh(option)]
    pub from: Option<i64>,

    /// print the report as JSON
    #[argh(switch)]
    pub json: bool,
}

/// Continue although changes are missing: say what is given up and write it into the state file.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "accept-gap",
    note = "Exit codes: EXIT STATUS in the manual page, \"postgres-source man\"."
)]
pub struct AcceptGap {
    /// the config file
    #[argh(option, short = 'c')]
    pub config: PathBuf,

    /// why, for the record
    #[argh(option)]
    pub reason: String,
}

/// Print the script that lets a shell complete the verbs and options of this program.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "completions",
    note = "Exit codes: EXIT STATUS in the manual page, \"postgres-source man\"."
)]
pub struct Completions {
    /// bash, zsh or fish
    #[argh(positional)]
    pub shell: Shell,
}

/// Print the manual page, as roff.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "man",
    note = "Exit codes: EXIT STATUS in the manual page, \"postgres-source man\"."
)]
pub struct Man {}

/// Print the version.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "version",
    note = "Exit codes: EXIT STATUS in the manual page, \"postgres-source man\"."
)]
pub struct Version {}
