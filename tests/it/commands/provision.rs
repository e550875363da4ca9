//! `setup` and `teardown`, which say what they do before they do it.

use crate::support::outcome::assert_end;
use crate::support::pipeline::Pipeline;
use crate::support::stopped::{Outcome, Stopped, run_verb};

fn verb(pipeline: &Pipeline, verb: &str, more: &[&str]) -> Outcome {
    run_verb(verb, &pipeline.config(), &pipeline.database.url(), more)
}

/// What a verb printed, once it is known to have ended well.
#[track_caller]
fn printed((code, log, stdout): Outcome) -> String {
    assert_eq!(code, 0, "{log}");
    stdout.join("\n")
}

fn publication_exists(pipeline: &Pipeline) -> bool {
    let name = &pipeline.publication;
    let sql = format!("SELECT pubname::text FROM pg_publication WHERE pubname = '{name}'");
    !pipeline.database.query_texts(&sql).is_empty()
}

fn there(pipeline: &Pipeline) -> (bool, bool) {
    let slot = pipeline.database.slot_exists(&pipeline.slot);
    (publication_exists(pipeline), slot)
}

#[test]
fn what_is_made_and_what_is_removed_again() {
    let pipeline = Pipeline::new("provision");
    let (publication, slot) = (&pipeline.publication, &pipeline.slot);
    let create_publication = format!("CREATE PUBLICATION \"{publication}\" FOR ALL TABLES;");
    let create_slot = "SELECT pg_catalog.pg_create_logical_replication_slot(";

    let plan = printed(verb(&pipeline, "setup", &["--dry-run"]));
    let lines: Vec<&str> = plan.lines().collect();
    assert_eq!(lines.len(), 4, "{plan}");
    assert!(lines[0].starts_with("-- gives up "), "{plan}");
    assert_eq!(lines[1], create_publication);
    assert!(lines[3].starts_with(create_slot), "{plan}");
    assert_eq!(there(&pipeline), (false, false));

    assert_eq!(printed(verb(&pipeline, "setup", &[])), plan);
    assert_eq!(there(&pipeline), (true, true));
    let again = printed(verb(&pipeline, "setup", &[]));
    assert_eq!(again, "-- there is nothing to do");

    let (code, log, stdout) = verb(&pipeline, "teardown", &[]);
    let says = "nothing was removed (hint: \"teardown --yes\" does it)";
    assert_end((code, log, stdout.clone()), 64, &[says]);
    let plan = stdout.join("\n");
    let drop_slot = format!("SELECT pg_catalog.pg_drop_replication_slot('{slot}');");
    assert!(plan.contains("-- gives up the changes since "), "{plan}");
    assert!(plan.contains(&drop_slot), "{plan}");
    let drop_publication = format!("DROP PUBLICATION \"{publication}\";");
    assert!(plan.ends_with(&drop_publication), "{plan}");
    assert_eq!(there(&pipeline), (true, true));

    let kept = printed(verb(
        &pipeline,
        "teardown",
        &["--yes", "--keep-publication"],
    ));
    assert!(kept.ends_with(&drop_slot), "{kept}");
    assert_eq!(there(&pipeline), (true, false));
    let rest = printed(verb(&pipeline, "teardown", &["--yes"]));
    assert!(rest.ends_with(&drop_publication), "{rest}");
    assert_eq!(there(&pipeline), (false, false));
    let again = printed(verb(&pipeline, "teardown", &["--yes"]));
    assert_eq!(again, "-- there is nothing to do");
}

#[test]
fn setup_is_asked_for_even_where_run_must_not() {
    let pipeline = Pipeline::new("provision_skip");
    let config = pipeline.config().parameter("skip_setup", "true");
    let url = pipeline.database.url();
    printed(run_verb("setup", &config, &url, &[]));
    assert_eq!(there(&pipeline), (true, true));
    printed(run_verb("teardown", &config, &url, &["--yes"]));
}

#[test]
fn a_slot_that_was_lost_is_no_setup() {
    let stopped = Stopped::new("provision_lost");
    stopped.drop_slot();
    for config in [stopped.with_state(), stopped.without_state()] {
        let outcome = stopped.run_verb("setup", &config, &[]);
        assert_end(outcome, 76, &["does not exist any more", "accept-gap"]);
    }
    assert!(
        !stopped
            .pipeline
            .database
            .slot_exists(&stopped.pipeline.slot)
    );
}

#[test]
fn a_running_connector_and_the_slots_of_others_are_left_alone() {
    let pipeline = Pipeline::new("provision_others");
    let connector = pipeline.start();
    let outcome = verb(&pipeline, "teardown", &["--yes"]);
    assert_end(outcome, 75, &["is active for PID"]);
    assert_eq!(there(&pipeline), (true, true));
    connector.kill();
    pipeline.database.wait_slot_inactive(&pipeline.slot);

    let other = Pipeline::new("provision_other");
    let config = other.config().parameter("slot", &pipeline.slot);
    let outcome = run_verb("teardown", &config, &other.database.url(), &["--yes"]);
    assert_end(outcome, 76, &["belongs to the database"]);
    assert_eq!(there(&pipeline), (true, true));
}
