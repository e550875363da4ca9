//! Slots that cannot be read, made or kept.

use crate::support::check::{Checked, check, healthy_server, run_as_superuser};
use crate::support::connector::{ConfigFile, URL_VARIABLE, run_command};
use crate::support::outcome::FAIL_DEADLINE;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Postgres, unique};
use crate::support::role::Role;
use crate::support::wait_until;
use postgres_source::pg::ConnectParams;
use postgres_source::pg::{ReplicationConnection, Wanted};

/// Follows what a `config` mend says of the slot.
fn renamed(checked: &Checked, condition: &str, pipeline: &Pipeline) -> ConfigFile {
    let mend = checked.mends(condition, "config").concat();
    let name = mend
        .strip_prefix("parameters: { slot: ")
        .and_then(|rest| rest.strip_suffix(" }"))
        .unwrap_or_else(|| panic!("{mend}"));
    pipeline.config().parameter("slot", name)
}

#[test]
fn a_slot_of_another_kind() {
    let pipeline = Pipeline::on(healthy_server(), "foreign_slot");
    let (database, slot) = (&pipeline.database, &pipeline.slot);
    let url = database.url();

    database.query_one_text(&format!(
        "SELECT slot_name FROM pg_create_physical_replication_slot('{slot}')"
    ));
    let checked = check(&pipeline.config(), &url);
    checked.assert_problems(&[("slot.plugin", "failure")], 76);
    checked.assert_says("slot.plugin", "a physical slot");
    let config = renamed(&checked, "slot.plugin", &pipeline);
    check(&config, &url).assert_problems(&[], 0);
    database.query_one_text(&format!("SELECT pg_drop_replication_slot('{slot}')"));

    database.query_one_text(&format!(
        "SELECT slot_name FROM pg_create_logical_replication_slot('{slot}', 'test_decoding')"
    ));
    let checked = check(&pipeline.config(), &url);
    checked.assert_problems(&[("slot.plugin", "failure")], 76);
    checked.assert_says("slot.plugin", "the plugin test_decoding");
    database.query_one_text(&format!("SELECT pg_drop_replication_slot('{slot}')"));

    let other = healthy_server().database("other_database");
    other.create_slot(slot);
    let checked = check(&pipeline.config(), &url);
    checked.assert_problems(&[("slot.database", "failure")], 76);
    checked.assert_says(
        "slot.database",
        &format!("belongs to the database {}", other.name()),
    );
    let config = renamed(&checked, "slot.database", &pipeline);
    check(&config, &url).assert_problems(&[], 0);
}

#[test]
fn a_slot_that_does_not_survive_a_failover() {
    let server = healthy_server();
    if server.major() < 17 {
        // There no slot does; `version` says so of a config that wants it.
        return;
    }
    let pipeline = Pipeline::on(server, "failover");
    let url = pipeline.database.url();
    pipeline.database.create_slot(&pipeline.slot);
    check(&pipeline.config(), &url).assert_status("slot.failover", "ok");
    let config = pipeline.config().parameter("failover", "true");
    let checked = check(&config, &url);
    checked.assert_status("slot.failover", "warning");
    checked.assert_says("slot.failover", "false, the config says true");
    let command = checked.mends("slot.failover", "shell").concat();
    run_as_superuser(server, &command);
    check(&config, &url).assert_status("slot.failover", "ok");
}

#[test]
fn somebody_else_streams_from_it() {
    let pipeline = Pipeline::on(healthy_server(), "in_use");
    let (database, slot) = (&pipeline.database, &pipeline.slot);
    let publication = &pipeline.publication;
    database.execute(&format!("CREATE PUBLICATION {publication} FOR ALL TABLES"));
    database.execute("CREATE TABLE t (i int PRIMARY KEY)");
    database.create_slot(slot);
    let params = ConnectParams::parse(&database.url(), "a stranger").expect("a URL");
    let connection = ReplicationConnection::connect(&params).expect("a place is free");
    let stream = connection
        .start(slot, Wanted::of(publication))
        .expect("nobody has it");
    let pid = database.wait_slot_active(slot);

    let checked = check(&pipeline.config(), &database.url());
    checked.assert_status("slot.active", "failure");
    assert_eq!(checked.code, 75);
    let says = format!("PID {pid} streams from it, application \"a stranger\"");
    checked.assert_says("slot.active", &says);
    checked.run_sql("slot.active", database);
    database.wait_slot_inactive(slot);
    drop(stream);
    check(&pipeline.config(), &database.url()).assert_status("slot.active", "ok");
}

