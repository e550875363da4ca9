//! `setup` and `teardown`: what is made on the server, or removed, and the SQL of it first.

use std::fmt;

use serde::Deserialize;

use crate::base::error::{Context, Error, Kind, Result};
use crate::config::{Config, Setup};
use crate::observe::waiting::Onlookers;
use crate::pg::connection::{Connection, quote_identifier, quote_literal};
use crate::pg::params::ConnectParams;
use crate::pipeline::resume::continuity;
use crate::pipeline::resume::owner;
use crate::pipeline::setup;
use crate::sink::fluvio::{Options, Partition, cluster};

/// What happens to the publication when everything else is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publication {
    /// It is removed too.
    Drop,
    /// Others may need it.
    Keep,
}

/// Statements in the order that they are run in, as a script for `psql`.
pub struct Plan {
    params: ConnectParams,
    connection: Connection,
    steps: Vec<Step>,
    /// Why a later step would fail, which must not be found out when the first ones are done.
    forbidden: Option<Error>,
}

struct Step {
    sql: String,
    /// What is given up by it.
    gives_up: String,
}

/// What `setup` makes: what is missing, if that is no gap. A slot of no use is no slot that is there.
pub fn setup_plan(config: &Config) -> Result<Plan> {
    let (params, mut connection) = connect(config)?;
    let found = connection.slot_with_wal(&config.slot)?;
    if let Some(found) = &found {
        continuity::check_slot(found, params.database())
            .at(|| format!("replication slot {}", config.slot))?;
    }
    let missing = setup::missing_statements(&mut connection, config)?;
    if found.is_none() {
        refuse_to_hide_a_gap(config)?;
    }
    let publication = missing.publication.map(|sql| Step {
        sql,
        gives_up: "UPDATE and DELETE on published tables that have no replica identity".to_owned(),
    });
    let slot = missing.slot.map(|sql| Step {
        sql,
        gives_up: "the disk space of the WAL that is not yet in the topic".to_owned(),
    });
    Ok(Plan {
        params,
        connection,
        steps: publication.into_iter().chain(slot).collect(),
        forbidden: None,
    })
}

/// What `teardown` removes: what is there and is this connector's own.
pub fn teardown_plan(config: &Config, publication: Publication) -> Result<Plan> {
    let (params, mut connection) = connect(config)?;
    let mut steps = Vec::new();
    if let Some(found) = connection.slot(&config.slot)? {
        continuity::check_own(&found, params.database())
            .at(|| format!("replication slot {}", config.slot))?;
        steps.push(Step {
            sql: format!(
                "SELECT pg_catalog.pg_drop_replication_slot({})",
                quote_literal(&config.slot)
            ),
            gives_up: format!("the changes since {}", found.confirmed()),
        });
    }
    let found: Option<Owned> = connection.select_first(&format!(
        "SELECT pg_catalog.pg_get_userbyid(pubowner) AS owner, \
         pg_catalog.pg_has_role(pubowner, 'USAGE') AS is_ours \
         FROM pg_catalog.pg_publication WHERE pubname = {}",
        quote_literal(&config.publication)
    ))?;
    let found = found.filter(|_| publication == Publication::Drop);
    let forbidden = found.as_ref().and_then(|found| found.forbids(config));
    if found.is_some() {
        steps.push(Step {
            sql: format!("DROP PUBLICATION {}", quote_identifier(&config.publication)),
            gives_up: "the streams of others that read it".to_owned(),
        });
    }
    Ok(Plan {
        params,
        connection,
        steps,
        forbidden,
    })
}

/// Whose a publication is.
#[derive(Deserialize)]
struct Owned {
    owner: String,
    is_ours: bool,
}

impl Owned {
    /// Why it cannot be dropped.
    fn forbids(&self, config: &Config) -> Option<Error> {
        let (owner, publication) = (&self.owner, &config.publication);
        let error = Error::new(
            Kind::Permission,
            format!("only its owner, {owner}, may drop it: nothing was removed"),
        );
        let error = error.with_hint(format!(
            "\"teardown --yes --keep-publication\" leaves it, and then {owner} runs: DROP PUBLICATION {};",
            quote_identifier(publication)
        ));
        (!self.is_ours).then(|| error.at(format!("publication {publication}")))
    }
}

impl Plan {
    /// Makes what `setup` makes, whatever `skip_setup` says of `run`.
    pub fn set_up(mut self, config: &Config, onlookers: &Onlookers) -> Result<()> {
        self.connection.terminate();
        let config = Config {
            setup: Setup::Create,
            ..config.clone()
        };
        setup::ensure(&self.params, self.connection.endpoint(), &config, onlookers)
    }

    /// Runs the statements, each of which may wait for what others hold.
    pub fn tear_down(mut self, onlookers: &Onlookers) -> Result<()> {
        if let Some(error) = self.forbidden {
            return Err(error);
        }
        let _deferred = onlookers.look_on(&mut self.connection, &self.params);
        for Step { sql, .. } in &self.steps {
            self.connection.wait_for(sql).at(|| sql.clone())?;
            log::info!("done: {sql}");
        }
        self.connection.terminate();
        Ok(())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return f.write_str("-- there is nothing to do");
        }
        for (index, Step { sql, gives_up }) in self.steps.iter().enumerate() {
            let end = if index > 0 { "\n" } else { "" };
            write!(f, "{end}-- gives up {gives_up}\n{sql};")?;
        }
        Ok(())
    }
}

fn connect(config: &Config) -> Result<(ConnectParams, Connection)> {
    let params = config.params()?;
    let connection = Connection::connect_for_sql(&params)?;
    Ok((params, connection))
}

/// A slot that is made where one was lost begins later than the topic ends, and nobody would notice.
fn refuse_to_hide_a_gap(config: &Config) -> Result<()> {
    let end = topic_end(&config.fluvio);
    let known = owner::known(config, end.as_ref().ok().copied())?;
    if known.is_none() && end? <= 0 {
        return Ok(());
    }
    let gap = continuity::gap(
        "does not exist any more: the changes since it was confirmed last are lost to it",
    );
    Err(gap.at(format!("replication slot {}", config.slot)))
}

/// Where a topic ends that need not exist.
fn topic_end(options: &Options) -> Result<i64> {
    let cluster = cluster::endpoint(options)?;
    if cluster::topic(&cluster, options)?.is_none() {
        return Ok(0);
    }
    Ok(Partition::open_to_read(options)?.bounds().end)
}
