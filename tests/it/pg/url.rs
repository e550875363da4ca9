//! What the database URL leaves open and where it is found, and which of several servers is taken.

use std::net::TcpListener;
use std::sync::OnceLock;

use postgres_source::base::Kind;
use postgres_source::pg::ConnectParams;
use postgres_source::pg::Connection;

use crate::config::Home;
use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE};
use crate::support::outcome::{FAIL_DEADLINE, assert_end, assert_fails};
use crate::support::pipeline::DEADLINE;
use crate::support::ports::free_port;
use crate::support::postgres::{Database, PASSWORD, Postgres, Stop, unique};
use crate::support::proxy::Proxy;

/// A role of its own for the test that alters its password.
fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let hba = "host all all 127.0.0.1/32 scram-sha-256\nlocal all all scram-sha-256\n";
        let server = Postgres::start_with(&[], hba, &[]);
        server.database("roles").execute(
            "SET password_encryption = 'scram-sha-256';
             CREATE ROLE rotated SUPERUSER REPLICATION LOGIN PASSWORD 'hunter2-first'",
        );
        server
    })
}

fn config(slot: &str) -> ConfigFile {
    ConfigFile::new("t", "p", slot)
}

fn assert_streams(database: &Database, url: &str, variables: &[(&str, &str)]) -> String {
    let slot = unique("url");
    let mut all = vec![(URL_VARIABLE, url)];
    all.extend(variables);
    let config = config(&slot);
    let mut connector = Connector::spawn_with(&config.path(), &["--stdout"], &all);
    connector.wait_log("streaming from", DEADLINE);
    database.wait_slot_active(&slot);
    connector.sigterm();
    let code = connector.wait_exit(DEADLINE);
    assert_end((code, connector.log(), connector.stdout_lines()), 0, &[])
}

fn assert_refused(url: &str, variables: &[(&str, &str)], says: &[&str]) -> String {
    let mut all = vec![(URL_VARIABLE, url)];
    all.extend(variables);
    let config = config("s");
    let mut connector = Connector::spawn_with(&config.path(), &["--stdout"], &all);
    let code = connector.wait_exit(FAIL_DEADLINE);
    assert_end((code, connector.log(), connector.stdout_lines()), 77, says)
}

#[test]
fn the_password_file_is_read_unless_others_may_read_it() {
    let database = server().database("passfile");
    let (port, name) = (server().port(), database.name());
    let line =
        |host: &str| format!("# who\n*:1:*:*:hunter2\n{host}:{port}:{name}:postgres:{PASSWORD}\n");
    let home = Home::new();
    let path = home.write(".pgpass", &line("127.0.0.1"), 0o600);
    let directory = home.path("").display().to_string();
    let in_home = [("HOME", directory.as_str())];
    let url = format!("postgres://postgres@127.0.0.1:{port}/{name}");
    assert_streams(&database, &url, &in_home);

    // The second session of the SQL client asks it too, over the socket by the name of that.
    let socket = server().socket_dir().display().to_string();
    let elsewhere = home.write("elsewhere", &line(&socket), 0o600);
    let file = elsewhere.display();
    let url_of_socket =
        format!("host={socket} port={port} user=postgres dbname={name} passfile='{file}'");
    assert_streams(&database, &url_of_socket, &[]);

    home.write(".pgpass", &line("127.0.0.1"), 0o644);
    let log = assert_refused(&url, &in_home, &["the server asks for a password"]);
    let warning = format!(
        "password file \"{}\" has group or world access",
        path.display()
    );
    assert!(log.contains(&warning), "{log}");
}

#[test]
fn a_service_of_the_own_file() {
    let database = server().database("service");
    let home = Home::new();
    let text = format!(
        "[other]\nhost=nowhere.invalid\n\n[cdc]\nhost=127.0.0.1\nport={}\nuser=postgres\n\
         password={PASSWORD}\ndbname=nowhere\napplication_name=of-the-service\n",
        server().port()
    );
    home.write(".pg_service.conf", &text, 0o600);
    let directory = home.path("").display().to_string();
    let in_home = [("HOME", directory.as_str())];
    let url = format!("postgres:///{}?service=cdc", database.name());
    assert_streams(&database, &url, &in_home);
    let url = format!("dbname={}", database.name());
    assert_streams(&database, &url, &[in_home[0], ("PGSERVICE", "cdc")]);
}

#[test]
fn the_environment_says_what_the_url_does_not() {
    let database = server().database("environment");
    let port = server().port().to_string();
    let variables = [
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", &port),
        ("PGUSER", "postgres"),
        ("PGPASSWORD", PASSWORD),
        ("PGDATABASE", database.name()),
    ];
    assert_streams(&database, "postgres://", &variables);
}

