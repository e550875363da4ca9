//! What `status` says, and that its exit code tells the healthy, the late and the broken apart.

mod lanes;

use serde_json::Value;

use crate::support::connector::ConfigFile;
use crate::support::pipeline::DEADLINE;
use crate::support::ports::free_port;
use crate::support::stopped::Stopped;
use crate::support::wait_until;

#[track_caller]
fn status(stopped: &Stopped, config: &ConfigFile) -> (i32, Value) {
    let (code, log, stdout) = stopped.run_verb("status", config, &["--json"]);
    let json = stdout.join("\n");
    let status = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}{log}"));
    (code, status)
}

#[track_caller]
fn assert_broken(stopped: &Stopped, config: &ConfigFile, says: &str) -> Value {
    let (code, status) = status(stopped, config);
    assert_eq!(
        (code, &status["status"]),
        (2, &"broken".into()),
        "{status:#}"
    );
    let problems = status["problems"].to_string();
    assert!(problems.contains(says), "{says:?} is not in {problems}");
    status
}

#[test]
fn healthy_while_it_streams_and_when_it_has_stopped() {
    let stopped = Stopped::new("status");
    let config = stopped.with_state();
    let connector = stopped.start(&config);
    stopped.insert(4);
    stopped.pipeline.wait_caught_up();
    let (code, running) = status(&stopped, &config);
    assert_eq!(
        (code, &running["status"]),
        (0, &"healthy".into()),
        "{running:#}"
    );
    assert_eq!(running["streaming"], true);
    assert_eq!(running["problems"], Value::Array(Vec::new()));
    assert_eq!(running["last_error"], Value::Null);
    assert_eq!(running["end_offset"], stopped.pipeline.end_offset());
    let records = stopped.pipeline.records();
    let commit = records.last().expect("a commit").lsn("commit_lsn");
    let tail = format!("commit at {:X}/{:X}", commit >> 32, commit as u32);
    assert_eq!(running["tail"], tail);
    assert!(running["retained_bytes"].as_u64().is_some(), "{running:#}");
    assert!(running["confirmed_lsn"].is_string(), "{running:#}");
    if stopped.pipeline.database.major() >= 13 {
        assert_eq!(running["wal_status"], "reserved");
    }
    stopped.stop(connector);

    let (code, log, text) = stopped.run_verb("status", &config, &[]);
    assert_eq!(code, 0, "{log}");
    assert_eq!(text[0], "status:     healthy");
    assert!(text[1].contains(", nobody streams"), "{text:?}");
    assert!(text.iter().any(|line| line.contains(&tail)), "{text:?}");
}

#[test]
fn late_when_more_is_missing_than_is_allowed() {
    let stopped = Stopped::new("status_late");
    let limit = |bytes: &str| stopped.with_state().set("max_lag", bytes);
    let database = &stopped.pipeline.database;
    database.execute("INSERT INTO t SELECT generate_series(10, 2000)");
    let (code, late) = status(&stopped, &limit("10KB"));
    assert_eq!((code, &late["status"]), (1, &"lagging".into()), "{late:#}");
    assert!(late["lag_bytes"].as_u64() > Some(10_000), "{late:#}");
    assert!(late["lag_seconds"].is_u64(), "{late:#}");
    assert_eq!(late["streaming"], false);
    assert_eq!(status(&stopped, &limit("1GB")).0, 0);
    let connector = stopped.start(&stopped.with_state());
    wait_until("it has caught up", DEADLINE, || {
        status(&stopped, &limit("10KB")).0 == 0
    });
    stopped.stop(connector);
}

#[test]
fn broken_when_something_is_missing_or_cannot_be_asked() {
    let stopped = Stopped::new("status_broken");
    let config = stopped.with_state();
    let nowhere = format!("127.0.0.1:{}", free_port());
    let away = stopped.with_state().fluvio("endpoint", &nowhere);
    let found = assert_broken(&stopped, &away, &nowhere);
    assert!(
        found["confirmed_lsn"].is_string(),
        "the rest is shown: {found:#}"
    );
    assert_eq!(found["tail"], Value::Null);
    let other = stopped.with_state().set("topic", "no-such-topic");
    assert_broken(&stopped, &other, "no-such-topic does not exist");

    let file = stopped.state_file();
    let mut known = stopped.state();
    known["gap"] = "rows were lost".into();
    std::fs::write(&file, known.to_string()).expect("the state file can be written");
    let found = assert_broken(&stopped, &config, "at a gap: rows were lost");
    assert_eq!(found["last_error"], "rows were lost");
    assert_eq!(status(&stopped, &stopped.without_state()).0, 0);

    stopped.drop_slot();
    let slot = format!("replication slot {}: does not exist", stopped.pipeline.slot);
    let found = assert_broken(&stopped, &config, &slot);
    assert_eq!(found["lag_bytes"], Value::Null);
    assert!(found["end_offset"].is_i64(), "{found:#}");
}
