//! The schema of the config file.

use std::collections::BTreeMap;

use jsonschema::Validator;
use postgres_source::config::Config;
use postgres_source::config::File;
use serde_json::{Map, Value, json};

use super::{assert_valid, schema, validator};
use crate::config::example::{keys, text, with_optional_keys};
use crate::config::{Home, refused, with};

/// What a file says, as a validator reads it.
fn read(yaml: &str) -> Result<Value, yaml_serde::Error> {
    yaml_serde::from_str(yaml)
}

/// Whether the parser takes it: a line for each key, with nothing behind one that has nothing, and
/// values in JSON, which is YAML.
fn is_parsed(config: &Value) -> bool {
    let line = |(key, value): (&String, &Value)| match value {
        Value::Null => format!("{key}:\n"),
        value => format!("{key}: {value}\n"),
    };
    let yaml: String = config
        .as_object()
        .expect("a map")
        .iter()
        .map(line)
        .collect();
    File::parse(&yaml).and_then(|file| file.topic()).is_ok()
}

/// A config with `value` at this key, `section.key` or `key`.
fn with_value(path: &str, value: &Value) -> Value {
    let mut config = read(&with("")).expect("it is YAML");
    let (section, key) = path.split_once('.').unwrap_or(("", path));
    let map = config.as_object_mut().expect("a map");
    if path == "parameters.topic" {
        map.shift_remove("topic");
    }
    let map = match section {
        "" => map,
        section => {
            let section = map.entry(section).or_insert_with(|| json!({}));
            section.as_object_mut().expect("a map")
        }
    };
    map.insert(key.to_owned(), value.clone());
    config
}

/// The keys of the schema by their paths; those of sections too.
fn described(schema: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let properties = |schema: &Value| -> Map<String, Value> {
        let properties = schema["properties"].as_object();
        properties.cloned().unwrap_or_default()
    };
    for (key, value) in properties(schema) {
        for (below, value) in properties(&value) {
            found.insert(format!("{key}.{below}"), value);
        }
        found.insert(key, value);
    }
    found
}

/// What the example says of a key.
#[derive(Debug, Default)]
struct Shown {
    comment: String,
    /// Where it is set.
    value: Option<Value>,
}

/// The keys of the example.
fn shown() -> BTreeMap<String, Shown> {
    let set = read(&text()).expect("the example is YAML");
    let (mut found, mut section, mut comment) = (BTreeMap::new(), String::new(), Vec::new());
    for line in text().lines() {
        let (is_nested, line) = (line.starts_with(' '), line.trim_start());
        if let Some(explanation) = line.strip_prefix("# ") {
            comment.push(explanation.to_owned());
            continue;
        }
        if let Some((key, _)) = line.trim_start_matches('#').split_once(':') {
            let key = key.to_owned();
            let path = match is_nested {
                true => format!("{section}.{key}"),
                false => key.clone(),
            };
            let value = set
                .pointer(&format!("/{}", path.replace('.', "/")))
                .cloned();
            let comment = comment.join(" ");
            found.insert(path, Shown { comment, value });
            if !is_nested {
                section = key;
            }
        }
        comment.clear();
    }
    found
}

#[test]
fn it_has_the_keys_of_the_parser_and_of_the_example() {
    let schema = schema("config");
    let described = described(&schema);
    let known = |level: &str| -> Vec<String> {
        let at_level = |path: &&String| path.rsplit_once('.').map_or("", |(at, _)| at) == level;
        let name = |path: &String| {
            let name = path.rsplit('.').next().unwrap_or_default();
            name.replace('-', "_")
        };
        let mut names: Vec<String> = described.keys().filter(at_level).map(name).collect();
        names.sort();
        names
    };
    let of_parser = |unknown: &str| keys(unknown).into_iter().collect::<Vec<String>>();
    assert_eq!(known(""), of_parser("no_such_key: 1"));
    let mut sections = 0;
    for (path, value) in &described {
        if value["properties"].is_object() {
            let unknown = format!("{path}: {{ no_such_key: 1 }}");
            assert_eq!(known(path), of_parser(&unknown), "in {path}");
            sections += 1;
        }
    }
    assert_eq!(sections, 6);

    let mut paths: Vec<&String> = described.keys().collect();
    paths.retain(|path| *path != "transforms");
    let shown = shown();
    assert_eq!(paths, shown.keys().collect::<Vec<_>>());
}

#[test]
fn it_says_of_each_key_what_the_example_says() {
    let described = described(&schema("config"));
    let required = [
        "version",
        "name",
        "type",
        "topic",
        "parameters.publication",
        "parameters.slot",
        "secrets.FLUVIO_PG_DATABASE_URL",
    ];
    for (path, shown) in shown() {
        let described = &described[&path];
        let description = described["description"].as_str().unwrap_or_default();
        match shown.comment.as_str() {
            "" => assert!(!description.is_empty(), "{path}"),
            comment => assert_eq!(description, comment, "{path}"),
        }
        let is_section = described["properties"].is_object();
        let default = match is_section || required.contains(&path.as_str()) {
            true => None,
            false => shown.value.as_ref(),
        };
        assert_eq!(described.get("default"), default, "{path}");
    }
}

