//! What a server's configuration, or a role's rights, do not allow: each says how to mend it.

use crate::pipeline::resume::continuity::{INVALIDATES, with_little_wal};
use crate::support::connector::{ConfigFile, Connector};
use crate::support::outcome::{assert_fails, assert_fails_once};
use crate::support::pipeline::DEADLINE;
use crate::support::postgres::{Postgres, Stop, unique};
use crate::support::role::Role;

fn config(slot: &str) -> ConfigFile {
    ConfigFile::new("t", "p", slot)
        .set("retry", "{ min: 50ms, max: 100ms }")
        .set("status_interval", "50ms")
}

fn start(config: &ConfigFile, url: &str) -> Connector {
    let connector = Connector::spawn_config(config, url, &["--stdout"]);
    connector.wait_log("streaming from", DEADLINE);
    connector
}

#[test]
fn wal_level_below_logical() {
    let server = Postgres::start(&[("wal_level", "replica")]);
    let database = server.database("level");
    let config = config("s");
    let says = "the server has wal_level=replica, logical is needed (hint: run \
                \"ALTER SYSTEM SET wal_level = logical\" and restart the server)";
    let place = format!("PostgreSQL at 127.0.0.1:{}: {says}", server.port());
    assert_fails(&config.path(), &database.url(), 78, &[&place]);
    let made = database.query_texts("SELECT pubname FROM pg_publication");
    assert!(made.is_empty(), "{made:?}");

    // It works as the hint says.
    database.execute("ALTER SYSTEM SET wal_level = logical");
    server.restart(Stop::Fast);
    start(&config, &database.url());
}

#[test]
fn no_slot_is_left() {
    let server = Postgres::start(&[("max_replication_slots", "1")]);
    let database = server.database("slots");
    database.create_slot("the_only_one");
    let config = config("s");
    assert_fails(
        &config.path(),
        &database.url(),
        78,
        &[
            "replication slot s: the server says: ERROR all replication slots are in use",
            "raise max_replication_slots in postgresql.conf and restart the server, or drop a slot",
        ],
    );
    database.query_one_text("SELECT pg_drop_replication_slot('the_only_one')");
    start(&config, &database.url());
}

#[test]
fn no_sender_is_left() {
    let server = Postgres::start(&[("max_wal_senders", "1")]);
    let database = server.database("senders");
    let mut first = start(&config("first"), &database.url());
    let config = config("second");
    let setting = match server.major() {
        ..17 => "max_wal_senders",
        _ => "\"max_wal_senders\"",
    };
    let exceeds =
        format!("number of requested standby connections exceeds {setting} (currently 1)");
    let says = [
        exceeds.as_str(),
        "[SQLSTATE 53300]",
        "raise max_wal_senders or max_connections, or end a connection that is not used",
    ];
    assert_fails_once(&config.path(), &database.url(), 69, &says);

    let second = Connector::spawn_config(&config, &database.url(), &["--stdout"]);
    let line = second.wait_log_count("trying again in", 2, DEADLINE);
    assert!(says.iter().all(|part| line.contains(part)), "{line}");
    first.sigterm();
    assert_eq!(first.wait_exit(DEADLINE), 0, "{}", first.log());
    second.wait_log("streaming from", DEADLINE);
}

#[test]
fn a_slot_that_has_lost_its_wal() {
    let server = with_little_wal();
    let database = server.database("lost_wal");
    database.execute("CREATE TABLE t (id int)");
    let config = config("s");
    start(&config, &database.url()).kill();
    database.wait_slot_inactive("s");
    for _ in 0..4 {
        database.query_one_text("SELECT pg_switch_wal()");
        database.execute("INSERT INTO t VALUES (1)");
    }
    database.execute("CHECKPOINT");
    if server.major() < INVALIDATES {
        start(&config, &database.url());
        return;
    }
    let reason = match server.major() {
        ..17 => "lost",
        _ => "wal_removed",
    };
    assert_fails(
        &config.path(),
        &database.url(),
        76,
        &[
            &format!(
                "replication slot s: was invalidated by the server ({reason}: it held back more WAL than \
                 max_slot_wal_keep_size allows): the changes since"
            ),
            "accept-gap",
        ],
    );
    database.query_one_text("SELECT pg_drop_replication_slot('s')");
    start(&config, &database.url());
}

#[test]
fn a_role_without_replication() {
    let database = Postgres::shared().database("no_replication");
    let role = Role::new(&database, "");
    database.execute("CREATE PUBLICATION p FOR ALL TABLES");
    let slot = unique("no_replication");
    let config = config(&slot);
    let statement = format!("ALTER ROLE \"{}\" REPLICATION;", role.name);
    let hint = format!("(hint: run as a superuser: {statement}");
    assert_fails(
        &config.path(),
        &role.url(),
        77,
        &["the server says: FATAL", "[SQLSTATE 42501]", &hint],
    );
    assert!(!database.slot_exists(&slot));

    // It works as the hint says.
    database.execute(&statement);
    let connector = start(&config, &role.url());
    database.execute("CREATE TABLE t AS SELECT 71 AS id");
    connector.wait_stdout(DEADLINE, |lines| {
        lines.iter().any(|line| line.contains("{\"Int4\":71}"))
    });
    connector.kill();
    database.wait_slot_inactive(&slot);
}

#[test]
fn a_role_that_may_not_connect_to_the_database() {
    let database = Postgres::shared().database("no_connect");
    let role = Role::new(&database, "REPLICATION");
    database.execute(&format!(
        "REVOKE CONNECT ON DATABASE {} FROM public",
        database.name()
    ));
    let says = format!("needs CONNECT on the database \"{}\"", database.name());
    assert_fails(
        &config("s").path(),
        &role.url(),
        77,
        &["permission denied for database", "[SQLSTATE 42501]", &says],
    );
}

#[test]
fn a_role_that_may_not_publish() {
    let database = Postgres::shared().database("no_publish");
    let role = Role::new(&database, "REPLICATION");
    database.execute("CREATE TABLE pets (id int PRIMARY KEY)");
    let slot = unique("no_publish");
    let all_tables = config(&slot);
    let says = "publication p: the server says: ERROR";
    let assert_refused = |config: &ConfigFile, more: &[&str]| {
        let mut all = vec![says, "[SQLSTATE 42501]"];
        all.extend(more);
        assert_fails(&config.path(), &role.url(), 77, &all);
        assert!(!database.slot_exists(&slot));
    };
    let grant = format!(
        "GRANT CREATE ON DATABASE {} TO \"{}\";",
        database.name(),
        role.name
    );
    let rights = [grant.as_str(), "and must own the tables"];
    let one_table = config(&slot).parameter("tables", "[pets]");

    assert_refused(&one_table, &rights);
    database.execute(&grant);
    let own = format!("ALTER TABLE public.pets OWNER TO \"{}\";", role.name);
    assert_refused(&one_table, &[&own, rights[1]]);
    assert_refused(
        &all_tables,
        &[
            "only a superuser can publish all tables: let one make the publication, or name the \
             tables to publish, which the user must own, under \"tables\"",
        ],
    );

    database.execute(&own);
    start(&one_table, &role.url()).kill();
    database.wait_slot_inactive(&slot);
    // What a superuser, or anybody else, has made can be used.
    database.execute("DROP PUBLICATION p");
    database.query_one_text(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    database.execute("CREATE PUBLICATION p FOR ALL TABLES");
    let connector = start(&all_tables, &role.url());
    connector.kill();
    database.wait_slot_inactive(&slot);
}
