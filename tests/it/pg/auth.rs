//! Who is let in and who is not, by a real server with its own pg_hba.conf.

use std::sync::OnceLock;

use postgres_source::pg::ConnectParams;
use postgres_source::pg::Connection;

use crate::support::connector::{ConfigFile, Connector};
use crate::support::outcome::{assert_fails, assert_fails_once};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::ports::free_port;
use crate::support::postgres::{Database, Postgres, unique};
use crate::support::role::Role;
use crate::support::script::{Script, frames};

/// A password that needs percent-encoding in a URL.
const ODD_PASSWORD: &str = "p@ss:w/rd %?#hunter2";
const ODD_PASSWORD_ENCODED: &str = "p%40ss%3Aw%2Frd%20%25%3F%23hunter2";

/// A role for each method, over TCP and over the unix socket.
const HBA: &str = "
host  all by_trust     127.0.0.1/32 trust
host  all by_cleartext 127.0.0.1/32 password
host  all by_md5       127.0.0.1/32 md5
host  all by_scram     127.0.0.1/32 scram-sha-256
host  all nobody_knows 127.0.0.1/32 scram-sha-256
host  all nobody_trust 127.0.0.1/32 trust
host  all no_login     127.0.0.1/32 trust
local all by_trust     trust
local all by_cleartext password
local all by_md5       md5
local all by_scram     scram-sha-256
";

const METHODS: [&str; 4] = ["trust", "cleartext", "md5", "scram"];

fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Postgres::start_with(&[], HBA, &[]);
        server.database("roles").execute(&format!(
            "CREATE ROLE by_trust SUPERUSER REPLICATION LOGIN;
             CREATE ROLE no_login SUPERUSER REPLICATION;
             SET password_encryption = 'scram-sha-256';
             CREATE ROLE by_cleartext SUPERUSER REPLICATION LOGIN PASSWORD '{ODD_PASSWORD}';
             CREATE ROLE by_scram SUPERUSER REPLICATION LOGIN PASSWORD '{ODD_PASSWORD}';
             SET password_encryption = 'md5';
             CREATE ROLE by_md5 SUPERUSER REPLICATION LOGIN PASSWORD '{ODD_PASSWORD}'"
        ));
        server
    })
}

fn config(slot: &str) -> ConfigFile {
    ConfigFile::new("t", "p", slot).set("name", "auth")
}

/// The part of a URL that says who connects.
fn user(method: &str) -> String {
    match method {
        "trust" => "by_trust".to_owned(),
        method => format!("by_{method}:{ODD_PASSWORD_ENCODED}"),
    }
}

fn tcp_url(user: &str, database: &str) -> String {
    format!("postgres://{user}@127.0.0.1:{}/{database}", server().port())
}

fn assert_streams(database: &Database, url: &str, role: &str) {
    let slot = unique("auth");
    let config = config(&slot);
    let mut connector = Connector::spawn_config(&config, url, &["--stdout"]);
    connector.wait_log("streaming from", DEADLINE);
    let pid = database.wait_slot_active(&slot);
    let who = database.query_one_text(&format!(
        "SELECT usename || ' as ' || application_name FROM pg_stat_replication WHERE pid = {pid}"
    ));
    assert_eq!(who, format!("{role} as postgres-source/auth"));
    let cmdline = std::fs::read(format!("/proc/{}/cmdline", connector.pid()));
    let cmdline = String::from_utf8_lossy(&cmdline.expect("it runs")).into_owned();
    assert!(cmdline.contains("--config") && !cmdline.contains("hunter2"));
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    assert!(!connector.log().contains("hunter2"), "{}", connector.log());
}

#[test]
fn every_method_over_tcp() {
    let database = server().database("tcp");
    for method in METHODS {
        let url = tcp_url(&user(method), database.name());
        assert_streams(&database, &url, &format!("by_{method}"));
    }
}

#[test]
fn every_method_over_the_unix_socket() {
    let database = server().database("unix");
    let directory = server().socket_dir().display().to_string();
    let directory = directory.replace('/', "%2F");
    for method in METHODS {
        let url = format!(
            "postgres://{}@{directory}:{}/{}",
            user(method),
            server().port(),
            database.name()
        );
        assert_streams(&database, &url, &format!("by_{method}"));
    }
}

#[test]
fn a_wrong_password_is_refused() {
    let database = server().database("wrong");
    for method in ["cleartext", "md5", "scram"] {
        let url = tcp_url(&format!("by_{method}:hunter2"), database.name());
        let server_says = format!(
            "the server says: FATAL password authentication failed for user \"by_{method}\""
        );
        assert_fails(
            &config("s").path(),
            &url,
            77,
            &[
                &format!("PostgreSQL at 127.0.0.1:{}", server().port()),
                &server_says,
                "[SQLSTATE 28P01]",
                "check the user and the password in FLUVIO_PG_DATABASE_URL",
            ],
        );
    }
}

#[test]
fn a_missing_password_is_named() {
    let database = server().database("missing");
    for method in ["cleartext", "md5", "scram"] {
        let url = tcp_url(&format!("by_{method}"), database.name());
        assert_fails(
            &config("s").path(),
            &url,
            77,
            &[
                "the server asks for a password and the database URL has none",
                "write it into FLUVIO_PG_DATABASE_URL",
            ],
        );
    }
}

