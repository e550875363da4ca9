//! `config-example.yaml` has every key of the parser, and the defaults that it shows are true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use log::LevelFilter;
use postgres_source::config::Config;
use postgres_source::config::File;

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config-example.yaml")
}

pub fn text() -> String {
    std::fs::read_to_string(path()).expect("the example is at the top of the repository")
}

/// With the keys that are not set by default set to what they show, in the format that has all of them.
pub fn with_optional_keys(text: &str) -> String {
    let uncomment = |line: &str| {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        match rest.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => {
                format!("{indent}{key}\n")
            }
            _ => format!("{line}\n"),
        }
    };
    let text: String = text.lines().map(uncomment).collect();
    text.replace("format: events\n", "format: rows\n")
}

/// With routes and keys, each of them written in another way than it is printed.
fn with_routes(text: &str) -> String {
    let routes = r#"routes:
  - tables: [Public.Orders, '"audit"."*"', "shop.Old_*"]
    topic: "{schema}-{table}"
    partitions: 8
  - { tables: ["*.*"], partition: table }"#;
    let keys = r#"keys: { PUBLIC.T: [ID, '"Id"'], 'a."b.c"': ["größe"] }"#;
    let changed = text
        .replace("routes: []", routes)
        .replace("keys: {}", keys)
        .replace("partition: 0", "partition: key");
    assert!(changed.len() > text.len() + routes.len());
    changed
}

/// What the parser says to `unknown_key` is the list of the keys that it knows.
pub fn keys(unknown_key: &str) -> BTreeSet<String> {
    let minimal = "version: v\nname: n\ntype: postgres-source\ntopic: t\n";
    let error = File::parse(&format!("{minimal}{unknown_key}"))
        .expect_err("nothing takes this key")
        .to_string();
    let (_, known) = error
        .split_once("unknown field `no_such_key`, expected ")
        .unwrap_or_else(|| panic!("{error}"));
    let (known, _) = known.split_once(" at line").unwrap_or((known, ""));
    let names = known.split('`').skip(1).step_by(2);
    names.map(|name| name.replace('-', "_")).collect()
}

/// The keys of the example at one level, those that are not set included.
fn shown(section: &str) -> BTreeSet<String> {
    let text = with_optional_keys(&text());
    let mut within = "";
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let Some((key, _)) = line.split_once(':') else {
            continue;
        };
        if key.trim_start().starts_with('#') {
            continue;
        }
        let is_nested = key.starts_with(' ');
        if !is_nested {
            within = key;
        }
        if (is_nested && within == section) || (!is_nested && section.is_empty()) {
            found.insert(key.trim().replace('-', "_"));
        }
    }
    found
}

#[test]
fn it_is_a_config() {
    let config = Config::load(&path()).expect("the example is valid");
    let way = config.routes.of_table("public", "pets");
    assert_eq!(way.expect("a valid name").topic, "postgres-topic");
    File::parse(&with_optional_keys(&text())).expect("the keys that are not set are valid too");
}

#[test]
fn it_has_every_key_of_the_parser() {
    let mut top = keys("no_such_key: 1");
    assert!(top.len() > 10, "{top:?}");
    // A key that is known only in order to refuse it has no place in a valid file.
    assert!(top.remove("transforms"));
    assert!(text().contains("\"transforms\" is refused"));
    assert_eq!(shown(""), top);

    let mut sections = 0;
    for section in &top {
        let unknown = format!("{section}: {{ no_such_key: 1 }}");
        let error = File::parse(&format!("version: v\ntype: postgres-source\n{unknown}"));
        let error = error.expect_err("nothing takes this key").to_string();
        // A key that takes no map says so in its own way.
        if error.contains("unknown field `no_such_key`") {
            assert_eq!(shown(section), keys(&unknown), "in {section}");
            sections += 1;
        } else {
            assert_eq!(shown(section), BTreeSet::new(), "in {section}");
        }
    }
    assert_eq!(
        sections, 6,
        "parameters, secrets, fluvio, producer, retry, metrics"
    );
}

#[test]
fn the_defaults_that_it_shows_are_true() {
    let required = [
        "version:",
        "name:",
        "type:",
        "topic:",
        "parameters:",
        "  publication:",
        "  slot:",
        "secrets:",
        "  FLUVIO_PG_DATABASE_URL:",
    ];
    let example = text();
    let lines = example.lines();
    let minimal: Vec<&str> = lines
        .filter(|line| required.iter().any(|key| line.starts_with(key)))
        .collect();
    assert_eq!(minimal.len(), required.len(), "{minimal:?}");

    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let minimal_path = dir.path().join("minimal.yaml");
    std::fs::write(&minimal_path, minimal.join("\n")).expect("it can be written");

    let defaults = Config::load(&minimal_path).expect("the required keys are enough");
    let mut shown = Config::load(&path()).expect("the example is valid");
    // Without the key the level depends on RUST_LOG too, so this default is not the parser's.
    assert_eq!(shown.log.take(), Some(LevelFilter::Info));
    assert_eq!(format!("{shown:?}"), format!("{defaults:?}"));
}

#[test]
fn what_takes_effect_is_a_config_that_says_the_same() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let load = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        Config::load(&path).unwrap_or_else(|error| panic!("{error}\n{text}"))
    };
    for text in [
        text(),
        with_optional_keys(&text()),
        with_routes(&with_optional_keys(&text())),
    ] {
        let config = load("config.yaml", &text);
        let effective = config.effective().expect("it can be connected to");
        let says = "# user connects to the database database_name at localhost:5432\n";
        assert!(effective.starts_with(says), "{effective}");
        assert!(!effective.contains("cat /run"), "{effective}");
        assert!(!effective.contains("password@"), "{effective}");
        let again = load("effective.yaml", &effective);
        assert_eq!(format!("{again:?}"), format!("{config:?}"), "{effective}");
    }
}

#[test]
fn every_key_is_explained() {
    let mut explained = false;
    for line in text().lines() {
        let line = line.trim_start();
        if line.starts_with("# ") {
            explained = true;
        } else if let Some((key, value)) = line.split_once(':') {
            // The keys of a section explain it.
            let is_section = value.is_empty();
            let is_pair = key == "max";
            assert!(explained || is_section || is_pair, "{key}");
            explained = is_section && explained;
        } else {
            explained = false;
        }
    }
}
