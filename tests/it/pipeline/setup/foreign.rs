//! A slot or a publication that is somebody else's, or that somebody takes away.

use crate::pipeline::setup::making::{Place, wait_row};
use crate::support::connector::Connector;
use crate::support::outcome::{assert_end, assert_fails_once};
use crate::support::pipeline::DEADLINE;
use crate::support::postgres::{Database, Postgres};

#[test]
fn a_slot_that_cannot_be_used_is_refused_and_kept() {
    let place = Place::new("foreign");
    let elsewhere = Postgres::shared().database("elsewhere");
    let made_by = |database: &Database, sql: &str| {
        database.query_one_text(&format!("SELECT slot_name FROM {sql}"));
    };
    let slot = &place.slot;
    let refuse = |says: &str| {
        let slot = format!("replication slot {slot}: {says}");
        place.assert_fails(
            &place.config(),
            76,
            &[&slot, "name another slot under \"parameters\""],
        );
        assert!(place.database.slot_exists(&place.slot));
    };
    let drop = || {
        place
            .database
            .query_one_text(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    };

    made_by(
        &place.database,
        &format!("pg_create_logical_replication_slot('{slot}', 'test_decoding')"),
    );
    refuse("is of the plugin test_decoding, a logical slot of the plugin pgoutput is needed");
    drop();

    made_by(
        &place.database,
        &format!("pg_create_physical_replication_slot('{slot}')"),
    );
    refuse("is a physical slot, a logical slot of the plugin pgoutput is needed");
    drop();

    made_by(
        &elsewhere,
        &format!("pg_create_logical_replication_slot('{slot}', 'pgoutput')"),
    );
    refuse(&format!(
        "belongs to the database {}, the connection is to {}",
        elsewhere.name(),
        place.database.name()
    ));
    drop();

    let mut session = place.database.client();
    let sql = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput', true)");
    session
        .simple_query(&sql)
        .expect("a temporary slot is made");
    refuse("is another session's temporary slot");
}

#[test]
fn a_slot_that_another_process_reads_is_waited_for() {
    let place = Place::new("held");
    place
        .database
        .execute("CREATE TABLE pets (id int PRIMARY KEY)");
    let config = place.config();
    let mut first = place.start(&config);
    let says = format!("replication slot \"{0}\" is active for PID", place.slot);
    let place_says = format!("replication slot {}: ", place.slot);
    let hint = "another process streams from this slot; each connector needs a slot of its own";
    let all = [place_says.as_str(), says.as_str(), "[SQLSTATE 55006]", hint];
    assert_fails_once(&config.path(), &place.database.url(), 75, &all);

    let second = Connector::spawn_config(&config, &place.database.url(), &["--stdout"]);
    let line = second.wait_log_count("trying again in", 2, DEADLINE);
    assert!(all.iter().all(|part| line.contains(part)), "{line}");
    first.sigterm();
    assert_eq!(first.wait_exit(DEADLINE), 0, "{}", first.log());
    second.wait_log("streaming from", DEADLINE);
    place.database.execute("INSERT INTO pets VALUES (71)");
    wait_row(&second, "{\"Int4\":71}");
}

#[test]
fn a_publication_that_is_dropped_while_streaming_ends_it() {
    let place = Place::new("dropped");
    place
        .database
        .execute("CREATE TABLE pets (id int PRIMARY KEY)");
    let config = place.config();
    let mut connector = place.start(&config);
    place.database.execute("INSERT INTO pets VALUES (70)");
    wait_row(&connector, "{\"Int4\":70}");
    place
        .database
        .execute(&format!("DROP PUBLICATION {}", place.publication));
    place.database.execute("INSERT INTO pets VALUES (71)");
    let code = connector.wait_exit(DEADLINE);
    let outcome = (code, connector.log(), connector.stdout_lines());
    // From version 18 on the server goes on without the publication, and only warns.
    let (severity, what) = match Postgres::shared().major() {
        ..18 => (
            "ERROR",
            format!("publication \"{}\" does not exist", place.publication),
        ),
        _ => (
            "WARNING",
            format!("skipped loading publication \"{}\"", place.publication),
        ),
    };
    let says = [
        &format!(
            "replication slot {}: the server says: {severity}",
            place.slot
        ),
        &what,
        "to make the publication now does not help: give up what the slot holds with",
    ];
    assert_end(outcome, 76, &says);

    // It is made again, which does not help, as the hint says.
    let log = place.assert_fails(&config, 76, &says);
    assert!(log.contains("made the publication"), "{log}");

    place.database.execute("INSERT INTO pets VALUES (72)");
    let drop = format!("SELECT pg_drop_replication_slot('{}')", place.slot);
    place.database.query_one_text(&drop);
    let connector = place.start(&config);
    place.database.execute("INSERT INTO pets VALUES (73)");
    wait_row(&connector, "{\"Int4\":73}");
}

/// A new slot in its place would hide that changes are missing.
#[test]
fn a_slot_that_is_dropped_between_sessions_ends_it() {
    let place = Place::new("lost");
    let config = place.config().set("retry", "{ min: 1s, max: 1s }");
    let mut connector = place.start(&config);
    assert!(place.database.terminate_walsender(&place.slot));
    place.database.wait_slot_inactive(&place.slot);
    place.database.query_one_text(&format!(
        "SELECT pg_drop_replication_slot('{}')",
        place.slot
    ));
    let code = connector.wait_exit(DEADLINE);
    let outcome = (code, connector.log(), connector.stdout_lines());
    let slot = format!("replication slot {}: does not exist any more", place.slot);
    assert_end(
        outcome,
        76,
        &[&slot, "the changes since it was confirmed last are lost"],
    );

    let connector = place.start(&config);
    assert!(connector.log().contains("making the replication slot"));
}
