//! The program dies, or does not know what became of a batch, and goes on exactly after what the
//! topic has.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE, run_command};
use crate::support::fluvio::{Close, Fault, When};
use crate::support::load::assert_same_rows;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::ports::{has_unread, port};
use crate::support::postgres::unique;
use crate::support::record::{Record, inserted};
use crate::support::wait_until;

/// The messages that have a place of their own in the stream. Descriptions are repeated by each
/// session.
fn counted(records: &[Vec<u8>]) -> Vec<String> {
    let kinds = ["relation", "type", "origin"];
    Record::parse_all(records)
        .iter()
        .filter(|record| !kinds.contains(&record.kind()))
        .map(|record| record.message().to_string())
        .collect()
}

#[track_caller]
fn assert_verified(pipeline: &Pipeline) {
    let config = pipeline.config();
    let path = config.path();
    let args = ["verify", "--config", path.to_str().expect("UTF-8")];
    let outcome = run_command(&args, &[(URL_VARIABLE, &pipeline.database.url())], DEADLINE);
    assert_eq!(outcome.0, 0, "{outcome:?}");
}

/// Runs the program until so many batches are stored, and kills it.
fn run_for_batches(pipeline: &Pipeline, config: &ConfigFile, batches: usize) {
    let server = pipeline.server();
    server.inject(Fault::SilenceAfter, When::Nth(batches));
    let goal = server.batches(&pipeline.topic, 0).len() + batches;
    let connector = pipeline.start_with(config);
    wait_until("so many batches are stored", DEADLINE, || {
        server.batches(&pipeline.topic, 0).len() >= goal
    });
    connector.kill();
    server.clear_faults();
    pipeline.database.wait_slot_inactive(&pipeline.slot);
}

/// One transaction over several tables, with everything that a session describes anew, or that
/// shares positions.
fn large_transaction(pipeline: &Pipeline) {
    let mut client = pipeline.database.client();
    let mut transaction = client.transaction().expect("a transaction begins");
    let mut run = |sql: &str| {
        transaction
            .batch_execute(sql)
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
    };
    run(
        "INSERT INTO one SELECT id, 'one' FROM generate_series(1, 1500) id;
         INSERT INTO two SELECT id, 'two' FROM generate_series(1, 1500) id;
         UPDATE one SET filler = 'changed' WHERE id <= 500;
         ALTER TABLE one ADD more text DEFAULT 'more';
         INSERT INTO one SELECT id, 'one', 'x' FROM generate_series(2001, 3000) id;
         TRUNCATE two, three;
         DELETE FROM one WHERE id > 2900",
    );
    // Rows of one page of a COPY have one position.
    let mut copy = transaction.copy_in("COPY three FROM STDIN").expect("COPY");
    for id in 1..=1500 {
        std::io::Write::write_all(&mut copy, format!("{id}\tthree\n").as_bytes()).expect("rows");
    }
    copy.finish().expect("the COPY ends");
    transaction
        .batch_execute("INSERT INTO two VALUES (1, 'again'); INSERT INTO one VALUES (1, 'z', 'z')")
        .expect("rows");
    transaction.commit().expect("it commits");
}

fn pipeline_of_three_tables(name: &str) -> Pipeline {
    let pipeline = Pipeline::new(name).in_process();
    pipeline.database.execute(
        "CREATE TYPE mood AS ENUM ('calm');
         CREATE TABLE one (id int8, filler text); ALTER TABLE one REPLICA IDENTITY FULL;
         CREATE TABLE two (id int8, filler text, mood mood DEFAULT 'calm');
         CREATE TABLE three (id int8, filler text)",
    );
    pipeline
}

