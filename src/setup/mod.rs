//! Making the publication and the slot, through SQL, and what the server must be able to do.
//!
//! The publication comes first: a slot that is older than its publication cannot decode what was
//! written in between. What exists is left as it is; where it differs from the config, a warning
//! says so, with the statement that changes it.

mod publication;
mod slot;

pub use publication::{WITHOUT_IDENTITY, create_statement as create_publication_statement};
pub use slot::create_statement as create_slot_statement;

use postgres::Client;

use crate::config::{Config, GeneratedColumns};
use crate::error::{Context, Error, Result};
use crate::pg::encryption::Protection;
use crate::pg::replication::Origins;
use crate::pg::server_error::from_sql;
use crate::pg::sql;
use crate::pg::target::{Endpoint, Target};

/// The oldest major that has publications.
const OLDEST: u32 = 10;

/// The first major whose standbys decode.
const STANDBY_DECODES: u32 = 16;

/// What a server is.
struct Server {
    major: u32,
    version: String,
    wal_level: String,
    is_standby: bool,
}

/// Makes what is missing on the server at `endpoint`, or says how to.
///
/// That server has just let a replication connection in. The SQL client knows no deadline between
/// its first packet and the end of authentication, and says little about what goes wrong there.
pub fn ensure(
    target: &Target,
    (endpoint, protection): (&Endpoint, Protection),
    config: &Config,
) -> Result<()> {
    let place = || format!("PostgreSQL at {endpoint}");
    let mut client = sql::connect(target, endpoint, protection).at(place)?;
    let server = Server::ask(&mut client).at(place)?;
    server.check(config).at(place)?;
    publication::ensure(&mut client, &server, config)
        .map_err(|error| publication::with_owner_hint(error, target, config))
        .at(|| format!("publication {}", config.publication))?;
    slot::ensure(&mut client, &server, config).at(|| format!("replication slot {}", config.slot))
}

impl Server {
    fn ask(client: &mut Client) -> Result<Server> {
        let row = client.query_one(
            "SELECT current_setting('server_version_num')::int4 / 10000, \
             current_setting('server_version'), current_setting('wal_level'), \
             pg_catalog.pg_is_in_recovery()",
            &[],
        );
        let row = row.map_err(from_sql)?;
        let major: i32 = row.get(0);
        Ok(Server {
            major: major.unsigned_abs(),
            version: row.get(1),
            wal_level: row.get(2),
            is_standby: row.get(3),
        })
    }

    /// Whether it can do what the config asks for.
    fn check(&self, config: &Config) -> Result<()> {
        let version = &self.version;
        if self.major < OLDEST {
            return Err(
                Error::config(format!("PostgreSQL {version} has no logical replication"))
                    .with_hint("version 10 is the oldest that has it"),
            );
        }
        if self.is_standby && self.major < STANDBY_DECODES {
            return Err(Error::config(format!(
                "it is a standby, and PostgreSQL {version} decodes on a primary only"
            ))
            .with_hint(
                "name the primary in FLUVIO_PG_DATABASE_URL; among several hosts, \
                 target_session_attrs=read-write finds it; a standby can be read from version 16 on",
            ));
        }
        let missing = features(config)
            .into_iter()
            .find(|feature| feature.is_used && self.major < feature.since);
        if let Some(Feature { key, since, .. }) = missing {
            return Err(Error::config(format!(
                "\"{key}\" needs PostgreSQL {since}, the server has version {version}"
            ))
            .with_hint(format!("take \"{key}\" out of the config")));
        }
        match &*self.wal_level {
            "logical" => Ok(()),
            level => Err(Error::config(format!(
                "the server has wal_level={level}, logical is needed"
            ))
            .with_hint("run \"ALTER SYSTEM SET wal_level = logical\" and restart the server")),
        }
    }
}

/// Something that not every server has.
struct Feature {
    /// The key of `parameters` that asks for it, as it has to be written.
    key: &'static str,
    is_used: bool,
    /// The first major that has it.
    since: u32,
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

/// What does not exist, and is not made here.
fn missing(why: &str, statement: &str) -> Error {
    Error::config(format!("does not exist, and {why}")).with_hint(format!("run: {statement};"))
}
