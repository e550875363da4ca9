//! Sets the process up, and hands the command line to the verb that it names.

use std::ffi::OsString;
use std::panic::catch_unwind;
use std::process::ExitCode;

use postgres_source::base::{Error, Kind};
use postgres_source::commands::{Arguments, Instead, execute, print};
use postgres_source::observe::logging;
use postgres_source::sink::note_closed_stdout;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

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
    match catch_unwind(|| execute(&verb)).unwrap_or_else(bug) {
        Ok(code) => code,
        Err(error) => ended_by(&error),
    }
}

fn ended_by(error: &Error) -> ExitCode {
    logging::log_last_error(error);
    ExitCode::from(error.kind().exit_code())
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
            logging::write_past_log(&text, code);
            ExitCode::from(code)
        }
    })
}

#[ctor::ctor]
fn before_main() {
    note_closed_stdout();
}
