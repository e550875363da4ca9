//! Roles that may not do what is needed, and what others do for them.

use super::row::Row;
use super::site;
use crate::commands::least_role::rights;
use crate::support::check::{check, check_as, healthy_server};
use crate::support::outcome::FAIL_DEADLINE;
use crate::support::pipeline::Pipeline;
use crate::support::role::Role;
use crate::support::stopped::run_verb;
use crate::support::wait_until;

/// A superuser makes what the role may not make.
fn publish(pipeline: &Pipeline) {
    let publication = &pipeline.publication;
    let database = &pipeline.database;
    database.execute(&format!("CREATE PUBLICATION {publication} FOR TABLE t"));
}

pub fn role_that_may_not_replicate(row: &Row) {
    let pipeline = site::shared("replicates");
    let (database, config) = (&pipeline.database, pipeline.config());
    publish(&pipeline);
    let role = Role::new(database, "");
    site::ends(row, &config, &role.url(), 77);
    // A managed server has a role for it that no other server has.
    row.advises("on a managed server");
    let name = format!("\"{}\"", role.name);
    database.execute(&row.code("ALTER ROLE").replace("...", &name));
    site::streams(database, &config, &role.url());
}

pub fn role_that_may_not_publish_all_tables(row: &Row) {
    let pipeline = site::shared("publishes_all");
    let (database, config) = (&pipeline.database, pipeline.config());
    let role = Role::new(database, "REPLICATION");
    let grant = format!("GRANT CREATE ON DATABASE {}", database.name());
    database.execute(&format!("{grant} TO \"{}\"", role.name));
    site::ends(row, &config, &role.url(), 77);
    // What the role may name are its own tables.
    database.execute(&format!("ALTER TABLE t OWNER TO \"{}\"", role.name));
    let key = row.code("tables");
    let named = pipeline.config().parameter(key, "[t]");
    site::streams(database, &named, &role.url());
    database.execute(&format!("DROP PUBLICATION {}", pipeline.publication));
    database.execute(&format!(
        "SELECT pg_drop_replication_slot('{}')",
        pipeline.slot
    ));

    site::ends(row, &config, &role.url(), 77);
    row.advises("let a superuser make the publication");
    check(&config, &role.url()).run_sql("publication", database);
    site::streams(database, &config, &role.url());
}

pub fn role_that_may_not_publish(row: &Row) {
    for way in ["the rights that are missing", "the statement that makes"] {
        let pipeline = site::shared("publishes");
        let database = &pipeline.database;
        let config = pipeline.config().parameter("tables", "[t]");
        let role = Role::new(database, "REPLICATION");
        let log = site::ends(row, &config, &role.url(), 77);
        row.advises(way);
        if way.starts_with("the rights") {
            database.execute_each(rights(&log).into_iter().map(str::to_owned));
        } else {
            let (_, statement) = log.rsplit_once(" or runs: ").expect("a statement");
            let (statement, _) = statement.rsplit_once(';').expect("its end");
            database.execute(statement);
        }
        site::streams(database, &config, &role.url());
        database.wait_slot_inactive(&pipeline.slot);
    }
}

pub fn tables_without_identity(row: &Row) {
    for way in ["the statements that it names", "`check --sql`"] {
        let pipeline = site::on(healthy_server(), "identity");
        let (database, config) = (&pipeline.database, pipeline.config());
        database.execute("CREATE TABLE \"No Key\" (a int); INSERT INTO \"No Key\" VALUES (1)");
        let connector = site::says(row, &config, &database.url());
        connector.wait_log("streaming from", FAIL_DEADLINE);
        let update = "UPDATE \"No Key\" SET a = a + 1";
        database
            .try_execute(update)
            .expect_err("it has no identity");
        row.advises(way);
        if way.starts_with("the statements") {
            let log = connector.log();
            let (_, statements) = log.split_once(" or run: ").expect("statements");
            let (statements, _) = statements.split_once('\n').expect("a whole line");
            database.execute(statements);
        } else {
            let (_, log, sql) = check_as(&config.path(), &database.url(), &["--sql"]);
            assert!(sql.contains("No Key"), "{sql} {log}");
            database.execute_each(sql.lines().map(str::to_owned));
        }
        // What a session knows of a table may be older.
        database
            .client()
            .batch_execute(update)
            .expect("it has one now");
        connector.wait_stdout(FAIL_DEADLINE, |lines| {
            lines
                .iter()
                .any(|line| line.contains("\"type\":\"update\""))
        });
        site::goes_on(database, connector);
        database.wait_slot_inactive(&pipeline.slot);
    }
}

pub fn publication_of_another_owner(row: &Row) {
    let pipeline = site::shared("owned");
    let (database, config) = (&pipeline.database, pipeline.config());
    let role = Role::new(database, "REPLICATION");
    publish(&pipeline);
    site::streams(database, &config, &role.url());
    let (code, log, _) = run_verb("teardown", &config, &role.url(), &["--yes"]);
    assert_eq!(code, 77, "{log}");
    row.assert_said(&log);

    let teardown: Vec<&str> = row.code("teardown").split(' ').collect();
    let (code, log, _) = run_verb(teardown[0], &config, &role.url(), &teardown[1..]);
    assert_eq!(code, 0, "{log}");
    row.advises("its owner drops the publication");
    database.execute(&format!("DROP PUBLICATION {}", pipeline.publication));
    assert!(!database.slot_exists(&pipeline.slot));
    // Nothing is left of it, so it begins anew.
    publish(&pipeline);
    site::streams(database, &config, &role.url());
}

pub fn what_cannot_be_seen(row: &Row) {
    let pipeline = site::shared("unseen");
    let (database, config) = (&pipeline.database, pipeline.config());
    let role = Role::new(database, "REPLICATION");
    publish(&pipeline);
    database.execute("REVOKE SELECT ON pg_catalog.pg_publication_rel FROM public");
    let config = config.parameter("tables", "[t]");
    let connector = site::says(row, &config, &role.url());
    row.advises("nothing: ");
    site::goes_on(database, connector);

    // The message says which right it is, for whoever wants the warning.
    row.advises("which right, or whose lock");
    database.execute("GRANT SELECT ON pg_catalog.pg_publication_rel TO public");
    wait_until("nobody reads the slot", FAIL_DEADLINE, || {
        database.slot_active_pid(&pipeline.slot).is_none()
    });
    let connector = site::start(&config, &role.url());
    site::row_arrives_once_it_streams(database, &connector);
    assert_eq!(connector.log_count("cannot be seen"), 0);
    site::goes_on(database, connector);
}
