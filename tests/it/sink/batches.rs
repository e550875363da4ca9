//! How records are batched, and which topic and partition they go to.

use std::time::{Duration, Instant};

use fluvio::Compression;
use fluvio_sc_schema::topic::CompressionAlgorithm;

use crate::support::connector::{ConfigFile, run_to_end};
use crate::support::fluvio::{BatchInfo, TopicReader};
use crate::support::load::assert_same_rows;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::record::{Record, inserted, kinds};
use crate::support::wait_until;

const TABLE: &str = "CREATE TABLE t (id int8, filler text)";

/// A pipeline whose server tells how the records came.
fn pipeline() -> Pipeline {
    let pipeline = Pipeline::new("batches").in_process();
    pipeline.database.execute(TABLE);
    pipeline
}

fn batches(pipeline: &Pipeline) -> Vec<BatchInfo> {
    pipeline.server().batches(&pipeline.topic, 0)
}

/// Rows of about a kilobyte.
fn insert(pipeline: &Pipeline, rows: i64) {
    pipeline.database.execute(&format!(
        "INSERT INTO t SELECT id, repeat('x', 1000) FROM generate_series(1, {rows}) id"
    ));
}

/// The program gives up; the exit code and what it says.
#[track_caller]
fn refusal(pipeline: &Pipeline, config: &ConfigFile) -> (i32, String) {
    let url = pipeline.database.url();
    let (code, log, _) = run_to_end(&config.path(), &url, &[], DEADLINE);
    (code, log)
}

#[test]
fn a_batch_is_as_large_as_configured_and_a_larger_record_goes_alone() {
    const SIZE: usize = 16_000;
    let pipeline = pipeline();
    // Rows that come in small pieces, from a server that is short of time, wait for more.
    let config = pipeline.config().producer("linger", "2s");
    let config = config.producer("batch-size", "16KB");
    let _connector = pipeline.start_with(&config);
    pipeline.database.execute(
        "BEGIN; INSERT INTO t SELECT id, repeat('x', 1000) FROM generate_series(1, 300) id; \
         INSERT INTO t VALUES (301, repeat('x', 50000)); \
         INSERT INTO t SELECT id, repeat('x', 1000) FROM generate_series(302, 600) id; COMMIT",
    );
    pipeline.wait_caught_up();
    let batches = batches(&pipeline);
    let (small, large): (Vec<_>, Vec<_>) = batches.iter().partition(|batch| batch.bytes <= SIZE);
    let alone: Vec<_> = large.iter().map(|batch| batch.records).collect();
    assert_eq!(alone, [1], "{large:?}");
    let full = small.iter().filter(|batch| batch.bytes > SIZE - 2_000);
    assert!(full.count() > small.len() / 2, "{small:?}");
    let expected: Vec<i64> = (1..=600).collect();
    assert_same_rows(&inserted(&pipeline.records()), &expected);
}

#[test]
fn each_compression_is_applied_and_the_ordinary_client_reads_it() {
    for (name, compression) in [
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ] {
        let pipeline = pipeline();
        let config = pipeline.config().producer("compression", name);
        let _connector = pipeline.start_with(&config);
        insert(&pipeline, 500);
        pipeline.wait_caught_up();
        let mut bytes = 0;
        for batch in batches(&pipeline) {
            assert_eq!(batch.compression, compression);
            bytes += batch.bytes;
        }
        let is_small = bytes < 500 * 1000;
        assert_eq!(
            is_small,
            compression != Compression::None,
            "{name}: {bytes}"
        );

        let mut reader = TopicReader::new(&pipeline.server().sc_addr(), &pipeline.topic);
        reader.read(usize::MAX).expect("the ordinary client reads");
        let records = Record::parse_all(&reader.into_values());
        let expected: Vec<i64> = (1..=500).collect();
        assert_same_rows(&inserted(&records), &expected);
    }
}

#[test]
fn a_topic_may_demand_a_compression() {
    let pipeline = pipeline();
    let server = pipeline.server();
    server.create_topic_with_compression(&pipeline.topic, CompressionAlgorithm::Zstd);
    let config = pipeline.config().producer("compression", "gzip");
    let (code, log) = refusal(&pipeline, &config);
    assert_eq!(code, 78, "{log}");
    assert!(
        log.contains("demands compression zstd, the config has gzip"),
        "{log}"
    );

    let _connector = pipeline.start();
    insert(&pipeline, 10);
    pipeline.wait_caught_up();
    let batches = batches(&pipeline);
    assert!(!batches.is_empty());
    assert!(
        batches
            .iter()
            .all(|batch| batch.compression == Compression::Zstd),
        "{batches:?}"
    );
}

