//! Reads the logical replication stream of a PostgreSQL database and writes every committed change
//! as a JSON record into Fluvio.
//!
//! ```text
//!  PostgreSQL walsender                                                     Fluvio SPUs
//!      │  copy-both stream                                                      ▲ produce, acknowledged
//!      ▼                                                                        │
//! ┌─ reader (main thread) ───────────────┐   bounded channel   ┌─ producer thread ─────────────┐
//! │ frames → pgoutput message → event    │ ─ Batch of events ─▶│ event → record → its lanes    │
//! │ owns: socket, catalog, position,     │                     │ owns: the lanes               │
//! │       open batch                     │ ◀─ Progress (LSN) ─ │ lanes flushed → Progress      │
//! │ sends: standby status                │                     │                               │
//! └──────────────────────────────────────┘                     └───────────────────────────────┘
//! ```
//!
//! Two threads and one direction. Each owns its sockets; nothing is shared but the channel and one
//! position, up to which everything is stored. A lane is one partition of one topic: there is one, or one
//! for each table, or rows are divided over many by their keys; each has what belongs to it once and in order,
//! and resumes by itself. Only that is confirmed to PostgreSQL, so whatever
//! dies, what was not stored comes again; and what a lane has of it already is dropped. A session
//! that fails is thrown away whole and opened anew. The memory is the slot and the ends of the lanes;
//! a small file, if there is a place for one, only notices what was changed behind their backs.
//!
//! What the program does not do: copy the rows that are there when it starts, transform records,
//! or decode a transaction before it is committed.
//!
//! # The rooms
//!
//! In reading order. Each names only those above it, which a test holds.
//!
//! | room | what is there |
//! |---|---|
//! | [`base`] | errors, positions in the WAL, names of hosts, files, signals, the clock, TLS |
//! | [`pg`] | the blocking client of PostgreSQL, of use by itself |
//! | [`change`] | what happened: events, the tables that they are about, and the batches that carry them |
//! | [`record`] | what is written of a change, and its place in the stream read back |
//! | [`sink`] | where records are written: a topic, or standard output |
//! | [`observe`] | what people and programs see: metrics, the log, the service manager, what is waited for |
//! | [`config`] | the YAML file → a valid, typed configuration |
//! | [`pipeline`] | both sides opened, the two threads, and what makes it exactly once |
//! | [`commands`] | the verbs, and the command line |
//!
//! A room is private inside; what the tests, the fuzz targets and the benchmark need of it stands at its
//! front. Tests are found by the same paths under `tests/it`.
//!
//! # The threads
//!
//! | name | what it does | when there is one |
//! |---|---|---|
//! | main | reads the stream: `pipeline::reader` | always |
//! | `producer` | writes the records: `pipeline::producer` | in each session |
//! | `watchdog` | gives the service manager signs of life: `observe::notify` | if it asks for them |
//! | `http` | shows metrics and health: `observe::monitor` | in `run` with `metrics.listen` |
//! | `metrics` | asks the server about the slot, writes the text file: `observe::monitor` | in `run` with either of `metrics` |
//! | `orphans` | ends processes that lost their parent: `base::orphans` | in `run` as process 1 of a container |
//! | `onlooker` | asks whom a statement waits for: `observe::waiting` | while publication and slot are made or removed |
//! | `look-up` | asks for the addresses of a host: `base::resolver` | while an answer is waited for |
//! | `password` | reads what a command prints: `pg::params::password` | while `password_command` runs |
//!
//! # To add something
//!
//! | what | where |
//! |---|---|
//! | an event type | its message in `pg/wire/pgoutput/`; its name and its `Change` in `change/`; its record, read-back and schema in `record/`; what it is to a transaction that comes again in `pipeline/resume/mod.rs`, and to one that is open in `pipeline/position.rs`: both take it for a row |
//! | a config key | its definition in `config/file.rs`; its field and the line of `resolve` in `config/mod.rs`; `NO_RESTART` in `config/effective.rs` if a reload takes it; `config/schema.json`; `config-example.yaml` |
//! | a record format | its writer, read-back and schema in a folder of `record/`; `record/mod.rs` and `record/producer_record.rs`, which choose between them; its schema's name in `commands/schema.rs` and `commands/cli/completions.rs`; the config key that names it |
//! | a verb | its arguments in `commands/cli/mod.rs`, from which help, manual and completions are made; its file in `commands/`; its line in `commands/mod.rs`; README |
//! | a metric | its field in `observe/metrics/mod.rs`; its line in `observe/metrics/text.rs`; where it is counted; README; a panel of `scripts/packaging/grafana-dashboard.json` |
//!
//! What is forgotten of these does not compile or fails a test, but for the places in `pipeline` and
//! `NO_RESTART`, which have a default.

pub mod base;
pub mod change;
pub mod commands;
pub mod config;
pub mod observe;
pub mod pg;
pub mod pipeline;
pub mod record;
pub mod sink;
