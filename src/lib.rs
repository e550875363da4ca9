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
//! In reading order, each naming only those before it (a test holds this):
//!
//! | module | purpose |
//! |---|---|
//! | [`printable`] | text of others, so that a terminal or a log shows it as it is |
//! | [`lsn`], [`error`] | a position in the WAL; what went wrong, where, and what to do |
//! | [`peer`], [`metrics`] | whom the program waits for; what it counts of itself |
//! | [`resolver`] | the addresses behind a name |
//! | [`input`], [`replace`] | files that others write, within bounds; files of our own, never through a link |
//! | [`logging`] | log lines as text, as JSON or for the journal |
//! | [`tls`] | encrypted sockets, and which certificates are accepted |
//! | [`pg`] | the blocking replication client, of use by itself |
//! | [`lease`] | whether the slot is still ours, so that we may write |
//! | [`relation`], [`event`] | tables as the server described them; batches of events |
//! | [`json`], [`record`] | the record of an event, and its place in the stream read back |
//! | [`sink`] | where records go: a topic, or standard output |
//! | [`progress`] | what goes back: how far the stream is stored |
//! | [`config`] | the YAML file → a valid, typed configuration |
//! | [`signals`], [`notify`], [`long_work`] | SIGTERM, SIGINT and SIGHUP; what the service manager hears; what is said of work that takes long |
//! | [`waiting`], [`setup`] | what a statement waits for on the server; making publication and slot |
//! | [`pace`], [`position`] | how far apart reads are; where the reader is and what it may confirm |
//! | [`resume`] | what comes again and is dropped, to the row |
//! | [`summary`] | what is said of what goes through |
//! | [`state`], [`continuity`], [`owner`] | what is known of slot and topic, whether they meet, and whose a state file is |
//! | [`tail`] | how a topic ends |
//! | [`reader`], [`producer`] | the two threads |
//! | [`monitor`], [`orphans`] | metrics over HTTP and in a file; what the server says of the slot; what others leave behind |
//! | [`session`], [`run`] | both sides opened and streaming; the only retry loop |
//! | [`accept`], [`check`], [`peek`], [`provision`], [`schema`], [`status`], [`verify`] | the other verbs |
//! | [`cli`] | the command line |

pub mod accept;
pub mod check;
pub mod cli;
pub mod config;
pub mod continuity;
pub mod error;
pub mod event;
pub mod input;
pub mod json;
pub mod lease;
pub mod logging;
pub mod long_work;
pub mod lsn;
pub mod metrics;
pub mod monitor;
pub mod notify;
pub mod orphans;
pub mod owner;
pub mod pace;
pub mod peek;
pub mod peer;
pub mod pg;
pub mod position;
pub mod printable;
pub mod producer;
pub mod progress;
pub mod provision;
pub mod reader;
pub mod record;
pub mod relation;
pub mod replace;
pub mod resolver;
pub mod resume;
pub mod run;
pub mod schema;
pub mod session;
pub mod setup;
pub mod shell;
pub mod signals;
pub mod sink;
pub mod state;
pub mod status;
pub mod summary;
pub mod tail;
pub mod tls;
pub mod verify;
pub mod waiting;
