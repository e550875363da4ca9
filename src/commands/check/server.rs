//! The server: what it is and how it is configured.

use std::net::IpAddr;

use serde::Deserialize;

use super::condition::Condition;
use super::provider::{Provider, ROLES};
use super::report::{Mend, Report};
use super::sql::Sql;
use crate::base::clock::since_unix_epoch;
use crate::base::error::{Kind, Result};
use crate::config::Config;
use crate::pg::catalog::server_facts::ServerFacts;
use crate::pg::connection::quote_literal;
use crate::pg::params::{Endpoint, Host};
use crate::pg::transport::encryption::Protection;
use crate::pipeline::setup::unsupported;

/// What to set where the WAL that slots keep has no limit, or one that is too low, in MB. It has to
/// fit on the disk beside everything else, which only its owner can know.
const KEEP_MB: i64 = 10 * 1024;

/// The shortest timeout that an ordinary pause of the network does not reach.
const SHORT_TIMEOUT_MS: i64 = 5_000;

/// How much clocks may differ: more shows in every timestamp.
const SKEW_S: f64 = 2.0;

/// The server as it was found.
#[derive(Debug)]
pub struct ExaminedServer {
    /// What the server is, and how it is set.
    pub facts: ServerFacts,
    usage: Usage,
}

/// What is taken of a server's places, and what the connected user may do.
#[derive(Debug, Deserialize)]
struct Usage {
    slots: i64,
    senders: i64,
    idle_slots: Vec<String>,
    slot_exists: bool,
    roles: Vec<String>,
    superuser: bool,
    /// Whether the user has the attribute, or the provider's role in its place.
    replicates: bool,
    clock: f64,
}

impl ExaminedServer {
    /// Asks the server what there is to judge.
    pub fn ask(sql: &mut Sql<'_>, slot: &str) -> Result<(ExaminedServer, Skew)> {
        let facts = sql.ask(ServerFacts::ask)?;
        let roles: Vec<String> = ROLES.iter().map(|(name, _)| quote_literal(name)).collect();
        let before = since_unix_epoch().as_secs_f64();
        let usage: Usage = sql.row(&format!(
            "SELECT (SELECT count(*) FROM pg_replication_slots) AS slots, \
             (SELECT count(*) FROM pg_stat_replication) AS senders, \
             (SELECT coalesce(json_agg(slot_name), '[]') FROM pg_replication_slots \
               WHERE NOT active AND slot_name <> {slot}) AS idle_slots, \
             EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = {slot}) AS slot_exists, \
             (SELECT coalesce(json_agg(rolname), '[]') FROM pg_roles \
               WHERE rolname IN ({roles})) AS roles, \
             u.rolsuper AS superuser, u.rolreplication OR EXISTS (\
               SELECT FROM pg_roles r WHERE r.rolname = 'rds_replication' \
               AND pg_has_role(u.oid, r.oid, 'MEMBER')) AS replicates, \
             extract(epoch FROM clock_timestamp())::float8 AS clock \
             FROM pg_roles u WHERE u.rolname = current_user",
            slot = quote_literal(slot),
            roles = roles.join(", "),
        ))?;
        let skew = Skew::between(before, usage.clock, since_unix_epoch().as_secs_f64());
        Ok((ExaminedServer { facts, usage }, skew))
    }

    /// Who runs the server.
    pub fn provider(&self) -> Provider {
        Provider::of(&self.usage.roles)
    }

    /// The advice to connect to the server itself, past a pooler.
    pub fn own_port(&self) -> Mend {
        let port = self.facts.number("port").unwrap_or_default();
        Mend::advice(format!(
            "in the database URL, name PostgreSQL itself instead of the pooler; it listens on port \
             {port}"
        ))
    }

    /// Whether the catalog gives the user the right to replicate.
    pub fn may_replicate(&self) -> bool {
        self.usage.superuser || self.usage.replicates
    }

