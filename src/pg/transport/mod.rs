//! The bytes to and from a server: its addresses, its sockets and their encryption.

pub mod encryption;
pub mod resolve;
pub mod stream;
pub mod tls;
