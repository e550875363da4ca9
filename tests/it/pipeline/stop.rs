//! A signal: nothing comes twice, nothing is lost, and the program ends in time.

use std::time::{Duration, Instant};

use crate::support::connector::{Connector, temp_dir};
use crate::support::fluvio::{Fault, When};
use crate::support::load::{assert_same_rows, under_load};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::Postgres;
use crate::support::proxy::Proxy;
use crate::support::record::{first_appearances, inserted};
use crate::support::wait_until;

/// Where service managers lose patience.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// When nothing has to be waited for.
const AT_ONCE: Duration = Duration::from_secs(2);

const STREAMS: &str = "streaming from";

#[track_caller]
fn assert_stops(connector: &mut Connector, signal: &str, limit: Duration) {
    let since = Instant::now();
    connector.signal(signal);
    let code = connector.wait_exit(2 * STOP_LIMIT);
    let took = since.elapsed();
    assert_eq!(code, 0, "{}", connector.log());
    assert!(took < limit, "it took {took:?}:\n{}", connector.log());
}

#[test]
fn under_load_nothing_is_sent_twice() {
    let pipeline = Pipeline::new("stop");
    let config = pipeline.config().set("status_interval", "10ms");
    let mut connector = pipeline.start_with(&config);
    let delivered = under_load(&pipeline, 11, |load| {
        for signal in ["TERM", "INT", "TERM", "TERM"] {
            load.wait_commits(30);
            assert_stops(&mut connector, signal, STOP_LIMIT);
            load.wait_commits(30);
            connector = pipeline.start_with(&config);
        }
    });
    assert_same_rows(&inserted(&delivered.records), &delivered.rows);
}

