//! Metrics over HTTP and in a file, and what they say of a program that cannot go on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::pipeline::resume::continuity::{INVALIDATES, invalidate, with_little_wal};
use crate::support::connector::{ConfigFile, Connector, temp_dir};
use crate::support::http::{Samples, address, exchange, get, parse, scrape, wait_samples};
use crate::support::outcome::assert_fails;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::ports::free_port;
use crate::support::postgres::PASSWORD;
use crate::support::prometheus::Server;
use crate::support::stopped::Stopped;
use crate::support::wait_until;

fn listening(config: ConfigFile) -> ConfigFile {
    config.set("metrics", "{ listen: 127.0.0.1:0 }")
}

#[test]
fn what_streams_is_counted() {
    let pipeline = Pipeline::new("counted");
    let database = &pipeline.database;
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let connector = pipeline.start_with(&listening(pipeline.config()));
    let address = address(&connector);
    for statement in [
        "INSERT INTO t VALUES (1, 'hunter2'), (2, 'b')",
        "UPDATE t SET v = 'c' WHERE id = 1",
        "DELETE FROM t",
        "TRUNCATE t",
    ] {
        database.execute(statement);
    }
    let records = pipeline.settled();
    let caught_up = wait_samples("everything is counted", address, |samples| {
        samples["records_acknowledged_total"] == records.len() as f64
            && samples["lag_bytes"] == 0.0
            && samples.contains_key("slot_retained_bytes")
    });
    let count = |kind: &str| {
        records
            .iter()
            .filter(|record| record.kind() == kind)
            .count() as f64
    };
    for kind in [
        "begin", "commit", "relation", "insert", "update", "delete", "truncate",
    ] {
        let counted = caught_up[&format!("events_total{{type=\"{kind}\"}}")];
        assert_eq!(counted, count(kind), "{kind}");
        // Version 10 says nothing of a truncate.
        let is_sent = kind != "truncate" || database.major() >= 11;
        assert_eq!(counted > 0.0, is_sent, "{kind}");
    }
    let commits = count("commit");
    assert_eq!(caught_up["transactions_total"], commits);
    assert_eq!(caught_up["commit_to_topic_seconds_count"], commits);
    assert_eq!(
        caught_up["commit_to_topic_seconds_bucket{le=\"+Inf\"}"],
        commits
    );
    assert!(caught_up["commit_to_topic_seconds_bucket{le=\"86400\"}"] >= 1.0);
    assert!(caught_up["received_bytes_total"] > 0.0);
    assert!(caught_up["written_bytes_total"] > caught_up["records_acknowledged_total"]);
    assert!(caught_up["resident_memory_bytes"] > 1e6);
    assert_eq!(caught_up["lag_seconds"], 0.0);
    assert_eq!(caught_up["batches_in_flight"], 0.0);
    assert_eq!(caught_up["streaming"], 1.0);
    assert!(caught_up["confirmed_lsn"] >= records.last().expect("records").lsn("end_lsn") as f64);
    let version = concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    assert_eq!(caught_up[version], 1.0);
    assert_eq!(get(address, "/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(get(address, "/healthz"), (200, "ok\n".to_owned()));
    let (_, page) = get(address, "/metrics?x=y");
    assert!(!page.contains("hunter2") && !page.contains(PASSWORD));
}

#[test]
fn what_comes_again_is_counted_apart() {
    let stopped = Stopped::new("skipped");
    let config = stopped.without_state().set("confirm_delay", "1h");
    let connector = stopped.start(&config);
    stopped.insert(4);
    stopped.pipeline.wait_commits(4);
    connector.kill();
    stopped.wait_free();
    let connector = stopped.start(&listening(config));
    let samples = wait_samples("the row comes again", address(&connector), |samples| {
        samples["duplicates_skipped_total"] > 0.0
    });
    assert_eq!(samples["events_total{type=\"insert\"}"], 0.0);
}

#[test]
fn a_peer_that_is_away_is_named_and_retries_are_counted() {
    let pipeline = Pipeline::new("away");
    let config = listening(pipeline.config());
    let nowhere = config.fluvio("endpoint", &format!("127.0.0.1:{}", free_port()));
    let connector = Connector::spawn_config(&nowhere, &pipeline.database.url(), &[]);
    let fluvio = address(&connector);
    wait_until("Fluvio is waited for", DEADLINE, || {
        get(fluvio, "/readyz")
            .1
            .starts_with("waiting for fluvio for")
    });
    assert_eq!(get(fluvio, "/readyz").0, 503);
    assert_eq!(get(fluvio, "/healthz").0, 200, "it is not the program");
    let samples = scrape(fluvio);
    assert!(samples["retries_total{cause=\"fluvio\"}"] >= 2.0);
    assert!(samples["blocked_seconds{peer=\"fluvio\"}"] >= 5.0);
    assert_eq!(samples["blocked_seconds{peer=\"postgres\"}"], 0.0);
    assert_eq!(samples["streaming"], 0.0);
    connector.kill();

    let first = pipeline.start_with(&listening(pipeline.config()));
    let first_address = address(&first);
    let config = listening(pipeline.config());
    let second = Connector::spawn_config(&config, &pipeline.database.url(), &[]);
    wait_samples("the slot is in use", address(&second), |samples| {
        samples["retries_total{cause=\"slot_in_use\"}"] > 0.0
            && samples["retries_total{cause=\"fluvio\"}"] == 0.0
    });
    second.kill();
    assert!(pipeline.database.terminate_walsender(&pipeline.slot));
    wait_samples("it streams again", first_address, |samples| {
        samples["retries_total{cause=\"postgres\"}"] > 0.0 && samples["streaming"] == 1.0
    });
}

#[test]
fn what_is_no_scrape_gets_an_answer_too() {
    let pipeline = Pipeline::new("http");
    let config = listening(pipeline.config());
    let connector = Connector::spawn_config(&config, &pipeline.database.url(), &[]);
    let address = address(&connector);
    for (request, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], 404),
        (b"GET /metrics/x HTTP/1.0\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"\x16\x03\x01\xFF\r\n\r\n", 400),
    ] {
        assert_eq!(exchange(address, request).0, status, "{request:?}");
    }
    // One byte more than is read, so that nothing is left unread when the connection is closed.
    let long = [&b"GET / HTTP/1.1\r\nX: "[..], &[b'x'; 8 * 1024 - 18]].concat();
    assert_eq!(exchange(address, &long).0, 431);
    // Nobody keeps others waiting for long, nor gets anything for it.
    let begun = Instant::now();
    let mut silent = TcpStream::connect(address).expect("the program listens");
    assert_eq!(get(address, "/metrics").0, 200);
    assert!(begun.elapsed() < DEADLINE);
    let mut answer = Vec::new();
    silent.read_to_end(&mut answer).expect("it is closed");
    assert!(answer.is_empty());
    head_is_a_get_without_a_body(address);
}

fn head_is_a_get_without_a_body(address: SocketAddr) {
    let mut answers = [&b"HEAD"[..], b"GET"].map(|method| {
        let mut connection = TcpStream::connect(address).expect("the program listens");
        let request = [method, b" /healthz HTTP/1.1\r\n\r\n"].concat();
        connection.write_all(&request).expect("it is read");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        answer
    });
    let end = answers[1].find("\r\n\r\n").expect("a head") + 4;
    assert!(end < answers[1].len());
    answers[1].truncate(end);
    assert_eq!(answers[0], answers[1]);
}

/// Whoever holds many connections, or sends a byte now and then, keeps nobody from being answered.
#[test]
fn idle_connections_starve_nobody() {
    const ROUNDS: u32 = 5;
    let pipeline = Pipeline::new("starve");
    let config = listening(pipeline.config());
    let connector = Connector::spawn_config(&config, &pipeline.database.url(), &[]);
    let address = address(&connector);
    connector.wait_log("streaming from", DEADLINE);
    let connect = || TcpStream::connect(address).expect("the program listens");
    let mut took = Duration::ZERO;
    for _ in 0..ROUNDS {
        let mut idle: Vec<TcpStream> = (0..40).map(|_| connect()).collect();
        for connection in &mut idle {
            // The oldest are gone by then.
            let _ = connection.write_all(b"G");
        }
        let begun = Instant::now();
        assert_eq!(get(address, "/healthz").0, 200);
        took += begun.elapsed();
    }
    // Who waits for an idle connection waits for two seconds.
    assert!(took < ROUNDS * Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_text_file_for_the_node_exporter() {
    let pipeline = Pipeline::new("textfile");
    pipeline.database.execute("CREATE TABLE t (id int)");
    let directory = temp_dir("textfile-");
    let file = directory.path().join("connector.prom");
    // Left behind by an earlier run, and of no use to anybody.
    let left = directory.path().join("connector.prom.tmp");
    std::os::unix::fs::symlink("/no/such/file", &left).expect("a link");
    let config = pipeline
        .config()
        .set("metrics", &format!("{{ textfile: {} }}", file.display()));
    let connector = Connector::spawn_private(&config, &pipeline.database.url());
    connector.wait_log("streaming from", DEADLINE);
    let mode = || file.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o644, "another user reads it");
    let exporter = Server::node_exporter(directory.path());
    let read = || {
        let page = exporter.get("/metrics");
        assert!(page.contains("\nnode_textfile_scrape_error 0\n"), "{page}");
        page
    };
    let inserts = |count| {
        format!("\npostgres_source_events_total{{connector=\"test\",type=\"insert\"}} {count}\n")
    };
    assert!(read().contains(&inserts(0)));
    let time = "node_textfile_mtime_seconds{file=";
    assert!(read().contains(time));
    pipeline.database.execute("INSERT INTO t VALUES (1)");
    wait_until("the file is written again", DEADLINE, || {
        read().contains(&inserts(1))
    });
    assert_eq!(mode(), 0o644);
    parse(&std::fs::read_to_string(&file).expect("it is there"));
}

#[test]
fn the_slot_is_seen_while_fluvio_is_away() {
    let server = with_little_wal();
    let stopped = Stopped::on(Pipeline::on(&server, "unseen").in_process());
    let endpoint = format!("127.0.0.1:{}", free_port());
    let config = listening(stopped.without_state()).fluvio("endpoint", &endpoint);
    let url = stopped.pipeline.database.url();
    let connector = Connector::spawn_config(&config, &url, &[]);
    let well = wait_samples("the slot is asked about", address(&connector), |samples| {
        samples.contains_key("slot_retained_bytes")
    });
    assert_eq!(well["slot_lost"], 0.0);
    assert!(well["confirmed_lsn"] > 0.0 && well["lag_bytes"] >= 0.0);
    assert!(
        well["lag_bytes"] < 16.0 * 1024.0 * 1024.0,
        "of the slot, not of all WAL"
    );
    // Nobody knows how old what is not read is.
    assert!(!well.contains_key("lag_seconds"));
    invalidate(&stopped);
    if server.major() < INVALIDATES {
        let grown =
            |samples: &Samples| samples["slot_retained_bytes"] > well["slot_retained_bytes"];
        wait_samples("the slot keeps more", address(&connector), |samples| {
            grown(samples) && samples["lag_bytes"] > well["lag_bytes"]
        });
        return;
    }
    let lost = wait_samples("the slot is lost", address(&connector), |samples| {
        samples["slot_lost"] == 1.0
    });
    assert_eq!(lost["streaming"], 0.0);
    assert!(!lost.contains_key("slot_retained_bytes"));
}

#[test]
fn a_session_that_is_over_leaves_the_topic_behind() {
    let stopped = Stopped::new("over");
    let connector = stopped.start(&listening(stopped.without_state()));
    let address = address(&connector);
    wait_samples("it has caught up", address, |samples| {
        samples["streaming"] == 1.0 && samples["lag_seconds"] == 0.0
    });
    stopped.between_sessions(&connector, || {
        wait_samples("the topic falls behind", address, |samples| {
            samples["lag_seconds"] > 1.0
        });
    });
    wait_samples("it catches up", address, |samples| {
        samples["streaming"] == 1.0 && samples["lag_seconds"] == 0.0
    });
}

#[test]
fn what_cannot_be_shown_is_told_at_once() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = held.local_addr().expect("it is bound").to_string();
    for (metrics, says) in [
        (
            format!("{{ listen: {taken} }}"),
            "metrics.listen: 127.0.0.1",
        ),
        (
            "{ listen: localhost }".to_owned(),
            "metrics.listen: expected an address and a port",
        ),
        (
            "{ textfile: /no/such/directory/x.prom }".to_owned(),
            "metrics.textfile: /no/such/directory/x.prom: cannot write the file",
        ),
    ] {
        let config = ConfigFile::new("t", "p", "s").set("metrics", &metrics);
        assert_fails(
            &config.path(),
            "postgres://u:hunter2@127.0.0.1:1/d",
            78,
            &[says],
        );
    }
}
