//! `config`: the configuration as it takes effect.

use super::cli::ShowConfig;
use super::{load, print};
use crate::base::error::Result;

/// Prints the config, the environment and the defaults included, without secrets.
pub fn config(arguments: &ShowConfig) -> Result<()> {
    print(&load(&arguments.config)?.effective()?)
}
