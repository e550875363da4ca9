//! What a server says unasked fills no log: from one that has not let us in nothing of it is worth a line,
//! and each session tells of a few.

use crate::support::connector::{ConfigFile, Connector, run_to_end};
use crate::support::outcome::{FAIL_DEADLINE, assert_fails_once};
use crate::support::pipeline::DEADLINE;
use crate::support::postgres::{Database, Postgres, unique};
use crate::support::script::{Peer, Script, Step, frames};

/// A session tells of so many.
const TOLD: usize = 20;

/// A field of a message is told up to here.
const MAX_FIELD_BYTES: usize = 4096;

fn config() -> ConfigFile {
    ConfigFile::new("t", &unique("notices"), &unique("notices"))
}

/// Talks for as long as it is let, and refuses then.
fn talks_and_refuses(peer: &mut Peer) -> Step {
    peer.expect_startup()?;
    let notice = frames::notice_response("00000", &"blah ".repeat(20_000));
    for _ in 0..1000 {
        peer.send(&notice)?;
    }
    peer.send(&frames::error_response("28000", &"no ".repeat(100_000)))
}

#[test]
fn a_server_that_has_not_let_us_in() {
    let script = Script::start(talks_and_refuses);
    let url = format!("postgres://postgres@127.0.0.1:{}/db", script.port());
    let log = assert_fails_once(&config().path(), &url, 77, &["says: FATAL no no no"]);
    assert!(!log.contains("blah"), "{} bytes of log", log.len());
    assert!(
        log.len() < 2 * MAX_FIELD_BYTES,
        "{} bytes of log",
        log.len()
    );
    script.finish();

    // Whoever wants to see all there is does not get a full disk either.
    let script = Script::start(talks_and_refuses);
    let url = format!("postgres://postgres@127.0.0.1:{}/db", script.port());
    let config = config().set("log", "trace");
    let (code, log, _) = run_to_end(&config.path(), &url, &["--stdout", "--once"], FAIL_DEADLINE);
    assert_eq!(code, 77);
    assert!(
        log.len() < (TOLD + 10) * 2 * MAX_FIELD_BYTES,
        "{} bytes",
        log.len()
    );
    script.finish();
}

/// A trigger that talks whenever the publication is made.
fn talkative(database: &Database, times: usize) {
    database.execute(&format!(
        "CREATE FUNCTION talk() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN
           FOR i IN 1..{times} LOOP RAISE WARNING 'hear %', repeat('hear ', 2000); END LOOP; END$$;
         CREATE EVENT TRIGGER talk ON ddl_command_end EXECUTE PROCEDURE talk()"
    ));
}

#[test]
fn a_trigger_that_talks_without_end() {
    let database = Postgres::shared().database("talk");
    talkative(&database, 500);
    let config = config();
    let connector = Connector::spawn_config(&config, &database.url(), &["--stdout"]);
    connector.wait_log("streaming from", DEADLINE);
    let log = connector.log();
    assert_eq!(log.matches("WARNING hear hear").count(), TOLD);
    assert!(
        log.contains("480 more notices were left out"),
        "{}",
        log.len()
    );
    let longest = log.lines().map(str::len).max();
    assert!(longest < Some(2 * MAX_FIELD_BYTES), "{longest:?}");
}