/// Each session describes a table before the first row of it that it writes, also when it was
/// described to it among what it dropped.
#[track_caller]
fn assert_described_in_each(sessions: &[usize], records: &[Record]) {
    let mut described = BTreeSet::new();
    for (offset, record) in records.iter().enumerate() {
        if sessions.contains(&offset) {
            described.clear();
        }
        let rel_id = record.message()["rel_id"].as_u64();
        match (record.kind(), rel_id) {
            ("relation", Some(rel_id)) => drop(described.insert(rel_id)),
            (_, Some(rel_id)) => assert!(described.contains(&rel_id), "offset {offset}"),
            _ => {}
        }
    }
}

/// What the same changes become without an interruption, through a slot of its own.
fn reference(pipeline: &Pipeline, write: impl FnOnce()) -> Vec<String> {
    let (slot, topic) = (unique("reference"), unique("reference").replace('_', "-"));
    let config = pipeline.config().set("topic", &topic);
    let config = config.parameter("slot", &slot);
    let connector = Connector::spawn_config(&config, &pipeline.database.url(), &[]);
    connector.wait_log("streaming from", DEADLINE);
    write();
    let written = pipeline.database.current_wal_lsn();
    pipeline.database.wait_slot_confirmed(&slot, written);
    counted(&pipeline.server().records(&topic, 0))
}

#[test]
fn killed_again_and_again_inside_a_large_transaction() {
    killed_inside(|config| config);
}

#[test]
fn killed_inside_a_large_transaction_with_compression() {
    killed_inside(|config| config.producer("compression", "zstd"));
}

