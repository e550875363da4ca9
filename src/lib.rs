//! Reads the logical replication stream of a PostgreSQL database and writes every committed change
//! as a JSON record into a Fluvio topic.
//!
//! ```text
//!  PostgreSQL walsender                                                     Fluvio SPU
//!      │  copy-both stream                                                      ▲ produce, acknowledged
//!      ▼                                                                        │
//! ┌─ reader (main thread) ───────────────┐   bounded channel   ┌─ producer thread ─────────────┐
//! │ frames → pgoutput message → event    │ ─ Batch of events ─▶│ events → JSON → sink.write    │
//! │ owns: socket, catalog, position,     │                     │ owns: the sink                │
//! │       open batch                     │ ◀─ Progress (LSN) ─ │ sink.flush → Progress         │
//! │ sends: standby status                │                     │                               │
//! └──────────────────────────────────────┘                     └───────────────────────────────┘
//! ```
//!
//! Two threads and one direction. Each owns its socket; nothing is shared but the channel and one
//! number, the position up to which everything is stored. Only that is confirmed to PostgreSQL, so
//! whatever dies, what was not stored comes again. A session that fails is thrown away whole and
//! opened anew; the only memory is the slot and the topic.
//!
//! What the program does not do: copy the rows that are there when it starts, transform records,
//! or decode a transaction before it is committed.
//!
//! In reading order, each naming only those before it (a test holds this):
//!
//! | module | purpose |
//! |---|---|
//! | [`lsn`], [`error`] | a position in the WAL; what went wrong, where, and what to do |
//! | [`pg`] | the blocking replication client, of use by itself |
//! | [`relation`], [`event`] | tables as the server described them; batches of events |
//! | [`json`] | the record of an event |
//! | [`sink`] | where records go: a topic, or standard output |
//! | [`progress`] | the one number that goes back |
//! | [`config`] | the YAML file → a valid, typed configuration |
//! | [`setup`] | making the publication and the slot |
//! | [`signals`] | SIGTERM and SIGINT |
//! | [`position`], [`summary`] | where the reader is and what it may confirm; its log line |
//! | [`reader`], [`producer`] | the two threads |
//! | [`run`] | one session, and the only retry loop |

pub mod accept;
pub mod config;
pub mod continuity;
pub mod error;
pub mod event;
pub mod json;
pub mod lsn;
pub mod pg;
pub mod position;
pub mod producer;
pub mod progress;
pub mod reader;
pub mod record;
pub mod relation;
pub mod resume;
pub mod run;
pub mod session;
pub mod setup;
pub mod signals;
pub mod sink;
pub mod state;
pub mod summary;
pub mod tail;
pub mod verify;
