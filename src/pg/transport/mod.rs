//! The bytes to and from a server: its addresses, its sockets and their encryption.

pub(crate) mod encryption;
pub(crate) mod resolve;
pub(crate) mod stream;
pub(crate) mod tls;
