//! The verbs, each in a file of its name or a line here, and the command line that names them.

mod accept_gap;
mod check;
mod cli;
mod config;
mod lanes;
mod peek;
mod plan;
mod run;
mod schema;
mod setup;
mod status;
mod teardown;
mod verify;

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

pub use self::check::condition::CONDITIONS;
use self::cli::PROGRAM;
pub use self::cli::{Arguments, Instead, Verb, exit_codes, man};
use crate::base::error::{Error, Kind, Result};
use crate::base::printable;
use crate::base::signals::Signals;
use crate::config::{Config, ConfigText};
use crate::observe::logging;
use crate::observe::notify::Notify;
use crate::observe::waiting::Onlookers;
use crate::sink::stdout::StandardOutput;

/// Does what a command line says, and returns the exit code of the process.
pub fn execute(verb: &Verb) -> Result<ExitCode> {
    match verb {
        Verb::Run(arguments) => run::run(arguments)?,
        Verb::Check(arguments) => check::check(arguments)?,
        Verb::Config(arguments) => config::config(arguments)?,
        Verb::Peek(arguments) => peek::peek(arguments)?,
        Verb::Schema(arguments) => print(arguments.what.schema().trim_end())?,
        Verb::Setup(arguments) => setup::setup(arguments)?,
        Verb::Status(arguments) => return status::status(arguments),
        Verb::Teardown(arguments) => teardown::teardown(arguments)?,
        Verb::Verify(arguments) => verify::verify(arguments)?,
        Verb::AcceptGap(arguments) => accept_gap::accept_gap(arguments)?,
        Verb::Completions(arguments) => print(&cli::completions(arguments.shell))?,
        Verb::Man(_) => print(&man())?,
        Verb::Version(_) => print(&format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION")))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes lines to standard output. A verb whose words nobody gets has failed.
pub fn print(lines: &str) -> Result<()> {
    StandardOutput::open()?.print(lines)
}

/// Writes what was found, for people or for programs.
fn print_as(found: &(impl Display + Serialize), as_json: bool) -> Result<()> {
    let json = serde_json::to_string_pretty(found)
        .map_err(|e| Error::new(Kind::Bug, "cannot write the report").with_source(e))?;
    print(&match as_json {
        true => printable::json(&json),
        false => found.to_string(),
    })
}

/// Reads the config at a start. What is wrong with it is told in the form that it asks for.
fn load(path: &Path) -> Result<Config> {
    let text = ConfigText::read(path)?;
    logging::use_format(text.log_format());
    let config = text.config()?;
    logging::use_level(config.log);
    Ok(config)
}

/// The onlookers of a command: a signal ends what it waits for.
fn onlookers() -> Result<Onlookers> {
    Ok(Onlookers {
        signals: Signals::listen_for_a_command()?,
        notify: Notify::default(),
    })
}
