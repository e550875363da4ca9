//! Arguments → config → logging → run → exit code.

use std::ffi::OsString;
use std::fmt::Display;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;

use postgres_source::base::error::{Error, Kind, Result};
use postgres_source::base::printable;
use postgres_source::base::signals::Signals;
use postgres_source::commands::accept_gap::accept_gap;
use postgres_source::commands::check::check;
use postgres_source::commands::cli::{
    AcceptGap, Arguments, Check, Instead, PROGRAM, Peek, Run, Setup, ShowConfig, Status, Teardown,
    Verb, Verify, completions, man,
};
use postgres_source::commands::peek::{Scope, peek};
use postgres_source::commands::provision::{Publication, setup_plan, teardown_plan};
use postgres_source::commands::status::status;
use postgres_source::commands::verify::verify;
use postgres_source::config::{Config, ConfigText};
use postgres_source::observe::logging;
use postgres_source::observe::notify::Notify;
use postgres_source::observe::waiting::Onlookers;
use postgres_source::pipeline::run::{Attempts, Surroundings, run};
use postgres_source::pipeline::session::Output;
use postgres_source::sink::stdout::StandardOutput;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use serde::Serialize;

/// That of musl has one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    forbid_core_dumps();
    logging::begin();
    let verb = match arguments() {
        Ok(arguments) => arguments.verb,
        Err(code) => return code,
    };
    // The log has it already.
    let bug = |_| Ok(ExitCode::from(Kind::Bug.exit_code()));
    match catch_unwind(|| execute(verb)).unwrap_or_else(bug) {
        Ok(code) => code,
        Err(error) => ended_by(&error),
    }
}

fn ended_by(error: &Error) -> ExitCode {
    logging::last_word(error);
    ExitCode::from(error.kind().exit_code())
}

fn execute(verb: Verb) -> Result<ExitCode> {
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    match verb {
        Verb::Run(arguments) => done(start(&arguments)),
        Verb::Check(arguments) => done(look(&arguments)),
        Verb::Config(arguments) => done(show(&arguments)),
        Verb::Peek(arguments) => done(look_ahead(&arguments)),
        Verb::Schema(arguments) => done(print(arguments.what.schema().trim_end())),
        Verb::Setup(arguments) => done(set_up(&arguments)),
        Verb::Status(arguments) => tell(&arguments),
        Verb::Teardown(arguments) => done(tear_down(&arguments)),
        Verb::Verify(arguments) => done(read(&arguments)),
        Verb::AcceptGap(arguments) => done(accept(&arguments)),
        Verb::Completions(arguments) => done(print(&completions(arguments.shell))),
        Verb::Man(_) => done(print(&man())),
        Verb::Version(_) => done(print(&format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION")))),
    }
}

/// A core dump would hold the password and rows, in a file that stays when both are long forgotten. What
/// takes dumps through a pipe is not kept from it by a limit; and what is not to be dumped is not to be
/// looked into either, by another process of the same user.
fn forbid_core_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Nobody is kept from having less than the limit allows.
    let _ = setrlimit(Resource::Core, none);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// The command line; or the exit code, once the help or the error is printed.
fn arguments() -> std::result::Result<Arguments, ExitCode> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    Arguments::parse_os(&words).map_err(|instead| match instead {
        Instead::Help(text) => match print(&text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => ended_by(&error),
        },
        Instead::Wrong(text) => {
            let code = Kind::Usage.exit_code();
            logging::complain(&text, code);
            ExitCode::from(code)
        }
    })
}

fn start(arguments: &Run) -> Result<()> {
    let config = load(&arguments.config)?;
    let output = if arguments.stdout {
        Output::Stdout
    } else {
        Output::Topic
    };
    let attempts = match (arguments.once_drained, arguments.once) {
        (true, _) => Attempts::OnceDrained,
        (false, true) => Attempts::Once,
        (false, false) => Attempts::Unlimited,
    };
    let surroundings = Surroundings {
        signals: Signals::listen()?,
        notify: Notify::from_environment(),
        reload: &|| reload(&arguments.config),
    };
    run(&config, output, attempts, &surroundings)
}

fn look(arguments: &Check) -> Result<()> {
    if arguments.json && arguments.sql {
        return Err(Error::new(Kind::Usage, "--json or --sql, not both"));
    }
    let config = load(&arguments.config)?;
    let report = check(&config, &arguments.config);
    print(&match (arguments.json, arguments.sql) {
        (true, _) => report.json()?,
        (_, true) => report.sql(),
        _ => report.to_string(),
    })?;
    report.result()
}

fn show(arguments: &ShowConfig) -> Result<()> {
    print(&load(&arguments.config)?.effective()?)
}

fn look_ahead(arguments: &Peek) -> Result<()> {
    let config = load(&arguments.config)?;
    let scope = match arguments.follow {
        true => Scope::Following,
        false => Scope::Pending,
    };
    peek(&config, scope, arguments.number)
}

fn accept(arguments: &AcceptGap) -> Result<()> {
    let config = load(&arguments.config)?;
    accept_gap(&config, &arguments.reason, onlookers()?)
}

/// Those of a command: a signal ends what it waits for.
fn onlookers() -> Result<Onlookers> {
    Ok(Onlookers {
        signals: Signals::listen_for_a_command()?,
        notify: Notify::default(),
    })
}

fn set_up(arguments: &Setup) -> Result<()> {
    let config = load(&arguments.config)?;
    let plan = setup_plan(&config)?;
    print(&plan.to_string())?;
    match arguments.dry_run {
        true => Ok(()),
        false => plan.set_up(&config, &onlookers()?),
    }
}

fn tear_down(arguments: &Teardown) -> Result<()> {
    let config = load(&arguments.config)?;
    let publication = match arguments.keep_publication {
        true => Publication::Keep,
        false => Publication::Drop,
    };
    let plan = teardown_plan(&config, publication)?;
    print(&plan.to_string())?;
    if !arguments.yes {
        return Err(
            Error::new(Kind::Usage, "nothing was removed").with_hint("\"teardown --yes\" does it")
        );
    }
    plan.tear_down(&onlookers()?)
}

fn tell(arguments: &Status) -> Result<ExitCode> {
    let config = load(&arguments.config)?;
    let status = status(&config);
    print_as(&status, arguments.json)?;
    Ok(ExitCode::from(status.status.exit_code()))
}

fn read(arguments: &Verify) -> Result<()> {
    let config = load(&arguments.config)?;
    let report = verify(&config.fluvio, arguments.from)?;
    print_as(&report, arguments.json)?;
    report.result()
}

/// What was found, for people or for programs.
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

/// Reads the config anew: one that is wrong changes nothing.
fn reload(path: &Path) -> Result<Config> {
    let config = Config::load(path)?;
    logging::use_format(config.log_format);
    logging::use_level(config.log);
    Ok(config)
}

/// Lines on standard output. A verb whose words nobody gets has failed.
fn print(lines: &str) -> Result<()> {
    StandardOutput::open()?.print(lines)
}

#[ctor::ctor]
fn before_main() {
    postgres_source::sink::stdout::look_before_main();
}