#[test]
fn the_example_is_valid_and_so_is_what_takes_effect() {
    let validator = validator(&schema("config"));
    let home = Home::new();
    for text in [text(), with_optional_keys(&text()), with("")] {
        assert_valid(&validator, &read(&text).expect("it is YAML"));
        let path = home.write("config.yaml", &text, 0o600);
        if !text.contains("secrets:") {
            continue;
        }
        let effective = Config::load(&path).and_then(|config| config.effective());
        let effective = effective.expect("it can be connected to");
        assert_valid(&validator, &read(&effective).expect("it is YAML"));
    }
}

/// What depends on two values at once, or on what a name comes to.
const NOT_OF_A_SCHEMA: [&str; 8] = [
    "retry: { min: 2s, max: 1s }",
    "partition: key",
    "partition: 4",
    "partitions: 2",
    "keys: { a.b: [id] }",
    "keys: { a.b: [id], A.B: [id] }",
    "int8: number",
    "json: text",
];

#[test]
fn what_the_program_refuses_is_not_valid() {
    let validator = validator(&schema("config"));
    let mut count = 0;
    for (text, says) in refused() {
        // Of a key that comes twice a validator hears once.
        if !says.starts_with("duplicate") {
            let is_valid = validator.is_valid(&read(&text).expect("it is YAML"));
            let is_seen = !NOT_OF_A_SCHEMA.iter().any(|more| text.contains(more));
            assert_eq!(is_valid, !is_seen, "{says}\n{text}");
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}

/// Texts that are right for one key and wrong for another.
fn texts() -> Vec<String> {
    let texts = [
        "",
        " ",
        "x",
        "a b",
        "é",
        "true",
        "false",
        "yes",
        "0",
        "1",
        "10",
        "-1",
        "0s",
        "0ms",
        "1ms",
        "500ms",
        "10s",
        "1m",
        "1m 30s",
        "1h30m",
        "1.5h",
        "1 day",
        "ms",
        "10 x",
        "0KB",
        "0B",
        "1B",
        "16KB",
        "1mb",
        "1MiB",
        "1 MB",
        "1.5MB",
        "10k",
        "KB",
        "1XB",
        "none",
        "gzip",
        "snappy",
        "lz4",
        "zstd",
        "rar",
        "stored",
        "all",
        "any",
        "bytes",
        "string",
        "hex",
        "text",
        "json",
        "journal",
        "off",
        "error",
        "warn",
        "info",
        "debug",
        "trace",
        "loud",
        "localhost",
        "localhost:9003",
        "localhost:",
        ":9003",
        "h:0",
        "h:65535",
        "h:65536",
        "h:x",
        "127.0.0.1:9187",
        "[::1]:9187",
        "127.0.0.1",
        "insert",
        "update",
        "delete",
        "truncate",
        "upsert",
        "postgres-source",
        "a-b",
        "-a",
        "a-",
        "a_b",
        "A",
        "pets",
        "shop.orders",
        "\"Odd Name\"",
        "/var/lib",
        "s\n",
        "a\tb",
        "a\u{1b}b:1",
        "events",
        "rows",
        "table",
        "key",
        "number",
        "value",
        "{table}",
        "a-{schema}-{table}",
        "-{table}",
        "{table}-",
        "{table}{schema}",
        "{tables}",
        "{table",
        "table}",
        "{{table}}",
        "Public.T$1",
        "public.*",
        "*.*",
        "public.\"a\"\"*\"",
        "public.\"a",
        "public.\"\"",
        "a.b.c",
        "1a.b",
        "a.1b",
        "größe.Ä*é",
        ".b",
        "a.",
        "\"a.b\".\"c.d\"",
        "\"a\"b.c",
    ];
    let long = [62, 63, 64].map(|length| "s".repeat(length));
    let of_template = [62, 63].map(|length| format!("{}{{table}}", "s".repeat(length)));
    let texts = texts.into_iter().map(str::to_owned);
    texts.chain(long).chain(of_template).collect()
}

/// The paths of all keys that have no keys of their own.
fn leaves(schema: &Value) -> Vec<String> {
    let described = described(schema).into_iter();
    let leaves = described.filter(|(_, value)| !value["properties"].is_object());
    leaves.map(|(path, _)| path).collect()
}

#[test]
fn of_texts_it_takes_what_the_parser_takes() {
    let schema = schema("config");
    let validator = validator(&schema);
    let mut taken = 0;
    for path in leaves(&schema) {
        for text in texts() {
            for value in [json!(text), json!([text])] {
                let config = with_value(&path, &value);
                let is_parsed = is_parsed(&config);
                assert_eq!(validator.is_valid(&config), is_parsed, "{path}: {value}");
                taken += usize::from(is_parsed);
            }
        }
    }
    assert!(taken > 500, "{taken}");
}

/// The keys of routes, and the tables and columns of keys.
#[test]
fn of_names_below_a_key_it_takes_what_the_parser_takes() {
    let schema = schema("config");
    let validator = validator(&schema);
    let mut taken = [0; 6];
    for text in texts() {
        let values = [
            ("routes", json!([{ "tables": [text] }])),
            ("routes", json!([{ "tables": ["a.b", text], "topic": "u" }])),
            ("routes", json!([{ "tables": ["a.b"], "topic": text }])),
            ("routes", json!([{ "tables": ["a.b"], "partition": text }])),
            ("keys", json!({ text.as_str(): ["id"] })),
            ("keys", json!({ "a.b": ["id", text] })),
        ];
        for (number, (path, value)) in values.iter().enumerate() {
            let config = with_value(path, value);
            let is_parsed = is_parsed(&config);
            assert_eq!(validator.is_valid(&config), is_parsed, "{path}: {value}");
            taken[number] += usize::from(is_parsed);
        }
    }
    let some = 2..texts().len();
    assert!(taken.iter().all(|taken| some.contains(taken)), "{taken:?}");
}

/// The parser takes numbers and the like as texts, a slot of the name 1 for instance; the schema
/// wants such a text quoted.
#[test]
fn of_other_values_it_takes_nothing_that_the_parser_does_not() {
    let schema = schema("config");
    let validator = validator(&schema);
    let values = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(7),
        json!(-1),
        json!(1.5),
        json!(33554432),
        json!(4294967295u32),
        json!(4294967296u64),
        json!([]),
        json!([1]),
        json!([null]),
        json!(["insert", "update"]),
        json!({}),
        json!({"x": 1}),
        json!(1000),
        json!(1001),
        json!([{}]),
        json!([{"tables": []}]),
        json!([{"tables": ["a.b"], "x": 1}]),
        json!([{"tables": ["a.b"], "partitions": 1000, "partition": 7}]),
        json!([{"tables": ["a.b"], "partitions": 0}]),
        json!([{"tables": ["a.b"], "topic": null}]),
        json!({"a.b": []}),
        json!({"a.b": ["id", "id"]}),
        json!({"a.b": ["id", "x"]}),
        json!({"a.b": [1]}),
        json!({"a.b": null}),
    ];
    let mut taken = 0;
    let sections = [
        "parameters",
        "secrets",
        "fluvio",
        "producer",
        "retry",
        "metrics",
    ];
    let sections = sections.map(str::to_owned).into_iter();
    for path in leaves(&schema).into_iter().chain(sections) {
        for value in &values {
            let config = with_value(&path, value);
            if validator.is_valid(&config) {
                assert!(is_parsed(&config), "{path}: {value}");
                taken += 1;
            }
        }
    }
    assert!(taken > 45, "{taken}");
}

/// The spelling of a key that the example does not have.
fn respelled(path: &str) -> Option<String> {
    let (section, key) = path
        .rsplit_once('.')
        .map_or((None, path), |(s, key)| (Some(s), key));
    let other = match key.contains('-') {
        true => key.replace('-', "_"),
        false => key.replace('_', "-"),
    };
    let is_another = other != key && key != "FLUVIO_PG_DATABASE_URL";
    is_another.then(|| section.map_or(other.clone(), |section| format!("{section}.{other}")))
}

#[test]
fn a_key_has_two_spellings_and_one_of_them_at_a_time() {
    let schema = schema("config");
    let validator = validator(&schema);
    let all = with_optional_keys(&text());
    let all = read(&all).expect("the example is YAML");
    let check = |validator: &Validator, config: &Value, expected: bool| {
        assert_eq!(validator.is_valid(config), expected, "{config}");
        assert_eq!(is_parsed(config), expected, "{config}");
    };
    let mut count = 0;
    for path in leaves(&schema) {
        let Some(other) = respelled(&path) else {
            continue;
        };
        let value = all.pointer(&format!("/{}", path.replace('.', "/")));
        let value = value.expect("the example has it");
        let mut config = with_value(&other, value);
        check(&validator, &config, true);
        check(&validator, &with_value(&other, &json!({"x": 1})), false);
        let (section, key) = path.split_once('.').unwrap_or(("", &path));
        let map = match section {
            "" => &mut config,
            section => &mut config[section],
        };
        map[key] = value.clone();
        check(&validator, &config, false);
        count += 1;
    }
    assert_eq!(count, 12);
}
