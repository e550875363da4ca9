//! SIGHUP: a new log level, a new password, and what stays as it was.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::certificates::{Authority, Files};
use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE, temp_dir};
use crate::support::load::{assert_same_rows, under_load};
use crate::support::manager::{Manager, position};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::record::inserted;
use crate::support::role::Role;

const STREAMS: &str = "streaming from";
const RELOADED: &str = "reloaded: log, URL";
const AS_BEFORE: &str = "going on as before the reload";

/// The program with its URL in a file.
struct Reloadable<'a> {
    pipeline: &'a Pipeline,
    dir: TempDir,
}

impl<'a> Reloadable<'a> {
    fn new(pipeline: &'a Pipeline, url: &str) -> Reloadable<'a> {
        let dir = temp_dir("url-");
        let reloadable = Reloadable { pipeline, dir };
        reloadable.set_url(url);
        reloadable
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("url")
    }

    fn set_url(&self, url: &str) {
        fs::write(self.file(), url).expect("a file can be written");
    }

    fn start(&self, config: &ConfigFile, more: &[(&str, &str)]) -> Connector {
        let file = self.file();
        let file = file.to_str().expect("the path is UTF-8");
        let variables = [&[("FLUVIO_PG_DATABASE_URL_FILE", file)], more].concat();
        Connector::spawn_with(&config.path(), &[], &variables)
    }

    fn insert(&self, id: i64) {
        let sql = format!("INSERT INTO t VALUES ({id})");
        self.pipeline.database.execute(&sql);
    }
}

#[test]
fn a_new_session_begins_between_two_transactions() {
    let pipeline = Pipeline::new("reload");
    let config = pipeline.config();
    let mut connector = pipeline.start_with(&config);
    let delivered = under_load(&pipeline, 21, |load| {
        for sessions in 2..=4 {
            load.wait_commits(30);
            connector.signal("HUP");
            connector.wait_log_count(STREAMS, sessions, DEADLINE);
        }
    });
    assert_same_rows(&inserted(&delivered.records), &delivered.rows);
    let log = connector.log();
    assert_eq!(log.matches(RELOADED).count(), 3, "{log}");
    assert!(!log.contains("trying again"), "{log}");
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0);
}

#[test]
fn the_manager_hears_of_it() {
    let pipeline = Pipeline::new("reload");
    let manager = Manager::new();
    let reloadable = Reloadable::new(&pipeline, &pipeline.database.url());
    let socket = [("NOTIFY_SOCKET", &*manager.socket)];
    let config = pipeline.config();
    let connector = reloadable.start(&config, &socket);
    manager.wait("READY=1", 1, DEADLINE);
    connector.signal("HUP");
    manager.wait("READY=1", 2, DEADLINE);
    let messages = manager.messages();
    let reloading = position(&messages, "RELOADING=1");
    let ready = position(&messages, "READY=1");
    assert!(ready < reloading, "{messages:#?}");
    assert_eq!(position(&messages[reloading..], "MONOTONIC_USEC="), 0);
    position(&messages[reloading..], "READY=1");
}

#[test]
fn the_log_level() {
    let pipeline = Pipeline::new("reload");
    let reloadable = Reloadable::new(&pipeline, &pipeline.database.url());
    let config = pipeline.config();
    let connector = reloadable.start(&config, &[("RUST_LOG", "")]);
    connector.wait_log(STREAMS, DEADLINE);
    assert_eq!(connector.log_count("DEBUG"), 0, "{}", connector.log());
    let config = config.set("log", "debug");
    config.path();
    connector.signal("HUP");
    connector.wait_log("DEBUG", DEADLINE);
    connector.wait_log_count(STREAMS, 2, DEADLINE);

    // RUST_LOG goes before it.
    let other = Pipeline::new("reload");
    let reloadable = Reloadable::new(&other, &other.database.url());
    let config = other.config();
    let connector = reloadable.start(&config, &[("RUST_LOG", "info")]);
    connector.wait_log(STREAMS, DEADLINE);
    let config = config.set("log", "debug");
    config.path();
    connector.signal("HUP");
    connector.wait_log_count(STREAMS, 2, DEADLINE);
    assert_eq!(connector.log_count("DEBUG"), 0, "{}", connector.log());
}

#[test]
fn the_password() {
    let pipeline = Pipeline::new("reload");
    pipeline.database.execute("CREATE TABLE t (id int8)");
    let role = Role::new(&pipeline.database, "SUPERUSER");
    let (old, changed) = (role.url(), role.changed_url());
    let reloadable = Reloadable::new(&pipeline, &old);
    let config = pipeline.config();
    let mut connector = reloadable.start(&config, &[]);
    connector.wait_log(STREAMS, DEADLINE);
    reloadable.insert(1);

    // Too early: what worked goes on.
    reloadable.set_url(&changed);
    connector.signal("HUP");
    connector.wait_log(AS_BEFORE, DEADLINE);
    connector.wait_log_count(STREAMS, 2, DEADLINE);
    reloadable.insert(2);
    pipeline.wait_caught_up();

    role.change_password();
    connector.signal("HUP");
    connector.wait_log_count(STREAMS, 3, DEADLINE);
    reloadable.insert(3);
    pipeline.wait_caught_up();
    assert_eq!(inserted(&pipeline.records()), [1, 2, 3]);
    assert_eq!(connector.log_count(AS_BEFORE), 1, "{}", connector.log());
    assert!(!connector.log().contains("hunter2"), "{}", connector.log());
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0);
}

