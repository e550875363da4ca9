//! Making the publication and the slot, through SQL, and what the server must be able to do.
//!
//! The publication comes first: a slot that is older than its publication cannot decode what was
//! written in between. What exists is left as it is; where it differs from the config, a warning
//! says so, with the statement that changes it.

mod identity;
mod names;
mod publication;
mod rights;
mod slot;

pub use identity::{Mending, Refused, operations, refused};
pub use names::{ASKED_TABLES, resolve};
pub use publication::{
    Publication, all_roots, create_statement as create_publication_statement, listed, listed_roots,
    membership,
};
pub use slot::{alter_command as alter_slot_command, create_statement as create_slot_statement};

use crate::base::error::{Context, Error, Reason, Result};
use crate::config::{Config, GeneratedColumns};
use crate::observe::waiting::Onlookers;
use crate::pg::catalog::server_facts::ServerFacts;
use crate::pg::connection::Connection;
use crate::pg::params::{ConnectParams, Endpoint};
use crate::pg::replication::Origins;

/// How many things are made: the publication and the slot.
const OBJECTS: usize = 2;

/// Makes what is missing on the server at `endpoint`, which has just let a replication connection
/// in, or says how to.
///
/// Several processes may start at the same moment: what another one has made meanwhile is looked at
/// again. A stop ends whatever it waits for.
pub fn ensure(
    params: &ConnectParams,
    endpoint: &Endpoint,
    config: &Config,
    onlookers: &Onlookers,
) -> Result<()> {
    // The publication and the slot can each be made by somebody else once.
    for _ in 0..OBJECTS {
        match ensure_once(params, endpoint, config, onlookers) {
            Err(error) if error.reason() == Some(Reason::AlreadyExists) => log::info!("{error}"),
            ensured => return ensured,
        }
    }
    ensure_once(params, endpoint, config, onlookers)
}

fn ensure_once(
    params: &ConnectParams,
    endpoint: &Endpoint,
    config: &Config,
    onlookers: &Onlookers,
) -> Result<()> {
    let place = || format!("PostgreSQL at {endpoint}");
    let mut connection = Connection::connect_for_sql_to(endpoint, params).at(place)?;
    let _deferred = onlookers.watch_deferring_signals(&mut connection, params);
    let server = fit_server(&mut connection, config).at(place)?;
    let aside = SideQuestions {
        params,
        endpoint,
        onlookers,
    };
    publication::ensure(&mut connection, &server, &aside, config)
        .at(|| format!("publication {}", config.publication))?;
    slot::ensure(&mut connection, &server, config)
        .at(|| format!("replication slot {}", config.slot))?;
    connection.terminate();
    onlookers.check()
}

/// Questions that nothing but a warning depends on. Each has a connection of its own, which is of no use
/// after an error.
struct SideQuestions<'a> {
    params: &'a ConnectParams,
    endpoint: &'a Endpoint,
    onlookers: &'a Onlookers,
}

impl SideQuestions<'_> {
    /// Asks the server for `what`. What cannot be seen, for want of a right or of time, is only warned of.
    fn ask(&self, what: &str, question: impl FnOnce(&mut Connection) -> Result<()>) {
        let asked = Connection::connect_for_sql_to(self.endpoint, self.params).and_then(
            |mut connection| {
                self.onlookers.watch(&mut connection, self.params);
                connection.only_read();
                question(&mut connection)?;
                connection.terminate();
                Ok(())
            },
        );
        if let Err(error) = asked {
            log::warn!("{what} cannot be seen, and is not looked at: {error}");
        }
    }
}

/// What does not exist, as the statements that make it.
pub struct Missing {
    /// The publication.
    pub publication: Option<String>,
    /// The slot, which comes after it.
    pub slot: Option<String>,
}

/// The statements of what [`ensure`] would make.
pub fn missing_statements(connection: &mut Connection, config: &Config) -> Result<Missing> {
    fit_server(connection, config)?;
    Ok(Missing {
        publication: publication::missing_statement(connection, config)?,
        slot: slot::missing_statement(connection, config)?,
    })
}

/// The server, if it can do what the config asks for.
fn fit_server(connection: &mut Connection, config: &Config) -> Result<ServerFacts> {
    let server = ServerFacts::ask(connection)?;
    let version = &server.version;
    if !server.has_publications() {
        return Err(
            Error::config(format!("PostgreSQL {version} has no logical replication"))
                .with_hint("version 10 is the oldest that has it"),
        );
    }
    if !server.decodes() {
        return Err(Error::config(format!(
            "it is a standby, and PostgreSQL {version} decodes on a primary only"
        ))
        .with_hint(
            "name the primary in FLUVIO_PG_DATABASE_URL; among several hosts, \
             target_session_attrs=read-write finds it; a standby can be read from version 16 on",
        ));
    }
    if let Some((key, since)) = unsupported(config, server.major) {
        return Err(Error::config(format!(
            "\"{key}\" needs PostgreSQL {since}, the server has version {version}"
        ))
        .with_hint(format!("take \"{key}\" out of the config")));
    }
    match server.setting("wal_level").unwrap_or_default() {
        "logical" => Ok(server),
        level => Err(Error::config(format!(
            "the server has wal_level={level}, logical is needed"
        ))
        .with_hint("run \"ALTER SYSTEM SET wal_level = logical\" and restart the server")),
    }
}

/// A feature that not every server has.
struct Feature {
    /// The key of `parameters` that asks for it, as it has to be written.
    key: &'static str,
    is_used: bool,
    /// The first major that has it.
    since: u32,
}

/// The first key of the config that asks for what this major does not have, and the major that does.
pub fn unsupported(config: &Config, major: u32) -> Option<(&'static str, u32)> {
    features(config)
        .into_iter()
        .find(|feature| feature.is_used && major < feature.since)
        .map(|feature| (feature.key, feature.since))
}

fn features(config: &Config) -> [Feature; 6] {
    let feature = |key, since, is_used| Feature {
        key,
        is_used,
        since,
    };
    let publishing = &config.publishing;
    let stored = Some(GeneratedColumns::Stored);
    [
        feature(
            "publish: [truncate]",
            11,
            publishing.operations.contains(&"truncate"),
        ),
        feature(
            "publish_via_partition_root: true",
            13,
            publishing.via_partition_root == Some(true),
        ),
        feature("messages", 14, !config.messages.is_empty()),
        feature("origin: none", 16, config.origin == Origins::None),
        feature("failover: true", 17, config.failover == Some(true)),
        feature(
            "generated_columns: stored",
            18,
            publishing.generated_columns == stored,
        ),
    ]
}

/// An error of what does not exist, and is not made here.
fn missing(why: &str, statement: &str) -> Error {
    Error::config(format!("does not exist, and {why}")).with_hint(format!("run: {statement};"))
}
