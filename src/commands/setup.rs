//! `setup`: makes what is missing, publication and slot, and prints the SQL of it first.

use super::cli::Setup;
use super::lanes::{ConfiguredLanes, tables_of};
use super::plan::{Plan, PlannedStatement, connect};
use super::{load, onlookers, print};
use crate::base::error::{Context, Result};
use crate::config::{self, Config};
use crate::pipeline;
use crate::pipeline::lane_map::LaneMap;
use crate::pipeline::resume::{continuity, owner};

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

/// A slot that is made where one was lost begins later than the topics end, and nobody would notice.
fn refuse_to_hide_a_gap(config: &Config) -> Result<()> {
    let map = LaneMap::of(config, &tables_of(config)?)?;
    let places = map.names().to_vec();
    // Topics need not exist.
    let ends = ConfiguredLanes::of(config, map).map(|lanes| lanes.ends());
    let unknown = || places.into_iter().map(|place| (place, None)).collect();
    let known = owner::read_known(config, ends.as_ref().map_or_else(|_| unknown(), Vec::clone))?;
    if known.is_none() && ends?.into_iter().all(|(_, end)| end <= Some(0)) {
        return Ok(());
    }
    let gap = continuity::gap(
        "does not exist any more: the changes since it was confirmed last are lost to it",
    );
    Err(gap.at(format!("replication slot {}", config.slot)))
}