#[test]
fn records_go_to_the_configured_partition() {
    let pipeline = pipeline();
    let server = pipeline.server();
    server.create_topic_with_partitions(&pipeline.topic, 3);
    let config = pipeline.config().set("partition", "2");
    let _connector = pipeline.start_with(&config);
    insert(&pipeline, 2000);
    pipeline.wait_caught_up();
    for (partition, has_records) in [(0, false), (1, false), (2, true)] {
        let end = server.end_offset(&pipeline.topic, partition);
        assert_eq!(end > 0, has_records, "partition {partition}");
    }
    let records = Record::parse_all(&server.records(&pipeline.topic, 2));
    let expected: Vec<i64> = (1..=2000).collect();
    assert_same_rows(&inserted(&records), &expected);
    let kinds = kinds(&records);
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("begin", "commit"));
}

#[test]
fn a_partition_that_the_topic_has_not() {
    let pipeline = pipeline();
    pipeline
        .server()
        .create_topic_with_partitions(&pipeline.topic, 2);
    let config = pipeline
        .config()
        .set("partition", "2")
        .fluvio("timeout", "1s");
    let (code, log) = refusal(&pipeline, &config);
    assert_eq!(code, 78, "{log}");
    assert!(log.contains("has no partition 2, it has 2"), "{log}");
    assert!(log.contains("counted from 0"), "{log}");
}

#[test]
fn a_missing_topic_is_created_or_asked_for() {
    let pipeline = Pipeline::new("topic");
    for key in ["create-topic", "create_topic"] {
        let config = pipeline.config().set(key, "false");
        let (code, log) = refusal(&pipeline, &config);
        assert_eq!(code, 78, "{log}");
        let command = format!("fluvio topic create {}", pipeline.topic);
        assert!(log.contains(&command), "{log}");
        // The sink comes first: nothing was made on the other side either.
        assert!(!pipeline.database.slot_exists(&pipeline.slot));
    }
    let connector = pipeline.start();
    let line = connector.wait_log("created the topic", DEADLINE);
    assert!(line.contains(&pipeline.topic), "{line}");
    pipeline.database.execute(TABLE);
    insert(&pipeline, 3);
    assert_eq!(inserted(&pipeline.settled()), [1, 2, 3]);
}

#[test]
fn without_linger_nothing_waits_for_company() {
    let pipeline = pipeline();
    let _connector = pipeline.start();
    for id in 1..=5 {
        pipeline
            .database
            .execute(&format!("INSERT INTO t VALUES ({id})"));
        let commits = usize::try_from(id).expect("a small number");
        pipeline.wait_commits(commits);
    }
    // More when the server's bytes came in parts.
    let batches = batches(&pipeline).len();
    assert!(batches >= 5, "{batches}");
}

#[test]
fn with_linger_records_wait_for_company_but_not_longer() {
    const LINGER: Duration = Duration::from_millis(500);
    let pipeline = pipeline();
    let config = pipeline.config().producer("linger", "500ms");
    let _connector = pipeline.start_with(&config);
    let begun = Instant::now();
    // Company keeps coming, a tenth of a second apart, and still nothing waits for the last of it.
    let mut rows = 0;
    wait_until("three batches come", DEADLINE, || {
        rows += 1;
        let insert = format!("INSERT INTO t VALUES ({rows}, ''); SELECT pg_sleep(0.1)");
        pipeline.database.execute(&insert);
        batches(&pipeline).len() >= 3
    });
    pipeline.wait_caught_up();
    let (batches, took) = (batches(&pipeline).len(), begun.elapsed());
    let most = 1 + took.as_millis() / LINGER.as_millis();
    assert!(batches as u128 <= most, "{batches} in {took:?}");
    let expected: Vec<i64> = (1..=rows).collect();
    assert_same_rows(&inserted(&pipeline.records()), &expected);
}

/// The answer to a full batch came long ago when the program looks at it.
#[test]
fn a_linger_may_be_longer_than_the_timeout() {
    let pipeline = pipeline();
    let config = pipeline
        .config()
        .producer("linger", "4s")
        .producer("batch-size", "16KB");
    let connector = pipeline.start_with(&config.fluvio("timeout", "3s"));
    insert(&pipeline, 100);
    pipeline.wait_caught_up();
    assert_eq!(
        connector.log_count("trying again"),
        0,
        "{}",
        connector.log()
    );
    let expected: Vec<i64> = (1..=100).collect();
    assert_same_rows(&inserted(&pipeline.records()), &expected);
}

#[test]
fn a_server_of_another_time() {
    for shift in [100, -100] {
        let pipeline = pipeline();
        pipeline.server().shift_versions(shift);
        let (code, log) = refusal(&pipeline, &pipeline.config());
        assert_eq!(code, 78, "{log}");
        assert!(log.contains("incompatible server: request "), "{log}");
        assert!(log.contains(&pipeline.server().sc_addr()), "{log}");
    }
}
