//! `setup`: makes what is missing, publication and slot, and prints the SQL of it first.

use super::cli::Setup;
use super::plan::{Plan, PlannedStatement, connect};
use super::{load, onlookers, print};
use crate::base::error::{Context, Result};
use crate::config::{self, Config};
use crate::pipeline;
use crate::pipeline::resume::{continuity, owner};
use crate::sink::fluvio::{Partition, cluster};

/// Prints the SQL, and runs it unless only that is asked for.
pub fn setup(arguments: &Setup) -> Result<()> {
    let config = load(&arguments.config)?;
    let plan = plan(&config)?;
    print(&plan.to_string())?;
    match arguments.dry_run {
        true => Ok(()),
        false => carry_out(plan, &config),
    }
}

/// Makes what is missing, whatever `skip_setup` says of `run`.
fn carry_out(mut plan: Plan, config: &Config) -> Result<()> {
    plan.connection.terminate();
    let config = Config {
        setup: config::Setup::Create,
        ..config.clone()
    };
    let endpoint = plan.connection.endpoint();
    pipeline::setup::ensure(&plan.params, endpoint, &config, &onlookers()?)
}

/// The plan of what is missing, if that is no gap. A slot of no use is no slot that is there.
fn plan(config: &Config) -> Result<Plan> {
    let (params, mut connection) = connect(config)?;
    let found = connection.slot_with_wal(&config.slot)?;
    if let Some(found) = &found {
        continuity::check_slot(found, params.database())
            .at(|| format!("replication slot {}", config.slot))?;
    }
    let missing = pipeline::setup::missing_statements(&mut connection, config)?;
    if found.is_none() {
        refuse_to_hide_a_gap(config)?;
    }
    let publication = missing.publication.map(|sql| PlannedStatement {
        sql,
        gives_up: "UPDATE and DELETE on published tables that have no replica identity".to_owned(),
    });
    let slot = missing.slot.map(|sql| PlannedStatement {
        sql,
        gives_up: "the disk space of the WAL that is not yet in the topic".to_owned(),
    });
    Ok(Plan {
        params,
        connection,
        steps: publication.into_iter().chain(slot).collect(),
    })
}

/// A slot that is made where one was lost begins later than the topic ends, and nobody would notice.
fn refuse_to_hide_a_gap(config: &Config) -> Result<()> {
    let end = topic_end(config);
    let ends = vec![(config.place.clone(), end.as_ref().ok().copied())];
    let known = owner::read_known(config, ends)?;
    if known.is_none() && end? <= 0 {
        return Ok(());
    }
    let gap = continuity::gap(
        "does not exist any more: the changes since it was confirmed last are lost to it",
    );
    Err(gap.at(format!("replication slot {}", config.slot)))
}

/// The end of the topic, which need not exist.
fn topic_end(config: &Config) -> Result<i64> {
    let (options, place) = (&config.fluvio, &config.place);
    let cluster = cluster::endpoint(options)?;
    if cluster::topic(&cluster, options, &place.topic)?.is_none() {
        return Ok(0);
    }
    Ok(Partition::open_to_read(options, place)?.bounds().end)
}
