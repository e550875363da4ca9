//! The config file and the state file.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::condition::Condition;
use super::report::{Mend, Report};
use crate::base::error::Result;
use crate::base::input;
use crate::base::shell;
use crate::config::file::File;
use crate::config::{Config, secret};
use crate::pipeline::resume::state_file::{Known, StateFile};

/// Looks at the config file and the state file; returns what the latter says.
pub fn check(report: &mut Report, config: &Config, path: &Path) -> Option<Known> {
    permissions(report, path);
    match state(report, config) {
        Ok(known) => known,
        Err(error) => {
            report.error(Condition::StateDir, &error);
            None
        }
    }
}

fn permissions(report: &mut Report, path: &Path) {
    let condition = Condition::ConfigPermissions;
    // A pipe has been read, and lies nowhere.
    let text = match path.is_file() {
        true => input::read_text(path, input::CONFIG_BYTES).unwrap_or_default(),
        false => String::new(),
    };
    let file = File::parse(&text).ok();
    let in_config = file.as_ref().and_then(File::database_url);
    let holding = secret::files(in_config, path);
    let is_readable = |path: &&PathBuf| mode(path) & 0o044 != 0;
    let readable: Vec<&PathBuf> = holding.iter().filter(is_readable).collect();
    match readable.first() {
        None if holding.is_empty() => report.ok(condition, "no file holds the database URL"),
        None => report.ok(condition, "the database URL is for the owner alone"),
        Some(first) => report.warning(
            condition,
            format!(
                "{} holds the database URL, and others can read it",
                first.display()
            ),
            readable
                .iter()
                .map(|path| Mend::shell(format!("chmod 600 {}", quote(path)))),
        ),
    }
}

fn state(report: &mut Report, config: &Config) -> Result<Option<Known>> {
    let Some(directory) = &config.state_dir else {
        report.ok(
            Condition::StateDir,
            "none: what is done behind the program's back is only noticed while it runs",
        );
        return Ok(None);
    };
    let file = StateFile::of(directory, &config.slot);
    file.check_writable()?;
    let known = file.read()?;
    let found = match &known {
        Some(known) => format!("confirmed {}", known.confirmed),
        None => "nothing known of the slot yet".to_owned(),
    };
    report.ok(
        Condition::StateDir,
        format!("{}: {found}", directory.display()),
    );
    Ok(known)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode())
}

/// A path, quoted for a shell.
pub fn quote(path: &Path) -> String {
    shell::quote(&path.display().to_string())
}
