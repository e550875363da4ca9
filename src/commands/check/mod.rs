//! `check`: what is wrong, or will hurt, and what mends it; nothing is changed.
//!
//! Each check looks at one thing and puts what it finds into the [`report`]; where one cannot look, the
//! others do all the same. [`condition`] is the table of all conditions; [`files`], [`topic`], [`tails`],
//! [`server`], [`standbys`], [`role`], [`publication`], [`identity`], [`keys`], [`slot`], [`blockers`] and
//! [`lanes`] judge them, through questions in [`sql`] that the server lets change nothing; [`provider`] knows
//! whose server it is.

pub(crate) mod blockers;
pub(crate) mod condition;
pub(crate) mod files;
pub(crate) mod identity;
mod keys;
mod lanes;
pub(crate) mod provider;
pub(crate) mod publication;
pub(crate) mod report;
pub(crate) mod role;
pub(crate) mod server;
pub(crate) mod slot;
pub(crate) mod sql;
pub(crate) mod standbys;
mod tails;
pub(crate) mod topic;

use std::path::Path;

use self::condition::Condition;
use self::publication::ExaminedPublication;
use self::report::{Mend, Report};
use self::server::ExaminedServer;
use self::slot::ExaminedSlot;
use self::sql::Sql;
use self::tails::ExaminedLanes;
use super::cli::Check;
use super::lanes::tables_of;
use super::{load, print};
use crate::base::error::{Error, Kind, Result};
use crate::config::Config;
use crate::pg::params::ConnectParams;
use crate::pg::replication::ReplicationConnection;
use crate::pg::wire::server_error::GIVE_UP;
use crate::pipeline::lane_map::LaneMap;
use crate::pipeline::resume::continuity;
use crate::pipeline::resume::owner::{self, Owner};
use crate::pipeline::resume::source::Source;
use crate::pipeline::resume::state_file::{Known, StateFile};

/// What the checks of a database have in common.
pub struct DatabaseChecks<'a> {
    config: &'a Config,
    /// The config file, for a shell.
    path: &'a str,
    params: &'a ConnectParams,
    server: &'a ExaminedServer,
    /// Whether something has been read from the slot before.
    has_history: bool,
}

/// Prints what is found, in the form that is asked for, and fails with the first failure.
pub fn check(arguments: &Check) -> Result<()> {
    if arguments.json && arguments.sql {
        return Err(Error::new(Kind::Usage, "--json or --sql, not both"));
    }
    let config = load(&arguments.config)?;
    let report = examine(&config, &arguments.config);
    print(&match (arguments.json, arguments.sql) {
        (true, _) => report.json()?,
        (_, true) => report.sql(),
        _ => report.to_string(),
    })?;
    report.result()
}

/// Looks at everything that the config, read from `path`, names.
fn examine(config: &Config, path: &Path) -> Report {
    let mut report = Report::default();
    let known = files::check(&mut report, config, path);
    let lanes = topic::check(&mut report, config);
    let lanes = lanes.map(|lanes| tails::check(&mut report, config, lanes, known.as_ref()));
    let examination = Examination {
        config,
        path: &files::quote(path),
        known: known.as_ref(),
        lanes: lanes.as_ref(),
    };
    examination.check_postgres(&mut report);
    report
}

/// An examination: what was found before PostgreSQL is looked at, and the checks that build on it.
#[derive(Clone, Copy)]
struct Examination<'a> {
    config: &'a Config,
    path: &'a str,
    known: Option<&'a Known>,
    lanes: Option<&'a ExaminedLanes>,
}

