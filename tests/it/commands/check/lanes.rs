//! Many topics and partitions: which there are, and whether they meet the slot.

use crate::support::check::{check, healthy_server};
use crate::support::spread::Spread;

const WAYS_OUT: &str = "accept-gap --config FILE --reason TEXT";

#[test]
fn many_lanes_that_are_well() {
    let spread = Spread::on(healthy_server(), "check_lanes");
    let url = spread.pipeline.database.url();
    spread.fill();
    spread.drain();
    let (lanes, topics) = (spread.lanes(), spread.topics().len());
    let checked = check(&spread.config(), &url);
    checked.assert_problems(&[], 0);
    checked.assert_says(
        "topic.mapping",
        &format!("{lanes} partitions of {topics} topics"),
    );
    checked.assert_says("topic", &format!("{topics} exist"));
    checked.assert_says("topic.partition", &format!("{lanes} with "));
    checked.assert_says(
        "topic.tail",
        "have records, the furthest ends with the transaction at",
    );
    checked.assert_says("publication.keys", "2 tables");
    checked.assert_says("continuity", "nothing speaks against it");

    // Without a state file a lane that is quiet for too long cannot be told from one that was emptied.
    let checked = check(&spread.without_state(), &url);
    checked.assert_problems(&[("state_dir", "warning")], 0);
    let says = format!("none, for {lanes} partitions: one that is quiet for 7days");
    checked.assert_says("state_dir", &says);
    assert_eq!(
        checked.mends("state_dir", "config"),
        ["state_dir: DIRECTORY"]
    );
}

#[test]
fn topics_that_are_missing_or_too_small() {
    let spread = Spread::on(healthy_server(), "check_few");
    let url = spread.pipeline.database.url();
    spread.drain();
    let database = &spread.pipeline.database;
    database.execute("CREATE TABLE \"New_one\" (id int8 PRIMARY KEY)");
    let config = spread.config();
    let checked = check(&config, &url);
    checked.assert_problems(&[], 0);
    checked.assert_says(
        "topic",
        &format!(
            "{} exist, cdc-new-one is created at the first run",
            spread.topics().len()
        ),
    );
    let checked = check(&config.set("create-topic", "false"), &url);
    checked.assert_problems(&[("topic", "failure")], 78);
    checked.assert_says(
        "topic",
        "cdc-new-one does not exist, and create-topic is false",
    );
    let commands = checked.mends("topic", "shell");
    assert_eq!(commands, ["fluvio topic create cdc-new-one --partitions 4"]);

    let more = spread.config().set("partitions", "6");
    let checked = check(&more, &url);
    checked.assert_problems(&[("topic.partition", "failure")], 78);
    let says = "has 4 partitions, the config has 6; and ";
    checked.assert_says("topic.partition", says);
}

#[test]
fn tables_without_a_topic_of_their_own() {
    let spread = Spread::on(healthy_server(), "check_mapping");
    let url = spread.pipeline.database.url();
    let long = "x".repeat(61);
    for (name, says) in [
        ("\"PETS\"", "the table public.pets"),
        (
            &*format!("\"{long}\""),
            "a name of 65 characters, and a topic's has at most 63",
        ),
    ] {
        let database = &spread.pipeline.database;
        database.execute(&format!("CREATE TABLE {name} (id int8 PRIMARY KEY)"));
        let checked = check(&spread.config(), &url);
        checked.assert_problems(&[("topic.mapping", "failure")], 78);
        checked.assert_says("topic.mapping", says);
        database.execute(&format!("DROP TABLE {name}"));
    }
}

