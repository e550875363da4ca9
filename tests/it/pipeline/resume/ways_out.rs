//! Slots that nobody can read, however that came about: every verb says so, and the way out that is
//! named leads to a stream that goes on.

use std::path::Path;
use std::{fs, io};

use crate::support::connector::ConfigFile;
use crate::support::outcome::assert_end;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Postgres, Stop, unique};
use crate::support::role::Role;
use crate::support::stopped::{Outcome, Stopped, run_verb};

/// The first major that decodes prepared transactions.
const TWO_PHASE: u32 = 14;

/// The first major whose publications have row filters.
const ROW_FILTERS: u32 = 15;

const ACCEPT: &str = "\"postgres-source accept-gap --config FILE --reason TEXT\"";

/// Each verb says it, `run` and `peek` in their last line.
#[track_caller]
fn told_by_every_verb(stopped: &Stopped, config: &ConfigFile, code: i32, says: &str) {
    let verb = |verb: &str| stopped.run_verb(verb, config, &[]);
    assert_end(verb("run"), code, &[says, ACCEPT]);
    assert_end(verb("peek"), code, &[says, ACCEPT]);
    assert_printed(verb("status"), 2, says);
    assert_printed(verb("check"), code, says);
    if code == 76 {
        assert_end(verb("setup"), code, &[says, ACCEPT]);
    }
}

#[track_caller]
fn assert_printed((found, log, lines): Outcome, code: i32, says: &str) {
    let printed = lines.join("\n");
    assert_eq!(found, code, "{printed}\n{log}");
    assert!(printed.contains(says), "{says}: {printed}");
}

/// The gap is accepted, and what is committed from then on is delivered, run after run.
#[track_caller]
fn the_way_out_works(stopped: &Stopped, config: &ConfigFile) {
    let before = stopped.rows().len();
    let more = ["--reason", "a test"];
    let (code, log, _) = stopped.run_verb("accept-gap", config, &more);
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("accepted: the next run continues"), "{log}");
    for id in [100, 101] {
        stopped.goes_on(config, id);
    }
    assert_eq!(stopped.rows()[before..], [100, 101]);
    let (code, log, lines) = stopped.run_verb("status", config, &[]);
    assert_eq!(code, 0, "{lines:?} {log}");
}

/// A server of the test's own whose slot needs WAL that somebody has removed, and rows that nobody
/// gets any more.
fn without_wal(name: &str) -> (Postgres, Stopped) {
    let server = Postgres::start(&[]);
    let stopped = Stopped::on(Pipeline::on(&server, name).in_process());
    take_wal(&server, &stopped, |file| fs::remove_file(file));
    (server, stopped)
}

