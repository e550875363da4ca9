//! Many lanes: the worst of them, all of them, and how few requests they take.

use serde_json::Value;

use crate::support::fluvio::Side;
use crate::support::pipeline::DEADLINE;
use crate::support::spread::Spread;
use crate::support::wait_until;

#[track_caller]
fn assert_problem(report: &(i32, Value), says: &[&str]) {
    let (code, report) = report;
    assert_eq!(
        (*code, &report["status"]),
        (2, &"broken".into()),
        "{report:#}"
    );
    let problems = report["problems"].to_string();
    for says in says {
        assert!(problems.contains(says), "{says:?} is not in {problems}");
    }
}

#[test]
fn the_worst_lane_is_shown_and_all_of_them_if_they_are_asked_for() {
    let spread = Spread::new("status_lanes");
    spread.fill();
    spread.drain();
    let config = spread.config();
    let (code, found) = spread.report("status", &config, &[]);
    assert_eq!(
        (code, &found["lane_count"]),
        (0, &spread.lanes().into()),
        "{found:#}"
    );
    assert!(
        found["topic"].is_string() && found["lag_bytes"].is_u64(),
        "{found:#}"
    );
    assert!(found.get("lanes").is_none(), "{found:#}");

    let (code, found) = spread.report("status", &config, &["--lanes"]);
    assert_eq!(code, 0, "{found:#}");
    let lanes = found["lanes"].as_array().expect("a list");
    let ends: Vec<(&str, u64, i64)> = lanes
        .iter()
        .map(|lane| {
            let topic = lane["topic"].as_str().expect("a topic");
            let partition = lane["partition"].as_u64().expect("a partition");
            (
                topic,
                partition,
                lane["end_offset"].as_i64().expect("an offset"),
            )
        })
        .collect();
    let expected = spread.ends().into_iter();
    let expected: Vec<_> = expected
        .map(|(topic, partition, end)| (topic, u64::from(partition), end))
        .collect();
    assert_eq!(ends, expected);
    assert!(
        lanes.iter().all(|lane| lane["problem"].is_null()),
        "{found:#}"
    );

    let (_, _, lines) = spread.run_verb("status", &config, &["--lanes"]);
    let is_lane = |line: &&String| line.starts_with("lane:       cdc-");
    assert_eq!(
        lines.iter().filter(is_lane).count(),
        spread.lanes(),
        "{lines:?}"
    );
    let says = format!(
        "lanes:      {}, of which this one is furthest behind",
        spread.lanes()
    );
    assert!(lines.contains(&says), "{lines:?}");
    let (_, _, lines) = spread.run_verb("status", &config, &[]);
    assert_eq!(lines.iter().filter(is_lane).count(), 0, "{lines:?}");
}

#[test]
fn a_lane_that_something_is_wrong_with_is_the_worst() {
    let spread = Spread::new("status_worst");
    spread.fill();
    spread.drain();
    let (config, server) = (spread.config(), spread.pipeline.server());
    let others = br#"{"what":1}"#.to_vec();
    server.produce("cdc-pets", std::slice::from_ref(&others));
    let report = spread.report("status", &config, &[]);
    assert_problem(
        &report,
        &["its last record was not written by this program"],
    );
    assert_eq!(report.1["topic"], "cdc-pets");

    server.delete_topic("cdc-toys");
    let report = spread.report("status", &config, &[]);
    assert_problem(
        &report,
        &["the topic cdc-toys does not exist", "was not written by"],
    );
    // Of a topic that may still be made nothing is wrong, unless it is known that it was there.
    let found = spread.report("status", &spread.without_state(), &[]);
    let problems = found.1["problems"].to_string();
    assert!(!problems.contains("cdc-toys"), "{problems}");

    server.create_topic_with_partitions("cdc-toys", 2);
    let report = spread.report("status", &config, &[]);
    assert_problem(
        &report,
        &["the topic cdc-toys has 2 partitions, the config has 4"],
    );
}

#[test]
fn a_new_table_has_no_topic_yet() {
    let spread = Spread::new("status_new");
    spread.drain();
    spread
        .pipeline
        .database
        .execute("CREATE TABLE new (id int8 PRIMARY KEY)");
    let (code, found) = spread.report("status", &spread.config(), &["--lanes"]);
    assert_eq!(
        (code, &found["lane_count"]),
        (0, &(spread.lanes() + 4).into()),
        "{found:#}"
    );
    let lanes = found["lanes"].as_array().expect("a list");
    let of_new = lanes.iter().filter(|lane| lane["topic"] == "cdc-new");
    assert!(of_new.clone().count() == 4 && of_new.clone().all(|lane| lane["end_offset"].is_null()));
}

#[test]
fn a_topic_that_ends_in_the_other_format_says_how_to_go_on() {
    let spread = Spread::new("status_other");
    spread.fill();
    spread.drain();
    let events = spread
        .without_state()
        .set("format", "events")
        .set("partition", "table");
    let report = spread.report("status", &events, &[]);
    assert_problem(
        &report,
        &[
            "it ends with a record of the format rows",
            "name a new topic",
        ],
    );
}

#[test]
fn a_server_that_is_down_is_a_problem() {
    let spread = Spread::new("status_down");
    spread.fill();
    spread.drain();
    spread.pipeline.server().stop_spu(1);
    wait_until("it is noticed", DEADLINE, || {
        let (code, found) = spread.report("status", &spread.config(), &[]);
        assert!(
            found["confirmed_lsn"].is_string(),
            "the rest is shown: {found:#}"
        );
        code == 2
    });
}

/// The answer for hundreds of lanes is there before anybody wonders.
#[test]
fn many_lanes_take_few_requests() {
    const FETCH: u16 = 1;
    const LANES: u32 = 300;
    let spread = Spread::new("status_many");
    let config = spread.without_state();
    let config = config
        .set("topic", "many")
        .set("partitions", &LANES.to_string());
    spread.drain_with(&config);
    spread
        .pipeline
        .database
        .execute("INSERT INTO pets SELECT generate_series(1, 2000)");
    spread.drain_with(&config);
    let server = spread.pipeline.server();
    let requests = |side, keys: std::ops::Range<u16>| -> usize {
        keys.map(|key| server.requests(side, key)).sum()
    };
    let count = || (requests(Side::Sc, 0..2000), requests(Side::Spu, 0..2000));
    let (sc, spu) = count();
    let fetches = server.requests(Side::Spu, FETCH);
    let (code, found) = spread.report("status", &config, &["--lanes"]);
    assert_eq!(
        (code, found["lanes"].as_array().map(Vec::len)),
        (0, Some(LANES as usize))
    );
    let (sc, spu) = (count().0 - sc, count().1 - spu);
    let fetches = server.requests(Side::Spu, FETCH) - fetches;
    assert!(
        sc <= 10 && spu <= 30,
        "{sc} requests to the SC, {spu} to three SPUs, {fetches} of them fetch"
    );
}