    /// Whether the user may publish all tables.
    pub fn may_publish_all(&self) -> bool {
        self.usage.superuser
    }

    /// Whether a replication connection has a place.
    pub fn has_free_sender(&self) -> bool {
        self.facts.number("max_wal_senders").unwrap_or_default() > self.usage.senders
    }

    /// The limit of the WAL that a slot keeps, in bytes, if there is one.
    pub fn keep_bytes(&self) -> Option<i64> {
        let limit_mb = self.facts.number("max_slot_wal_keep_size")?;
        (limit_mb >= 0).then_some(limit_mb.saturating_mul(1024 * 1024))
    }

    /// Judges what was asked.
    pub fn check(&self, report: &mut Report, sql: &Sql<'_>, config: &Config, skew: Skew) {
        self.tls(report, sql.endpoint(), sql.protection());
        self.version(report, unsupported(config, self.facts.major));
        self.recovery(report);
        self.wal_level(report);
        self.slots(report);
        self.senders(report);
        self.keep_size(report);
        self.idle_timeout(report);
        self.timeout(report);
        skew.check(report);
    }

    fn tls(&self, report: &mut Report, endpoint: &Endpoint, protection: Protection) {
        let weakness = match protection {
            Protection::Verified => {
                return report.ok(Condition::Tls, "on, the server's certificate is verified");
            }
            Protection::Encrypted if is_local(endpoint) => {
                return report.ok(Condition::Tls, "on, on this machine");
            }
            Protection::None if is_local(endpoint) => {
                return report.ok(Condition::Tls, "off, on this machine");
            }
            Protection::Encrypted => {
                "on, but the server's certificate is not verified: who poses as"
            }
            Protection::None => "off: whoever is on the way to",
        };
        report.warning(
            Condition::Tls,
            format!("{weakness} {endpoint} can read and change everything"),
            [Mend::advice(
                "in the database URL: sslmode=verify-full, and sslrootcert=FILE or \
                 sslrootcert=system; or a tunnel",
            )],
        );
    }

    fn version(&self, report: &mut Report, unsupported: Option<(&str, u32)>) {
        let version = &self.facts.version;
        if !self.facts.has_publications() {
            return report.failure(
                Condition::Version,
                Kind::Config,
                format!("{version}, which has no logical replication of its own"),
                [Mend::advice("version 10 is the oldest that has it")],
            );
        }
        match unsupported {
            None => report.ok(Condition::Version, version.clone()),
            Some((key, since)) => report.failure(
                Condition::Version,
                Kind::Config,
                format!("{version}, \"{key}\" needs {since}"),
                [Mend::advice(format!("take \"{key}\" out of the config"))],
            ),
        }
    }

    fn recovery(&self, report: &mut Report) {
        let is_fed_back = self.facts.setting("hot_standby_feedback") == Some("on");
        match (self.facts.is_standby, self.facts.decodes()) {
            (false, _) => report.ok(Condition::Recovery, "a primary"),
            (true, false) => report.failure(
                Condition::Recovery,
                Kind::Config,
                "a standby, which decodes nothing before version 16",
                [Mend::advice("connect to its primary")],
            ),
            (true, true) if is_fed_back => report.ok(Condition::Recovery, "a standby"),
            (true, true) => report.warning(
                Condition::Recovery,
                "a standby without hot_standby_feedback: its primary may remove rows of the catalog \
                 that the slot needs, which invalidates the slot",
                self.provider().set("hot_standby_feedback", "on"),
            ),
        }
    }

    fn wal_level(&self, report: &mut Report) {
        match self.facts.setting("wal_level") {
            Some("logical") => report.ok(Condition::WalLevel, "logical"),
            level => report.failure(
                Condition::WalLevel,
                Kind::Config,
                format!("{}, logical is needed", level.unwrap_or("not known")),
                [self.provider().set_at_start("wal_level", "logical")],
            ),
        }
    }

