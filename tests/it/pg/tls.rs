//! TLS with a real server, beside psql: the same connection string is taken or refused by both.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use postgres_source::pg::ConnectParams;
use postgres_source::pg::Connection;
use rcgen::{BasicConstraints, IsCa};

use crate::support::certificates::{
    Authority, Files, Pair, Validity, self_signed, self_signed_with,
};
use crate::support::postgres::{Database, PASSWORD, Postgres};
use crate::support::tls_front::{Behind, TlsFront};

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

/// The first version with channel binding.
pub const BINDS_FROM: u32 = 11;

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
        // Who is let in now has waited for the end of the reload.
        psql(
            &self.url("anybody", HOST, "sslmode=prefer"),
            &self.files.path(""),
        );
        let log = self.server.log();
        assert!(!log.contains("was not reloaded"), "{log}");
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
    let target = ConnectParams::parse(url, "ours").unwrap_or_else(|error| panic!("{url}: {error}"));
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

/// A certificate that rcgen does not make.
fn fixture(name: &str) -> Pair {
    let read = |extension: &str| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join(format!("tests/fixtures/tls/{name}.{extension}"));
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    Pair {
        cert: read("crt"),
        key: read("key"),
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
        (
            "expired",
            Some(stage.ca.server_valid(&for_host, Validity::Past)),
        ),
        (
            "not yet",
            Some(stage.ca.server_valid(&for_host, Validity::Future)),
        ),
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
    assert!(
        taken > 100 && refused > 100,
        "{taken} taken, {refused} refused"
    );
}

/// Which names a certificate is good for, by its alternative names and by its common name.
#[test]
fn names_count_as_they_do_in_psql() {
    let stage = Stage::new();
    let path = stage.files.path("ca.crt");
    let options = format!("sslmode=verify-full&sslrootcert={}", path.display());
    let certificates: [(&[&str], &str); 9] = [
        (&["localhost"], "x"),
        (&["127.0.0.1"], "x"),
        (&["*.example.test"], "x"),
        (&["a.example.test"], "localhost"),
        (&["10.0.0.1"], "localhost"),
        (&["10.0.0.1"], "127.0.0.1"),
        (&[], "localhost"),
        (&[], "127.0.0.1"),
        (&[], "*.example.test"),
    ];
    let hosts = [
        "localhost",
        "LocalHost",
        "127.0.0.1",
        "a.example.test",
        "a.b.example.test",
        "example.test",
    ];
    let mut taken = 0;
    for (names, common_name) in certificates {
        stage.serve(Some(&stage.ca.server_named(names, common_name)));
        for host in hosts {
            match both(&stage, &stage.url("anybody", host, &options)) {
                Outcome::Refused(error) => assert!(
                    error.contains("the server's certificate is for") && error.contains(host),
                    "{error}"
                ),
                _ => taken += 1,
            }
        }
    }
    assert!(taken > 8, "{taken} taken");
}

#[test]
fn certificates_of_ours_are_shown_as_by_psql() {
    let stage = Stage::new();
    stage.serve(Some(&stage.ca.server(&[HOST])));
    let (own, other) = (stage.ca.client("by_cert"), stage.ca.client("somebody_else"));
    let foreign = Authority::new("another CA").client("by_cert");
    let write = |name: &str, text: &str| stage.files.write(name, text).display().to_string();
    let (cert, key) = (write("own.crt", &own.cert), write("own.key", &own.key));
    let readable = write("readable.key", &own.key);
    std::fs::set_permissions(&readable, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let group = write("group.key", &own.key);
    std::fs::set_permissions(&group, std::fs::Permissions::from_mode(0o640)).expect("ours");
    let (other_cert, other_key) = (write("o.crt", &other.cert), write("o.key", &other.key));
    let (foreign_cert, foreign_key) = (write("f.crt", &foreign.cert), write("f.key", &foreign.key));
    let missing = stage.files.path("missing").display().to_string();
    let cases = [
        (&missing, &key, "valid client certificate"),
        (&cert, &key, ""),
        (&cert, &group, "?"),
        (&cert, &readable, "can be read by others (hint: chmod 600"),
        (&cert, &missing, "is not there beside the certificate"),
        (
            &cert,
            &other_key,
            "our own certificate or its key cannot be used",
        ),
        (&other_cert, &other_key, "certificate authentication failed"),
        (
            &foreign_cert,
            &foreign_key,
            "the server refuses our certificate: UnknownCA",
        ),
    ];
    for (cert, key, says) in cases {
        for mode in ["prefer", "require"] {
            let options = format!("sslmode={mode}&sslcert={cert}&sslkey={key}");
            let outcome = both(&stage, &stage.url("by_cert", HOST, &options));
            match (says, outcome) {
                ("", outcome) => assert_eq!(outcome, Outcome::Tls),
                // It depends on who runs the test; psql knows.
                ("?", _) => {}
                (_, Outcome::Refused(_)) if mode == "prefer" => {}
                (says, Outcome::Refused(error)) => assert!(error.contains(says), "{error}"),
                (_, outcome) => panic!("{options}: {outcome:?}"),
            }
        }
    }
}

#[test]
fn channel_binding_as_in_psql() {
    let stage = Stage::new();
    let pairs = [
        ("ECDSA, SHA-256", stage.ca.server(&[HOST])),
        (
            "ECDSA, SHA-384",
            self_signed_with(&[HOST], IsCa::NoCa, &rcgen::PKCS_ECDSA_P384_SHA384),
        ),
        ("Ed25519", fixture("ed25519")),
    ];
    for (name, pair) in &pairs {
        stage.serve(Some(pair));
        for role in ["by_scram", "by_md5", "anybody"] {
            for mode in ["disable", "require"] {
                for binding in ["disable", "prefer", "require"] {
                    let options = format!("sslmode={mode}&channel_binding={binding}");
                    let outcome = both(&stage, &stage.url(role, HOST, &options));
                    let is_bound = role == "by_scram"
                        && mode == "require"
                        && *name != "Ed25519"
                        && stage.server.major() >= BINDS_FROM;
                    if binding == "require" {
                        assert_eq!(outcome == Outcome::Tls, is_bound, "{name}: {outcome:?}");
                    }
                }
            }
        }
    }
    if stage.server.major() < BINDS_FROM {
        return;
    }
    let url = stage.url("by_scram", HOST, "sslmode=require");
    let Outcome::Refused(error) = ours(&url) else {
        panic!("Ed25519 has no hash function to bind by");
    };
    assert!(error.contains("channel_binding=disable"), "{error}");
}

/// Somebody in the middle who shows a certificate of his own.
#[test]
fn somebody_in_the_middle_is_noticed() {
    let stage = Stage::new();
    stage.serve(Some(&stage.ca.server(&[HOST])));
    let target = format!("127.0.0.1:{}", stage.server.port());
    let own = self_signed(&[HOST], IsCa::NoCa);
    let ca = stage.files.path("ca.crt").display().to_string();
    let cases = [
        // The server is not asked for the binding, and the client is not offered it.
        (Behind::PostgresPlain, "channel_binding=prefer", ""),
        (
            Behind::PostgresPlain,
            "channel_binding=require",
            "does not bind",
        ),
        (Behind::PostgresTls, "channel_binding=disable", ""),
        (
            Behind::PostgresTls,
            "channel_binding=prefer",
            "SCRAM channel binding check failed",
        ),
        (
            Behind::PostgresTls,
            "channel_binding=require",
            "SCRAM channel binding check failed",
        ),
        (
            Behind::PostgresTls,
            "sslmode=verify-ca",
            "not signed by one that is trusted",
        ),
    ];
    for (behind, options, says) in cases {
        let says = match (stage.server.major() < BINDS_FROM, options) {
            (true, "channel_binding=prefer") => "",
            (true, "channel_binding=require") => "does not bind",
            _ => says,
        };
        let front = TlsFront::start(&target, behind, &own, None);
        let (options, mode) = match options.strip_prefix("sslmode=") {
            Some(mode) => (format!("sslrootcert={ca}"), mode),
            None => (options.to_owned(), "require"),
        };
        let url = format!(
            "postgres://by_scram:{PASSWORD}@127.0.0.1:{}/{}?sslmode={mode}&{options}",
            front.port(),
            stage.database.name()
        );
        match both(&stage, &url) {
            // What the server sees is its own affair.
            Outcome::Refused(error) => assert!(!says.is_empty() && error.contains(says), "{error}"),
            outcome => assert!(says.is_empty(), "{options}: {outcome:?}"),
        }
    }
}

/// Where we end otherwise than psql, and why.
#[test]
fn what_rustls_cannot_do_is_said() {
    let stage = Stage::new();
    let version_1 = fixture("version-1");
    stage.serve(Some(&version_1));
    let roots = stage.files.write("version-1.crt", &version_1.cert);
    for options in [
        "sslmode=require".to_owned(),
        format!("sslmode=verify-full&sslrootcert={}", roots.display()),
    ] {
        let Outcome::Refused(error) = ours(&stage.url("anybody", HOST, &options)) else {
            panic!("a certificate of version 1 is taken");
        };
        for says in [
            "is of X.509 version 1, which is not taken",
            "subjectAltName=DNS:host",
        ] {
            assert!(error.contains(says), "{error}");
        }
    }
}

#[test]
fn the_errors_say_what_is_wrong_and_what_to_do() {
    let stage = Stage::new();
    let ca = stage.files.path("ca.crt").display().to_string();
    let missing = stage.files.path("missing.crt").display().to_string();
    let empty = stage.files.write("empty.crt", "").display().to_string();
    let verified = format!("sslmode=verify-full&sslrootcert={ca}");
    let as_ca = stage.ca.server_ca(&[HOST]);
    let cases: [(Option<Pair>, String, &[&str]); 9] = [
        (
            None,
            verified.clone(),
            &[
                "the server does not offer TLS",
                "set ssl = on at the server",
            ],
        ),
        (
            Some(stage.ca.server_valid(&[HOST], Validity::Past)),
            verified.clone(),
            &[
                "expired at 2001-02-03T00:00:00Z",
                "renewed; or is this machine's clock wrong?",
            ],
        ),
        (
            Some(stage.ca.server_valid(&[HOST], Validity::Future)),
            verified.clone(),
            &["is not valid before 2199-02-03T00:00:00Z"],
        ),
        (
            Some(stage.ca.server(&["other.example", "10.1.2.3"])),
            verified.clone(),
            &["is for other.example, 10.1.2.3, not for localhost"],
        ),
        (
            Some(Authority::new("another").server(&[HOST])),
            verified.clone(),
            &[
                "is not signed by one that is trusted",
                "must hold the CA that signed it",
            ],
        ),
        (
            Some(as_ca),
            verified.clone(),
            &["is that of a CA", "CA:FALSE"],
        ),
        (
            None,
            "sslmode=verify-ca".to_owned(),
            &["there is no file of root certificates", "sslrootcert=FILE"],
        ),
        (
            None,
            format!("sslmode=verify-ca&sslrootcert={missing}"),
            &["root certificate file", "missing.crt: cannot be read"],
        ),
        (
            None,
            format!("sslmode=require&sslrootcert={empty}"),
            &["empty.crt: no certificate in PEM form"],
        ),
    ];
    let good = stage.ca.server(&[HOST]);
    for (pair, options, says) in cases {
        // What is wrong with files of ours is found when the server offers TLS.
        let is_about_files = options != verified;
        stage.serve(if is_about_files {
            Some(&good)
        } else {
            pair.as_ref()
        });
        let Outcome::Refused(error) = ours(&stage.url("anybody", HOST, &options)) else {
            panic!("{options}: taken");
        };
        assert!(says.iter().all(|says| error.contains(says)), "{error}");
    }
}

/// `sslnegotiation=direct` is for servers from 17 on; the others take it for a broken request.
#[test]
fn direct_negotiation() {
    let stage = Stage::new();
    stage.serve(Some(&stage.ca.server(&[HOST])));
    let ca = stage.files.path("ca.crt").display().to_string();
    let options = format!("sslmode=verify-full&sslrootcert={ca}&sslnegotiation=direct");
    let outcome = ours(&stage.url("by_scram", HOST, &options));
    match (stage.server.major(), outcome) {
        (17.., outcome) => assert_eq!(outcome, Outcome::Tls),
        (_, Outcome::Refused(error)) => {
            assert!(error.contains("only version 17 and later"), "{error}");
        }
        (_, outcome) => panic!("{outcome:?}"),
    }
}
