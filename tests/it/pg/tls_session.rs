//! Whole sessions over TLS: rows stream, whatever breaks, and the end is clean.

use crate::pg::tls::BINDS_FROM;
use crate::support::certificates::{Authority, Files};
use crate::support::connector::{Connector, URL_VARIABLE};
use crate::support::load::under_load;
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::Postgres;
use crate::support::proxy::{Direction, End, Proxy};
use crate::support::random::Random;
use crate::support::wait_until;

const STREAMS: &str = "streaming from";

/// Nothing but TLS, for both connections of the program.
const HBA: &str = "hostssl all all 127.0.0.1/32 scram-sha-256\n";

#[test]
fn rows_stream_over_verified_tls_that_is_cut_and_fragmented() {
    let ca = Authority::new("the CA of the tests");
    let server = ca.server(&["127.0.0.1"]);
    let postgres = Postgres::start_with(
        &[("ssl", "on"), ("password_encryption", "scram-sha-256")],
        HBA,
        &[("server.crt", &server.cert), ("server.key", &server.key)],
    );
    let files = Files::new();
    let roots = files.write("ca.crt", &ca.cert);
    let pipeline = Pipeline::on(&postgres, "tls");
    let proxy = Proxy::start(format!("127.0.0.1:{}", postgres.port()));
    let binding = match postgres.major() >= BINDS_FROM {
        true => "require",
        false => "prefer",
    };
    let url = format!(
        "{}?sslmode=verify-full&channel_binding={binding}&sslrootcert={}",
        pipeline.database.url_at(proxy.port()),
        roots.display()
    );
    let config = pipeline.config().set("status_interval", "10ms");
    let mut connector = Connector::spawn_config(&config, &url, &[]);
    connector.wait_log(STREAMS, DEADLINE);
    let pid = pipeline.database.wait_slot_active(&pipeline.slot);
    let how = format!("SELECT ssl FROM pg_stat_ssl WHERE pid = {pid}");
    assert_eq!(pipeline.database.query_one_text(&how), "t");
    let mut random = Random::new(21);
    under_load(&pipeline, 21, |load| {
        for (direction, end) in [
            (Direction::ToClient, End::Fin),
            (Direction::ToClient, End::Reset),
            (Direction::ToServer, End::Fin),
            (Direction::ToClient, End::Fin),
        ] {
            // Pieces that end within records, and within their headers.
            proxy.fragment(1 + random.below(900) as usize);
            load.wait_commits(30);
            proxy.pass();
            let sessions = connector.log_count(STREAMS);
            proxy.cut_after(direction, 1 + random.below(20_000), end);
            connector.wait_log_count(STREAMS, sessions + 1, DEADLINE);
            load.wait_commits(10);
            pipeline.wait_caught_up();
        }
    });
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    let log = connector.log();
    // An end that the server has not announced is none.
    assert!(log.contains("without sending TLS close_notify"), "{log}");
    assert!(log.contains("stopped; confirmed up to"), "{log}");
    assert!(!log.contains("not verified"), "{log}");
}

/// What the system trusts, and a key of ours in place of a password.
#[test]
fn the_roots_of_the_system_and_a_certificate_of_ours() {
    let ca = Authority::new("the CA of the tests");
    let server = ca.server(&["localhost"]);
    let postgres = ca.postgres(&server, "cert");
    let pipeline = Pipeline::on(&postgres, "tls_system");
    let (files, own) = (Files::new(), ca.client("postgres"));
    let roots = files.write("system.crt", &ca.cert).display().to_string();
    let url = format!(
        "postgres://postgres@localhost:{}/{}?hostaddr=127.0.0.1&sslrootcert=system&sslcert={}&sslkey={}",
        postgres.port(),
        pipeline.database.name(),
        files.write("own.crt", &own.cert).display(),
        files.write("own.key", &own.key).display()
    );
    let config = pipeline.config();
    let variables = [(URL_VARIABLE, url.as_str()), ("SSL_CERT_FILE", &roots)];
    let mut connector = Connector::spawn_with(&config.path(), &[], &variables);
    connector.wait_log(STREAMS, DEADLINE);
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
}

/// A silent stream: status updates are written while nothing is there to be read.
#[test]
fn an_idle_session_over_tls_lives_on_status_updates() {
    let ca = Authority::new("the CA of the tests");
    let server = ca.server(&["127.0.0.1"]);
    let postgres = Postgres::start_with(
        &[("ssl", "on"), ("wal_sender_timeout", "3s")],
        HBA,
        &[("server.crt", &server.cert), ("server.key", &server.key)],
    );
    let pipeline = Pipeline::on(&postgres, "tls_idle");
    let url = format!("{}?sslmode=require", pipeline.database.url());
    let config = pipeline.config();
    let mut connector = Connector::spawn_config(&config, &url, &[]);
    connector.wait_log(STREAMS, DEADLINE);
    let pid = pipeline.database.wait_slot_active(&pipeline.slot);
    let is_old = format!(
        "SELECT clock_timestamp() - backend_start > '7s' FROM pg_stat_replication WHERE pid = {pid}"
    );
    wait_until("the session is old", DEADLINE, || {
        pipeline.database.query_texts(&is_old) == [Some("t".to_owned())]
    });
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    assert_eq!(connector.log_count(STREAMS), 1, "{}", connector.log());
}
