//! A standby that is promoted while it is read, and what a crash, or a failover to another server,
//! makes of that later.

use crate::support::connector::{ConfigFile, run_to_end};
use crate::support::outcome::{FAIL_DEADLINE, assert_end};
use crate::support::pair::Pair;
use crate::support::pipeline::DEADLINE;
use crate::support::postgres::Stop;
use crate::support::wait_until;

/// A pair whose program has row 1 from the standby.
fn pair(name: &str) -> Option<Pair> {
    let pair = Pair::with(name, &[], &[("bgwriter_lru_maxpages", "0")]);
    if !pair.decodes() {
        // It is refused before anything is read of it.
        pair.fails(78, &["it is a standby"]);
        return None;
    }
    pair.publish();
    Some(pair)
}

/// Promotes the standby, and waits until it has written down where its slot is.
fn promote(pair: &Pair) {
    pair.promote();
    pair.client()
        .batch_execute("CHECKPOINT")
        .expect("it is a primary now");
}

/// The rows 2 to 4 are confirmed since the promotion; and after `meanwhile` a crash sets the slot
/// back behind them.
fn set_back(pair: &Pair, meanwhile: impl FnOnce()) {
    (2..=4).for_each(|id| pair.insert_on_promoted(id));
    pair.wait_rows(&[1, 2, 3, 4]);
    let written = pair.ask("SELECT pg_current_wal_lsn()");
    let written = written.expect("a position");
    pair.wait_slot(&written);
    meanwhile();
    pair.crash_standby(&[]);
    let is_behind = pair.slot(&format!("confirmed_flush_lsn < '{written}'"));
    assert_eq!(
        is_behind.as_deref(),
        Some("true"),
        "the crash is to be felt"
    );
}

#[test]
fn promoted_and_crashed_while_it_is_read() {
    for config in [Pair::with_state, Pair::without_state] {
        let Some(pair) = pair("crashed") else { return };
        let config = config(&pair);
        let connector = pair.start(&config);
        pair.insert(1);
        pair.wait_rows(&[1]);
        promote(&pair);
        set_back(&pair, || ());
        wait_until("it streams again, or ends", DEADLINE, || {
            connector.log_count("streaming from") >= 2 || !connector.is_running()
        });
        assert!(connector.is_running(), "{}", connector.log());
        pair.insert_on_promoted(5);
        pair.wait_rows_of(&connector, &[1, 2, 3, 4, 5]);
        pair.stop(connector);
    }
}

#[test]
fn promoted_while_it_is_read_and_crashed_while_it_is_not() {
    let Some(pair) = pair("stopped") else { return };
    let config = pair.with_state();
    let connector = pair.start(&config);
    pair.insert(1);
    pair.wait_rows(&[1]);
    promote(&pair);
    set_back(&pair, || pair.stop(connector));
    goes_on(&pair, &config, &[1, 2, 3, 4, 5]);
    // The next time it is known to be on the new timeline.
    assert_eq!(pair.state()["timeline"], 2);
    goes_on(&pair, &config, &[1, 2, 3, 4, 5, 6]);
}

/// The last of the rows is written, and all of them are there.
#[track_caller]
fn goes_on(pair: &Pair, config: &ConfigFile, rows: &[i64]) {
    let connector = pair.start(config);
    pair.insert_on_promoted(*rows.last().expect("a row"));
    pair.wait_rows_of(&connector, rows);
    pair.stop(connector);
    pair.wait_free();
}

/// The topic has row 2 from a standby, and one that never had it was promoted: that is a gap,
/// whatever was read before from a standby.
#[test]
fn another_that_was_behind_is_promoted() {
    let Some(pair) = pair("behind") else { return };
    let config = pair.with_state();
    let connector = pair.start(&config);
    pair.insert(1);
    pair.wait_rows(&[1]);
    pair.wait_replayed();
    pair.stop(connector);
    pair.standby.stop(Stop::Fast);
    pair.standby.save_data();
    pair.standby.start_again();
    let connector = pair.start(&config);
    pair.insert(2);
    pair.wait_rows(&[1, 2]);
    pair.wait_replayed();
    pair.wait_confirmed();
    pair.stop(connector);
    let read = pair
        .ask("SELECT pg_last_wal_replay_lsn()")
        .expect("a position");
    pair.primary.stop(Stop::Fast);
    pair.standby.stop(Stop::Immediate);
    pair.standby.restore_data();
    pair.standby.start_again();
    pair.promote();
    pair.insert_on_promoted(3);
    wait_until("it has written more than was read", DEADLINE, || {
        pair.ask("SELECT pg_switch_wal()");
        pair.ask(&format!("SELECT 1 WHERE pg_current_wal_lsn() > '{read}'"))
            .is_some()
    });

    let before = (pair.rows(), pair.slot("confirmed_flush_lsn"));
    assert_eq!(before.0, [1, 2]);
    for config in [config, pair.without_state()] {
        let outcome = run_to_end(&config.path(), &pair.url(), &[], FAIL_DEADLINE);
        let says = [
            "the topic ends with the transaction at",
            "accept-gap --config FILE --reason TEXT",
        ];
        assert_end(outcome, 76, &says);
        pair.wait_free();
        assert_eq!((pair.rows(), pair.slot("confirmed_flush_lsn")), before);
    }
}