    fn slots(&self, report: &mut Report) {
        let (condition, name) = (Condition::MaxReplicationSlots, "max_replication_slots");
        let max = self.facts.number(name).unwrap_or_default();
        let free = max.saturating_sub(self.usage.slots);
        if self.usage.slot_exists || free > 0 {
            return report.ok(condition, format!("{max}, {free} of them free"));
        }
        let idle = match self.usage.idle_slots.is_empty() {
            true => String::new(),
            false => format!("; nobody uses {} now", self.usage.idle_slots.join(", ")),
        };
        report.failure(
            condition,
            Kind::Config,
            format!("{max}, none of them free, and the slot is still to be made{idle}"),
            [self
                .provider()
                .set_at_start(name, &max.saturating_add(4).to_string())],
        );
    }

    fn senders(&self, report: &mut Report) {
        let (condition, name) = (Condition::MaxWalSenders, "max_wal_senders");
        let max = self.facts.number(name).unwrap_or_default();
        match self.has_free_sender() {
            true => {
                let free = max.saturating_sub(self.usage.senders);
                report.ok(condition, format!("{max}, {free} of them free"));
            }
            false => report.failure(
                condition,
                Kind::Unreachable,
                format!("{max}, none of them free: nobody else can stream"),
                [self
                    .provider()
                    .set_at_start(name, &max.saturating_add(4).to_string())],
            ),
        }
    }

    fn keep_size(&self, report: &mut Report) {
        let (condition, name) = (Condition::MaxSlotWalKeepSize, "max_slot_wal_keep_size");
        let mend = || self.provider().set(name, &format!("{KEEP_MB}MB"));
        let limit = self.facts.number(name);
        let cycle = self.facts.number("max_wal_size").unwrap_or_default();
        match limit {
            // Up to version 12 nothing can be set: slot.lag is what there is to watch.
            None => report.ok(
                condition,
                format!("version {} has no limit", self.facts.version),
            ),
            Some(..0) => report.warning(
                condition,
                "unlimited: while the program is stopped its slot keeps all WAL, until the disk is \
                 full and the database stops; set what the disk can spare",
                mend(),
            ),
            Some(limit) if limit < cycle => report.warning(
                condition,
                format!(
                    "{limit} MB, less than max_wal_size ({cycle} MB): a short stop of the program \
                     loses the slot"
                ),
                mend(),
            ),
            Some(limit) => report.ok(condition, format!("{limit} MB")),
        }
    }

    /// Judges `idle_replication_slot_timeout`: a slot is idle while the program is stopped, and while it
    /// waits for Fluvio before it begins.
    fn idle_timeout(&self, report: &mut Report) {
        let name = "idle_replication_slot_timeout";
        let condition = Condition::IdleReplicationSlotTimeout;
        match self.facts.number(name) {
            None => report.ok(condition, format!("version {} has none", self.facts.version)),
            Some(..=0) => report.ok(condition, "off"),
            Some(seconds) => report.warning(
                condition,
                format!(
                    "{seconds} s: when nobody streams from the slot for so long, the program being stopped \
                     or Fluvio away, the next checkpoint takes it away with all that is pending"
                ),
                self.provider().set(name, "0"),
            ),
        }
    }

    fn timeout(&self, report: &mut Report) {
        let (condition, name) = (Condition::WalSenderTimeout, "wal_sender_timeout");
        let ms = self.facts.number(name).unwrap_or_default();
        let found = match ms {
            ..=0 => {
                "off: after a lost connection the server may hold the slot for hours".to_owned()
            }
            1..SHORT_TIMEOUT_MS => format!("{ms} ms: a short pause of the network ends the stream"),
            _ => return report.ok(condition, format!("{} s", ms / 1000)),
        };
        report.warning(condition, found, self.provider().set(name, "60s"));
    }
}

