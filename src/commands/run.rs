//! `run`: streams until stopped.

use std::path::Path;

use super::cli::Run;
use super::load;
use crate::base::error::Result;
use crate::base::signals::Signals;
use crate::config::Config;
use crate::observe::logging;
use crate::observe::notify::Notify;
use crate::pipeline::run::{Attempts, Surroundings};
use crate::pipeline::session::Output;

/// Runs as the config says, and the arguments.
pub fn run(arguments: &Run) -> Result<()> {
    let config = load(&arguments.config)?;
    let output = match arguments.stdout {
        true => Output::Stdout,
        false => Output::Topic,
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
    crate::pipeline::run::run(&config, output, attempts, &surroundings)
}

/// Reads the config anew: one that is wrong changes nothing.
fn reload(path: &Path) -> Result<Config> {
    let config = Config::load(path)?;
    logging::use_format(config.log_format);
    logging::use_level(config.log);
    Ok(config)
}
