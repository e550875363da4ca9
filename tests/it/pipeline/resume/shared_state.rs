//! One `state_dir` for two connectors by mistake: the file of one is not the other's, whatever else the
//! other finds. And a server that takes the place of another, to which the file still belongs.

use std::fs;

use crate::support::check::check;
use crate::support::connector::{Connector, run_to_end, temp_dir};
use crate::support::outcome::{FAIL_DEADLINE, assert_end};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::Postgres;
use crate::support::stopped::{Stopped, run_verb};
use crate::support::wait_until;

const REASON: [&str; 2] = ["--reason", "a test"];

/// Another server, another Fluvio, and the same slot name; the topic has another name or the same.
#[test]
fn the_file_of_another_connector_is_left_alone() {
    let stopped = Stopped::new("shared_file");
    let server = Postgres::start(&[]);
    let other = Pipeline::on(&server, "shared_file").in_process();
    other.database.execute("CREATE TABLE t (id int8)");
    let (url, before) = (other.database.url(), fs::read(stopped.state_file()).ok());
    let state_dir = stopped.state_dir().display().to_string();
    let file = format!(
        "the state file {} is of another ",
        stopped.state_file().display()
    );
    let about = format!(
        "it is about partition 0 of the topic {}, with {} records",
        stopped.pipeline.topic,
        stopped.pipeline.end_offset()
    );
    let way_out = "two connectors share it by mistake: name another state_dir in the config";
    for topic in [&other.topic, &stopped.pipeline.topic] {
        let own = other.config().parameter("slot", &stopped.pipeline.slot);
        let own = own.set("topic", topic);
        let shared = own.set("state_dir", &state_dir);
        let says = [&*file, "cluster and topic", &*about, way_out];
        let outcome = run_to_end(&shared.path(), &url, &[], FAIL_DEADLINE);
        assert_end(outcome, 78, &says);
        let outcome = run_verb("accept-gap", &shared, &url, &REASON);
        assert_end(outcome, 78, &says);
        let checked = check(&shared, &url);
        assert_eq!(checked.code, 78, "{}", checked.log);
        assert_eq!(checked.status("state_dir"), Some("failure"));
        let (code, log, lines) = run_verb("status", &shared, &url, &[]);
        let lines = lines.join("\n");
        assert_eq!(code, 2, "{log}");
        assert!(lines.contains(&file) && lines.contains(&about), "{lines}");
        let outcome = run_verb("setup", &shared, &url, &[]);
        assert_end(outcome, 78, &says);
        // Nothing was made for it, and nothing was taken.
        assert!(!other.database.slot_exists(&stopped.pipeline.slot));
        assert_eq!(fs::read(stopped.state_file()).ok(), before);
    }

    // The way out is one.
    let directory = temp_dir("state-");
    let own = other.config().parameter("slot", &stopped.pipeline.slot);
    let own = own.set("state_dir", &directory.path().display().to_string());
    let connector = Connector::spawn_config(&own, &url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    stopped.goes_on(&stopped.with_state(), 4);
}

#[test]
fn a_file_in_the_place_of_another_is_named() {
    let stopped = Stopped::new("misplaced");
    let text = fs::read_to_string(stopped.state_file()).expect("there is one");
    let text = text.replace(&stopped.pipeline.slot, "of_another_slot");
    fs::write(stopped.state_file(), text).expect("it is ours");
    let url = stopped.pipeline.database.url();
    let config = stopped.with_state();
    let says = [
        "is of another slot, of_another_slot",
        "put it back in its place",
    ];
    let outcome = run_to_end(&config.path(), &url, &[], FAIL_DEADLINE);
    assert_end(outcome, 78, &says);
    assert_end(stopped.run_verb("accept-gap", &config, &REASON), 78, &says);
}

/// The topic is the one that the file is about, so whoever knows that the server is gone may go on.
#[test]
fn a_server_that_takes_the_place_of_another() {
    let stopped = Stopped::new("replaced");
    let server = Postgres::start(&[]);
    let other = server.database("replaced");
    other.execute("CREATE TABLE t (id int8 PRIMARY KEY)");
    let (config, url) = (stopped.with_state(), other.url());
    let says = [
        "is of another cluster: its system identifier is ",
        "if another connector writes this file, name another state_dir in the config",
        "accept what is lost with \"postgres-source accept-gap --config FILE --reason TEXT\"",
    ];
    let outcome = run_to_end(&config.path(), &url, &[], FAIL_DEADLINE);
    assert_end(outcome, 76, &says);
    let checked = check(&config, &url);
    let problems = checked.problems();
    assert!(problems.contains(&("state_dir", "failure")), "{problems:?}");
    let (code, log, _) = run_verb("accept-gap", &config, &url, &REASON);
    assert_eq!(code, 0, "{log}");
    let connector = Connector::spawn_config(&config, &url, &[]);
    connector.wait_log("streaming from", DEADLINE);
    other.execute("INSERT INTO t VALUES (71)");
    wait_until("the row of the other server arrives", DEADLINE, || {
        stopped.rows().ends_with(&[71])
    });
}
