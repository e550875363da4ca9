//! What the slot does not have any more, or cannot give, and the way out of that.

use std::fs;

use super::row::Row;
use super::site;
use crate::pipeline::resume::continuity::{INVALIDATES, invalidate, with_little_wal};
use crate::pipeline::resume::history::Restored;
use crate::pipeline::resume::ways_out::take_wal;
use crate::support::connector::ConfigFile;
use crate::support::outcome::assert_end;
use crate::support::pipeline::Pipeline;
use crate::support::postgres::{Postgres, Stop, unique};
use crate::support::role::Role;
use crate::support::stopped::{Stopped, run_verb};

/// The first major that decodes prepared transactions.
const TWO_PHASE: u32 = 14;

/// The first major whose publications have row filters.
const ROW_FILTERS: u32 = 15;

/// The run with this config says what the row says, and ends with `code`.
#[track_caller]
fn ends(row: &Row, stopped: &Stopped, config: &ConfigFile, code: i32) -> String {
    let (found, log, _) = stopped.run_verb("run", config, &[]);
    assert_eq!(found, code, "{log}");
    row.assert_said(&log);
    log
}

/// The gap is accepted as the row says, and a row that is written from then on arrives.
#[track_caller]
fn accepts(row: &Row, stopped: &Stopped, config: &ConfigFile, id: i64) -> Vec<i64> {
    let reason = ["--reason", "a test"];
    let (code, log, _) = stopped.run_verb(row.code("accept-gap"), config, &reason);
    assert_eq!(code, 0, "{log}");
    stopped.goes_on(config, id)
}

pub fn publication_younger_than_the_slot(row: &Row) {
    let stopped = Stopped::new("young");
    let (database, name) = (&stopped.pipeline.database, &stopped.pipeline.publication);
    database.execute(&format!("DROP PUBLICATION {name}"));
    stopped.insert(4);
    ends(row, &stopped, &stopped.without_state(), 76);
    // A state file tells, before the slot is read, that the publication is another one.
    let config = stopped.with_state();
    ends_with_a_gap(&stopped, &config);
    assert_eq!(accepts(row, &stopped, &config, 5), [1, 2, 3, 5]);
}

pub fn wal_that_is_gone(row: &Row) {
    let server = Postgres::start(&[]);
    let stopped = site::stopped_on(&server, "moved");
    let config = stopped.with_state();
    let database = &stopped.pipeline.database;
    let role = Role::new(database, "REPLICATION");
    let moved = server.data_dir().join("moved");
    let mut place = None;
    take_wal(&server, &stopped, |file| {
        place = Some(file.to_owned());
        fs::rename(file, &moved)
    });
    // Who may see the files says it beforehand; to the other it is said by the server.
    let log = ends(row, &stopped, &config, 76);
    row.assert_says(0, &log);
    let (code, log, _) = run_verb("run", &config, &role.url(), &[]);
    assert_eq!(code, 76, "{log}");
    row.assert_says(1, &log);
    row.advises("put them back if they were only moved");
    fs::rename(&moved, place.expect("it was taken")).expect("it is put back");
    assert_eq!(stopped.goes_on(&config, 7), [1, 2, 3, 4, 5, 6, 7]);
    drop(role);

    let server = Postgres::start(&[]);
    let stopped = site::stopped_on(&server, "removed");
    let config = stopped.with_state();
    take_wal(&server, &stopped, |file| fs::remove_file(file));
    ends(row, &stopped, &config, 76);
    assert_eq!(accepts(row, &stopped, &config, 7), [1, 2, 3, 7]);
}

pub fn slot_with_two_phase(row: &Row) {
    let (pipeline, stopped) = (site::shared("two_phase"), Stopped::new("two_phase"));
    let (database, config) = (&pipeline.database, pipeline.config());
    if database.major() < TWO_PHASE {
        site::streams(database, &config, &database.url());
        return;
    }
    let make = |slot: &str| {
        format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput', false, true)")
    };
    database.execute(&make(&pipeline.slot));
    site::ends(row, &config, &database.url(), 76);
    row.advises("name another slot");
    let another = pipeline.config().parameter("slot", &unique("another"));
    site::streams(database, &another, &database.url());

    let config = stopped.with_state();
    let state = fs::read(stopped.state_file()).expect("there is a state file");
    stopped.drop_slot();
    stopped
        .pipeline
        .database
        .execute(&make(&stopped.pipeline.slot));
    fs::write(stopped.state_file(), state).expect("it is ours");
    ends(row, &stopped, &config, 76);
    assert_eq!(accepts(row, &stopped, &config, 4), [1, 2, 3, 4]);
}

