//! Users' code and settings that keep us out.

use std::process::Command;

use super::row::Row;
use super::site;
use crate::support::pipeline::DEADLINE;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Direction, Proxy};
use crate::support::role::Role;
use crate::support::wait_until;

/// The first major that ends sessions which idle.
const IDLE_SESSIONS: u32 = 14;

pub fn event_trigger(row: &Row) {
    let pipeline = site::shared("guarded");
    let (database, config) = (&pipeline.database, pipeline.config());
    database.execute(
        "CREATE FUNCTION public.guard() RETURNS event_trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'it is frozen'; END $$; \
         CREATE EVENT TRIGGER guard_of_somebody ON ddl_command_start \
         WHEN TAG IN ('CREATE PUBLICATION') EXECUTE PROCEDURE public.guard()",
    );
    site::ends(row, &config, &database.url(), 78);
    let psql = Command::new("psql")
        .args(["--no-psqlrc", &database.url(), "-c", row.code("\\dy")])
        .output()
        .expect("psql is installed");
    let listed = String::from_utf8_lossy(&psql.stdout);
    assert!(listed.contains("guard_of_somebody"), "{listed}");
    // Whoever made it takes it away.
    database.execute("DROP EVENT TRIGGER guard_of_somebody");
    site::streams(database, &config, &database.url());
}

pub fn database_that_is_closed(row: &Row) {
    let pipeline = site::shared("closed");
    let (database, config) = (&pipeline.database, pipeline.config());
    let elsewhere = Postgres::shared().database_named("postgres");
    let allow = row.code("ALTER DATABASE").replace("...", database.name());
    elsewhere.execute(&allow.replace("true", "false"));
    let connector = site::says(row, &config, &database.url());
    row.advises("it is tried again");
    elsewhere.execute(&allow);
    site::goes_on(database, connector);
}

/// The proxy makes sure that the limit is over before it is lifted.
pub fn limit_that_cannot_be_lifted(row: &Row) {
    let pipeline = site::shared("limited");
    let (database, config) = (&pipeline.database, pipeline.config());
    if database.major() < IDLE_SESSIONS {
        site::streams(database, &config, &database.url());
        return;
    }
    let role = Role::new(database, "SUPERUSER");
    let reset = row
        .code("ALTER ROLE")
        .replace("...", &format!("\"{}\"", role.name));
    let set = reset.replace("RESET", "SET");
    database.execute(&format!("{set} = '3ms'"));
    let line = Proxy::start(format!("127.0.0.1:{}", database.port()));
    line.hold_before(Direction::ToServer, "idle_session_timeout");
    let port = format!(":{}/", database.port());
    let url = role.url().replace(&port, &format!(":{}/", line.port()));
    let connector = site::start(&config, &url);
    wait_until("it wants to lift the limit", DEADLINE, || {
        line.is_holding(Direction::ToServer)
    });
    row.wait_said(&connector);
    line.release(Direction::ToServer);
    database.execute(&reset);
    site::goes_on(database, connector);
}
