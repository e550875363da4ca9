//! What is pending, shown and left pending, whoever reads the slot.

mod rows;

use std::time::Duration;

use serde_json::Value;

use crate::pipeline::setup::making::Place;
use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE};
use crate::support::outcome::assert_end;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Database, Postgres, unique};
use crate::support::record::{Record, inserted, kinds, without_repeated_descriptions};
use crate::support::stopped::{Outcome, run_verb};
use crate::support::wait_until;

/// The first major that copies slots.
const COPIES: u32 = 12;

/// What the program may hold, however much is pending.
const LIMIT_KB: u64 = 64 * 1024;

/// A publication, a slot that nobody reads, and a table `t`.
fn prepared(name: &str) -> Place {
    let place = Place::new(name);
    let database = &place.database;
    database.execute("CREATE TABLE t (id int8 PRIMARY KEY, name text, born date)");
    let publication = &place.publication;
    database.execute(&format!("CREATE PUBLICATION {publication} FOR ALL TABLES"));
    database.create_slot(&place.slot);
    place
}

fn insert(database: &Database, id: i64) {
    database.execute(&format!("INSERT INTO t VALUES ({id})"));
}

/// What must not move. Servers that look at the slot itself may let go, while they decode, of what
/// nothing after the confirmed position needs.
fn standing(database: &Database, slot: &str) -> String {
    let kept = match database.major() >= COPIES {
        true => ", restart_lsn, catalog_xmin",
        false => "",
    };
    database.query_one_text(&format!(
        "SELECT concat_ws(' ', active, confirmed_flush_lsn{kept}) \
         FROM pg_replication_slots WHERE slot_name = '{slot}'"
    ))
}

fn copies(database: &Database) -> usize {
    let slots = database.query_texts(
        "SELECT slot_name FROM pg_replication_slots \
         WHERE temporary AND slot_name ~ '^postgres_source_peek_[0-9]+$' \
         AND database = current_database()",
    );
    slots.len()
}

fn wait_no_copies(database: &Database) {
    wait_until("the copy is gone", DEADLINE, || copies(database) == 0);
}

#[track_caller]
fn peek(place: &Place, config: &ConfigFile, more: &[&str]) -> Outcome {
    run_verb("peek", config, &place.database.url(), more)
}

#[track_caller]
fn shown(outcome: Outcome) -> Vec<Record> {
    let (code, log, lines) = outcome;
    assert_eq!(code, 0, "{log}");
    records(lines)
}

fn records(lines: Vec<String>) -> Vec<Record> {
    let lines: Vec<Vec<u8>> = lines.into_iter().map(String::into_bytes).collect();
    Record::parse_all(&lines)
}

fn spawn(config: &ConfigFile, url: &str, more: &[&str]) -> Connector {
    let path = config.path();
    let path = path.to_str().expect("the path is UTF-8");
    let args = [&["peek", "--config", path], more].concat();
    Connector::spawn_command(&args, &[(URL_VARIABLE, url)])
}

/// Each connection has its own times, and may forget what it has described.
fn without_times(lines: Vec<String>) -> Vec<Value> {
    let records = records(lines);
    let records = without_repeated_descriptions(&records);
    let mut records: Vec<Value> = records.iter().map(|record| record.0.clone()).collect();
    for record in &mut records {
        let record = record.as_object_mut().expect("an object");
        record.shift_remove("timestamp").expect("a time");
    }
    records
}

#[test]
fn it_shows_what_a_run_would_write_and_leaves_it_there() {
    let place = prepared("peek");
    let database = &place.database;
    let config = place.config().set("raw_text", "string");
    database
        .execute("INSERT INTO t VALUES (1, 'Üli \"the\" cat\n', '2020-01-01'), (2, NULL, NULL)");
    database.execute("UPDATE t SET id = 3 WHERE id = 1; DELETE FROM t WHERE id = 2");
    database.execute("CREATE TYPE mood AS ENUM ('fine'); CREATE TABLE u (m mood)");
    database.execute("INSERT INTO u VALUES ('fine'); TRUNCATE t");
    let before = standing(database, &place.slot);

    let all = ["-n", "1000"];
    let (code, log, lines) = peek(&place, &config, &all);
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("which is all that was pending"), "{log}");
    assert_eq!(standing(database, &place.slot), before);
    let again = peek(&place, &config, &all);
    let peeked = without_times(lines);
    assert_eq!(without_times(again.2), peeked);

    let args = ["--stdout", "--once-drained"];
    let mut run = Connector::spawn_config(&config, &database.url(), &args);
    assert_eq!(run.wait_exit(DEADLINE), 0, "{}", run.log());
    assert_eq!(without_times(run.stdout_lines()), peeked);
    let nothing = peek(&place, &config, &[]);
    let rows = inserted(&shown(nothing));
    assert!(rows.is_empty(), "{rows:?} were confirmed");
    wait_no_copies(database);
}