/// How far the server's clock is ahead of ours.
#[derive(Debug, Clone, Copy)]
pub struct Skew {
    seconds: f64,
    /// How much of that the way there and back leaves open.
    uncertain: f64,
}

impl Skew {
    /// The difference by the server's time, and ours before and after asking for it.
    fn between(before: f64, server: f64, after: f64) -> Skew {
        Skew {
            seconds: server - (before + after) / 2.0,
            uncertain: (after - before).abs() / 2.0,
        }
    }

    fn check(self, report: &mut Report) {
        let Skew { seconds, uncertain } = self;
        if seconds.abs() <= SKEW_S + uncertain {
            return report.ok(Condition::Clock, format!("differs by {seconds:.1} s"));
        }
        let side = if seconds > 0.0 { "ahead of" } else { "behind" };
        report.warning(
            Condition::Clock,
            format!(
                "the server's is {:.1} s {side} this machine's, and so are the records' timestamps",
                seconds.abs()
            ),
            [Mend::advice("synchronise both with NTP; see timedatectl")],
        );
    }
}

/// Whether nothing leaves this machine.
fn is_local(endpoint: &Endpoint) -> bool {
    match &endpoint.host {
        Host::Tcp(host) => {
            let known = endpoint.address.map(|address| address.ip());
            let address: Option<IpAddr> = known.or_else(|| host.parse().ok());
            host == "localhost" || address.is_some_and(|address| address.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(check: impl FnOnce(&mut Report)) -> String {
        let mut report = Report::default();
        check(&mut report);
        report.to_string()
    }

    fn examined(major: u32, is_standby: bool) -> ExaminedServer {
        let facts = format!(
            "{{\"major\":{major},\"version\":\"{major}.0\",\"is_standby\":{is_standby},\"settings\":{{}}}}"
        );
        let usage = "{\"slots\":0,\"senders\":0,\"idle_slots\":[],\"slot_exists\":true,\"roles\":[],\
                     \"superuser\":false,\"replicates\":true,\"clock\":0}";
        ExaminedServer {
            facts: serde_json::from_str(&facts).unwrap(),
            usage: serde_json::from_str(usage).unwrap(),
        }
    }

    #[test]
    fn clocks() {
        let skew = |server| judged(|report| Skew::between(100.0, server, 102.0).check(report));
        assert!(skew(101.5).starts_with("ok"));
        assert!(
            skew(103.9).starts_with("ok"),
            "the way leaves a second open"
        );
        assert!(skew(160.0).contains("is 59.0 s ahead of"));
        assert!(skew(41.0).contains("is 60.0 s behind"));
    }

    #[test]
    fn tls_matters_on_a_network() {
        let tls = |host: &str, protection| {
            let endpoint = Endpoint {
                host: Host::Tcp(host.to_owned()),
                address: None,
                port: 5432,
            };
            judged(|report| examined(17, false).tls(report, &endpoint, protection))
        };
        assert!(tls("db.example.org", Protection::Verified).starts_with("ok       tls"));
        for protection in [Protection::None, Protection::Encrypted] {
            for local in ["localhost", "127.0.0.1", "::1"] {
                let found = tls(local, protection);
                assert!(found.contains("on this machine"), "{found}");
            }
            let remote = tls("192.0.2.1", protection);
            assert!(
                remote.starts_with("warning") && remote.contains("verify-full"),
                "{remote}"
            );
        }
    }

    #[test]
    fn a_standby_of_before_16_and_a_server_of_before_10() {
        let recovery = |server: ExaminedServer| judged(|report| server.recovery(report));
        assert!(recovery(examined(15, true)).starts_with("FAILURE"));
        let text = recovery(examined(16, true));
        assert!(
            text.starts_with("warning") && text.contains("hot_standby_feedback"),
            "{text}"
        );
        let old = examined(9, false);
        assert!(judged(|report| old.version(report, None)).starts_with("FAILURE"));
    }
}
