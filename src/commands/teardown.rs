//! `teardown`: removes slot and publication, and prints the SQL of it and what is given up first.

use serde::Deserialize;

use super::cli::Teardown;
use super::plan::{Plan, PlannedStatement, connect};
use super::{load, onlookers, print};
use crate::base::error::{Context, Error, Kind, Result};
use crate::config::Config;
use crate::pg::connection::{quote_identifier, quote_literal};
use crate::pipeline::resume::continuity;

/// What is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Slot and publication.
    WithPublication,
    /// Only the slot: others may need the publication.
    WithoutPublication,
}

/// Prints the SQL, and runs it if that is asked for.
pub fn teardown(arguments: &Teardown) -> Result<()> {
    let config = load(&arguments.config)?;
    let extent = match arguments.keep_publication {
        true => Extent::WithoutPublication,
        false => Extent::WithPublication,
    };
    let (plan, forbidden) = plan(&config, extent)?;
    print(&plan.to_string())?;
    if !arguments.yes {
        return Err(
            Error::new(Kind::Usage, "nothing was removed").with_hint("\"teardown --yes\" does it")
        );
    }
    match forbidden {
        Some(error) => Err(error),
        None => carry_out(plan),
    }
}

/// Runs the statements, each of which may wait for what others hold.
fn carry_out(mut plan: Plan) -> Result<()> {
    let _deferred = onlookers()?.watch_deferring_signals(&mut plan.connection, &plan.params);
    for PlannedStatement { sql, .. } in &plan.steps {
        plan.connection.wait_for(sql).at(|| sql.clone())?;
        log::info!("done: {sql}");
    }
    plan.connection.terminate();
    Ok(())
}

/// The plan of what is removed: what is there and is this connector's own; and why a later step would fail,
/// which must not be found out when the first ones are done.
fn plan(config: &Config, extent: Extent) -> Result<(Plan, Option<Error>)> {
    let (params, mut connection) = connect(config)?;
    let mut steps = Vec::new();
    if let Some(found) = connection.slot(&config.slot)? {
        continuity::check_own(&found, params.database())
            .at(|| format!("replication slot {}", config.slot))?;
        steps.push(PlannedStatement {
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
    let found = found.filter(|_| extent == Extent::WithPublication);
    let forbidden = found.as_ref().and_then(|found| found.forbids(config));
    if found.is_some() {
        steps.push(PlannedStatement {
            sql: format!("DROP PUBLICATION {}", quote_identifier(&config.publication)),
            gives_up: "the streams of others that read it".to_owned(),
        });
    }
    let plan = Plan {
        params,
        connection,
        steps,
    };
    Ok((plan, forbidden))
}

/// The owner of a publication.
#[derive(Deserialize)]
struct Owned {
    owner: String,
    is_ours: bool,
}

impl Owned {
    /// The error of dropping the publication, if the user may not.
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