/// Writes the rows 4 to 6, and takes the first file of them that the slot needs out of the server's
/// reach.
pub fn take_wal(server: &Postgres, stopped: &Stopped, take: impl FnOnce(&Path) -> io::Result<()>) {
    let database = &stopped.pipeline.database;
    let needed = format!(
        "SELECT pg_walfile_name(restart_lsn) FROM pg_replication_slots WHERE slot_name = '{}'",
        stopped.pipeline.slot
    );
    let needed = database.query_one_text(&needed);
    for id in 4..=6 {
        stopped.insert(id);
        database.query_one_text("SELECT pg_switch_wal()");
    }
    database.execute("CHECKPOINT");
    server.stop(Stop::Fast);
    let file = server.data_dir().join("pg_wal").join(needed);
    take(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    server.start_again();
}

#[test]
fn wal_files_were_removed() {
    let (_server, stopped) = without_wal("no_wal");
    let config = stopped.with_state();
    let says = "the server has not the WAL any more that it needs, from ";
    told_by_every_verb(&stopped, &config, 76, says);
    the_way_out_works(&stopped, &config);
}

/// A user who may not see the files learns of it from the server, and what a run has learned the other
/// verbs know.
#[test]
fn wal_files_were_removed_that_the_user_cannot_see() {
    let (_server, stopped) = without_wal("unseen_wal");
    let config = stopped.with_state();
    let database = &stopped.pipeline.database;
    let role = Role::new(database, "REPLICATION");
    let verb = |verb: &str, more: &[&str]| run_verb(verb, &config, &role.url(), more);
    let says = "WAL that the slot needs is gone";
    assert_end(verb("run", &[]), 76, &[says, ACCEPT]);
    assert_printed(verb("status", &[]), 2, says);
    assert_printed(verb("check", &[]), 65, says);
    let (code, log, _) = verb("accept-gap", &["--reason", "a test"]);
    assert_eq!(code, 0, "{log}");
    stopped.goes_on(&config, 100);
}

/// Without a run before it, the way out finds the gap by itself.
#[test]
fn a_gap_that_no_run_has_found_is_accepted() {
    let (_server, stopped) = without_wal("unrun");
    the_way_out_works(&stopped, &stopped.with_state());
}

#[test]
fn it_was_made_with_two_phase() {
    let stopped = Stopped::new("two_phase");
    let database = &stopped.pipeline.database;
    if database.major() < TWO_PHASE {
        return;
    }
    let config = stopped.with_state();
    let state = fs::read(stopped.state_file()).expect("there is a state file");
    stopped.drop_slot();
    stopped.on_slot(
        "pg_create_logical_replication_slot",
        ", 'pgoutput', false, true",
    );
    fs::write(stopped.state_file(), state).expect("it is ours");
    told_by_every_verb(&stopped, &config, 76, "was made with two_phase");
    the_way_out_works(&stopped, &config);
}

#[test]
fn the_server_cannot_decode_a_change() {
    let pipeline = Pipeline::new("undecodable").in_process();
    let database = &pipeline.database;
    if database.major() < ROW_FILTERS {
        return;
    }
    let stopped = Stopped::on(pipeline);
    let (database, publication) = (&stopped.pipeline.database, &stopped.pipeline.publication);
    database.execute(&format!("DROP PUBLICATION {publication}"));
    database.execute("CREATE TABLE filtered (id int8 PRIMARY KEY)");
    database.execute(&format!(
        "CREATE PUBLICATION {publication} FOR TABLE t, filtered WHERE (100 / id > 1)"
    ));
    let config = stopped.with_state();
    stopped.accept("another publication");
    stopped.goes_on(&config, 4);
    database.execute("INSERT INTO filtered VALUES (0)");
    let says = "the server cannot decode the change at ";
    let outcome = stopped.run_verb("run", &config, &[]);
    let tables = "with row filters on public.filtered";
    assert_end(outcome, 65, &[says, "22012", tables, ACCEPT]);
    // It is decoded with the filter of its time.
    database.execute(&format!("ALTER PUBLICATION {publication} SET TABLE t"));
    told_by_every_verb(&stopped, &config, 65, says);
    the_way_out_works(&stopped, &config);
}

/// What is another's is not removed: the config names another slot, and the gap is accepted for that.
#[test]
fn a_slot_of_another_kind_has_its_name() {
    let makes = [
        ("physical", "is a physical slot", ""),
        (
            "logical",
            "is of the plugin test_decoding",
            ", 'test_decoding'",
        ),
    ];
    for (kind, says, plugin) in makes {
        let stopped = Stopped::new(kind);
        stopped.drop_slot();
        stopped.on_slot(&format!("pg_create_{kind}_replication_slot"), plugin);
        let config = stopped.with_state();
        let another = "name another slot under \"parameters\"";
        let verb = |verb: &str| stopped.run_verb(verb, &config, &[]);
        for name in ["run", "peek", "setup"] {
            assert_end(verb(name), 76, &[says, another]);
        }
        assert_printed(verb("status"), 2, says);
        assert_printed(verb("check"), 76, says);
        let accept = stopped.run_verb("accept-gap", &config, &["--reason", "a test"]);
        assert_end(accept, 76, &[says, another]);

        let slot = unique(kind);
        let config = config.parameter("slot", &slot);
        assert_end(
            stopped.run_verb("run", &config, &[]),
            76,
            &["does not exist"],
        );
        let more = ["--reason", "another slot"];
        let (code, log, _) = stopped.run_verb("accept-gap", &config, &more);
        assert_eq!(code, 0, "{log}");
        let connector = stopped.start(&config);
        stopped.insert(100);
        let database = &stopped.pipeline.database;
        database.wait_slot_confirmed(&slot, database.current_wal_lsn());
        drop(connector);
        assert_eq!(stopped.rows(), [1, 2, 3, 100]);
        assert!(
            database.slot_exists(&stopped.pipeline.slot),
            "it is left alone"
        );
        database.wait_slot_inactive(&slot);
        stopped.drop_slot();
        database.execute(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    }
}

/// Somebody has an eye on it with a slot that ends with the session.
#[test]
fn a_temporary_slot_has_its_name() {
    let stopped = Stopped::new("temporary");
    stopped.drop_slot();
    let slot = &stopped.pipeline.slot;
    let mut client = stopped.pipeline.database.client();
    let make = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput', true)");
    client.batch_execute(&make).expect("it is made");
    let config = stopped.with_state();
    let says = "is another session's temporary slot";
    for verb in ["run", "peek", "setup"] {
        assert_end(stopped.run_verb(verb, &config, &[]), 76, &[says]);
    }
    assert_printed(stopped.run_verb("check", &config, &[]), 76, says);
    drop(client);
    let database = &stopped.pipeline.database;
    crate::support::wait_until("the session has ended", DEADLINE, || {
        !database.slot_exists(slot)
    });
    the_way_out_works(&stopped, &config);
}