#[test]
fn unknown_users_and_databases_are_named() {
    let database = server().database("unknown");
    let no_entry = match server().major() {
        ..14 => {
            "no pg_hba.conf entry for replication connection from host \"127.0.0.1\", user \
             \"not_in_pg_hba\""
        }
        _ => "no pg_hba.conf entry for host \"127.0.0.1\", user \"not_in_pg_hba\"",
    };
    let cases = [
        (
            "nobody_knows:hunter2",
            database.name(),
            77,
            "[SQLSTATE 28P01]",
        ),
        (
            "nobody_trust",
            database.name(),
            77,
            "role \"nobody_trust\" does not exist [SQLSTATE 28000]",
        ),
        (
            "no_login",
            database.name(),
            77,
            "role \"no_login\" is not permitted to log in [SQLSTATE 28000]",
        ),
        ("not_in_pg_hba:hunter2", database.name(), 77, no_entry),
        (
            "by_trust",
            "no_such_database",
            78,
            "database \"no_such_database\" does not exist [SQLSTATE 3D000] (hint: check the \
             database name in FLUVIO_PG_DATABASE_URL",
        ),
    ];
    for (user, database, code, says) in cases {
        assert_fails(
            &config("s").path(),
            &tcp_url(user, database),
            code,
            &["the server says: FATAL", says],
        );
    }
}

#[test]
fn the_next_host_is_tried_when_one_refuses_or_says_nothing() {
    let database = server().database("hosts");
    let silent = Script::start(|peer| {
        peer.expect_startup()?;
        peer.expect_closed()
    });
    for first in [free_port(), silent.port()] {
        let url = format!(
            "postgres://by_trust@127.0.0.1:{first},127.0.0.1:{}/{}?connect_timeout=1",
            server().port(),
            database.name()
        );
        assert_streams(&database, &url, "by_trust");
    }
    silent.finish();
}

#[test]
fn every_host_is_named_when_none_can_be_reached() {
    let (first, second) = (free_port(), free_port());
    let url = format!("postgres://u:hunter2@127.0.0.1:{first},127.0.0.1:{second}/db");
    let log = assert_fails_once(
        &config("s").path(),
        &url,
        69,
        &[
            &format!("PostgreSQL at 127.0.0.1:{first}: cannot connect"),
            "Connection refused",
        ],
    );
    assert!(
        log.contains(&format!("PostgreSQL at 127.0.0.1:{second}")),
        "{log}"
    );
}

#[test]
fn the_host_that_target_session_attrs_asks_for_is_taken() {
    let database = server().database("attrs");
    let read_only = Script::start(|peer| {
        peer.expect_startup()?;
        peer.send_welcome()?;
        peer.expect_query_with("transaction_read_only")?;
        peer.send(&frames::rows(&["transaction_read_only"], &[&[Some("on")]]))?;
        peer.expect_closed()
    });
    let url = format!(
        "postgres://by_trust@127.0.0.1:{},127.0.0.1:{}/{}?target_session_attrs=read-write",
        read_only.port(),
        server().port(),
        database.name()
    );
    assert_streams(&database, &url, "by_trust");
    read_only.finish();

    let url = tcp_url("by_trust", database.name());
    assert_fails_once(
        &config("s").path(),
        &format!("{url}?target_session_attrs=read-only"),
        69,
        &["the server is not what target_session_attrs asks for"],
    );
}

/// Neither the role, nor the database, nor the URL itself changes what values look like.
#[test]
fn the_pinned_settings_win() {
    let database = server().database("pins");
    let odd = [
        ("DateStyle", "'German, DMY'"),
        ("IntervalStyle", "'iso_8601'"),
        ("TimeZone", "'Asia/Tokyo'"),
        ("extra_float_digits", "0"),
        ("bytea_output", "'escape'"),
        ("lc_monetary", "'C.UTF-8'"),
        ("client_encoding", "'LATIN1'"),
    ];
    for (name, value) in odd {
        let database_name = database.name();
        database.execute(&format!(
            "ALTER DATABASE {database_name} SET {name} = {value};
             ALTER ROLE by_trust IN DATABASE {database_name} SET {name} = {value}",
        ));
    }
    let url = format!(
        "{}?options=-c%20DateStyle%3DGerman%20-c%20work_mem%3D77kB",
        tcp_url("by_trust", database.name())
    );
    let params = ConnectParams::parse(&url, "postgres-source/pins").expect("a valid URL");
    // The session of the walsender is the one that decodes.
    let mut connection = Connection::connect(&params).expect("it is let in");
    let mut show = |name: &str| {
        connection
            .value(&format!("SHOW {name}"))
            .expect("a setting")
    };
    let expected = [
        // The order of days and months is of no account in ISO.
        ("DateStyle", "ISO, DMY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("extra_float_digits", "3"),
        ("bytea_output", "hex"),
        ("lc_monetary", "C"),
        ("client_encoding", "UTF8"),
        ("work_mem", "77kB"),
    ];
    for (name, value) in expected {
        assert_eq!(show(name).as_deref(), Some(value), "{name}");
    }
}

/// A line that is cut inside of the password makes a right one wrong.
#[test]
fn a_password_that_was_right_is_tried_once_more_when_it_is_refused() {
    let pipeline = Pipeline::new("refused_once");
    let role = Role::new(&pipeline.database, "SUPERUSER REPLICATION");
    // Long enough for the password to be right again at the next attempt.
    let config = pipeline.config().set("retry", "{ min: 4s, max: 4s }");
    let mut connector = Connector::spawn_config(&config, &role.url(), &[]);
    let (streams, refused) = ("streaming from", "password authentication failed");
    connector.wait_log(streams, DEADLINE);
    role.change_password();
    pipeline.database.terminate_walsender(&pipeline.slot);
    connector.wait_log(refused, DEADLINE);
    role.restore_password();
    connector.wait_log_count(streams, 2, DEADLINE);
    role.change_password();
    pipeline.database.terminate_walsender(&pipeline.slot);
    assert_eq!(connector.wait_exit(DEADLINE), 77, "{}", connector.log());
    assert_eq!(connector.log_count(refused), 3, "{}", connector.log());
}