/// A name has several addresses, of which one has a server; and a dead host comes before it.
#[test]
fn every_address_and_every_host_is_tried() {
    let database = server().database("addresses");
    let url = format!(
        "host=127.0.0.1,localhost,{} port={},{},1 user=postgres password={PASSWORD} dbname={}",
        server().socket_dir().display(),
        free_port(),
        server().port(),
        database.name()
    );
    let log = assert_streams(&database, &url, &[]);
    assert!(log.contains("PostgreSQL at 127.0.0.1:"), "{log}");
    assert!(log.contains("streaming from localhost:"), "{log}");
    let random = format!("{url} load_balance_hosts=random");
    assert_streams(&database, &random, &[]);
}

#[test]
fn a_host_that_refuses_us_ends_the_search() {
    let next = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    next.set_nonblocking(true).expect("a listener can");
    let url = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=postgres password=hunter2 dbname=postgres",
        server().port(),
        next.local_addr().expect("it is bound").port()
    );
    let says = ["password authentication failed", "[SQLSTATE 28P01]"];
    assert_fails(&config("s").path(), &url, 77, &says);
    let error = next.accept().expect_err("nobody has connected");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_name_that_is_not_resolved_is_given_up_in_time() {
    let url = "postgres://u:hunter2@no-such-host.invalid/db?connect_timeout=2";
    let params = ConnectParams::parse(url, "test").expect("a valid URL");
    let error = Connection::connect(&params).err().expect("there is none");
    assert_eq!(error.kind(), Kind::Unreachable);
    let error = error.to_string();
    assert!(
        error.contains("cannot resolve no-such-host.invalid"),
        "{error}"
    );
}

/// A server in recovery, for as long as nobody promotes it.
#[test]
fn the_server_that_target_session_attrs_asks_for() {
    let standby = Postgres::start(&[]);
    standby.stop(Stop::Fast);
    standby.stand_by_at_next_start();
    standby.start_again();
    let (primary, standby) = (server().port(), standby.port());
    let connect = |ports: [u16; 2], attrs: &str| {
        let url = format!(
            "host=127.0.0.1,127.0.0.1 port={},{} user=postgres password={PASSWORD} \
             dbname=postgres target_session_attrs={attrs}",
            ports[0], ports[1]
        );
        let params = ConnectParams::parse(&url, "test").expect("a valid URL");
        Connection::connect(&params).map(|connection| connection.endpoint().port)
    };
    for (attrs, expected) in [
        ("any", [primary, standby]),
        ("read-write", [primary, primary]),
        ("primary", [primary, primary]),
        ("read-only", [standby, standby]),
        ("standby", [standby, standby]),
        ("prefer-standby", [standby, standby]),
    ] {
        for (ports, port) in [
            ([primary, standby], expected[0]),
            ([standby, primary], expected[1]),
        ] {
            let found = connect(ports, attrs).unwrap_or_else(|e| panic!("{attrs}: {e}"));
            assert_eq!(found, port, "{attrs}");
        }
    }
    assert_eq!(
        connect([free_port(), primary], "prefer-standby").ok(),
        Some(primary)
    );
    let error = connect([primary, free_port()], "standby").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is not what target_session_attrs asks for")
    );
}

#[test]
fn a_password_that_changes_is_asked_for_at_each_connect() {
    let database = server().database("command");
    let home = Home::new();
    let token = home.write("token", "hunter2-first\nhunter2-more\n", 0o600);
    let slot = unique("command");
    let command = format!("echo for $PGUSER at $PGHOST >&2; cat '{}'", token.display());
    let config = config(&slot)
        .set(
            "password_command",
            &serde_json::to_string(&command).expect("a text"),
        )
        .set("retry", "{ min: 10ms, max: 50ms }");
    let proxy = Proxy::start(format!("127.0.0.1:{}", server().port()));
    let url = format!("postgres://rotated@{}/{}", proxy.addr(), database.name());
    // Of a lower rank than the command.
    let variables = [
        (URL_VARIABLE, url.as_str()),
        ("PGPASSWORD", "hunter2-wrong"),
    ];
    let mut connector = Connector::spawn_with(&config.path(), &["--stdout"], &variables);
    connector.wait_log("streaming from", DEADLINE);
    database.wait_slot_active(&slot);
    database.execute("ALTER ROLE rotated PASSWORD 'hunter2-second'");
    home.write("token", "hunter2-second\n", 0o600);
    assert!(database.terminate_walsender(&slot));
    connector.wait_log_count("streaming from", 2, DEADLINE);
    assert!(connector.log_count("for rotated at 127.0.0.1") >= 2);

    // One that fails is tried again, and one that is refused is the end.
    std::fs::remove_file(home.path("token")).expect("it is ours");
    assert!(database.terminate_walsender(&slot));
    connector.wait_log("password_command ended with exit code", DEADLINE);
    home.write("token", "hunter2-first\n", 0o600);
    let code = connector.wait_exit(DEADLINE);
    let says = ["password authentication failed for user \"rotated\""];
    assert_end((code, connector.log(), connector.stdout_lines()), 77, &says);
}
