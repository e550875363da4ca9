//! TLS to Fluvio as the profile has it, on both planes: the SC, and the SPU that it names.

use std::path::PathBuf;

use crate::support::certificates::{Authority, Files, Pair, Validity};
use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE};
use crate::support::fluvio::FluvioServer;
use crate::support::outcome::{FAIL_DEADLINE, assert_end};
use crate::support::pipeline::DEADLINE;
use crate::support::postgres::{Database, Postgres, unique};
use crate::support::tls_front::{Behind, TlsFront};
use crate::support::wait_until;

/// What the profile calls the cluster. SPUs have their own name in front of it.
const DOMAIN: &str = "fluvio.test";
const SPU: &str = "custom-spu-5001.fluvio.test";

/// A cluster whose ports have TLS, and what a client needs for it.
struct Stage {
    server: FluvioServer,
    sc: TlsFront,
    _spu: TlsFront,
    files: Files,
    ca: Authority,
    client: Pair,
    database: Database,
    config: ConfigFile,
}

impl Stage {
    /// A cluster with these certificates for the SC and for the SPU.
    fn new(ca: Authority, sc: &Pair, spu: &Pair, demands_client: Option<&str>) -> Stage {
        let server = FluvioServer::start();
        let front = |address: &str, pair: &Pair| {
            TlsFront::start(address, Behind::Plain, pair, demands_client)
        };
        let (sc, spu) = (front(&server.sc_addr(), sc), front(&server.spu_addr(), spu));
        server.advertise_spu(spu.port());
        let client = ca.client("a client");
        Stage {
            server,
            sc,
            _spu: spu,
            files: Files::new(),
            ca,
            client,
            database: Postgres::shared().database("fluvio_tls"),
            config: ConfigFile::new("tls", &unique("fluvio_tls"), &unique("fluvio_tls"))
                .set("status_interval", "100ms")
                .fluvio("timeout", "5s"),
        }
    }

    fn profile(&self, tls: &str) -> PathBuf {
        let text = format!(
            "version = \"2.0\"\ncurrent_profile = \"tls\"\n\n[profile.tls]\ncluster = \"tls\"\n\n\
             [cluster.tls]\nendpoint = \"127.0.0.1:{}\"\n\n[cluster.tls.tls]\n{tls}",
            self.sc.port()
        );
        self.files.write("profile", &text)
    }

    fn inline(&self, ca: &str, domain: &str) -> String {
        let Pair { cert, key } = &self.client;
        format!(
            "tls_policy = \"verified\"\ntls_source = \"inline\"\n[cluster.tls.tls.certs]\n\
             domain = \"{domain}\"\nkey = '''{key}'''\ncert = '''{cert}'''\nca_cert = '''{ca}'''\n"
        )
    }

    fn in_files(&self) -> String {
        let write = |name: &str, text: &str| self.files.write(name, text).display().to_string();
        format!(
            "tls_policy = \"verified\"\ntls_source = \"files\"\n[cluster.tls.tls.certs]\n\
             domain = \"{DOMAIN}\"\nkey = \"{}\"\ncert = \"{}\"\nca_cert = \"{}\"\n",
            write("client.key", &self.client.key),
            write("client.crt", &self.client.cert),
            write("ca.crt", &self.ca.cert),
        )
    }

    fn spawn(&self, tls: &str) -> Connector {
        let profile = self.profile(tls).display().to_string();
        let variables = [
            (URL_VARIABLE, self.database.url()),
            ("FLV_PROFILE_PATH", profile),
        ];
        let variables = variables
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        Connector::spawn_with(&self.config.path(), &[], &variables)
    }
}

#[test]
fn records_arrive_over_tls_as_the_profile_has_it() {
    let ca = Authority::new("the CA of the cluster");
    let (sc, spu) = (ca.server(&[DOMAIN]), ca.server(&[SPU]));
    let cert = ca.cert.clone();
    let stage = Stage::new(ca, &sc, &spu, Some(&cert));
    stage
        .database
        .execute("CREATE TABLE t (id int8 PRIMARY KEY, filler text)");
    let policies = [stage.inline(&stage.ca.cert, DOMAIN), stage.in_files()];
    for (number, tls) in policies.iter().enumerate() {
        let mut connector = stage.spawn(tls);
        connector.wait_log("streaming from", DEADLINE);
        // Also more than one TLS record, and than one buffer, holds.
        stage.database.execute(&format!(
            "INSERT INTO t SELECT {number} * 100000 + n, repeat('x', 1000)
             FROM generate_series(1, 3000) n"
        ));
        wait_until("the rows arrive", DEADLINE, || {
            let records = stage.server.records("tls", 0);
            let is_insert = |record: &&Vec<u8>| {
                let text = String::from_utf8_lossy(record);
                text.contains("\"type\":\"insert\"")
            };
            records.iter().filter(is_insert).count() == 3000 * (number + 1)
        });
        connector.sigterm();
        assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    }
}

#[test]
fn anonymous_takes_any_certificate() {
    let nobodys = Authority::new("nobody's CA").server(&["somewhere.else"]);
    let stage = Stage::new(Authority::new("another"), &nobodys, &nobodys, None);
    let mut connector = stage.spawn("tls_policy = \"anonymous\"\n");
    connector.wait_log("streaming from", DEADLINE);
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
}

#[test]
fn what_is_wrong_with_a_cluster_or_a_profile_is_said() {
    let ca = Authority::new("the CA of the cluster");
    let good = (ca.server(&[DOMAIN]), ca.server(&[SPU]));
    let expired = ca.server_valid(&[DOMAIN], Validity::Past);
    let other_ca = Authority::new("another CA");
    let cases: [(&Pair, &Pair, &str, &str, &str); 5] = [
        (
            &good.0,
            &good.1,
            &other_ca.cert,
            DOMAIN,
            "is not signed by one that is trusted",
        ),
        (
            &good.0,
            &good.1,
            &ca.cert,
            "other.test",
            "is for fluvio.test, not for other.test",
        ),
        // The SPU needs a certificate of its own, or a wildcard.
        (
            &good.0,
            &good.0,
            &ca.cert,
            DOMAIN,
            "is for fluvio.test, not for custom-spu-5001.fluvio.test",
        ),
        (
            &expired,
            &good.1,
            &ca.cert,
            DOMAIN,
            "expired at 2001-02-03T00:00:00Z",
        ),
        (
            &good.0,
            &good.1,
            "no PEM",
            DOMAIN,
            "ca_cert of the Fluvio profile: no certificate in PEM form",
        ),
    ];
    for (sc, spu, trusted, domain, says) in cases {
        let stage = Stage::new(Authority::new("of the client"), sc, spu, None);
        let mut connector = stage.spawn(&stage.inline(trusted, domain));
        let code = connector.wait_exit(FAIL_DEADLINE);
        let log = assert_end(
            (code, connector.log(), Vec::new()),
            78,
            &["Fluvio at 127.0.0.1", says],
        );
        assert!(!log.contains("PRIVATE KEY"), "{log}");
    }
}
