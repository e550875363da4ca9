//! A blocking client of PostgreSQL's logical replication, of use by itself.
//!
//! In reading order: [`wire`] reads fields, [`pgoutput`] the messages that matter; [`params`] says
//! whom to connect to, [`ssl`] what is asked of TLS there, and [`resolve`] at which addresses;
//! [`stream`] moves bytes, [`tls`] and [`encryption`] protect them, and [`frames`] cuts them into
//! messages; [`auth`] proves who we are, with [`scram`] and [`saslprep`] for the most part.
//! [`connection`] is what there is then, [`start_up`] the way there, [`pinned`] what the session is held
//! to, [`notices`] what the server says unasked, and [`search`] finds the server that takes us; [`cancel`]
//! ends what a connection waits for, and [`blocked`] tells whom that is. [`sql`] asks the server,
//! [`wal_files`] looks whether its WAL is there, [`system`] is what it says of itself, [`replication`]
//! streams, and [`peek`] looks at a slot
//! without taking anything.

pub mod auth;
pub mod catalog;
pub mod connection;
pub mod params;
pub mod replication;
pub mod sql;
pub mod transport;
pub mod wire;