impl Examination<'_> {
    fn check_postgres(&self, report: &mut Report) {
        let params = match self.config.params() {
            Ok(params) => params,
            Err(error) => return report.error(Condition::Postgres, &error),
        };
        let mut sql = match Sql::open(&params) {
            Ok(sql) => sql,
            Err(error) => return role::not_let_in(report, &params, &error),
        };
        let place = format!("{} lets {} in", sql.endpoint(), params.user());
        report.ok(Condition::Postgres, place);
        match ExaminedServer::ask(&mut sql, &self.config.slot) {
            Ok((server, skew)) => {
                server.check(report, &sql, self.config, skew);
                if server.facts.has_publications() {
                    let found = standbys::check(report, &mut sql, &server.facts);
                    fail_if_error(report, Condition::SynchronousStandbys, found);
                    self.check_database(report, &mut sql, &params, &server);
                }
            }
            Err(error) => report.error(Condition::Version, &error),
        }
    }

    fn check_database(
        &self,
        report: &mut Report,
        sql: &mut Sql<'_>,
        params: &ConnectParams,
        server: &ExaminedServer,
    ) {
        let mut replication = role::replication(report, params, server);
        let known = match self.check_owner(replication.as_mut()) {
            Ok(()) => self.known,
            Err(error) => {
                report.error_after_all(Condition::StateDir, &error);
                None
            }
        };
        let owned = Examination { known, ..*self };
        let context = DatabaseChecks {
            config: self.config,
            path: self.path,
            params,
            server,
            has_history: owned.has_history(),
        };
        let found = publication::check(report, sql, &context);
        let publication = fail_if_error(report, Condition::Publication, found).flatten();
        if publication.is_none() && !server.facts.is_standby {
            let found = blockers::check_publication(report, sql, self.config);
            warn_if_unseen(report, Condition::PublicationLocks, found);
        }
        let found = slot::check(report, sql, &context, publication.as_ref());
        let slot = fail_if_error(report, Condition::Slot, found).flatten();
        if slot.is_none() && !context.has_history {
            blockers::check(report, sql, params.user());
        }
        if let (Some(connection), Some(publication), Some(slot)) = (replication, publication, slot)
            && continuity::check_slot(&slot.slot, params.database()).is_ok()
            && !slot.slot.active
        {
            match owned.check_continuity(connection, &publication, slot) {
                Ok(found) => report.ok(Condition::Continuity, found),
                Err(error) => report.error(Condition::Continuity, &error),
            }
        }
    }

    /// Whether the state file is of this cluster, slot and topic.
    fn check_owner(&self, connection: Option<&mut ReplicationConnection>) -> Result<()> {
        let (Some(known), Some(directory), Some(connection)) =
            (self.known, &self.config.state_dir, connection)
        else {
            return Ok(());
        };
        let system = connection.identify_system()?;
        let ends = match self.lanes {
            Some(lanes) => lanes.found.ends(),
            // Where they end is not known; which they are has been looked at, where it could be.
            None => match LaneMap::of(self.config, &tables_of(self.config)?) {
                Ok(map) => (map.names().iter())
                    .map(|place| (place.clone(), None))
                    .collect(),
                Err(_) => return Ok(()),
            },
        };
        let owner = Owner::of(self.config, &system.identifier, ends);
        let file = StateFile::of(directory, &self.config.slot);
        owner::check(known, file.path(), &owner)
    }

    /// Whether something has been read before: then a missing slot is a gap.
    fn has_history(&self) -> bool {
        let have_records = self.lanes.is_some_and(ExaminedLanes::have_records);
        self.known.is_some() || have_records
    }

    /// Whether topic, slot and state file meet, as far as it can be told without taking the slot.
    fn check_continuity(
        &self,
        mut connection: ReplicationConnection,
        publication: &ExaminedPublication,
        slot: ExaminedSlot,
    ) -> Result<&'static str> {
        let oid = publication.publication_oid;
        let source = Source::ask(&mut connection, slot.slot, oid, self.known)?;
        if let Some(why) = self.known.and_then(|known| known.stuck.as_deref()) {
            let stuck = Error::undeliverable(format!("the last run could not go on: {why}"));
            let hint = format!("if that was mended, start it again; else {GIVE_UP}");
            return Err(stuck.with_hint(hint));
        }
        continuity::check_source(self.known, &source)?;
        continuity::check_moved(self.known, &source)?;
        let Some(lanes) = self.lanes.filter(|lanes| lanes.tails.is_some()) else {
            return Ok("slot and state file meet; the topic could not be read");
        };
        lanes::check(self.config, self.known, &source, lanes)?;
        Ok("nothing speaks against it")
    }
}

impl DatabaseChecks<'_> {
    /// The command that accepts a gap, which is the only way past it.
    fn accept_gap(&self) -> Mend {
        let command = format!(
            "postgres-source accept-gap --config {} --reason TEXT",
            self.path
        );
        let mend = match self.config.state_dir {
            Some(_) => Mend::shell(command),
            None => Mend::advice(format!(
                "name a state_dir in the config, then run: {command}"
            )),
        };
        mend.giving_up("the changes in between")
    }
}

/// What a check found; its error is reported as a failure.
fn fail_if_error<T>(report: &mut Report, condition: Condition, found: Result<T>) -> Option<T> {
    found.map_err(|error| report.error(condition, &error)).ok()
}

/// Reports what cannot be seen as a warning, where nothing but a warning depends on it: `run` goes on
/// without it.
fn warn_if_unseen(report: &mut Report, condition: Condition, checked: Result<()>) {
    if let Err(error) = checked {
        let found = format!("cannot be seen: {}", error.message());
        report.warning(condition, found, error.hint().map(Mend::advice));
    }
}
