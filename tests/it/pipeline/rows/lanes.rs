//! Many lanes: rows by key over partitions, a topic a table, and what dies meanwhile.

use std::collections::BTreeSet;

use postgres_source::sink::partition_of;
use serde_json::{Value, json};

use super::TRUNCATES;
use crate::support::connector::ConfigFile;
use crate::support::fluvio::{Cluster, FluvioServer, TopicReader};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::record::Record;
use crate::support::row_lanes::{Folded, fold, lanes};

const PARTITIONS: u32 = 3;

fn by_key(pipeline: &Pipeline) -> ConfigFile {
    let config = pipeline
        .config()
        .set("format", "rows")
        .set("partition", "key");
    config.set("partitions", &PARTITIONS.to_string())
}

/// What the slot has confirmed is in the lanes.
fn wait_confirmed(pipeline: &Pipeline) {
    let lsn = pipeline.database.current_wal_lsn();
    pipeline.database.wait_slot_confirmed(&pipeline.slot, lsn);
}

/// The rows of a table as a reader of the lanes would have them.
fn table(pipeline: &Pipeline, table: &str) -> Folded {
    let rows = pipeline
        .database
        .query_texts(&format!("SELECT to_json(t)::text FROM {table} t"));
    let rows = rows.into_iter().map(|row| {
        let row: Value = serde_json::from_str(&row.expect("a row")).expect("JSON");
        let key = json!({"id": row["id"]});
        (format!("\"public\".\"{table}\" {key}"), row)
    });
    rows.collect()
}

/// A pipeline of its own cluster of three SPUs, or the real one, with a table of a key and a text.
fn over_three_spus() -> Pipeline {
    let pipeline = Pipeline::new("lanes");
    let pipeline = match Cluster::is_named() {
        true => pipeline,
        false => pipeline.with_cluster(Cluster::InProcess(FluvioServer::start_with_spus(3))),
    };
    pipeline
        .database
        .execute("CREATE TABLE t (id int PRIMARY KEY, v text)");
    pipeline
}

#[test]
fn a_row_is_in_the_partition_that_ordinary_clients_compute() {
    let pipeline = over_three_spus();
    let _connector = pipeline.start_with(&by_key(&pipeline));
    for sql in [
        "INSERT INTO t SELECT i, 'a' FROM generate_series(1, 100) i",
        "UPDATE t SET v = 'b' WHERE id % 3 = 0",
        "UPDATE t SET id = id + 1000 WHERE id % 5 = 0",
        "DELETE FROM t WHERE id % 7 = 0",
    ] {
        pipeline.database.execute(sql);
    }
    wait_confirmed(&pipeline);
    let read = lanes(&pipeline, &pipeline.topic, PARTITIONS);
    assert!(read.iter().all(|lane| lane.len() > 10));
    assert_eq!(fold(&read), table(&pipeline, "t"));
    for partition in 0..PARTITIONS {
        let mut reader =
            TopicReader::new(&pipeline.cluster().sc_addr(), &pipeline.topic).partition(partition);
        reader.read(usize::MAX).expect("the topic can be read");
        for (key, value) in reader.keys().iter().zip(reader.values()) {
            let key = key.as_ref().expect("every row has a key");
            assert_eq!(partition_of(key, PARTITIONS), partition);
            let record: Value = serde_json::from_slice(value).expect("JSON");
            let expected = json!(["public", "t", record["key"]["id"]]).to_string();
            assert_eq!(String::from_utf8_lossy(key), expected);
        }
    }
}

#[test]
fn a_process_that_is_killed_leaves_nothing_out_and_nothing_twice() {
    let pipeline = over_three_spus();
    let config = by_key(&pipeline).producer("batch-size", "2KB");
    let mut expected = 0;
    for round in 0..8 {
        let connector = pipeline.start_with(&config);
        pipeline.database.execute(&format!(
            "INSERT INTO t SELECT i, repeat('x', i % 50) FROM generate_series({expected}, {expected} + 1999) i;
             UPDATE t SET id = -id WHERE id % 17 = {round}"
        ));
        expected += 2000;
        match round % 2 {
            0 => connector.kill(),
            _ => {
                wait_confirmed(&pipeline);
                drop(connector);
            }
        }
        let slot = &pipeline.slot;
        pipeline.database.wait_slot_inactive(slot);
    }
    let _connector = pipeline.start_with(&config);
    wait_confirmed(&pipeline);
    let read = lanes(&pipeline, &pipeline.topic, PARTITIONS);
    assert_eq!(fold(&read), table(&pipeline, "t"));
}

