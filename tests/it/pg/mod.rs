//! The client of PostgreSQL: the wire, the parameters, authentication, TLS, connections, the stream.
//!
//! - `decoder`: recorded messages of a real server, whole and damaged
//! - `url`: what the database URL leaves open, and which of several servers is taken
//! - `password_command`: what a `password_command` starts, and what it inherits
//! - `auth`: who is let in and who is not, by real servers and by scripted ones
//! - `auth_script`: servers that let nobody in, each in its own way
//! - `saslprep`: passwords that are not plain ASCII, and what the server makes of them
//! - `tls`: TLS with real servers, beside psql, which must end the same
//! - `tls_script`: servers that answer a request for TLS, or ask for a password, as none should
//! - `tls_session`: whole sessions over TLS
//! - `notices`: what a server says unasked, and how much of it the log has
//! - `role_settings`: whatever ALTER ROLE and ALTER DATABASE can set, on a primary and a standby
//! - `timeouts`: limits of time that a role has, which the stream must outlast
//! - `planted`: functions and operators of others in the path, which nothing of ours calls
//! - `triggers`: code of users that refuses us, and logins that are refused for a time
//! - `session_script`: servers that fail in the midst of a session
//! - `hostile`: servers that mean harm, or are out of their mind

mod auth;
mod auth_script;
pub mod decoder;
mod hostile;
mod notices;
mod password_command;
mod planted;
mod role_settings;
mod saslprep;
mod session_script;
mod timeouts;
pub mod tls;
mod tls_script;
mod tls_session;
mod triggers;
mod url;