fn killed_inside(configure: fn(ConfigFile) -> ConfigFile) {
    let pipeline = pipeline_of_three_tables("killed_inside");
    let config = configure(pipeline.config().producer("batch-size", "10KB"));
    // Both slots exist before anything is written.
    pipeline.start_with(&config).kill();
    let expected = reference(&pipeline, || {
        pipeline
            .database
            .execute("INSERT INTO one VALUES (-1); INSERT INTO one VALUES (-2)");
        large_transaction(&pipeline);
        pipeline.database.execute("INSERT INTO three VALUES (0)");
    });
    assert!(expected.len() > 6000, "{}", expected.len());
    let mut sessions = Vec::new();
    for batches in [1, 3, 15, 20, 2, 25] {
        sessions.push(pipeline.records().len());
        run_for_batches(&pipeline, &config, batches);
    }
    let stored = pipeline.cluster().records(&pipeline.topic);
    let (stored_records, stored) = (stored.len(), counted(&stored));
    assert!(stored.len() > 1000 && stored.len() < expected.len() - 100);

    let connector = pipeline.start_with(&config);
    pipeline.wait_caught_up();
    let found = counted(&pipeline.cluster().records(&pipeline.topic));
    let differs = found.iter().zip(&expected).position(|(a, b)| a != b);
    assert_eq!((differs, found.len()), (None, expected.len()));
    assert_verified(&pipeline);
    sessions.push(stored_records);
    assert_described_in_each(&sessions, &pipeline.records());
    let log = connector.wait_log("resumed: ", DEADLINE);
    let dropped: usize = log
        .split("resumed: ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .expect("a number");
    // Descriptions that come again are dropped too, until they are needed.
    let range = stored.len()..stored.len() + 20;
    assert!(range.contains(&dropped), "{log}: {} stored", stored.len());
}

/// Streams one transaction, then takes its commit away, as if it had been broken off there. How many
/// records there were with it.
fn cut_before_the_commit(pipeline: &Pipeline, config: ConfigFile, rows: &str) -> i64 {
    // What is in the topic stays unconfirmed.
    let config = config.set("confirm_delay", "1h");
    let connector = pipeline.start_with(&config);
    pipeline.database.execute(rows);
    let (server, topic) = (pipeline.server(), &pipeline.topic);
    // How many records that makes is for the server to say, which may describe a table again.
    wait_until("all of it arrives", DEADLINE, || {
        let last = server.records_from(topic, 0, pipeline.end_offset() - 1);
        last.last()
            .is_some_and(|last| Record::parse(last).kind() == "commit")
    });
    connector.kill();
    pipeline.database.wait_slot_inactive(&pipeline.slot);
    let end = pipeline.end_offset();
    server.truncate(topic, 0, end - 1);
    end
}

/// Begin, so many rows and the commit, each once, and as many records as there were.
#[track_caller]
fn assert_whole(pipeline: &Pipeline, rows: i64, end: i64) {
    pipeline.wait_caught_up();
    assert_eq!(pipeline.end_offset(), end);
    let records = pipeline.cluster().records(&pipeline.topic);
    let (mut next, mut others) = (1, Vec::new());
    for record in &records {
        // Parsing each would take longer than writing them.
        if let Ok(text) = std::str::from_utf8(record)
            && let Some((_, rest)) = text.split_once("[{\"Int8\":")
        {
            assert!(rest.starts_with(&format!("{next}}}")), "row {next}: {text}");
            next += 1;
        } else {
            others.push(Record::parse(record).kind().to_owned());
        }
    }
    assert_eq!(next - 1, rows);
    assert_eq!(others.last().map(String::as_str), Some("commit"));
    others.retain(|kind| kind != "relation");
    assert_eq!(others, ["begin", "commit"]);
    assert_verified(pipeline);
}

#[test]
fn a_huge_open_transaction_is_walked_back() {
    for (rows, batch_size) in [(300_000, "50KB"), (100_000, "16MB")] {
        let pipeline = Pipeline::new("huge").in_process();
        pipeline.database.execute("CREATE TABLE t (id int8)");
        let config = || pipeline.config().producer("batch-size", batch_size);
        let insert = format!("INSERT INTO t SELECT generate_series(1, {rows})");
        let end = cut_before_the_commit(&pipeline, config(), &insert);
        let connector = pipeline.start_with(&config());
        assert_whole(&pipeline, rows, end);
        let log = connector.log();
        let (_, says) = log.split_once("resumed: ").expect("it says so");
        let (messages, says) = says.split_once(' ').expect("a number and words");
        // Begin and descriptions besides the rows.
        let messages = messages.parse::<i64>().expect("a number") - rows;
        assert!((2..20).contains(&messages), "{log}");
        let all = says.starts_with("messages that came again were in the topic, 0 ");
        assert!(all, "{log}");
    }
}

/// More than a fetch takes at first, and more in all than the program may hold.
#[test]
fn large_records_are_walked_back_in_little_memory() {
    const LIMIT_KB: u64 = 64 * 1024;
    let pipeline = Pipeline::new("large").in_process();
    pipeline
        .database
        .execute("CREATE TABLE t (id int8, filler text)");
    let rows = "INSERT INTO t VALUES (1, 'small'), (2, repeat('x', 6000000));
         INSERT INTO t SELECT id, repeat('y', 500000) FROM generate_series(3, 180) id";
    let end = cut_before_the_commit(&pipeline, pipeline.config(), rows);
    let connector = pipeline.start();
    let walked = connector.peak_rss_kb();
    assert!(walked < LIMIT_KB, "the program took {walked} KiB");
    assert_whole(&pipeline, 180, end);
}

/// What the program says became of a batch: sent, found in the topic, sent again.
fn became(line: &str) -> Vec<u64> {
    line.rsplit("] ")
        .next()
        .unwrap_or_default()
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[test]
fn a_lost_acknowledgement() {
    const IN_DOUBT: &str = "records were sent and not acknowledged";
    let pipeline = Pipeline::new("lost_ack").in_process();
    pipeline
        .database
        .execute("CREATE TABLE t (id int8 PRIMARY KEY)");
    let connector = pipeline.start_with(&pipeline.config().fluvio("timeout", "1s"));
    let stored = [
        Fault::CloseAfter(Close::Fin),
        Fault::CloseAfter(Close::Reset),
        Fault::SilenceAfter,
        Fault::AckDelay(Duration::from_millis(1500)),
        // It lands after the batch was given up: the topic must be still for as long as an answer
        // may take before what is not there counts as not stored.
        Fault::SilenceAndApplyLate(Duration::from_millis(1500)),
    ];
    let not_stored = [
        Fault::CloseBefore(Close::Fin),
        Fault::CloseBefore(Close::Reset),
        Fault::CloseAfterBytes(60, Close::Reset),
        Fault::SilenceBefore,
    ];
    let faults = stored.map(|fault| (fault, true));
    let faults = faults
        .into_iter()
        .chain(not_stored.map(|fault| (fault, false)));
    let mut rows = 0;
    for (round, (fault, is_stored)) in faults.enumerate() {
        pipeline.server().inject(fault.clone(), When::Next);
        pipeline.database.execute(&format!(
            "INSERT INTO t SELECT generate_series({}, {})",
            rows + 1,
            rows + 10
        ));
        rows += 10;
        let line = connector.wait_log_count(IN_DOUBT, round + 1, DEADLINE);
        let numbers = became(&line);
        let [sent, found, again] = numbers[..] else {
            panic!("three numbers in {line}");
        };
        // The rows, what is around them, and the table, which may be described once more.
        assert!(sent > 0 && sent <= 14, "{fault:?}: {line}");
        let expected = if is_stored { (sent, 0) } else { (0, sent) };
        assert_eq!((found, again), expected, "{fault:?}: {line}");
        pipeline.wait_caught_up();
    }
    let expected: Vec<i64> = (1..=rows).collect();
    assert_same_rows(&inserted(&pipeline.records()), &expected);
    assert_verified(&pipeline);
}

/// The topic's end is asked for in two steps, and a batch can land in between.
#[test]
fn a_batch_that_lands_while_the_end_is_asked_for() {
    let pipeline = Pipeline::new("landing").in_process();
    pipeline
        .database
        .execute("CREATE TABLE t (id int8 PRIMARY KEY)");
    let connector = pipeline.start();
    // The second question is the one that what was in doubt is compared with.
    pipeline.server().inject_old_offsets(1, When::Nth(2));
    let fault = Fault::CloseAfter(Close::Fin);
    pipeline.server().inject(fault, When::Next);
    pipeline.database.execute("INSERT INTO t VALUES (1)");
    connector.wait_log("0 are sent again", DEADLINE);
    pipeline.wait_caught_up();
    assert_eq!(pipeline.server().armed_faults(), 0);
    assert_same_rows(&inserted(&pipeline.records()), &[1]);
}

/// A frozen server has a batch in its socket when the program is killed, and stores it when it
/// thaws, while the next process is already looking.
#[test]
fn a_batch_that_lands_late() {
    let pipeline = Pipeline::new("late").in_process();
    pipeline
        .database
        .execute("CREATE TABLE t (id int8 PRIMARY KEY, filler text)");
    let server = pipeline.server();
    let (spu, sc) = (port(&server.spu_addr()), port(&server.sc_addr()));
    let mut connector = pipeline.start();
    for round in 0..3 {
        server.freeze();
        pipeline.database.execute(&format!(
            "INSERT INTO t SELECT id, repeat('x', 1000) FROM generate_series({}, {}) id",
            round * 500 + 1,
            round * 500 + 500
        ));
        wait_until("the batch waits", DEADLINE, || has_unread(spu));
        connector.kill();
        pipeline.database.wait_slot_inactive(&pipeline.slot);
        let config = pipeline.config();
        connector = Connector::spawn_config(&config, &pipeline.database.url(), &[]);
        wait_until("the next process looks", DEADLINE, || has_unread(sc));
        server.thaw();
        connector.wait_log("streaming from", DEADLINE);
        pipeline.wait_caught_up();
    }
    let expected: Vec<i64> = (1..=1500).collect();
    assert_same_rows(&inserted(&pipeline.records()), &expected);
    assert_verified(&pipeline);
}
