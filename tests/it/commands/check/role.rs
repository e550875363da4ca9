//! Servers and poolers that do not let the program in.

use crate::support::check::{check, healthy_server};
use crate::support::outcome::assert_fails;
use crate::support::pgbouncer::PgBouncer;
use crate::support::pipeline::Pipeline;
use crate::support::role::Role;

#[test]
fn a_wrong_password_and_a_database_that_is_not_there() {
    let pipeline = Pipeline::on(healthy_server(), "password");
    let url = pipeline.database.url();
    let (_, place) = url.rsplit_once('@').expect("a URL with a user");
    let checked = check(
        &pipeline.config(),
        &format!("postgres://postgres:hunter2@{place}"),
    );
    checked.assert_problems(&[("postgres", "failure")], 77);
    checked.assert_says("postgres", "[SQLSTATE 28P01]");
    assert!(!checked.mends("postgres", "advice").is_empty());

    let (server, _) = url.rsplit_once('/').expect("a URL with a database");
    let checked = check(&pipeline.config(), &format!("{server}/nowhere"));
    checked.assert_problems(&[("postgres", "failure")], 78);
    checked.assert_says("postgres", "[SQLSTATE 3D000]");
}

#[test]
fn a_role_without_rights() {
    let pipeline = Pipeline::on(healthy_server(), "rights");
    let database = &pipeline.database;
    database.execute("CREATE TABLE pets (id int PRIMARY KEY)");
    let role = Role::new(database, "");
    database.execute(&format!(
        "REVOKE CONNECT ON DATABASE {} FROM public",
        database.name()
    ));
    let config = pipeline.config();
    let checked = check(&config, &role.url());
    checked.assert_problems(&[("postgres", "failure")], 77);
    checked.run_sql("postgres", database);

    let checked = check(&config, &role.url());
    let problems = [("role.replication", "failure"), ("publication", "failure")];
    checked.assert_problems(&problems, 77);
    checked.assert_says("role.replication", "[SQLSTATE 42501]");
    checked.assert_says("publication", "may not make it");
    checked.run_sql("role.replication", database);
    checked.run_sql("publication", database);
    check(&config, &role.url()).assert_problems(&[], 0);
}

#[test]
fn the_owner_of_the_tables_may_publish_them() {
    let pipeline = Pipeline::on(healthy_server(), "owner");
    let database = &pipeline.database;
    database.execute("CREATE TABLE pets (id int PRIMARY KEY)");
    let role = Role::new(database, "REPLICATION");
    let config = pipeline.config().parameter("tables", "[pets]");
    let checked = check(&config, &role.url());
    checked.assert_problems(&[("publication", "failure")], 77);
    let statement = format!(
        "CREATE PUBLICATION \"{}\" FOR TABLE public.pets;",
        pipeline.publication
    );
    assert_eq!(checked.mends("publication", "sql"), [statement]);
    database.execute(&format!(
        "ALTER TABLE pets OWNER TO \"{0}\"; GRANT CREATE ON DATABASE {1} TO \"{0}\"",
        role.name,
        database.name()
    ));
    check(&config, &role.url()).assert_problems(&[], 0);
}

#[test]
fn a_pooler() {
    let server = healthy_server();
    let pipeline = Pipeline::on(server, "pooler");
    // One that refuses a replication connection, and one that makes an ordinary one of it.
    for settings in [
        "",
        "ignore_startup_parameters = replication,DateStyle,IntervalStyle,\
                      extra_float_digits,bytea_output,lc_monetary,search_path,\
                      quote_all_identifiers,client_min_messages,statement_timeout,lock_timeout,\
                      idle_in_transaction_session_timeout,standard_conforming_strings,\
                      default_transaction_isolation,default_transaction_deferrable,\
                      default_transaction_read_only,role,synchronous_commit,work_mem",
    ] {
        let pooler = PgBouncer::start(server, settings);
        let checked = check(&pipeline.config(), &pipeline.database.url_at(pooler.port()));
        checked.assert_problems(&[("pooler", "failure")], 78);
        checked.assert_status("role.replication", "ok");
        let advice = checked.mends("pooler", "advice").concat();
        assert!(
            advice.ends_with(&format!("listens on port {}", server.port())),
            "{advice}"
        );
        // To try again would not help, and nothing is made through it.
        let url = pipeline.database.url_at(pooler.port());
        let says = [
            "it is a connection pooler, not PostgreSQL itself",
            "name PostgreSQL itself in FLUVIO_PG_DATABASE_URL",
        ];
        assert_fails(&pipeline.config().path(), &url, 78, &says);
        assert!(!pipeline.database.slot_exists(&pipeline.slot));
    }
    check(&pipeline.config(), &pipeline.database.url()).assert_problems(&[], 0);
}
