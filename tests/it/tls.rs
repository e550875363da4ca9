//! TLS with a real server, beside psql: the same connection string is taken or refused by both.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use postgres_source::pg::connection::Connection;
use postgres_source::pg::target::Target;
use rcgen::{BasicConstraints, IsCa};

use crate::support::certificates::{Authority, Files, Pair, Validity, self_signed};
use crate::support::postgres::{Database, PASSWORD, Postgres};

/// A role for each kind of line in pg_hba.conf.
const HBA: &str = "
host      all anybody    127.0.0.1/32 trust
hostssl   all only_tls   127.0.0.1/32 trust
hostnossl all only_plain 127.0.0.1/32 trust
hostssl   all by_cert    127.0.0.1/32 cert
host      all by_scram   127.0.0.1/32 scram-sha-256
host      all by_md5     127.0.0.1/32 md5
";

const MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// The host that every case connects to.
const HOST: &str = "localhost";

struct Stage {
    server: Postgres,
    database: Database,
    files: Files,
    ca: Authority,
}

impl Stage {
    fn new() -> Stage {
        let server = Postgres::start_with(&[("password_encryption", "scram-sha-256")], HBA, &[]);
        let database = server.database("tls");
        for role in ["anybody", "only_tls", "only_plain", "by_cert", "by_scram"] {
            database.execute(&format!(
                "CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{PASSWORD}'"
            ));
        }
        database.execute(&format!(
            "SET password_encryption = 'md5';
             CREATE ROLE by_md5 SUPERUSER LOGIN PASSWORD '{PASSWORD}'"
        ));
        let ca = Authority::new("the CA of the tests");
        server.write_data_file("ca.crt", &ca.cert);
        server.add_settings(&[("ssl_ca_file", "ca.crt")]);
        let files = Files::new();
        files.write("ca.crt", &ca.cert);
        Stage {
            server,
            database,
            files,
            ca,
        }
    }

    /// From now on the server has this certificate, or no TLS.
    fn serve(&self, pair: Option<&Pair>) {
        match pair {
            None => self.server.add_settings(&[("ssl", "off")]),
            Some(pair) => {
                self.server.write_data_file("server.crt", &pair.cert);
                self.server.write_data_file("server.key", &pair.key);
                self.server.add_settings(&[("ssl", "on")]);
            }
        }
        self.server.reload();
    }

    fn url(&self, user: &str, host: &str, options: &str) -> String {
        format!(
            "postgres://{user}:{PASSWORD}@{host}:{}/{}?hostaddr=127.0.0.1&connect_timeout=10&{options}",
            self.server.port(),
            self.database.name()
        )
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Tls,
    Plain,
    Refused(String),
}

impl Outcome {
    /// Whether both end the same; the words are each one's own.
    fn is_as(&self, other: &Outcome) -> bool {
        match (self, other) {
            (Outcome::Refused(_), Outcome::Refused(_)) => true,
            _ => self == other,
        }
    }
}

const IS_ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

fn ours(url: &str) -> Outcome {
    let target = Target::parse(url, "ours").unwrap_or_else(|error| panic!("{url}: {error}"));
    let connected = Connection::connect(&target);
    let answer = connected.and_then(|mut connection| connection.value(IS_ENCRYPTED));
    match answer {
        Ok(encrypted) if encrypted.as_deref() == Some("t") => Outcome::Tls,
        Ok(_) => Outcome::Plain,
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

fn psql(url: &str, home: &Path) -> Outcome {
    let mut command = Command::new("psql");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    let output = command
        .args(["--no-psqlrc", "--no-password", "-Atc", IS_ENCRYPTED, url])
        .env("HOME", home)
        .env("PGGSSENCMODE", "disable")
        .output()
        .expect("psql is installed with the server");
    match (output.status.success(), output.stdout.trim_ascii()) {
        (true, b"t") => Outcome::Tls,
        (true, _) => Outcome::Plain,
        (false, _) => Outcome::Refused(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Both do the same with the same connection string, and that is returned.
#[track_caller]
fn both(stage: &Stage, url: &str) -> Outcome {
    let (ours, psql) = (ours(url), psql(url, &stage.files.path("")));
    assert!(ours.is_as(&psql), "{url}\nours: {ours:?}\npsql: {psql:?}");
    ours
}

/// Every mode, with roots and without, for every role, at servers with every kind of certificate.
#[test]
fn every_mode_ends_as_it_does_in_psql() {
    let stage = Stage::new();
    let another = Authority::new("another CA");
    let for_host = [HOST, "127.0.0.1"];
    let self_made = self_signed(&for_host, IsCa::NoCa);
    let as_openssl = self_signed(&for_host, IsCa::Ca(BasicConstraints::Unconstrained));
    let servers = [
        ("no TLS", None),
        ("good", Some(stage.ca.server(&for_host))),
        ("wrong name", Some(stage.ca.server(&["other.example"]))),
        ("another CA", Some(another.server(&for_host))),
        ("expired", Some(stage.ca.server_valid(&for_host, Validity::Past))),
        ("not yet", Some(stage.ca.server_valid(&for_host, Validity::Future))),
        ("self-signed", Some(self_made.clone())),
        ("self-signed by openssl", Some(as_openssl.clone())),
    ];
    let roots = [
        ("none", None),
        ("the CA", Some(stage.ca.cert.as_str())),
        ("self-signed", Some(self_made.cert.as_str())),
        ("self-signed by openssl", Some(as_openssl.cert.as_str())),
    ];
    let (mut taken, mut refused) = (0, 0);
    for (server, pair) in &servers {
        stage.serve(pair.as_ref());
        for (name, roots) in &roots {
            // A root of one kind says nothing about a server of another.
            if name.starts_with("self") && name != server {
                continue;
            }
            let path = match roots {
                Some(pem) => stage.files.write("roots.crt", pem),
                None => stage.files.path("missing.crt"),
            };
            for role in ["anybody", "only_tls", "only_plain"] {
                for mode in MODES {
                    let options = format!("sslmode={mode}&sslrootcert={}", path.display());
                    match both(&stage, &stage.url(role, HOST, &options)) {
                        Outcome::Refused(_) => refused += 1,
                        _ => taken += 1,
                    }
                }
            }
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
}
