//! A standby as the source: from version 16 on it can be one, before the program says so.

use crate::support::outcome::assert_end;
use crate::support::pair::Pair;
use crate::support::pipeline::DEADLINE;
use crate::support::record::{Record, inserted};
use crate::support::stopped::run_verb;

#[test]
fn it_is_read_and_goes_on_when_it_is_promoted() {
    let pair = Pair::new("standby");
    if !pair.decodes() {
        let says = [
            "it is a standby, and PostgreSQL",
            "decodes on a primary only",
            "target_session_attrs=read-write finds it",
        ];
        pair.fails(78, &says);
        return;
    }
    let says = [
        "does not exist, and this server is a standby",
        "run: CREATE PUBLICATION",
    ];
    pair.fails(78, &says);
    pair.publish();

    let database = &pair.pipeline.database;
    let mut connector = pair.start(&pair.with_state());
    let log = connector.log();
    assert!(log.contains("SELECT pg_log_standby_snapshot()"), "{log}");
    database.execute("INSERT INTO t VALUES (1)");
    pair.wait_rows(&[1]);

    // A new session finds slot and topic as they were.
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    database.execute("INSERT INTO t VALUES (2)");
    pair.wait_standby("row 2 arrives", "SELECT 2 FROM t WHERE id = 2");
    let (code, log, pending) = run_verb("peek", &pair.with_state(), &pair.url(), &[]);
    assert_eq!(code, 0, "{log}");
    let pending: Vec<Vec<u8>> = pending.into_iter().map(String::into_bytes).collect();
    assert_eq!(inserted(&Record::parse_all(&pending)), [2]);
    let mut connector = pair.start(&pair.with_state());
    pair.wait_rows(&[1, 2]);

    pair.promote();
    pair.insert_on_promoted(3);
    pair.wait_rows(&[1, 2, 3]);
    // It is on another timeline, and its history is the topic's all the same.
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    let _connector = pair.start(&pair.with_state());
    pair.insert_on_promoted(4);
    pair.wait_rows(&[1, 2, 3, 4]);
}

/// The primary removes rows of the catalog that the slot needs, and the standby has to follow.
#[test]
fn a_conflict_with_the_primary_is_a_gap() {
    let pair = Pair::new("conflict");
    if !pair.decodes() {
        pair.fails(78, &["it is a standby"]);
        return;
    }
    pair.publish();
    let mut connector = pair.start(&pair.with_state());
    let database = &pair.pipeline.database;
    database.execute("INSERT INTO t VALUES (1)");
    pair.wait_rows(&[1]);
    database.execute("CREATE TABLE gone (id int)");
    database.execute("DROP TABLE gone");
    database.execute("VACUUM pg_class");
    database.execute("SELECT pg_log_standby_snapshot()");
    let code = connector.wait_exit(DEADLINE);
    let outcome = (code, connector.log(), Vec::new());
    assert_end(
        outcome,
        76,
        &["was invalidated by the server (", "hot_standby_feedback"],
    );
}
