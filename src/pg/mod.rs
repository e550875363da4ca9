//! A blocking client of PostgreSQL's logical replication, of use by itself.
//!
//! In reading order: `wire` is bytes and what they mean (fields, frames, the plugin's messages, the
//! server's errors); `params` says whom to connect to and how; `transport` moves bytes there, encrypted or
//! not, and `auth` proves who we are. `connection` is what there is then: the way there (`start_up`), the
//! server that takes us (`search`), what the session is held to (`pinned`), what is said unasked
//! (`notices`), and how a statement is ended (`cancel`). `catalog` is what is asked of the server's catalog,
//! and `sql` how; `replication` streams, and looks at a slot without taking anything.

pub(crate) mod auth;
pub(crate) mod catalog;
pub(crate) mod connection;
pub(crate) mod params;
pub(crate) mod replication;
pub(crate) mod sql;
pub(crate) mod transport;
pub(crate) mod wire;

pub use self::auth::{Channel, Exchange, Step};
pub use self::connection::{Connection, Watch, row};
pub use self::params::ConnectParams;
pub use self::params::environment::Environment;
pub use self::params::ssl::Ssl;
pub use self::replication::{ReplicationConnection, ReplicationStream, StreamMessage, Wanted};
pub use self::wire::frames::{Frames, MAX_ANSWER_BYTES};
pub use self::wire::pgoutput::{Begin, Message, OldTuple, Tuple};
pub use self::wire::server_error::ServerError;
