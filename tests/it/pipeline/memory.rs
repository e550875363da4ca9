//! What the program holds in memory, and values up to what Fluvio takes and beyond.

use crate::support::connector::Connector;
use crate::support::load::assert_same_rows;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::record::{Record, inserted, kinds};
use crate::support::wait_until;

const LIMIT_KB: u64 = 64 * 1024;

fn pipeline() -> Pipeline {
    let pipeline = Pipeline::new("memory");
    pipeline
        .database
        .execute("CREATE TABLE t (id int8, filler text)");
    pipeline
}

#[track_caller]
fn assert_small(connector: &Connector) {
    let peak = connector.peak_rss_kb();
    assert!(peak < LIMIT_KB, "the program took {peak} KiB");
}

#[test]
fn a_transaction_of_a_million_rows() {
    const ROWS: i64 = 1_000_000;
    let pipeline = pipeline();
    let connector = pipeline.start();
    pipeline.database.execute(&format!(
        "INSERT INTO t SELECT id, 'row ' || id FROM generate_series(1, {ROWS}) id"
    ));
    // Begin, relation and commit.
    wait_until("all of it arrives", DEADLINE, || {
        pipeline.end_offset() >= ROWS + 3
    });
    assert_small(&connector);
    let records = pipeline.cluster().records(&pipeline.topic);
    let mut rows = Vec::new();
    // Parsing each would take longer than writing them.
    for record in &records {
        let text = std::str::from_utf8(record).expect("records are UTF-8");
        if let Some((_, rest)) = text.split_once("[{\"Int8\":") {
            let (id, _) = rest.split_once('}').expect("a value ends");
            rows.push(id.parse::<i64>().expect("a number"));
        }
    }
    let expected: Vec<i64> = (1..=ROWS).collect();
    assert_same_rows(&rows, &expected);
    let ends = [&records[0], &records[1], &records[records.len() - 1]];
    let ends = ends.map(|record| Record::parse(record));
    assert_eq!(kinds(&ends), ["begin", "relation", "commit"]);
}

#[test]
fn a_sink_that_blocks_does_not_cost_memory() {
    const ROWS: i64 = 100_000;
    let pipeline = pipeline().in_process();
    let connector = pipeline.start();
    pipeline.server().freeze();
    pipeline.database.execute(&format!(
        "INSERT INTO t SELECT id, repeat('x', 1000) FROM generate_series(1, {ROWS}) id"
    ));
    wait_backlog(&pipeline);
    assert_small(&connector);
    pipeline.server().thaw();
    wait_until("all of it arrives", DEADLINE, || {
        pipeline.end_offset() >= ROWS + 3
    });
    assert_small(&connector);
    assert_eq!(connector.log_count("trying again"), 0);
}

/// Waits until the program takes no more: the walsender stands still while statuses come.
fn wait_backlog(pipeline: &Pipeline) {
    let state = || {
        let (database, slot) = (&pipeline.database, &pipeline.slot);
        let sent = database.walsender(slot, "sent_lsn").expect("it streams");
        (sent, database.status_mark(slot))
    };
    let mut stands_since = (state(), 0);
    wait_until("the walsender stands still", DEADLINE, || {
        let now = state();
        if now.0 != stands_since.0.0 {
            stands_since = (now, 0);
        } else if now != stands_since.0 {
            stands_since = (now, stands_since.1 + 1);
        }
        stands_since.1 >= 5
    });
}

#[test]
fn large_values_arrive_whole_and_the_largest_goes_alone() {
    let pipeline = pipeline().in_process();
    let config = pipeline.config().producer("batch-size", "1MB");
    let _connector = pipeline.start_with(&config);
    for (id, size) in [(1, 1_000_000), (2, 20_000_000)] {
        // Not the same character all along, so that a lost or a doubled piece shows.
        pipeline.database.execute(&format!(
            "INSERT INTO t SELECT {id}, left(string_agg(n::text, ' '), {size}) \
             FROM generate_series(1, {size} / 4) n"
        ));
    }
    pipeline.wait_caught_up();
    let records = pipeline.records();
    let mut sizes = Vec::new();
    for record in records.iter().filter(|record| record.kind() == "insert") {
        let text = record.row()[1]["String"].as_str().expect("a text");
        let sum = pipeline.database.query_one_text(&format!(
            "SELECT md5(filler) = md5($text${text}$text$) \
             FROM t WHERE id = {}",
            record.int(0)
        ));
        assert_eq!(sum, "t");
        sizes.push(text.len());
    }
    assert_eq!(sizes, [1_000_000, 20_000_000]);
    let batches = pipeline.server().batches(&pipeline.topic, 0);
    let large: Vec<_> = batches
        .iter()
        .filter(|batch| batch.bytes > 1_000_000)
        .collect();
    assert!(large.iter().all(|batch| batch.records == 1), "{batches:?}");
    assert_eq!(large.len(), 2, "{batches:?}");
}

/// Nothing is confirmed past it, and what came before it comes once, however often it is tried.
#[test]
fn a_record_beyond_the_limit_of_the_server_stops_the_program() {
    let pipeline = Pipeline::new("memory");
    pipeline
        .database
        .execute("CREATE TABLE large (id int8, filler bytea)");
    // The clock confirms nothing during this test.
    let config = pipeline.config().set("status_interval", "1m");
    let mut connector = pipeline.start_with(&config);
    pipeline
        .database
        .execute("INSERT INTO large VALUES (1, 'small')");
    let records = pipeline.wait_commits(1);
    let stored = records.last().expect("a commit").lsn("end_lsn");
    // Each byte is two digits, and each digit becomes three characters of an array.
    pipeline
        .database
        .execute("INSERT INTO large VALUES (2, decode(repeat('ab', 6000000), 'hex'))");
    let committed = pipeline.database.current_wal_lsn();
    for _ in 0..2 {
        assert_eq!(connector.wait_exit(DEADLINE), 65, "{}", connector.log());
        let log = connector.log();
        let says = [
            "insert into public.large at ",
            " bytes in one batch",
            "33554432",
        ];
        for part in says {
            assert!(log.contains(part), "{part} in {log}");
        }
        let confirmed = pipeline.database.slot_confirmed_lsn(&pipeline.slot);
        assert!(
            confirmed >= Some(stored),
            "{confirmed:?}, stored up to {stored}"
        );
        assert!(
            confirmed < Some(committed),
            "{confirmed:?}, it ends at {committed}"
        );
        connector = Connector::spawn_config(&config, &pipeline.database.url(), &[]);
    }
    drop(connector);
    assert_eq!(inserted(&pipeline.records()), [1]);
}
