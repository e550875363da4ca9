//! Limits of time that a role has, which the stream and the making of its slot must outlast.

use std::time::{Duration, Instant};

use crate::support::connector::Connector;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::Database;
use crate::support::role::Role;
use crate::support::wait_until;

/// Long enough for every statement that does not wait for something.
const TIMEOUT: &str = "3s";

/// Long enough for the server to notice that the time is over.
const LONGER: Duration = Duration::from_secs(5);

/// A role with every limit that its server knows.
fn hurried_role(database: &Database) -> Role<'_> {
    let role = Role::new(database, "SUPERUSER");
    let mut limits = vec![
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
    ];
    if database.major() >= 14 {
        limits.push("idle_session_timeout");
    }
    if database.major() >= 17 {
        limits.push("transaction_timeout");
    }
    for limit in limits {
        database.execute(&format!(
            "ALTER ROLE \"{}\" SET {limit} = '{TIMEOUT}'",
            role.name
        ));
    }
    role
}

fn outlast() {
    let begun = Instant::now();
    wait_until("the limits are over", DEADLINE, || begun.elapsed() > LONGER);
}

#[test]
fn a_transaction_that_is_read_slowly() {
    const ROWS: i64 = 60_000;
    let pipeline = Pipeline::new("slowly").in_process();
    pipeline
        .database
        .execute("CREATE TABLE t (id int8, filler text)");
    let role = hurried_role(&pipeline.database);
    let config = pipeline.config();
    let connector = Connector::spawn_config(&config, &role.url(), &[]);
    connector.wait_log("streaming from", DEADLINE);
    pipeline.server().freeze();
    pipeline.database.execute(&format!(
        "INSERT INTO t SELECT id, repeat('x', 1000) FROM generate_series(1, {ROWS}) id"
    ));
    outlast();
    pipeline.server().thaw();
    // Begin, relation and commit.
    wait_until("all of it arrives", DEADLINE, || {
        pipeline.end_offset() >= ROWS + 3
    });
    assert_eq!(
        connector.log_count("trying again"),
        0,
        "{}",
        connector.log()
    );
}

#[test]
fn a_slot_that_waits_for_a_transaction() {
    let pipeline = Pipeline::new("patiently");
    pipeline.database.execute("CREATE TABLE t (id int8)");
    let role = hurried_role(&pipeline.database);
    let mut client = pipeline.database.client();
    let mut open = client.transaction().expect("it begins");
    open.batch_execute("INSERT INTO t VALUES (1)")
        .expect("a row");
    let config = pipeline.config();
    let connector = Connector::spawn_config(&config, &role.url(), &[]);
    connector.wait_log("making the replication slot", DEADLINE);
    outlast();
    open.commit().expect("it ends");
    connector.wait_log("streaming from", DEADLINE);
    assert_eq!(
        connector.log_count("trying again"),
        0,
        "{}",
        connector.log()
    );
}