pub fn change_that_cannot_be_decoded(row: &Row) {
    let mut pipeline = Pipeline::new("unconverted").in_process();
    pipeline.database = Postgres::shared().database_in("WIN1251", "unconverted");
    let stopped = Stopped::on(pipeline);
    let database = &stopped.pipeline.database;
    database.execute("CREATE TABLE texts (v text)");
    database.execute("INSERT INTO texts VALUES (chr(152))");
    let config = stopped.with_state();
    let log = ends(row, &stopped, &config, 65);
    row.assert_says(1, &log);
    assert_eq!(accepts(row, &stopped, &config, 4), [1, 2, 3, 4]);

    if database.major() < ROW_FILTERS {
        return;
    }
    let stopped = Stopped::new("filtered");
    let (database, name) = (&stopped.pipeline.database, &stopped.pipeline.publication);
    database.execute("CREATE TABLE filtered (id int8 PRIMARY KEY)");
    database.execute(&format!("DROP PUBLICATION {name}"));
    database.execute(&format!(
        "CREATE PUBLICATION {name} FOR TABLE t, filtered WHERE (100 / id > 1)"
    ));
    stopped.accept("another publication");
    let config = stopped.with_state();
    stopped.goes_on(&config, 4);
    database.execute("INSERT INTO filtered VALUES (0)");
    let log = ends(row, &stopped, &config, 65);
    row.assert_says(0, &log);
    row.advises("nothing that is changed now helps");
    database.execute(&format!("ALTER PUBLICATION {name} SET TABLE t"));
    ends(row, &stopped, &config, 65);
    assert_eq!(accepts(row, &stopped, &config, 5), [1, 2, 3, 4, 5]);
}

pub fn invalidated_slot(row: &Row) {
    let server = with_little_wal();
    let stopped = site::stopped_on(&server, "invalidated");
    let (database, config) = (&stopped.pipeline.database, stopped.with_state());
    invalidate(&stopped);
    if server.major() < INVALIDATES {
        stopped.goes_on(&config, 20);
        return;
    }
    let log = ends(row, &stopped, &config, 76);
    row.advises("names the setting that did it: change that");
    let setting = "max_slot_wal_keep_size";
    assert!(log.contains(setting), "{log}");
    database.execute(&format!("ALTER SYSTEM SET {setting} = -1"));
    server.restart(Stop::Fast);
    assert_eq!(accepts(row, &stopped, &config, 20), [1, 2, 3, 20]);
    // It does not come again.
    database.execute("TRUNCATE t");
    invalidate(&stopped);
    let rows = stopped.goes_on(&config, 21);
    assert_eq!(rows[3..], [20, 10, 11, 12, 13, 21]);
}

pub fn any_gap(row: &Row) {
    let stopped = Stopped::new("exit_76");
    let config = stopped.with_state();
    let wrong = stopped.with_state().parameter("slot", "of_nobody");
    ends_with_a_gap(&stopped, &wrong);
    row.advises("undo it if it was a mistake");
    stopped.goes_on(&config, 4);

    stopped.drop_slot();
    stopped.insert(5);
    ends_with_a_gap(&stopped, &config);
    assert_eq!(accepts(row, &stopped, &config, 6), [1, 2, 3, 4, 6]);
}

#[track_caller]
fn ends_with_a_gap(stopped: &Stopped, config: &ConfigFile) {
    assert_end(stopped.run_verb("run", config, &[]), 76, &["accept-gap"]);
}

/// What its consumers need, the tables anew, is not the program's to give.
pub fn database_restored_to_an_earlier_point(row: &Row) {
    let restored = Restored::new(
        "restored",
        "INSERT INTO t VALUES (41)",
        "INSERT INTO t VALUES (42)",
        |all| all,
    );
    let stopped = &restored.stopped;
    let config = stopped.with_state();
    ends(row, stopped, &config, 76);
    let rows = accepts(row, stopped, &config, 8);
    assert_eq!(rows[..4], [1, 2, 3, 41]);
}
