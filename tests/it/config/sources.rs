//! Where the secret, the names and the cluster come from.

use std::fs;

use crate::config::{Home, URL, assert_not_in_cmdline, with};
use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE};
use crate::support::outcome::{FAIL_DEADLINE, assert_end};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::ports::free_port;
use crate::support::postgres::unique;

/// Each source names a port of its own, on which nobody listens: the error tells which one won.
#[test]
fn the_secret_comes_from_the_first_source_that_has_it() {
    let home = Home::new();
    let ports: [u16; 4] = std::array::from_fn(|_| free_port());
    let url = |port: u16| format!("postgres://u:hunter2@127.0.0.1:{port}/db");
    home.write(
        "credentials/FLUVIO_PG_DATABASE_URL",
        &format!("{}\n", url(ports[0])),
        0o400,
    );
    let credentials = home.path("credentials").display().to_string();
    let empty = home.path("no-such-directory").display().to_string();
    let in_environment = url(ports[1]);
    let file = home.write("secret", &format!("{}\n", url(ports[2])), 0o400);
    let file = file.display().to_string();
    let text = with(&format!(
        "secrets:\n  FLUVIO_PG_DATABASE_URL: {}",
        url(ports[3])
    ));
    let config = home.write("config.yaml", &text, 0o600);

    let all = [
        ("CREDENTIALS_DIRECTORY", credentials.as_str()),
        (URL_VARIABLE, in_environment.as_str()),
        ("FLUVIO_PG_DATABASE_URL_FILE", file.as_str()),
    ];
    let without_credential = [("CREDENTIALS_DIRECTORY", empty.as_str()), all[1], all[2]];
    // A place that is set and empty counts as not set; a secret that is, is a mistake.
    let without_place = [("CREDENTIALS_DIRECTORY", ""), all[2]];
    let sources: [(&[(&str, &str)], u16); 6] = [
        (&all, ports[0]),
        (&all[1..], ports[1]),
        (&without_credential, ports[1]),
        (&all[2..], ports[2]),
        (&without_place, ports[2]),
        (&[], ports[3]),
    ];
    for (variables, port) in sources {
        let mut connector = Connector::spawn_with(&config, &["--stdout", "--once"], variables);
        assert_not_in_cmdline(&connector);
        let code = connector.wait_exit(FAIL_DEADLINE);
        let outcome = (code, connector.log(), connector.stdout_lines());
        let log = assert_end(outcome, 69, &[&format!("PostgreSQL at 127.0.0.1:{port}: ")]);
        assert!(!log.contains("WARN"), "{log}");
    }
}

#[test]
fn a_config_with_the_secret_should_not_be_readable_by_others() {
    let home = Home::new();
    let with_secret = with(&format!("secrets:\n  FLUVIO_PG_DATABASE_URL: {URL}"));
    let variables = [(URL_VARIABLE, URL)];
    type Variables<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, u32, Variables, bool); 6] = [
        (&with_secret, 0o600, &[], false),
        (&with_secret, 0o400, &[], false),
        (&with_secret, 0o640, &[], true),
        (&with_secret, 0o604, &[], true),
        // Nothing was taken from the file, so it is not for this program to say.
        (&with_secret, 0o644, &variables, false),
        (&with(""), 0o644, &variables, false),
    ];
    for (text, mode, variables, warns) in cases {
        let path = home.write("config.yaml", text, mode);
        let mut connector = Connector::spawn_with(&path, &["--stdout", "--once"], variables);
        let code = connector.wait_exit(FAIL_DEADLINE);
        let log = assert_end((code, connector.log(), Vec::new()), 69, &[]);
        let warning = format!(
            "{}: holds the database URL and others can read it; run \"chmod 600 {0}\"",
            path.display()
        );
        assert_eq!(log.contains(&warning), warns, "{mode:o}: {log}");
    }
}

#[test]
fn publication_and_slot_from_the_environment() {
    let pipeline = Pipeline::new("overrides");
    let (publication, slot) = (unique("other_publication"), unique("other_slot"));
    let url = pipeline.database.url();
    let variables = [
        (URL_VARIABLE, url.as_str()),
        ("FLUVIO_PG_PUBLICATION", publication.as_str()),
        ("FLUVIO_PG_SLOT", slot.as_str()),
    ];
    let config = pipeline.config();
    let connector = Connector::spawn_with(&config.path(), &[], &variables);
    let line = connector.wait_log("streaming from", DEADLINE);
    assert!(
        line.contains(&format!("slot {slot}, publication {publication},")),
        "{line}"
    );
    assert!(!pipeline.database.slot_exists(&pipeline.slot));
}

pub fn profile(endpoint: &str, tls: &str) -> String {
    format!(
        "version = \"2.0\"\ncurrent_profile = \"local\"\n\n[profile.local]\ncluster = \"local\"\n\n\
         [cluster.local]\nendpoint = \"{endpoint}\"\n{tls}"
    )
}

pub fn without_endpoint(pipeline: &Pipeline) -> ConfigFile {
    ConfigFile::new(&pipeline.topic, &pipeline.publication, &pipeline.slot)
}

#[test]
fn the_cluster_comes_from_the_profile() {
    let pipeline = Pipeline::new("profile");
    let home = Home::new();
    let text = profile(&pipeline.cluster().sc_addr(), "");
    let own = home.write(".fluvio/config", &text, 0o600);
    let elsewhere = home.write("elsewhere", &text, 0o600);
    let broken = home.write("broken", "key = [hunter2", 0o600);
    fs::remove_file(&own).expect("it is ours");

    let config = without_endpoint(&pipeline);
    let (url, path) = (pipeline.database.url(), config.path());
    let home_dir = home.0.path().display().to_string();
    let base = [(URL_VARIABLE, url.as_str()), ("HOME", home_dir.as_str())];
    let refused = |variables: &[(&str, &str)], says: &[&str]| {
        let mut connector = Connector::spawn_with(&path, &[], variables);
        let code = connector.wait_exit(FAIL_DEADLINE);
        assert_end((code, connector.log(), Vec::new()), 78, says)
    };
    let hint = "name the cluster in the config, \"fluvio: { endpoint: host:port }\"";
    refused(
        &base,
        &[
            "cannot read the Fluvio profile",
            ".fluvio/config",
            "No such file",
            hint,
        ],
    );
    let broken = broken.display().to_string();
    let variables = [base[0], base[1], ("FLV_PROFILE_PATH", broken.as_str())];
    refused(
        &variables,
        &["cannot read the Fluvio profile", "broken", hint],
    );

    fs::write(&own, text.replace("current_profile = \"local\"\n", "")).expect("it is ours");
    refused(&base, &["no Fluvio profile", hint]);

    fs::write(&own, &text).expect("it is ours");
    let connector = Connector::spawn_with(&path, &[], &base);
    connector.wait_log("streaming from", DEADLINE);
    connector.kill();
    pipeline.database.wait_slot_inactive(&pipeline.slot);

    // The variable goes before the home directory.
    fs::write(&own, profile("127.0.0.1:1", "")).expect("it is ours");
    let elsewhere = elsewhere.display().to_string();
    let variables = [base[0], base[1], ("FLV_PROFILE_PATH", elsewhere.as_str())];
    let connector = Connector::spawn_with(&path, &[], &variables);
    connector.wait_log("streaming from", DEADLINE);
    connector.kill();
    pipeline.database.wait_slot_inactive(&pipeline.slot);

    // And the config before both.
    let config = pipeline.config();
    let connector = Connector::spawn_with(&config.path(), &[], &base);
    connector.wait_log("streaming from", DEADLINE);
}
