//! Log lines on standard error: as text, as JSON, or with the priorities of the journal.
//!
//! The form is that of `FLUVIO_PG_LOG_FORMAT`, else of the config, else what standard error wants. It
//! and the level may change while the program runs.

mod format;

pub use format::Format;

use std::any::Any;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::panic;
use std::sync::atomic::{AtomicU8, Ordering};

use env_logger::{Builder, DEFAULT_FILTER_ENV, Logger};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::base::error::{Error, Kind};
use crate::base::printable::{Printable, Shortened};

/// The variable that goes before the config, and counts before that can be read.
pub const FORMAT_VARIABLE: &str = "FLUVIO_PG_LOG_FORMAT";

/// The level without `RUST_LOG` and without one in the config.
const DEFAULT_LEVEL: LevelFilter = LevelFilter::Info;

/// The target of lines that are of the program as a whole.
const PROGRAM: &str = "postgres_source";

/// The length at which a line is cut. The journal makes two of one that has more than 48 KiB
/// (`LineMax=`), and takes what the second begins with for its priority.
const MAX_LINE_BYTES: usize = 16 * 1024;

/// The format of lines, which may change.
static FORMAT: AtomicU8 = AtomicU8::new(Format::Text as u8);

/// Text is written as the library does it, with its colours on a terminal.
struct Lines {
    /// The logger of text, which also knows what is wanted.
    text: Logger,
    other: Logger,
}

/// Starts logging, at the default level until the config is read.
pub fn begin() {
    use_format(None);
    let mut text = Builder::from_default_env();
    if !is_filtered() {
        text.filter_level(LevelFilter::Trace);
    }
    let mut other = Builder::new();
    other.filter_level(LevelFilter::Trace);
    other.format(|out, record| current().write(out, record));
    let lines = Lines {
        text: text.build(),
        other: other.build(),
    };
    let level = match is_filtered() {
        true => lines.text.filter(),
        false => DEFAULT_LEVEL,
    };
    // It fails if there is one already, and then that one goes on.
    if log::set_boxed_logger(Box::new(lines)).is_ok() {
        log::set_max_level(level);
    }
    panic::set_hook(Box::new(|panic| {
        let place = panic.location();
        let line = bug(
            panic.payload(),
            &place.map_or("?".to_owned(), ToString::to_string),
        );
        log_at_any_level(&line, Kind::Bug.exit_code());
    }));
}

/// The line of a panic: its words only where they stand in the source, since others may quote a
/// value.
fn bug(payload: &dyn Any, place: &str) -> String {
    match payload.downcast_ref::<&'static str>() {
        Some(words) => format!("panic at {place}: {words}"),
        None => format!("panic at {place}"),
    }
}

/// Takes the level of the config, unless `RUST_LOG` has the say.
pub fn use_level(configured: Option<LevelFilter>) {
    if !is_filtered() {
        log::set_max_level(configured.unwrap_or(DEFAULT_LEVEL));
    }
}

/// Takes the format of the config, unless the environment has the say. One that is not understood
/// there is an error of the config, which is reported in the form that it would have without.
pub fn use_format(configured: Option<Format>) {
    let in_environment = std::env::var(FORMAT_VARIABLE);
    let in_environment = in_environment
        .ok()
        .and_then(|text| Format::parse(&text).ok());
    let format = in_environment
        .or(configured)
        .unwrap_or_else(|| match is_journal() {
            true => Format::Journal,
            false => Format::Text,
        });
    FORMAT.store(format as u8, Ordering::Relaxed);
}

/// Logs the error that ends the program, which no level hides.
pub fn log_last_error(error: &Error) {
    log_at_any_level(&error.to_string(), error.kind().exit_code());
}

fn log_at_any_level(line: &str, exit_code: u8) {
    match log::log_enabled!(target: PROGRAM, Level::Error) {
        true => log::error!(target: PROGRAM, exit_code; "{line}"),
        false => write_past_log(&format!("postgres-source: {line}"), exit_code),
    }
}

/// Writes an error to standard error, past the log and in its form.
pub fn write_past_log(message: &str, exit_code: u8) {
    let mut line = Vec::new();
    let message = Shortened(message, MAX_LINE_BYTES).to_string();
    let written = match current() {
        // The help has lines of its own.
        Format::Text => message
            .lines()
            .try_for_each(|part| writeln!(line, "{}", Printable(part))),
        other => other.write(
            &mut line,
            &Record::builder()
                .level(Level::Error)
                .target(PROGRAM)
                .key_values(&("exit_code", exit_code))
                .args(format_args!("{message}"))
                .build(),
        ),
    };
    // That nobody reads it is no error of its own.
    let _ = written.and_then(|()| io::stderr().write_all(&line));
}

fn current() -> Format {
    match FORMAT.load(Ordering::Relaxed) {
        format if format == Format::Json as u8 => Format::Json,
        format if format == Format::Journal as u8 => Format::Journal,
        _ => Format::Text,
    }
}

impl Lines {
    fn current(&self) -> &Logger {
        match current() {
            Format::Text => &self.text,
            Format::Json | Format::Journal => &self.other,
        }
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.text.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.text.matches(record) {
            return;
        }
        let mut builder = Record::builder();
        builder
            .metadata(record.metadata().clone())
            .module_path(record.module_path())
            .file(record.file())
            .line(record.line())
            .key_values(record.key_values());
        let line = Shortened(record.args(), MAX_LINE_BYTES);
        let logger = self.current();
        match current() {
            // It has an escape of its own, which its readers undo.
            Format::Json => logger.log(&builder.args(format_args!("{line}")).build()),
            Format::Text | Format::Journal => {
                let line = Printable(line);
                logger.log(&builder.args(format_args!("{line}")).build());
            }
        }
    }

    fn flush(&self) {
        self.current().flush();
    }
}

/// Whether `RUST_LOG` has the say. An empty one says nothing, least of all that only errors are
/// wanted.
fn is_filtered() -> bool {
    let filter = std::env::var_os(DEFAULT_FILTER_ENV);
    filter.is_some_and(|filter| !filter.is_empty())
}

/// Whether standard error is what `JOURNAL_STREAM` names by device and inode ([systemd.exec(5)](
/// https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#%24JOURNAL_STREAM)).
/// The variable alone does not tell: it is inherited by whatever runs under a service.
fn is_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let metadata = stderr.and_then(|stderr| File::from(stderr).metadata());
    metadata.is_ok_and(|found| named == format!("{}:{}", found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_quotes_no_value() {
        let words_of = |code: fn()| match panic::catch_unwind(code) {
            Ok(()) => panic!("it should"),
            Err(payload) => bug(&*payload, "src/x.rs:1:2"),
        };
        let in_source = words_of(|| panic!("words of the source"));
        assert_eq!(in_source, "panic at src/x.rs:1:2: words of the source");
        let value = words_of(|| {
            let row = std::hint::black_box("a réseau");
            assert!(row[..4].is_empty());
        });
        assert_eq!(value, "panic at src/x.rs:1:2");
    }
}
