//! Settings of a server, and the statements that mend them.

use crate::support::check::{Checked, check, check_as, healthy_server};
use crate::support::connector::ConfigFile;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{DEFAULT_HBA, Postgres, Stop};
use crate::support::wait_until;
use postgres_source::pg::ConnectParams;
use postgres_source::pg::ReplicationConnection;

/// What a server is told to read again it reads a moment later.
#[track_caller]
fn wait_problems(config: &ConfigFile, url: &str, problems: &[(&str, &str)]) -> Checked {
    wait_until(&format!("{problems:?}"), DEADLINE, || {
        check(config, url).problems() == problems
    });
    check(config, url)
}

#[test]
fn each_setting_is_found_and_mended_by_what_is_printed() {
    let server = Postgres::start(&[
        ("wal_level", "replica"),
        ("max_replication_slots", "1"),
        ("max_wal_senders", "1"),
        ("wal_sender_timeout", "0"),
    ]);
    let limits_wal = server.major() >= 13;
    if limits_wal {
        server.add_settings(&[("max_slot_wal_keep_size", "100MB")]);
        server.restart(Stop::Fast);
    }
    let pipeline = Pipeline::on(&server, "settings");
    let database = &pipeline.database;
    database.query_one_text("SELECT slot_name FROM pg_create_physical_replication_slot('other')");
    let params = ConnectParams::parse(&database.url(), "other").expect("a URL");
    let sender = ReplicationConnection::connect(&params).expect("the only sender is free");

    let config = pipeline.config();
    let mut problems = vec![
        ("wal_level", "failure"),
        ("max_replication_slots", "failure"),
        ("max_wal_senders", "failure"),
        ("max_slot_wal_keep_size", "warning"),
        ("wal_sender_timeout", "warning"),
    ];
    problems.retain(|(name, _)| limits_wal || *name != "max_slot_wal_keep_size");
    let checked = check(&config, &database.url());
    checked.assert_problems(&problems, 78);
    checked.assert_says("wal_level", "replica, logical is needed");
    checked.assert_says("max_replication_slots", "nobody uses other now");
    checked.assert_says("max_wal_senders", "1, none of them free");
    checked.assert_says("role.replication", "has the right; it could not be tried");

    // As it is pasted into psql, with the restart where it says so.
    let (_, _, sql) = check_as(&config.path(), &database.url(), &["--sql"]);
    let first = "ALTER SYSTEM SET wal_level = 'logical';";
    assert!(sql.starts_with(first), "{sql}");
    drop(sender);
    for line in sql.lines() {
        match line {
            "-- restart the server here" => server.restart(Stop::Fast),
            statement => database.execute(statement),
        }
    }
    let url = database.url();
    assert!(sql.contains("restart the server"), "{sql}");
    wait_problems(&config, &url, &[]);

    if limits_wal {
        database.execute("ALTER SYSTEM SET max_slot_wal_keep_size = -1");
        server.reload();
        let checked = wait_problems(&config, &url, &[("max_slot_wal_keep_size", "warning")]);
        assert_eq!(checked.code, 0);
        checked.assert_says("max_slot_wal_keep_size", "unlimited");
        checked.run_sql("max_slot_wal_keep_size", database);
        wait_problems(&config, &url, &[]);
    }
    database.execute("ALTER SYSTEM SET wal_sender_timeout = '1s'");
    server.reload();
    let checked = wait_problems(&config, &url, &[("wal_sender_timeout", "warning")]);
    assert_eq!(checked.code, 0);
    checked.assert_says(
        "wal_sender_timeout",
        "1000 ms: a short pause of the network",
    );
    checked.run_sql("wal_sender_timeout", database);
    wait_problems(&config, &url, &[]);

    // No line of pg_hba.conf for us; the one that is printed lets us in.
    server.set_hba("host template1 all 127.0.0.1/32 scram-sha-256\n");
    server.reload();
    let checked = wait_problems(&config, &url, &[("postgres", "failure")]);
    assert_eq!(checked.code, 77);
    let advice = checked.mends("postgres", "advice").concat();
    let line = advice.split('"').collect::<Vec<_>>();
    let line = line[1..line.len() - 1].join("\"");
    assert!(line.starts_with("host \"settings_"), "{advice}");
    server.set_hba(&line);
    server.reload();
    wait_problems(&config, &url, &[]);
    server.set_hba(DEFAULT_HBA);
}

#[test]
fn the_providers_own_way() {
    let server = Postgres::start(&[("wal_level", "replica")]);
    let pipeline = Pipeline::on(&server, "provider");
    let database = &pipeline.database;
    let cases = [
        (
            "rds_superuser",
            "in the DB parameter group",
            "rds.logical_replication to 1",
        ),
        (
            "cloudsqlsuperuser",
            "in the database flags",
            "cloudsql.logical_decoding",
        ),
        (
            "azure_pg_admin",
            "in the server parameters",
            "wal_level to logical",
        ),
    ];
    for (role, place, setting) in cases {
        database.execute(&format!("CREATE ROLE {role}"));
        let checked = check(&pipeline.config(), &database.url());
        checked.assert_status("wal_level", "failure");
        let advice = checked.mends("wal_level", "advice").concat();
        assert!(
            advice.contains(place) && advice.contains(setting),
            "{advice}"
        );
        assert!(checked.mends("wal_level", "sql").is_empty());
        database.execute(&format!("DROP ROLE {role}"));
    }
    database.execute(
        "CREATE ROLE rds_superuser; CREATE ROLE rds_replication; \
         CREATE ROLE cdc LOGIN PASSWORD 'hunter2'",
    );
    let url = format!(
        "postgres://cdc:hunter2@127.0.0.1:{}/{}",
        server.port(),
        database.name()
    );
    let checked = check(&pipeline.config(), &url);
    checked.assert_status("role.replication", "failure");
    let grant = "GRANT rds_replication TO \"cdc\";";
    assert_eq!(checked.mends("role.replication", "sql"), [grant]);
}

#[test]
fn a_standby() {
    let server = Postgres::start_with(&[], DEFAULT_HBA, &[("standby.signal", "")]);
    if server.major() < 12 {
        // There the file has another name and form; the condition is the same.
        return;
    }
    let config = ConfigFile::new("t", "p", "s").fluvio("endpoint", "127.0.0.1:1");
    let checked = check(&config, &server.url("postgres"));
    match server.major() >= 16 {
        true => checked.assert_status("recovery", "warning"),
        false => checked.assert_status("recovery", "failure"),
    };
    // The rest is checked too.
    checked.assert_says("publication", "a standby has what its primary has");
}

#[test]
fn the_config_asks_for_what_a_later_version_has() {
    let server = healthy_server();
    let pipeline = Pipeline::on(server, "versions");
    let config = pipeline.config().parameter("failover", "true");
    let checked = check(&config, &pipeline.database.url());
    if server.major() >= 17 {
        checked.assert_problems(&[], 0);
    } else {
        checked.assert_problems(&[("version", "failure")], 78);
        checked.assert_says("version", "\"failover: true\" needs 17");
    }
}
