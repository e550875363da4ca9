//! Code of the database's users that refuses us, and logins that are refused for a time.

use crate::support::connector::Connector;
use crate::support::outcome::{assert_fails, assert_fails_once};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::Postgres;
use crate::support::role::Role;

/// The first major with triggers on login.
const LOGIN: u32 = 17;

/// What a trigger raises, and the exit code.
const REFUSALS: [(&str, i32); 4] = [
    ("P0001", 78),
    ("42501", 77),
    // Not a race for the same name, nor a row.
    ("23505", 78),
    ("AB123", 78),
];

/// A trigger function that raises an error with this code.
fn refuse(pipeline: &Pipeline, name: &str, code: &str, condition: &str) {
    pipeline.database.execute(&format!(
        "CREATE OR REPLACE FUNCTION public.{name}() RETURNS event_trigger LANGUAGE plpgsql AS $$
         BEGIN IF {condition} THEN
           RAISE EXCEPTION 'it is frozen' USING HINT = 'ask the DBA', ERRCODE = '{code}';
         END IF; END $$"
    ));
}

#[test]
fn a_trigger_that_refuses_the_publication() {
    let pipeline = Pipeline::new("frozen_ddl");
    for (code, exit_code) in REFUSALS {
        refuse(&pipeline, "frozen", code, "true");
        pipeline.database.execute(
            "CREATE EVENT TRIGGER frozen ON ddl_command_start WHEN TAG IN ('CREATE PUBLICATION')
             EXECUTE PROCEDURE public.frozen()",
        );
        let says = [
            &*format!("publication {}", pipeline.publication),
            "the server says: ERROR it is frozen",
            &format!("[SQLSTATE {code}]"),
            "PL/pgSQL function public.frozen() line 3 at RAISE (hint: ask the DBA)",
        ];
        let (config, url) = (pipeline.config(), pipeline.database.url());
        assert_fails(&config.path(), &url, exit_code, &says);
        let drop = "DROP EVENT TRIGGER frozen";
        pipeline.database.execute(drop);
    }
    drop(pipeline.start());
}

/// Starts the program, which says why it is not let in and comes again until it is.
fn let_in_later(pipeline: &Pipeline, url: &str, says: &str, let_in: impl FnOnce()) {
    let config = pipeline.config();
    let connector = Connector::spawn_config(&config, url, &[]);
    let log = connector.wait_log("trying again", DEADLINE);
    assert!(log.contains(says), "{says:?} is not in {log}");
    let_in();
    connector.wait_log("streaming from", DEADLINE);
}

#[test]
fn a_trigger_that_refuses_the_login() {
    // A trigger of one that goes wrong keeps everybody out of its database.
    let pipeline = Pipeline::new("login");
    if pipeline.database.major() < LOGIN {
        return;
    }
    let is_ours = "current_setting('application_name') LIKE 'postgres-source%'";
    for (code, _) in REFUSALS {
        refuse(&pipeline, "login", code, is_ours);
        pipeline
            .database
            .execute("CREATE EVENT TRIGGER login ON login EXECUTE FUNCTION public.login()");
        let url = pipeline.database.url();
        let says = "the server says: FATAL it is frozen";
        let all = [
            says,
            "PL/pgSQL function public.login() line 3 at RAISE (hint: ask the DBA)",
        ];
        let config = pipeline.config();
        assert_fails_once(&config.path(), &url, 77, &all);
        let_in_later(&pipeline, &url, says, || {
            pipeline.database.execute("DROP EVENT TRIGGER login");
        });
        pipeline.database.wait_slot_inactive(&pipeline.slot);
    }
}

#[test]
fn logins_that_are_refused_for_a_time() {
    let pipeline = Pipeline::new("not_now");
    let database = &pipeline.database;
    let role = Role::new(database, "REPLICATION CONNECTION LIMIT 0");
    let name = database.name();
    database.execute(&format!("CREATE PUBLICATION {}", pipeline.publication));
    let_in_later(&pipeline, &role.url(), "[SQLSTATE 53300]", || {
        database.execute(&format!("ALTER ROLE \"{}\" CONNECTION LIMIT -1", role.name));
    });
    let elsewhere = Postgres::shared().database_named("postgres");
    let allow = |yes: bool| {
        elsewhere.execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {yes}"));
    };
    allow(false);
    let_in_later(&pipeline, &role.url(), "[SQLSTATE 55000]", || allow(true));
}