#[test]
fn a_lane_that_lost_its_records_or_has_those_of_somebody_else() {
    let spread = Spread::on(healthy_server(), "check_lost");
    let url = spread.pipeline.database.url();
    spread.fill();
    spread.drain();
    let filled = spread.filled();
    let server = spread.pipeline.server();
    server.truncate("cdc-pets", filled, 0);
    let checked = check(&spread.config(), &url);
    checked.assert_problems(&[("continuity", "failure")], 76);
    checked.assert_says(
        "continuity",
        &format!("partition {filled} of cdc-pets: it ends at offset 0"),
    );
    assert!(
        checked
            .mends("continuity", "advice")
            .concat()
            .contains(WAYS_OUT)
    );

    server.produce("cdc-toys", &[br#"{"what":1}"#.to_vec()]);
    let checked = check(&spread.config(), &url);
    checked.assert_problems(&[("topic.tail", "failure")], 76);
    checked.assert_says(
        "topic.tail",
        "its last record was not written by this program",
    );
}

#[test]
fn other_ways_are_taken_where_everything_is_confirmed() {
    let spread = Spread::on(healthy_server(), "check_ways");
    let url = spread.pipeline.database.url();
    spread.fill();
    spread.drain();
    let fewer = || spread.config().set("partitions", "3");
    check(&fewer(), &url).assert_problems(&[], 0);

    // A run that was killed before it could confirm what it wrote.
    let late = spread.config().set("confirm_delay", "1h");
    let connector = spread.pipeline.start_with(&late);
    let before: i64 = spread.ends().iter().map(|(.., end)| end).sum();
    let database = &spread.pipeline.database;
    database.execute("INSERT INTO pets SELECT generate_series(5001, 5020)");
    crate::support::wait_until(
        "the rows arrive",
        crate::support::pipeline::DEADLINE,
        || spread.ends().iter().map(|(.., end)| end).sum::<i64>() == before + 20,
    );
    connector.kill();
    database.wait_slot_inactive(&spread.pipeline.slot);
    check(&spread.config(), &url).assert_problems(&[], 0);
    let checked = check(&fewer(), &url);
    checked.assert_problems(&[("continuity", "failure")], 76);
    checked.assert_says("continuity", "partitions were changed while partition ");
    let advice = checked.mends("continuity", "advice").concat();
    assert!(
        advice.contains("\"run --once-drained\"") && advice.contains(WAYS_OUT),
        "{advice}"
    );
    let outcome = spread.run_with(&fewer());
    assert!(
        outcome.0 == 76 && outcome.1.contains("were changed while partition"),
        "{}",
        outcome.1
    );
}

#[test]
fn a_topic_that_ends_in_the_other_format_says_how_to_go_on() {
    let spread = Spread::on(healthy_server(), "check_other");
    let url = spread.pipeline.database.url();
    spread.fill();
    spread.drain();
    let events = spread
        .without_state()
        .set("format", "events")
        .set("partition", "table");
    let checked = check(&events, &url);
    checked.assert_status("topic.tail", "failure");
    assert_eq!(checked.code, 78);
    checked.assert_says("topic.tail", "it ends with a record of the format rows");
    let advice = checked.mends("topic.tail", "advice").concat();
    assert!(advice.contains("name a new topic"), "{advice}");
    let outcome = spread.run_with(&events);
    assert!(
        outcome.0 == 78 && outcome.1.contains("name a new topic"),
        "{}",
        outcome.1
    );
}

#[test]
fn the_way_out_of_the_other_format_leads_on() {
    let spread = Spread::on(healthy_server(), "check_way_out");
    let url = spread.pipeline.database.url();
    spread.fill();
    spread.drain();
    let events = spread
        .config()
        .set("format", "events")
        .set("partition", "0")
        .set("partitions", "1")
        .set("topic", "events");
    check(&events, &url).assert_problems(&[], 0);
    let database = &spread.pipeline.database;
    database.execute("INSERT INTO pets VALUES (9000)");
    spread.drain_with(&events);
    let records = spread.pipeline.server().records("events", 0);
    let is_row = |record: &&Vec<u8>| record.windows(8).any(|part| part == b"\"insert\"");
    assert_eq!(records.iter().filter(is_row).count(), 1);
    for verb in ["verify", "status"] {
        let outcome = spread.run_verb(verb, &events, &[]);
        assert_eq!(outcome.0, 0, "{verb}: {}", outcome.1);
    }
    check(&events, &url).assert_problems(&[], 0);
}
