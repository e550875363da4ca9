//! A URL with several hosts that does not say which of them is wanted: while the primary is away the
//! program lands on its standby, which is no sign of anything that is lost.

use crate::support::connector::{ConfigFile, Connector, run_to_end};
use crate::support::outcome::{FAIL_DEADLINE, assert_end};
use crate::support::pair::Pair;
use crate::support::pipeline::DEADLINE;
use crate::support::postgres::{PASSWORD, Stop};
use crate::support::wait_until;

/// What the program says there, at the first try and at each.
const SAYS: [&str; 2] = ["standby", "target_session_attrs=read-write"];

/// The first major that keeps slots on standbys too.
const FAILOVER: u32 = 17;

/// The program has row 1 from the primary, and has stopped.
fn streamed(pair: &Pair, config: &ConfigFile) {
    streamed_until(pair, config, || ());
}

/// The same, with something to wait for before it stops.
fn streamed_until(pair: &Pair, config: &ConfigFile, meanwhile: impl FnOnce()) {
    let connector = start(pair, config);
    pair.insert(1);
    pair.wait_rows(&[1]);
    pair.pipeline.wait_caught_up();
    meanwhile();
    pair.stop(connector);
    pair.pipeline
        .database
        .wait_slot_inactive(&pair.pipeline.slot);
}

fn start(pair: &Pair, config: &ConfigFile) -> Connector {
    let connector = Connector::spawn_config(config, &pair.url_of_both(), &[]);
    connector.wait_log("streaming from", DEADLINE);
    connector
}

/// The primary is away: one try ends with a hint, and another program waits until it is back.
#[track_caller]
fn assert_waits(pair: &Pair, config: &ConfigFile, rows: &[i64]) {
    let url = pair.url_of_both();
    let outcome = run_to_end(&config.path(), &url, &["--once"], FAIL_DEADLINE);
    assert_end(outcome, 69, &SAYS);
    let connector = Connector::spawn_config(config, &url, &[]);
    assert_goes_on(pair, &connector, rows);
    pair.stop(connector);
}

/// It has tried the standby twice when the primary is back, and streams the last row from there.
#[track_caller]
fn assert_goes_on(pair: &Pair, connector: &Connector, rows: &[i64]) {
    wait_until("it has tried twice, or ends", DEADLINE, || {
        connector.log_count(SAYS[1]) >= 2 || !connector.is_running()
    });
    assert!(connector.is_running(), "{}", connector.log());
    pair.primary.start_again();
    pair.insert(*rows.last().expect("a row"));
    pair.wait_rows_of(connector, rows);
}

#[test]
fn the_primary_is_away_while_the_program_runs() {
    let pair = Pair::new("away");
    let config = pair.without_state();
    let connector = start(&pair, &config);
    pair.insert(1);
    pair.wait_rows(&[1]);
    pair.pipeline.wait_caught_up();
    pair.wait_replayed();
    pair.primary.stop(Stop::Fast);
    assert_goes_on(&pair, &connector, &[1, 2]);
    pair.stop(connector);
}

#[test]
fn the_primary_is_away_when_the_program_starts() {
    for config in [Pair::without_state, Pair::with_state] {
        let pair = Pair::new("started");
        let config = config(&pair);
        streamed(&pair, &config);
        pair.wait_replayed();
        pair.primary.stop(Stop::Fast);
        assert_waits(&pair, &config, &[1, 2]);
    }
}

/// The standby has a copy of the slot, from the time when it was made.
#[test]
fn a_standby_with_a_slot_of_its_own_on_an_older_timeline() {
    let mut pair = Pair::new("older");
    let config = pair.with_state();
    streamed(&pair, &config);
    // It does not follow when its primary goes on to another timeline.
    pair.standby = pair.primary.standby_with(&[]);
    pair.standby.stop(Stop::Fast);
    pair.standby.follow("host=127.0.0.1 port=1");
    pair.standby.start_again();
    let slot = &pair.pipeline.slot;
    assert!(pair.slot("plugin").is_some(), "a copy of {slot}");

    let database = &pair.pipeline.database;
    pair.primary.stop(Stop::Fast);
    pair.primary.promote_at_next_start();
    pair.primary.start_again();
    wait_until("the recovery is over", DEADLINE, || {
        database.query_one_text("SELECT pg_is_in_recovery()") == "f"
    });
    let connector = start(&pair, &config);
    pair.insert(2);
    pair.wait_rows(&[1, 2]);
    pair.pipeline.wait_caught_up();
    pair.stop(connector);
    assert_eq!(pair.state()["timeline"], 2);
    pair.primary.stop(Stop::Fast);
    assert_waits(&pair, &config, &[1, 2, 3]);
}

/// The standby keeps the slot in step, and lends it to nobody.
#[test]
fn a_standby_with_a_slot_that_is_kept_in_step() {
    let pair = Pair::new("in_step");
    if pair.primary.major() < FAILOVER {
        // They have no such slots: what happens there is `the_primary_is_away_when_the_program_starts`.
        return;
    }
    let database = &pair.pipeline.database;
    database.query_one_text("SELECT pg_create_physical_replication_slot('in_step')::text");
    let primary = format!(
        "host=127.0.0.1 port={} user=postgres password={PASSWORD} dbname={}",
        pair.primary.port(),
        database.name()
    );
    pair.standby.stop(Stop::Fast);
    pair.standby.follow(&primary);
    pair.standby.add_settings(&[
        ("primary_slot_name", "in_step"),
        ("hot_standby_feedback", "on"),
        ("sync_replication_slots", "on"),
    ]);
    pair.standby.start_again();
    let config = pair.with_state().parameter("failover", "true");
    streamed_until(&pair, &config, || {
        wait_until("the slot is kept in step", DEADLINE, || {
            // The standby takes it over when it has moved on.
            database.execute("SELECT pg_log_standby_snapshot()");
            pair.slot("synced AND NOT temporary").as_deref() == Some("true")
        });
    });
    pair.wait_replayed();
    pair.primary.stop(Stop::Fast);
    assert_waits(&pair, &config, &[1, 2]);
}
