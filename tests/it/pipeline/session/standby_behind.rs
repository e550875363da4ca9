//! A standby as the source whose replay is behind: behind what was read of it before, after a
//! crash, or behind what it has received.

use crate::support::connector::{ConfigFile, Connector, run_to_end};
use crate::support::outcome::{FAIL_DEADLINE, assert_end};
use crate::support::pair::Pair;
use crate::support::pipeline::DEADLINE;
use crate::support::wait_until;

/// Nothing is written to the standby's files by the way, so that a crash sets it back for sure.
const QUIET: [(&str, &str); 2] = [("bgwriter_lru_maxpages", "0"), ("checkpoint_timeout", "1h")];

const HOLDS_REPLAY: [(&str, &str); 1] = [("recovery_min_apply_delay", "1h")];
const LIFTED: [(&str, &str); 1] = [("recovery_min_apply_delay", "0")];

/// A pair whose program has the rows 1 and 2; a crash sets the standby back behind row 2.
pub fn pair(name: &str, config: fn(&Pair) -> ConfigFile) -> Option<(Pair, ConfigFile)> {
    let pair = Pair::with(name, &[], &QUIET);
    if !pair.decodes() {
        // It is refused before anything is read of it.
        pair.fails(78, &["it is a standby"]);
        return None;
    }
    pair.publish();
    let config = config(&pair);
    let connector = pair.start(&config);
    pair.insert(1);
    pair.wait_rows(&[1]);
    pair.pipeline.database.execute("CHECKPOINT");
    pair.wait_replayed();
    // The next recovery begins here.
    pair.client()
        .batch_execute("CHECKPOINT")
        .expect("a standby has restart points");
    pair.insert(2);
    pair.wait_rows(&[1, 2]);
    pair.wait_replayed();
    pair.wait_confirmed();
    pair.stop(connector);
    pair.wait_free();
    Some((pair, config))
}

/// Crashes the standby and holds its replay behind row 2.
pub fn set_back(pair: &Pair) {
    let read = pair
        .ask("SELECT pg_last_wal_replay_lsn()")
        .expect("a position");
    pair.crash_standby(&HOLDS_REPLAY);
    let is_held = format!("SELECT 1 WHERE pg_last_wal_replay_lsn() < '{read}'");
    assert!(pair.ask(&is_held).is_some(), "{}", pair.standby.log());
    assert_eq!(pair.ask("SELECT count(*) FROM t").as_deref(), Some("1"));
}

pub fn lift(pair: &Pair) {
    pair.standby.add_settings(&LIFTED);
    pair.standby.reload();
}

/// It is said at each try, and is no gap; then it goes on.
#[track_caller]
fn assert_waits(pair: &Pair, config: &ConfigFile, rows: &[i64]) {
    let outcome = run_to_end(&config.path(), &pair.url(), &["--once"], FAIL_DEADLINE);
    assert_end(outcome, 69, &["standby", "replay"]);
    let connector = Connector::spawn_config(config, &pair.url(), &[]);
    wait_until("it has tried twice, or ends", DEADLINE, || {
        connector.log_count("trying again in") >= 2 || !connector.is_running()
    });
    assert!(connector.is_running(), "{}", connector.log());
    lift(pair);
    pair.insert(*rows.last().expect("a row"));
    pair.wait_rows_of(&connector, rows);
    pair.stop(connector);
}

/// What the state file says was confirmed is not replayed yet.
#[test]
fn what_was_confirmed_is_not_replayed_yet() {
    let Some((pair, config)) = pair("confirmed", Pair::with_state) else {
        return;
    };
    set_back(&pair);
    assert_waits(&pair, &config, &[1, 2, 3]);
}

/// All that tells is the topic.
#[test]
fn what_the_topic_has_is_not_replayed_yet() {
    let Some((pair, config)) = pair("stored", Pair::without_state) else {
        return;
    };
    set_back(&pair);
    assert_waits(&pair, &config, &[1, 2, 3]);
}

/// The program goes on by itself, whatever it knows from before.
#[test]
fn a_standby_that_crashes_while_it_is_read() {
    for config in [Pair::with_state, Pair::without_state] {
        let Some((pair, config)) = pair("crashes", config) else {
            return;
        };
        let connector = pair.start(&config);
        pair.wait_confirmed();
        set_back(&pair);
        wait_until("it has tried twice on it, or ends", DEADLINE, || {
            connector.log_count("replay") >= 2 || !connector.is_running()
        });
        assert!(connector.is_running(), "{}", connector.log());
        lift(&pair);
        pair.insert(3);
        pair.wait_rows_of(&connector, &[1, 2, 3]);
        pair.stop(connector);
    }
}

/// Replay is even behind the publication, and the slot was made later than that.
#[test]
fn the_publication_is_not_replayed_yet() {
    let pair = Pair::with("unpublished", &[], &QUIET);
    if !pair.decodes() {
        // It is refused before anything is read of it.
        pair.fails(78, &["it is a standby"]);
        return;
    }
    pair.publish();
    for config in [pair.with_state(), pair.without_state()] {
        let connector = pair.start(&config);
        let next = 1 + pair.rows().len() as i64;
        pair.insert(next);
        let rows: Vec<i64> = (1..=next).collect();
        pair.wait_rows(&rows);
        pair.wait_confirmed();
        pair.stop(connector);
        pair.wait_free();
        // There was no restart point since the standby was made.
        pair.crash_standby(&HOLDS_REPLAY);
        let publications = pair.ask("SELECT count(*) FROM pg_publication");
        assert_eq!(publications.as_deref(), Some("0"));
        assert_waits(&pair, &config, &[&rows[..], &[next + 1]].concat());
        pair.wait_free();
    }
}

/// What is received and not replayed is not there yet: nothing can be decoded of it.
#[test]
fn drained_is_what_is_replayed() {
    let Some((pair, config)) = pair("replayed", Pair::with_state) else {
        return;
    };
    let pause = "SELECT pg_wal_replay_pause()";
    pair.client().batch_execute(pause).expect("it pauses");
    pair.wait_standby(
        "replay has paused",
        "SELECT 1 WHERE pg_get_wal_replay_pause_state() = 'paused'",
    );
    pair.insert(3);
    let database = &pair.pipeline.database;
    let written = database.query_one_text("SELECT pg_current_wal_lsn()");
    let received = format!("SELECT 1 WHERE pg_last_wal_receive_lsn() >= '{written}'");
    pair.wait_standby("row 3 is received", &received);
    for rows in [&[1, 2][..], &[1, 2, 3]] {
        let outcome = run_to_end(&config.path(), &pair.url(), &["--once-drained"], DEADLINE);
        assert_end(outcome, 0, &["drained; confirmed up to"]);
        assert_eq!(pair.rows(), rows);
        pair.wait_free();
        let resume = "SELECT pg_wal_replay_resume()";
        pair.client().batch_execute(resume).expect("it goes on");
        pair.wait_replayed();
    }
}
