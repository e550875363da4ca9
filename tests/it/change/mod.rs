//! What happened: the events, and the tables that they are about.
//!
//! - `ddl`: definitions that change while rows stream, and the messages that they cause
//! - `identity`: what updates and deletes carry of the old row
//! - `messages`: messages of pg_logical_emit_message as events, and each of them once

mod ddl;
mod identity;
mod messages;
