//! The command line.
//!
//! - `arguments`: arguments, outputs, log levels and exit codes of the program
//! - `completions`: what the shells offer that read the program's scripts
//! - `man`: the manual page, beside the command line and the README

mod arguments;
mod completions;
mod man;
