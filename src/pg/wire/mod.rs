//! Pure bytes: fields, frames, the plugin's messages and the server's errors.

pub mod cursor;
pub mod frames;
pub mod pgoutput;
pub mod server_error;
