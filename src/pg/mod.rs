//! A blocking client of PostgreSQL's logical replication, of use by itself.
//!
//! In reading order: [`wire`] reads fields, [`pgoutput`] the messages that matter; [`target`] says
//! whom to connect to, [`ssl`] what is asked of TLS there, and [`resolve`] at which addresses; [`stream`] moves bytes and [`frames`] cuts them into messages; [`auth`]
//! proves who we are; [`connection`] puts these together, [`system`] is what a server says
//! of itself, and [`replication`] streams.

pub mod auth;
pub mod connection;
pub mod frames;
pub mod pgoutput;
pub mod replication;
pub mod resolve;
pub mod server_error;
pub mod ssl;
pub mod stream;
pub mod system;
pub mod target;
pub mod wire;