#[test]
fn idle() {
    let pipeline = Pipeline::new("stop");
    for signal in ["TERM", "INT"] {
        let mut connector = pipeline.start();
        assert_stops(&mut connector, signal, AT_ONCE);
        let log = connector.log();
        assert!(log.contains("stopped; confirmed up to"), "{log}");
        assert_eq!(pipeline.database.slot_active_pid(&pipeline.slot), None);
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    for (first, second, code) in [
        ("TERM", "TERM", 143),
        ("INT", "INT", 130),
        ("TERM", "INT", 130),
    ] {
        let pipeline = frozen(1);
        let mut connector = pipeline.connector;
        connector.signal(first);
        connector.wait_log("stopping; a second signal ends at once", DEADLINE);
        let since = Instant::now();
        connector.signal(second);
        assert_eq!(connector.wait_exit(STOP_LIMIT), code, "{}", connector.log());
        assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    }
}

/// A program that waits for a Fluvio which does not answer.
struct Frozen {
    pipeline: Pipeline,
    connector: Connector,
    rows: i64,
}

/// With so many rows, of a kilobyte each, committed one by one.
fn frozen(rows: i64) -> Frozen {
    let pipeline = Pipeline::new("stop").in_process();
    pipeline
        .database
        .execute("CREATE TABLE t (id int8, filler text)");
    let connector = pipeline.start();
    pipeline
        .database
        .execute("INSERT INTO t VALUES (0, 'arrives')");
    pipeline.wait_commits(1);
    pipeline.wait_caught_up();
    pipeline.server().freeze();
    let insert = |id| format!("INSERT INTO t VALUES ({id}, repeat('x', 1000))");
    pipeline.database.execute_each((1..=rows).map(insert));
    // The walsender has sent it, or as much of it as the program takes.
    let mut before = None;
    wait_until("nothing moves", DEADLINE, || {
        let now = pipeline.database.walsender(&pipeline.slot, "sent_lsn");
        std::mem::replace(&mut before, now.clone()) == now
    });
    Frozen {
        pipeline,
        connector,
        rows,
    }
}

#[test]
fn while_fluvio_is_frozen() {
    stops_while_frozen(1);
}

/// The reader cannot hand its batch over then.
#[test]
fn while_fluvio_is_frozen_with_a_backlog() {
    stops_while_frozen(10_000);
}

fn stops_while_frozen(rows: i64) {
    let Frozen {
        pipeline,
        mut connector,
        rows,
    } = frozen(rows);
    assert_stops(&mut connector, "TERM", STOP_LIMIT);
    let log = connector.log();
    assert!(log.contains("will be sent again"), "{log}");
    pipeline.server().thaw();
    let _connector = pipeline.start();
    pipeline.wait_caught_up();
    let expected: Vec<i64> = (0..=rows).collect();
    assert_same_rows(&first_appearances(&pipeline.records()), &expected);
}

#[test]
fn between_two_attempts() {
    let pipeline = Pipeline::new("stop").in_process();
    pipeline.server().stop();
    let config = pipeline.config().set("retry", "{ min: 1m, max: 1m }");
    let mut connector = Connector::spawn_config(&config, &pipeline.database.url(), &[]);
    connector.wait_log("trying again in", DEADLINE);
    assert_stops(&mut connector, "TERM", AT_ONCE);
}

#[test]
fn while_fluvio_does_not_answer_the_first_request() {
    let pipeline = Pipeline::new("stop").in_process();
    let proxy = Proxy::start(pipeline.server().sc_addr());
    proxy.freeze();
    let config = pipeline.config().fluvio("endpoint", &proxy.addr());
    let mut connector = Connector::spawn_config(&config, &pipeline.database.url(), &[]);
    wait_until("it connects", DEADLINE, || proxy.connections() > 0);
    assert_stops(&mut connector, "TERM", AT_ONCE);
}

#[test]
fn while_postgres_does_not_answer_the_first_request() {
    let pipeline = Pipeline::new("stop");
    let proxy = Proxy::start(format!("127.0.0.1:{}", pipeline.database.port()));
    proxy.freeze();
    let config = pipeline.config();
    let url = pipeline.database.url_at(proxy.port());
    let mut connector = Connector::spawn_config(&config, &url, &[]);
    wait_until("it connects", DEADLINE, || proxy.connections() > 0);
    assert_stops(&mut connector, "TERM", AT_ONCE);
}

#[test]
fn while_postgres_does_not_answer_any_more() {
    let pipeline = Pipeline::new("stop");
    let proxy = Proxy::start(format!("127.0.0.1:{}", pipeline.database.port()));
    let config = pipeline.config();
    let url = pipeline.database.url_at(proxy.port());
    let mut connector = Connector::spawn_config(&config, &url, &[]);
    connector.wait_log(STREAMS, DEADLINE);
    proxy.freeze();
    assert_stops(&mut connector, "TERM", STOP_LIMIT);
}

#[test]
fn while_the_slot_waits_for_an_open_transaction() {
    let postgres = Postgres::start(&[]);
    let pipeline = Pipeline::on(&postgres, "stop");
    let mut other = pipeline.database.client();
    other
        .batch_execute("BEGIN; CREATE TABLE t (id int8)")
        .expect("a transaction stays open");
    let config = pipeline.config();
    let mut connector = Connector::spawn_config(&config, &pipeline.database.url(), &[]);
    connector.wait_log("making the replication slot", DEADLINE);
    assert_stops(&mut connector, "TERM", AT_ONCE);
}

const HUGE: i64 = 20_000;

fn insert_huge(pipeline: &Pipeline) {
    let sql = format!("INSERT INTO t SELECT id, 'x' FROM generate_series(1, {HUGE}) id");
    pipeline.database.execute(&sql);
}

/// It is waited for when it ends soon.
#[test]
fn inside_a_large_transaction() {
    let pipeline = Pipeline::new("stop");
    pipeline
        .database
        .execute("CREATE TABLE t (id int8, filler text)");
    let mut connector = pipeline.start();
    insert_huge(&pipeline);
    pipeline.wait_growth(1);
    assert_stops(&mut connector, "TERM", STOP_LIMIT);
    let _connector = pipeline.start();
    pipeline.wait_caught_up();
    let expected: Vec<i64> = (1..=HUGE).collect();
    assert_same_rows(&inserted(&pipeline.records()), &expected);
}

/// It comes again from its begin when it does not.
#[test]
fn inside_an_endless_transaction() {
    let pipeline = Pipeline::new("stop").in_process();
    pipeline
        .database
        .execute("CREATE TABLE t (id int8, filler text)");
    let slow = Fault::AckDelay(Duration::from_millis(300));
    pipeline.server().inject(slow, When::Every);
    let config = pipeline.config().producer("batch-size", "16KB");
    let mut connector = pipeline.start_with(&config);
    insert_huge(&pipeline);
    pipeline.wait_growth(1);
    let confirmed = pipeline.database.slot_confirmed_lsn(&pipeline.slot);
    assert_stops(&mut connector, "TERM", STOP_LIMIT);
    let log = connector.log();
    assert!(log.contains("will be sent again"), "{log}");
    assert_eq!(
        pipeline.database.slot_confirmed_lsn(&pipeline.slot),
        confirmed
    );

    pipeline.server().clear_faults();
    let _connector = pipeline.start();
    pipeline.wait_caught_up();
    let expected: Vec<i64> = (1..=HUGE).collect();
    assert_same_rows(&first_appearances(&pipeline.records()), &expected);
}

/// It is stored, and its acknowledgement does not come before the stop does.
#[test]
fn what_is_in_doubt_at_a_stop_is_not_forgotten() {
    let state = temp_dir("state-");
    let pipeline = Pipeline::new("doubt").in_process();
    pipeline.database.execute("CREATE TABLE t (id int8)");
    let state_dir = state.path().display().to_string();
    let config = pipeline.config().set("state_dir", &state_dir);
    let noted = || {
        let file = state.path().join(format!("{}.json", pipeline.slot));
        let json = std::fs::read(file).expect("there is a state file");
        let known: serde_json::Value = serde_json::from_slice(&json).expect("it is JSON");
        known["in_doubt"].clone()
    };
    let mut connector = pipeline.start_with(&config);
    pipeline.database.execute("INSERT INTO t VALUES (0)");
    pipeline.wait_commits(1);
    pipeline.wait_caught_up();
    let before = pipeline.end_offset();
    pipeline.server().inject(Fault::SilenceAfter, When::Next);
    pipeline.database.execute("INSERT INTO t VALUES (1)");
    // The batch may be a part of the transaction, if the walsender sent that in pieces.
    wait_until("the batch is stored", DEADLINE, || {
        pipeline.end_offset() > before
    });
    assert_stops(&mut connector, "TERM", STOP_LIMIT);
    assert_eq!(noted()["offset"], before);
    assert_eq!(noted()["records"], pipeline.end_offset() - before);

    let _connector = pipeline.start_with(&config);
    pipeline.wait_caught_up();
    assert!(noted().is_null(), "it is settled");
    assert_same_rows(&inserted(&pipeline.records()), &[0, 1]);
}