#[test]
fn a_topic_a_table_and_one_that_is_made_later() {
    let pipeline = over_three_spus();
    let prefix = &pipeline.topic;
    let config = pipeline
        .config()
        .set("format", "rows")
        .set("topic", &format!("\"{prefix}-{{table}}\""));
    let connector = pipeline.start_with(&config);
    pipeline
        .database
        .execute("INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    wait_confirmed(&pipeline);
    pipeline
        .database
        .execute("CREATE TABLE \"Other_One\" (id int PRIMARY KEY, v text)");
    assert_eq!(
        connector.log_count("opening the topic of"),
        0,
        "{}",
        connector.log()
    );
    pipeline.database.execute(
        "BEGIN; INSERT INTO t VALUES (3, 'c'); INSERT INTO \"Other_One\" VALUES (1, 'd'); COMMIT",
    );
    connector.wait_log("opening the topic of public.Other_One", DEADLINE);
    wait_confirmed(&pipeline);
    let of = |topic: &str| lanes(&pipeline, &format!("{prefix}-{topic}"), 1);
    assert_eq!(fold(&of("t")), table(&pipeline, "t"));
    let other = of("other-one").remove(0);
    assert_eq!(other.len(), 1);
    // Of one transaction both have one position, and numbers that go on.
    let third = of("t").remove(0).remove(2);
    assert_eq!(
        (&third["lsn"], third["seq"].as_u64()),
        (&other[0]["lsn"], Some(0))
    );
    assert_eq!(other[0]["seq"].as_u64(), Some(1));
    assert_eq!(connector.exit_code(), None);
}

#[test]
fn events_of_tables_in_topics_of_their_own_are_whole_streams() {
    let pipeline = over_three_spus();
    let prefix = &pipeline.topic;
    pipeline
        .database
        .execute("CREATE TABLE u (id int PRIMARY KEY, v text)");
    let config = pipeline
        .config()
        .set("topic", &format!("\"{prefix}-{{table}}\""));
    let transactions = [
        "INSERT INTO t VALUES (1, 'a')",
        "BEGIN; INSERT INTO t VALUES (2, 'b'); INSERT INTO u VALUES (1, 'c'); INSERT INTO t VALUES (3, 'd'); COMMIT",
        "INSERT INTO u VALUES (2, 'e')",
        "TRUNCATE t, u",
    ];
    let connector = pipeline.start_with(&config);
    for sql in &transactions[..2] {
        pipeline.database.execute(sql);
    }
    connector.kill();
    pipeline.database.wait_slot_inactive(&pipeline.slot);
    let _connector = pipeline.start_with(&config);
    for sql in &transactions[2..] {
        pipeline.database.execute(sql);
    }
    wait_confirmed(&pipeline);
    let kinds = |table: &str| {
        let records = pipeline.cluster().records(&format!("{prefix}-{table}"));
        let records = Record::parse_all(&records);
        let without: Vec<String> = records
            .iter()
            .filter(|record| record.kind() != "relation")
            .map(|record| record.kind().to_owned())
            .collect();
        without.join(" ")
    };
    let truncate = match pipeline.database.major() >= TRUNCATES {
        true => " begin truncate commit",
        false => "",
    };
    for (table, inserts) in [
        ("t", "begin insert commit begin insert insert commit"),
        ("u", "begin insert commit begin insert commit"),
    ] {
        assert_eq!(kinds(table), format!("{inserts}{truncate}"));
    }
}

#[test]
fn an_spu_that_dies_holds_back_what_it_leads() {
    let pipeline =
        Pipeline::new("lanes").with_cluster(Cluster::InProcess(FluvioServer::start_with_spus(3)));
    pipeline
        .database
        .execute("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let config = by_key(&pipeline).fluvio("timeout", "1s");
    let connector = pipeline.start_with(&config);
    pipeline
        .database
        .execute("INSERT INTO t SELECT i, 'a' FROM generate_series(1, 300) i");
    wait_confirmed(&pipeline);
    let confirmed = pipeline.database.slot_confirmed_lsn(&pipeline.slot);
    pipeline.server().stop_spu(1);
    pipeline.database.execute("UPDATE t SET v = 'b'");
    connector.wait_log("trying again in", DEADLINE);
    let lsn = pipeline.database.slot_confirmed_lsn(&pipeline.slot);
    assert!(lsn < Some(pipeline.database.current_wal_lsn()) && lsn >= confirmed);
    pipeline.server().restart_spu(1);
    wait_confirmed(&pipeline);
    let read = lanes(&pipeline, &pipeline.topic, PARTITIONS);
    assert_eq!(fold(&read), table(&pipeline, "t"));
    let keys: BTreeSet<String> = fold(&read).into_keys().collect();
    assert_eq!(keys.len(), 300);
}