#[test]
fn it_ends_after_so_many_records() {
    let place = prepared("peek_few");
    let database = &place.database;
    database.execute("INSERT INTO t SELECT generate_series(1, 20)");
    let before = standing(database, &place.slot);
    for (more, count) in [(&[][..], 10), (&["-n", "3"], 3), (&["-n", "1"], 1)] {
        let (code, log, lines) = peek(&place, &place.config(), more);
        assert_eq!((code, lines.len()), (0, count), "{log}");
        assert!(log.contains("there may be more"), "{log}");
        assert_eq!(records(lines)[0].kind(), "begin");
    }
    let (code, log, lines) = peek(&place, &place.config(), &["-n", "0"]);
    assert_eq!((code, lines.len()), (64, 0), "{log}");
    assert_eq!(standing(database, &place.slot), before);
    wait_no_copies(database);
}

#[test]
fn a_connector_that_runs_is_not_disturbed() {
    let pipeline = Pipeline::new("peek_active");
    let database = &pipeline.database;
    database.execute("CREATE TABLE t (id int8 PRIMARY KEY)");
    // What is confirmed late is pending although it is in the topic.
    let config = pipeline.config().set("confirm_delay", "1h");
    let connector = pipeline.start_with(&config);
    let wait_rows = |rows: &[i64]| {
        wait_until("the rows arrive", DEADLINE, || {
            inserted(&pipeline.records()) == rows
        });
    };
    (1..=3).for_each(|id| insert(database, id));
    wait_rows(&[1, 2, 3]);
    let before = standing(database, &pipeline.slot);
    let outcome = run_verb("peek", &config, &database.url(), &["-n", "1000"]);
    if database.major() >= COPIES {
        assert_eq!(inserted(&shown(outcome)), [1, 2, 3]);
        wait_no_copies(database);
    } else {
        let says = [
            pipeline.slot.as_str(),
            "a connector streams from it",
            "could only be looked at in a copy, which PostgreSQL 1",
            "slots can be copied from PostgreSQL 12 on",
        ];
        assert_end(outcome, 75, &says);
    }
    assert_eq!(standing(database, &pipeline.slot), before);
    insert(database, 4);
    wait_rows(&[1, 2, 3, 4]);
    assert!(connector.is_running());
    assert_eq!(
        connector.log_count("trying again"),
        0,
        "{}",
        connector.log()
    );
}

/// Whether the server can follow; if not, the program says since when one can.
#[track_caller]
fn can_follow(place: &Place) -> bool {
    if place.database.major() >= COPIES {
        return true;
    }
    let outcome = peek(place, &place.config(), &["--follow"]);
    let says = ["could only be followed in a copy", "from PostgreSQL 12 on"];
    assert_end(outcome, 78, &says);
    false
}

#[test]
fn it_follows_until_it_is_stopped_and_leaves_nothing_behind() {
    let place = prepared("peek_follow");
    let database = &place.database;
    if !can_follow(&place) {
        return;
    }
    insert(database, 1);
    let config = place.config();
    let before = standing(database, &place.slot);
    for (signal, code) in [("TERM", 0), ("INT", 0), ("KILL", 128 + 9)] {
        let mut follower = spawn(&config, &database.url(), &["--follow"]);
        let next = inserted(&shown(peek(&place, &place.config(), &["-n", "1000"]))).len() + 1;
        let wait_rows = |count: usize| {
            follower.wait_stdout(DEADLINE, |lines| {
                let is_row = |line: &&String| line.contains("\"type\":\"insert\"");
                let commits = lines.last().is_some_and(|line| line.contains("\"commit\""));
                lines.iter().filter(is_row).count() == count && commits
            })
        };
        wait_rows(next - 1);
        insert(database, next as i64);
        let rows = inserted(&records(wait_rows(next)));
        assert_eq!(rows, (1..=next as i64).collect::<Vec<_>>());

        // It is not taken for the connector, and does not keep WAL that it has shown.
        let name = "SELECT application_name FROM pg_stat_replication WHERE pid = \
                    (SELECT active_pid FROM pg_replication_slots WHERE temporary \
                     AND database = current_database())";
        assert_eq!(
            database.query_one_text(name),
            "peek of postgres-source/test"
        );
        let lsn = database.current_wal_lsn();
        let moved = format!(
            "SELECT 1 FROM pg_replication_slots WHERE temporary AND database = current_database() \
             AND confirmed_flush_lsn - '0/0'::pg_lsn >= {lsn}"
        );
        wait_until("the copy moves on", DEADLINE, || {
            !database.query_texts(&moved).is_empty()
        });
        follower.signal(signal);
        assert_eq!(follower.wait_exit(DEADLINE), code, "{}", follower.log());
        wait_no_copies(database);
    }
    assert_eq!(standing(database, &place.slot), before);
    let followed = peek(&place, &place.config(), &["--follow", "-n", "2"]);
    assert_eq!(kinds(&shown(followed)), ["begin", "relation"]);
}

