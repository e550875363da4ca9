//! The slot: whose it is, who streams from it, and what it keeps.

use serde::Deserialize;

use super::DatabaseChecks;
use super::condition::Condition;
use super::publication::ExaminedPublication;
use super::report::{Mend, Report};
use super::sql::Sql;
use crate::base::error::{Error, Kind, Result};
use crate::config::Setup;
use crate::pg::catalog::system::{self, NAME_THE_PRIMARY};
use crate::pg::connection::quote_literal;
use crate::pipeline::resume::continuity;
use crate::pipeline::setup::{alter_slot_command, create_slot_statement};

/// How much WAL that is kept deserves a word where nothing limits it.
const MUCH_BYTES: i64 = 10 * 1024 * 1024 * 1024;

/// The slot as it was found. Older servers do not have all of it.
#[derive(Debug, Deserialize)]
pub struct ExaminedSlot {
    /// The columns that sessions look at too.
    #[serde(flatten)]
    pub slot: system::Slot,
    active_pid: Option<i64>,
    /// The application name of the process that streams from the slot.
    application: Option<String>,
    /// How much WAL the slot keeps, in bytes.
    lag: Option<i64>,
    /// How much more WAL may be written before the slot is lost (13+).
    safe_wal_size: Option<i64>,
    /// How many transactions ago the oldest was that it may still have to look at the catalog for.
    catalog_age: Option<i64>,
    /// Whether other slots have a horizon: a new slot begins with the oldest of them.
    horizon_is_shared: bool,
    /// The slots in `synchronized_standby_slots` (17+) that no standby streams from.
    absent_standbys: Vec<String>,
}

/// Looks at the slot; returns what was found, if there is one.
pub fn check(
    report: &mut Report,
    sql: &mut Sql<'_>,
    context: &DatabaseChecks<'_>,
    publication: Option<&ExaminedPublication>,
) -> Result<Option<ExaminedSlot>> {
    // Whatever the slot needs then was needed when they were listed.
    let files = sql.wal_files()?;
    let found: Option<ExaminedSlot> = sql.first(&format!(
        "SELECT s.*, pg_is_in_recovery() AS is_standby, a.application_name AS application, \
             age(s.catalog_xmin) AS catalog_age, \
             pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
               ELSE pg_current_wal_lsn() END, s.restart_lsn)::int8 AS lag, \
             EXISTS (SELECT FROM pg_replication_slots o WHERE o.slot_name <> s.slot_name AND \
               coalesce(o.catalog_xmin, o.xmin) IS NOT NULL) AS horizon_is_shared, \
             (SELECT coalesce(json_agg(btrim(n, ' \"')), '[]') FROM unnest(string_to_array( \
               current_setting('synchronized_standby_slots', true), ',')) n WHERE NOT EXISTS ( \
               SELECT FROM pg_replication_slots o WHERE o.slot_name = btrim(n, ' \"') AND o.active)) \
               AS absent_standbys \
             FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid \
             WHERE s.slot_name = {}",
        quote_literal(&context.config.slot)
    ))?;
    let Some(mut found) = found else {
        missing(report, context);
        return Ok(None);
    };
    report.ok(Condition::Slot, format!("{} exists", context.config.slot));
    let missing = |from| files.as_ref()?.first_missing(from);
    found.slot.missing_wal = found.slot.restart().and_then(missing);
    if found.owner(report, context) {
        found.failover(report, context);
        found.active(report, context);
        found.wal_status(report, context);
        found.lag(report, context);
        if let Some(publication) = publication {
            found.age(report, context, publication);
        }
    }
    Ok(Some(found))
}

/// Reports that there is no slot: it is made, if nothing was read before and the config allows it.
fn missing(report: &mut Report, context: &DatabaseChecks<'_>) {
    let (slot, condition) = (&context.config.slot, Condition::Slot);
    match (context.has_history, context.config.setup) {
        (true, _) if context.server.facts.is_standby => report.failure(
            condition,
            Kind::Unreachable,
            format!("{slot} does not exist on this server"),
            [Mend::advice(NAME_THE_PRIMARY)],
        ),
        (true, _) => report.failure(
            condition,
            Kind::Gap,
            format!("{slot} does not exist any more: the changes since its last position are lost"),
            [context.accept_gap()],
        ),
        (false, Setup::Create) => report.ok(condition, format!("{slot} is made at the first run")),
        (false, Setup::Require) => report.failure(
            condition,
            Kind::Config,
            format!("{slot} does not exist, and skip_setup is true"),
            [Mend::sql(format!(
                "{};",
                create_slot_statement(context.config)
            ))],
        ),
    }
}

impl ExaminedSlot {
    /// Whether the slot is the program's own.
    fn owner(&self, report: &mut Report, context: &DatabaseChecks<'_>) -> bool {
        let own = continuity::check_own(&self.slot, context.params.database());
        let is_ours = self.slot.plugin.as_deref() == Some("pgoutput") && !self.slot.temporary;
        let mend = || {
            [Mend::config(format!(
                "parameters: {{ slot: {}_2 }}",
                context.config.slot
            ))]
        };
        let failure = |report: &mut Report, condition, error: &Error| {
            report.failure(condition, error.kind(), error.message(), mend());
        };
        match own {
            Ok(()) => {
                report.ok(Condition::SlotPlugin, "pgoutput");
                report.ok(Condition::SlotDatabase, context.params.database());
                true
            }
            Err(error) if is_ours => {
                report.ok(Condition::SlotPlugin, "pgoutput");
                failure(report, Condition::SlotDatabase, &error);
                false
            }
            Err(error) => {
                failure(report, Condition::SlotPlugin, &error);
                false
            }
        }
    }

