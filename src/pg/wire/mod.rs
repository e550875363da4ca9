//! Pure bytes: fields, frames, the plugin's messages and the server's errors.

pub(crate) mod cursor;
pub(crate) mod frames;
pub(crate) mod pgoutput;
pub(crate) mod server_error;