#[test]
fn much_that_is_pending_takes_no_memory() {
    const ROWS: usize = 200_000;
    let place = prepared("peek_much");
    let database = &place.database;
    database.execute(&format!(
        "INSERT INTO t SELECT id, repeat('x', 100) FROM generate_series(1, {ROWS}) id"
    ));
    let before = standing(database, &place.slot);
    let (code, log, lines) = peek(&place, &place.config(), &["-n", "5"]);
    assert_eq!((code, lines.len()), (0, 5), "{log}");
    if can_follow(&place) {
        let config = place.config();
        let follower = spawn(&config, &database.url(), &["--follow"]);
        let is_all = |lines: &[String]| {
            lines.len() > ROWS && lines.last().is_some_and(|line| line.contains("\"commit\""))
        };
        follower.wait_stdout(Duration::from_secs(120), is_all);
        let peak = follower.peak_rss_kb();
        assert!(peak < LIMIT_KB, "the program took {peak} KiB");
    }
    wait_no_copies(database);
    assert_eq!(standing(database, &place.slot), before);
}

#[test]
fn a_value_larger_than_an_answer_is_shown() {
    let place = prepared("peek_large");
    let large = "INSERT INTO t VALUES (1, repeat('x', 3000000))";
    place.database.execute(large);
    let (code, log, lines) = peek(&place, &place.config(), &["-n", "3"]);
    assert_eq!((code, lines.len()), (0, 3), "{log}");
    assert!(lines[2].len() > 3_000_000);
}

#[test]
fn what_is_missing_is_named() {
    let place = Place::new("peek_none");
    let config = place.config();
    let (publication, slot) = (&place.publication, &place.slot);
    let setup = "\"postgres-source setup --config FILE\"";
    let named = format!("publication {publication}: does not exist");
    assert_end(peek(&place, &config, &[]), 78, &[&named, setup]);
    place.database.create_slot(slot);
    assert_end(peek(&place, &config, &[]), 78, &[&named, setup]);

    let create = format!("CREATE PUBLICATION {publication} FOR ALL TABLES");
    place.database.execute(&create);
    let other = unique("peek_none");
    let config = place.config().parameter("slot", &other);
    let named = format!("replication slot {other}: does not exist");
    assert_end(peek(&place, &config, &[]), 78, &[&named, setup]);
    assert!(!place.database.slot_exists(&other));
}

#[test]
fn a_slot_of_somebody_else_is_not_read() {
    let place = prepared("peek_foreign");
    let other = unique("peek_foreign");
    let config = place.config().parameter("slot", &other);
    let make = format!("SELECT pg_create_physical_replication_slot('{other}')");
    place.database.execute(&make);
    let named = format!("replication slot {other}: is a physical slot");
    assert_end(peek(&place, &config, &[]), 76, &[&named]);
    place
        .database
        .execute(&format!("SELECT pg_drop_replication_slot('{other}')"));

    let elsewhere = Postgres::shared().database("peek_elsewhere");
    elsewhere.create_slot(&other);
    let named = format!("replication slot {other}: belongs to the database");
    assert_end(peek(&place, &config, &[]), 76, &[&named, elsewhere.name()]);
    drop(elsewhere);

    let make = format!("SELECT pg_create_logical_replication_slot('{other}', 'test_decoding')");
    place.database.execute(&make);
    let named = format!("replication slot {other}: is of the plugin test_decoding");
    assert_end(peek(&place, &config, &[]), 76, &[&named]);
}

#[test]
fn a_copy_needs_a_place_of_its_own() {
    let postgres = Postgres::start(&[("max_replication_slots", "1")]);
    let pipeline = Pipeline::on(&postgres, "peek_full");
    let database = &pipeline.database;
    let publication = &pipeline.publication;
    database.execute(&format!("CREATE PUBLICATION {publication} FOR ALL TABLES"));
    database.create_slot(&pipeline.slot);
    let outcome = run_verb("peek", &pipeline.config(), &database.url(), &[]);
    if database.major() >= COPIES {
        let says = [
            "all replication slots are in use",
            "raise max_replication_slots",
        ];
        assert_end(outcome, 78, &says);
    } else {
        assert_eq!(outcome.0, 0, "{}", outcome.1);
    }
}