#[test]
fn it_is_gone_although_the_topic_has_its_changes() {
    let pipeline = Pipeline::on(healthy_server(), "slot_gone");
    let (database, slot) = (&pipeline.database, &pipeline.slot);
    let directory = tempfile::tempdir().expect("a directory can be made");
    let config = pipeline
        .config()
        .set("state_dir", directory.path().to_str().expect("UTF-8"));
    database.execute("CREATE TABLE t (i int PRIMARY KEY)");
    let mut connector = pipeline.start_with(&config);
    database.execute("INSERT INTO t VALUES (1)");
    pipeline.wait_commits(1);
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    database.wait_slot_inactive(slot);
    check(&config, &database.url()).assert_problems(&[], 0);

    // Seen by what the topic has alone, and told how to go on: not without a state file.
    database.query_one_text(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    let checked = check(&pipeline.config(), &database.url());
    checked.assert_problems(&[("slot", "failure")], 76);
    let advice = checked.mends("slot", "advice").concat();
    assert!(
        advice.contains("state_dir") && advice.contains("accept-gap"),
        "{advice}"
    );

    // The command is run as it is printed.
    let checked = check(&config, &database.url());
    checked.assert_problems(&[("slot", "failure")], 76);
    let command = checked.mends("slot", "shell").concat();
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    let url = database.url();
    let (code, log, _) = run_command(&arguments, &[(URL_VARIABLE, &url)], FAIL_DEADLINE);
    assert_eq!(code, 0, "{command}\n{log}");
    check(&config, &url).assert_problems(&[], 0);

    // Behind the program's back.
    let publication = &pipeline.publication;
    database.execute(&format!(
        "DROP PUBLICATION {publication}; CREATE PUBLICATION {publication} FOR ALL TABLES"
    ));
    let checked = check(&config, &url);
    checked.assert_status("continuity", "failure");
    assert_eq!(checked.code, 76);
    checked.assert_says("continuity", "the publication was dropped and made again");
}

/// Transactions and horizons are those of a whole cluster, so this one has a cluster of its own.
#[test]
fn what_a_slot_waits_for_and_what_it_keeps() {
    let server = Postgres::start(&[("max_wal_size", "32MB"), ("min_wal_size", "32MB")]);
    let limits_wal = server.major() >= 13;
    if limits_wal {
        server.add_settings(&[("max_slot_wal_keep_size", "64MB")]);
        server.reload();
    }
    let pipeline = Pipeline::on(&server, "waits");
    pipeline
        .database
        .execute("CREATE TABLE t (i int PRIMARY KEY)");
    open_transactions(&pipeline);
    age(&pipeline);
    if limits_wal {
        lost_wal(&pipeline);
    }
}

fn open_transactions(pipeline: &Pipeline) {
    let database = &pipeline.database;
    let (config, url) = (pipeline.config(), database.url());
    let role = Role::new(database, "SUPERUSER");
    let mut open = database.client();
    open.batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .expect("a transaction");
    database.execute("BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'it''s left'");
    wait_until("both are open for long", DEADLINE, || {
        check(&config, &url).problems().len() == 2
    });
    let checked = check(&config, &url);
    let problems = [
        ("transactions", "warning"),
        ("prepared_transactions", "warning"),
    ];
    checked.assert_problems(&problems, 0);
    checked.assert_says(
        "transactions",
        &format!("database {}), open for", database.name()),
    );
    checked.assert_says("prepared_transactions", "\"it's left\" of postgres in");

    // Who may not see how old they are is told so.
    let publication = &pipeline.publication;
    database.execute(&format!(
        "CREATE PUBLICATION {publication} FOR ALL TABLES; \
         ALTER ROLE \"{}\" NOSUPERUSER REPLICATION",
        role.name
    ));
    let checked = check(&config, &role.url());
    checked.assert_problems(&[("prepared_transactions", "warning")], 0);
    let says = checked.found("transactions");
    let grant = format!("GRANT pg_read_all_stats TO \"{}\";", role.name);
    assert!(
        says.starts_with("1 open") && says.ends_with(&grant),
        "{says}"
    );
    database.execute(&grant);
    check(&config, &role.url()).assert_status("transactions", "warning");

    let checked = check(&config, &url);
    checked.run_sql("transactions", database);
    checked.run_sql("prepared_transactions", database);
    wait_until("nothing is open", DEADLINE, || {
        check(&config, &url).problems().is_empty()
    });
    database.execute(&format!("DROP PUBLICATION {publication}"));
}

fn age(pipeline: &Pipeline) {
    let (database, slot) = (&pipeline.database, &pipeline.slot);
    let (config, url) = (pipeline.config(), database.url());
    let publication = &pipeline.publication;
    let create = format!("CREATE PUBLICATION {publication} FOR ALL TABLES");
    database.create_slot(slot);
    database.execute(&create);
    let checked = check(&config, &url);
    checked.assert_problems(&[("slot.age", "warning")], 0);

    // In the right order.
    database.query_one_text(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    check(&config, &url).assert_problems(&[], 0);
    database.create_slot(slot);
    let checked = check(&config, &url);
    checked.assert_problems(&[], 0);
    checked.assert_says("slot.age", "the publication is older");

    // A slot that is made beside another begins with the catalog's horizon of that one.
    let second = unique("second");
    database.execute(&format!("DROP PUBLICATION {publication}"));
    database.execute(&create);
    database.create_slot(&second);
    let second_config = pipeline.config().parameter("slot", &second);
    let checked = check(&second_config, &url);
    checked.assert_problems(&[], 0);
    checked.assert_says("slot.age", "cannot be told from the catalog");
    database.query_one_text(&format!("SELECT pg_drop_replication_slot('{second}')"));
    database.query_one_text(&format!("SELECT pg_drop_replication_slot('{slot}')"));
}

fn lost_wal(pipeline: &Pipeline) {
    let (database, slot) = (&pipeline.database, &pipeline.slot);
    let (config, url) = (pipeline.config(), database.url());
    database.create_slot(slot);
    let segment = || {
        database.query_one_text("SELECT pg_switch_wal()");
        database.execute("UPDATE t SET i = i; INSERT INTO t SELECT max(i) + 1 FROM t");
    };
    database.execute("INSERT INTO t VALUES (10)");
    (0..3).for_each(|_| segment());
    let checked = check(&config, &url);
    checked.assert_problems(&[("slot.lag", "warning")], 0);
    checked.assert_says("slot.lag", "it is lost after");
    let command = checked.mends("slot.lag", "shell").concat();
    assert!(
        command.starts_with("postgres-source run --config /"),
        "{command}"
    );
    let mut connector = pipeline.start_with(&config);
    pipeline.wait_caught_up();
    database.execute("CHECKPOINT");
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    database.wait_slot_inactive(slot);

    (0..8).for_each(|_| segment());
    database.execute("CHECKPOINT");
    let checked = check(&config, &url);
    checked.assert_status("slot.wal_status", "failure");
    assert_eq!(checked.code, 76);
    checked.assert_says("slot.wal_status", "invalidated");
    let advice = checked.mends("slot.wal_status", "advice").concat();
    assert!(advice.contains("accept-gap --config"), "{advice}");
    database.query_one_text(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    let checked = check(&config, &url);
    checked.assert_problems(&[("slot", "failure")], 76);
}
