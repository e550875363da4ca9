//! What is said of a transaction that takes long, and when.

use std::time::{Duration, Instant};

use crate::support::connector::{Connector, URL_VARIABLE};
use crate::support::manager::Manager;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::proxy::{Direction, Proxy};
use crate::support::wait_until;

const LONG: &str = "; inside transaction ";

/// No line comes before.
const INTERVAL: Duration = Duration::from_secs(10);

/// Through a link that would need minutes for it.
#[test]
fn a_large_transaction_says_how_far_it_is() {
    let pipeline = Pipeline::new("long");
    pipeline
        .database
        .execute("CREATE TABLE t (id int8, filler text)");
    let proxy = Proxy::start(format!("127.0.0.1:{}", pipeline.database.port()));
    let manager = Manager::new();
    let url = pipeline.database.url_at(proxy.port());
    let variables = [
        (URL_VARIABLE, url.as_str()),
        ("NOTIFY_SOCKET", &manager.socket),
        ("FLUVIO_PG_LOG_FORMAT", "json"),
    ];
    let config = pipeline.config();
    let mut connector = Connector::spawn_with(&config.path(), &[], &variables);
    connector.wait_log("streaming from", DEADLINE);
    pipeline
        .database
        .execute("INSERT INTO t VALUES (0, 'short')");
    pipeline.wait_kind("insert", 1);
    proxy.slow(Direction::ToClient, 2000);
    let began = Instant::now();
    pipeline
        .database
        .execute("INSERT INTO t SELECT id, repeat('x', 1000) FROM generate_series(1, 20000) id");
    let line = connector.wait_log(LONG, DEADLINE);
    assert!(began.elapsed() >= INTERVAL, "{line}");
    wait_until("the manager hears it", DEADLINE, || {
        manager.messages().iter().any(|text| text.contains(LONG))
    });
    proxy.pass();
    let line: serde_json::Value = serde_json::from_str(&line).expect("an object");
    let message = line["message"].as_str().expect("a text");
    let (_, told) = message.split_once(LONG).expect("it was looked for");
    let (events, told) = told.split_once(" events, ").expect("a count");
    let (_, events) = events.split_once(": ").expect("after the transaction");
    let events: u64 = events.parse().expect("a number");
    assert!((1..20_000).contains(&events), "{message}");
    assert!(told.contains(" so far, committed "), "{message}");
    assert!(line["lag_bytes"].as_u64() > Some(0), "{line}");

    // Nothing is said of what is short, and the status does not go on saying it.
    pipeline.wait_caught_up();
    let said = connector.log_count(LONG);
    pipeline
        .database
        .execute("INSERT INTO t VALUES (-1, 'short')");
    pipeline.wait_caught_up();
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    assert_eq!(connector.log_count(LONG), said, "{}", connector.log());
}
