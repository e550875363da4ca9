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
//! Two threads and one direction (others only give a watchdog its signs of life, show metrics, or ask whom
//! a statement waits for). Each owns its socket; nothing is shared but the channel and one
//! position, up to which everything is stored. Only that is confirmed to PostgreSQL, so whatever
//! dies, what was not stored comes again; and what the topic has of it already is dropped. A session
//! that fails is thrown away whole and opened anew. The memory is the slot and the end of the topic;
//! a small file, if there is a place for one, only notices what was changed behind their backs.
//!
//! What the program does not do: copy the rows that are there when it starts, transform records,
//! or decode a transaction before it is committed.
//!
//! The rooms in reading order, each naming only those above it (a test holds this):
//!
//! | room | what is there |
//! |---|---|
//! | [`base`] | errors, positions in the WAL, names of hosts, files, signals, TLS |
//! | [`pg`] | the blocking client of PostgreSQL, of use by itself |
//! | [`change`] | what happened: events, the tables that they are about, and the batches that carry them |
//! | [`record`] | what is written of a change, and its place in the stream read back |
//! | [`sink`] | where records are written: a topic, or standard output |
//! | [`observe`] | what people and programs see: metrics, the log, the service manager, what is waited for |
//! | [`config`] | the YAML file → a valid, typed configuration |
//! | [`pipeline`] | both sides opened, the two threads, and what makes it exactly once |
//! | [`commands`] | the verbs, and the command line |

pub mod base;
pub mod change;
pub mod commands;
pub mod config;
pub mod observe;
pub mod pg;
pub mod pipeline;
pub mod record;
pub mod sink;