/// A credential that was renewed under the running program.
#[test]
fn a_credential() {
    let pipeline = Pipeline::new("reload");
    pipeline.database.execute("CREATE TABLE t (id int8)");
    let role = Role::new(&pipeline.database, "SUPERUSER");
    let (old, changed) = (role.url(), role.changed_url());
    let directory = temp_dir("credentials-");
    let credential = directory.path().join(URL_VARIABLE);
    fs::write(&credential, &old).expect("a file can be written");
    let directory = directory.path().to_str().expect("the path is UTF-8");
    let config = pipeline.config();
    let variables = [("CREDENTIALS_DIRECTORY", directory)];
    let connector = Connector::spawn_with(&config.path(), &[], &variables);
    connector.wait_log(STREAMS, DEADLINE);

    role.change_password();
    fs::write(&credential, &changed).expect("a file can be written");
    connector.signal("HUP");
    connector.wait_log_count(STREAMS, 2, DEADLINE);
    pipeline.database.execute("INSERT INTO t VALUES (1)");
    pipeline.wait_caught_up();
    assert_eq!(inserted(&pipeline.records()), [1]);
    assert_eq!(connector.log_count(AS_BEFORE), 0, "{}", connector.log());
}

/// The files keep their names, and the server sees who comes.
#[test]
fn a_certificate_of_ours() {
    let ca = Authority::new("the CA of the tests");
    let server = ca.server(&["127.0.0.1"]);
    let postgres = ca.postgres(&server, "md5");
    let pipeline = Pipeline::on(&postgres, "reload");
    let files = Files::new();
    let write = |name: &str| {
        let own = ca.client(name);
        (
            files.write("own.crt", &own.cert),
            files.write("own.key", &own.key),
        )
    };
    let (cert, key) = write("first");
    let url = format!(
        "{}?sslmode=require&sslcert={}&sslkey={}",
        pipeline.database.url(),
        cert.display(),
        key.display()
    );
    let config = pipeline.config();
    let connector = Connector::spawn_config(&config, &url, &[]);
    let column = match postgres.major() {
        ..12 => "clientdn",
        12.. => "client_dn",
    };
    let seen = || {
        let pid = pipeline.database.wait_slot_active(&pipeline.slot);
        let sql = format!("SELECT {column} FROM pg_stat_ssl WHERE pid = {pid}");
        pipeline.database.query_one_text(&sql)
    };
    connector.wait_log(STREAMS, DEADLINE);
    assert_eq!(seen(), "/CN=first");
    write("second");
    connector.signal("HUP");
    connector.wait_log_count(STREAMS, 2, DEADLINE);
    assert_eq!(seen(), "/CN=second");
}

/// It does not wait for the end of the pause.
#[test]
fn between_two_attempts() {
    let pipeline = Pipeline::new("reload");
    let role = Role::new(&pipeline.database, "SUPERUSER");
    let url = role.url();
    let (_, place) = url.rsplit_once('@').expect("a URL with a host");
    let (address, database) = place.rsplit_once('/').expect("and a database");
    let away = url.replace(address, "127.0.0.1:1");
    assert_ne!(away, url, "{database}");
    let reloadable = Reloadable::new(&pipeline, &away);
    let config = pipeline.config().set("retry", "{ min: 1h, max: 1h }");
    let mut connector = reloadable.start(&config, &[]);
    connector.wait_log("trying again in", DEADLINE);
    reloadable.set_url(&url);
    connector.signal("HUP");
    connector.wait_log(STREAMS, DEADLINE);
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0);
}

#[test]
fn a_config_that_is_wrong_or_needs_a_restart_changes_nothing() {
    let pipeline = Pipeline::new("reload");
    pipeline.database.execute("CREATE TABLE t (id int8)");
    let reloadable = Reloadable::new(&pipeline, &pipeline.database.url());
    let config = pipeline.config();
    let path = config.path();
    let connector = reloadable.start(&config, &[]);
    connector.wait_log(STREAMS, DEADLINE);
    fs::write(&path, "no: config").expect("it is a file");
    connector.signal("HUP");
    let line = connector.wait_log(AS_BEFORE, DEADLINE);
    assert!(
        line.contains("ERROR") && line.contains("config.yaml"),
        "{line}"
    );
    connector.wait_log_count(STREAMS, 2, DEADLINE);

    let config = config
        .parameter("slot", "another")
        .set("raw_text", "string")
        .set("metrics", "{ listen: 127.0.0.1:1 }");
    config.path();
    connector.signal("HUP");
    connector.wait_log("slot has changed: that needs a restart", DEADLINE);
    connector.wait_log("raw_text has changed: that needs a restart", DEADLINE);
    connector.wait_log("metrics has changed: that needs a restart", DEADLINE);
    connector.wait_log_count(STREAMS, 3, DEADLINE);
    assert_eq!(connector.log_count("needs a restart"), 3);
    reloadable.insert(1);
    pipeline.wait_caught_up();
    assert_eq!(inserted(&pipeline.records()), [1]);
}
