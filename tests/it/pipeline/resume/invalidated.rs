//! A slot that the server has made useless, for each reason that a version knows: every verb names the
//! setting behind it, and `accept-gap` ends with a slot that works.

use crate::pipeline::resume::continuity::{INVALIDATES, invalidate, with_little_wal};
use crate::support::check::check;
use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE};
use crate::support::outcome::assert_end;
use crate::support::pair::Pair;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Database, Postgres, Stop};
use crate::support::stopped::{Stopped, run_verb};
use crate::support::wait_until;

/// The first major that takes a slot away because nobody uses it.
const IDLE: u32 = 18;

/// The first major that says why.
const REASONS: u32 = 17;

/// Each verb says `why`, and makes nothing.
#[track_caller]
fn assert_told(config: &ConfigFile, url: &str, why: &str) {
    let gap = format!("was invalidated by the server ({why}");
    let says = [gap.as_str(), "are lost to it", "accept-gap"];
    for (verb, more) in [
        ("run", &[][..]),
        ("peek", &[]),
        ("setup", &[]),
        ("setup", &["--dry-run"]),
    ] {
        assert_end(run_verb(verb, config, url, more), 76, &says);
    }
    let checked = check(config, url);
    checked.assert_status("slot.wal_status", "failure");
    assert_eq!(checked.code, 76);
    checked.assert_says("slot.wal_status", &gap);
    let (code, log, stdout) = run_verb("status", config, url, &[]);
    assert_eq!(code, 2, "{log}");
    assert!(stdout.iter().any(|line| line.contains(&gap)), "{stdout:?}");
}

#[test]
fn more_wal_than_it_may_hold_back() {
    let server = with_little_wal();
    let stopped = Stopped::on(Pipeline::on(&server, "wal").in_process());
    invalidate(&stopped);
    let config = stopped.with_state();
    if server.major() < INVALIDATES {
        assert_eq!(stopped.goes_on(&config, 20).last(), Some(&20));
        return;
    }
    let reason = match server.major() {
        ..REASONS => "lost",
        _ => "wal_removed",
    };
    let why = format!("{reason}: it held back more WAL than max_slot_wal_keep_size allows)");
    assert_told(&config, &stopped.pipeline.database.url(), &why);
    stopped.accept("a test");
    assert_eq!(stopped.goes_on(&config, 20), [1, 2, 3, 20]);
}

#[test]
fn nobody_used_it_for_too_long() {
    let server = Postgres::start(&[]);
    let stopped = Stopped::on(Pipeline::on(&server, "idle").in_process());
    let (config, database) = (stopped.with_state(), &stopped.pipeline.database);
    let condition = "idle_replication_slot_timeout";
    check(&config, &database.url()).assert_status(condition, "ok");
    if server.major() < IDLE {
        assert_eq!(stopped.goes_on(&config, 4), [1, 2, 3, 4]);
        return;
    }
    // Before it happens, with what prevents it.
    server.add_settings(&[(condition, "1s")]);
    server.reload();
    wait_until("the server has the setting", DEADLINE, || {
        check(&config, &database.url()).status(condition) == Some("warning")
    });
    let warned = check(&config, &database.url());
    assert_eq!(warned.code, 0);
    warned.assert_says(
        condition,
        "1 s: when nobody streams from the slot for so long",
    );
    stopped.insert(4);
    let slot = format!(
        "SELECT coalesce(invalidation_reason, 'none') FROM pg_replication_slots \
         WHERE slot_name = '{}'",
        stopped.pipeline.slot
    );
    wait_until("the slot was idle for too long", DEADLINE, || {
        database.execute("CHECKPOINT");
        database.query_one_text(&slot) == "idle_timeout"
    });
    let why =
        "idle_timeout: nobody streamed from it for longer than idle_replication_slot_timeout)";
    assert_told(&config, &database.url(), why);
    warned.run_sql(condition, database);
    wait_until("the server has the setting", DEADLINE, || {
        check(&config, &database.url()).status(condition) == Some("ok")
    });
    stopped.accept("a test");
    assert_eq!(stopped.goes_on(&config, 5), [1, 2, 3, 5]);
}

/// Accepts the gap on the standby; the primary helps where a new slot waits for it.
#[track_caller]
fn accept(pair: &Pair, primary: &Database) {
    let config = pair.with_state();
    let path = config.path();
    let path = path.to_str().expect("UTF-8");
    let args = ["accept-gap", "--config", path, "--reason", "a test"];
    let mut connector = Connector::spawn_command(&args, &[(URL_VARIABLE, &pair.url())]);
    wait_until("the gap is accepted", DEADLINE, || {
        primary.execute("SELECT pg_log_standby_snapshot()");
        !connector.is_running()
    });
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
}

/// A pair whose standby was read; nothing on versions whose standbys decode nothing.
fn read_standby(name: &str) -> Option<Pair> {
    let pair = Pair::new(name);
    if !pair.decodes() {
        pair.fails(78, &["it is a standby"]);
        return None;
    }
    pair.publish();
    let connector = pair.start(&pair.with_state());
    pair.insert(1);
    pair.wait_rows(&[1]);
    pair.wait_confirmed();
    pair.stop(connector);
    Some(pair)
}

/// A row that is written from now on arrives.
#[track_caller]
fn goes_on(pair: &Pair, id: i64) {
    let connector = pair.start(&pair.with_state());
    pair.insert(id);
    pair.wait_rows_of(&connector, &[1, id]);
    pair.stop(connector);
}

#[test]
fn the_primary_removed_rows_that_it_needs() {
    let Some(pair) = read_standby("rows") else {
        return;
    };
    let database = &pair.pipeline.database;
    database.execute("CREATE TABLE gone (id int)");
    database.execute("DROP TABLE gone");
    database.execute("VACUUM pg_class");
    pair.wait_replayed();
    let why =
        "the primary removed rows of the catalog that it needs, which hot_standby_feedback = on";
    let reason = match pair.standby.major() {
        ..REASONS => "lost",
        _ => "rows_removed",
    };
    assert_told(&pair.with_state(), &pair.url(), &format!("{reason}: {why}"));
    accept(&pair, database);
    goes_on(&pair, 2);
}

#[test]
fn the_primary_does_not_write_what_it_needs() {
    let Some(pair) = read_standby("level") else {
        return;
    };
    let database = &pair.pipeline.database;
    let set = |level: &str| {
        pair.primary.add_settings(&[("wal_level", level)]);
        pair.primary.restart(Stop::Fast);
        pair.wait_replayed();
    };
    set("replica");
    wait_until("the slot is lost", DEADLINE, || {
        pair.slot("wal_status").as_deref() == Some("lost")
    });
    let why = match pair.standby.major() {
        ..REASONS => "lost: the primary removed rows",
        _ => "wal_level_insufficient: the primary's wal_level is no longer logical)",
    };
    assert_told(&pair.with_state(), &pair.url(), why);
    set("logical");
    accept(&pair, database);
    goes_on(&pair, 2);
}
