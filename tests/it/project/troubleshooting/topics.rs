//! The side of Fluvio.

use super::row::Row;
use super::site;
use crate::config::Home;
use crate::config::sources::{profile, without_endpoint};
use crate::support::connector::{ConfigFile, Connector, URL_VARIABLE};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::stopped::Stopped;

/// The row arrives in the topic.
#[track_caller]
fn arrives(pipeline: &Pipeline, config: &ConfigFile) {
    let mut connector = pipeline.start_with(config);
    pipeline.database.execute("INSERT INTO t VALUES (1)");
    pipeline.wait_kind("insert", 1);
    connector.sigterm();
    assert_eq!(connector.wait_exit(DEADLINE), 0, "{}", connector.log());
    pipeline.database.wait_slot_inactive(&pipeline.slot);
}

pub fn topic_that_is_missing(row: &Row) {
    let pipelines = [site::shared("missing"), site::shared("missing")];
    for pipeline in &pipelines {
        let config = pipeline.config().set("create-topic", "false");
        let url = pipeline.database.url();
        site::ends_with(row, &config, &[(URL_VARIABLE, &url)], 78, &[]);
    }
    // The command line of Fluvio asks the cluster for the same.
    row.code("fluvio topic create");
    let [by_hand, by_itself] = &pipelines;
    by_hand.cluster().create_topic(&by_hand.topic);
    arrives(by_hand, &by_hand.config().set("create-topic", "false"));

    let (key, value) = row.code("create-topic").split_once(": ").expect("a key");
    arrives(by_itself, &by_itself.config().set(key, value));
}

/// The home of the program is empty, or has a file that names no profile.
pub fn no_profile(row: &Row) {
    let pipeline = site::shared("unprofiled");
    let url = pipeline.database.url();
    let config = without_endpoint(&pipeline);
    let log = site::ends_with(row, &config, &[(URL_VARIABLE, &url)], 78, &[]);
    row.assert_says(0, &log);
    let home = Home::new();
    let unnamed = profile(&pipeline.cluster().sc_addr(), "");
    let unnamed = unnamed.replace("current_profile = \"local\"\n", "");
    home.write(".fluvio/config", &unnamed, 0o600);
    let directory = home.path("").display().to_string();
    let variables = [(URL_VARIABLE, url.as_str()), ("HOME", &directory)];
    let log = site::ends_with(row, &config, &variables, 78, &[]);
    row.assert_says(1, &log);
    let address = pipeline.cluster().sc_addr();
    let named = row.code("fluvio: {").replace("host:9003", &address);
    arrives(&pipeline, &config.raw(&named));
}

pub fn value_that_is_too_large(row: &Row) {
    let stopped = Stopped::new("oversized");
    let (database, config) = (&stopped.pipeline.database, stopped.with_state());
    database.execute("CREATE TABLE large (id int8 PRIMARY KEY, v text)");
    let insert = "INSERT INTO large SELECT 1, repeat('x', 34000000)";
    database.execute(insert);
    let says = || {
        let mut connector = Connector::spawn_config(&config, &database.url(), &[]);
        assert_eq!(connector.wait_exit(DEADLINE), 65, "{}", connector.log());
        row.assert_said(&connector.log());
    };
    says();
    let compressed = stopped
        .with_state()
        .producer(row.code("compression"), "zstd");
    stopped.goes_on(&compressed, 4);

    let name = &stopped.pipeline.publication;
    database.execute(&format!("DROP PUBLICATION {name}"));
    database.execute(&format!("CREATE PUBLICATION {name} FOR TABLE t, large"));
    stopped.accept("another publication");
    database.execute("INSERT INTO large SELECT 2, repeat('x', 34000000)");
    says();
    row.advises("leave its column or table out of the publication");
    database.execute(&format!("ALTER PUBLICATION {name} SET TABLE t"));
    // What the slot has is decoded with the publication of its time.
    says();
    let verb = row.code("accept-gap");
    let (code, log, _) = stopped.run_verb(verb, &config, &["--reason", "a test"]);
    assert_eq!(code, 0, "{log}");
    database.execute("INSERT INTO large SELECT 3, repeat('x', 34000000)");
    stopped.goes_on(&config, 5);
}