    fn failover(&self, report: &mut Report, context: &DatabaseChecks<'_>) {
        let condition = Condition::SlotFailover;
        if self.slot.failover == Some(true) && !self.absent_standbys.is_empty() {
            return report.warning(
                condition,
                format!(
                    "changes wait until the standbys of synchronized_standby_slots have them, and nobody \
                     streams from {}",
                    self.absent_standbys.join(", ")
                ),
                [Mend::advice(
                    "start these standbys, or take those that are gone out of the setting",
                )],
            );
        }
        let (Some(wanted), Some(is)) = (context.config.failover, self.slot.failover) else {
            return report.ok(condition, "the config leaves it open");
        };
        if wanted == is {
            return report.ok(condition, format!("{is}"));
        }
        let command = alter_slot_command(context.config, context.params.database());
        report.warning(
            condition,
            format!("{is}, the config says {wanted}"),
            [
                Mend::advice("stop the program that streams from it for the next command"),
                Mend::shell(command),
            ],
        );
    }

    fn active(&self, report: &mut Report, context: &DatabaseChecks<'_>) {
        let condition = Condition::SlotActive;
        let Some(pid) = self.active_pid else {
            return report.ok(condition, "nobody streams from it");
        };
        let application = self.application.as_deref().unwrap_or_default();
        if context.params.application_name() == application {
            return report.ok(condition, format!("{application} streams, PID {pid}"));
        }
        let terminate = Mend::sql(format!("SELECT pg_terminate_backend({pid});"));
        report.failure(
            condition,
            Kind::SlotInUse,
            format!("PID {pid} streams from it, application {application:?}"),
            [
                Mend::config(format!("parameters: {{ slot: {}_2 }}", context.config.slot)),
                terminate.giving_up("that program's stream"),
            ],
        );
    }

    fn wal_status(&self, report: &mut Report, context: &DatabaseChecks<'_>) {
        let condition = Condition::SlotWalStatus;
        if let Err(error) = continuity::check_slot(&self.slot, context.params.database()) {
            return self.useless(report, context, &error);
        }
        match self.slot.wal_status.as_deref() {
            None => report.ok(condition, "not told before version 13"),
            Some("unreserved") => report.warning(
                condition,
                "unreserved: the next checkpoint may remove WAL that it needs",
                self.catch_up(context),
            ),
            Some(status) => report.ok(condition, status),
        }
    }

    /// Reports a slot of which nothing can be read: only a new one helps.
    fn useless(&self, report: &mut Report, context: &DatabaseChecks<'_>, error: &Error) {
        let slot = quote_literal(&context.config.slot);
        let mend = match context.has_history {
            true => context.accept_gap(),
            false => Mend::sql(format!("SELECT pg_drop_replication_slot({slot});"))
                .giving_up(format!("the changes since {}", self.slot.confirmed())),
        };
        let (kind, found) = (error.kind(), error.message());
        report.failure(Condition::SlotWalStatus, kind, found, [mend]);
    }

    fn lag(&self, report: &mut Report, context: &DatabaseChecks<'_>) {
        let (condition, lag) = (Condition::SlotLag, self.lag.unwrap_or_default());
        let limit = context.server.keep_bytes();
        let safe = match self.safe_wal_size {
            Some(bytes) => format!(", it is lost after {} more", size(bytes)),
            None => String::new(),
        };
        let found = format!("keeps {} of WAL{safe}", size(lag));
        match lag > limit.map_or(MUCH_BYTES, |limit| limit / 2) {
            true => report.warning(condition, found, self.catch_up(context)),
            false => report.ok(condition, found),
        }
    }

    fn catch_up(&self, context: &DatabaseChecks<'_>) -> Vec<Mend> {
        match self.active_pid {
            Some(_) => vec![Mend::advice("see in the program's log what it waits for")],
            None => vec![Mend::shell(format!(
                "postgres-source run --config {}",
                context.path
            ))],
        }
    }

    /// Whether the publication is older than the slot. Decoding looks at the catalog as it was then. Every
    /// transaction older than the slot's horizon counts as committed before anything that it decodes; so if
    /// the publication's row is older than that, all that the slot will send was written after it. The
    /// converse does not hold.
    fn age(
        &self,
        report: &mut Report,
        context: &DatabaseChecks<'_>,
        publication: &ExaminedPublication,
    ) {
        let condition = Condition::SlotAge;
        let is_older = self
            .catalog_age
            .is_none_or(|horizon| publication.age > horizon);
        if is_older {
            return report.ok(condition, "the publication is older");
        }
        // What has streamed would have met what it could not decode.
        if self.horizon_is_shared || context.has_history {
            return report.ok(condition, "cannot be told from the catalog; \"run\" tells");
        }
        report.warning(
            condition,
            "the publication may be younger than what the slot holds, which then cannot be decoded: \
             \"run\" tells, and ends with 76 if so",
            [Mend::advice(
                "make the publication first, then the slot; for this one, run, and if it ends with \
                 76 drop the slot and accept the gap",
            )],
        );
    }
}

fn size(bytes: i64) -> String {
    let size = bytesize::ByteSize(bytes.max(0).unsigned_abs());
    size.display().si().to_string()
}
