//! What is wrong with a config file, and that no error of it shows a secret.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::connector::{Connector, URL_VARIABLE};
use crate::support::outcome::{FAIL_DEADLINE, assert_end};

/// A URL with a password that nothing may show.
pub const URL: &str = "postgres://u:hunter2@127.0.0.1:1/db";

/// Seven lines that are a config, with `more` from the eighth on.
pub fn with(more: &str) -> String {
    format!(
        "version: 0.2.0\nname: n\ntype: postgres-source\ntopic: t\nparameters:\n  \
         publication: p\n  slot: s\n{more}"
    )
}

/// A directory for the files of a test.
pub struct Home(pub TempDir);

impl Home {
    pub fn new() -> Home {
        Home(tempfile::tempdir().expect("a temporary directory can be made"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("it can be made");
        fs::write(&path, text).expect("a file can be written");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
        path
    }
}

/// Asserts that `run` on the file ends with 78 and says where and what.
#[track_caller]
fn assert_refused(path: &Path, variables: &[(&str, &str)], says: &[&str]) -> String {
    let mut connector = Connector::spawn_with(path, &["--stdout"], variables);
    assert_not_in_cmdline(&connector);
    let code = connector.wait_exit(FAIL_DEADLINE);
    assert_end((code, connector.log(), connector.stdout_lines()), 78, says)
}

pub fn assert_not_in_cmdline(connector: &Connector) {
    // It may have ended already; then nobody can look at it any more.
    let cmdline = fs::read(format!("/proc/{}/cmdline", connector.pid())).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&cmdline).contains("hunter2"));
}

/// Texts that are no config, and what is said of them.
pub fn refused() -> Vec<(String, &'static str)> {
    let mut cases = vec![
        (
            with("frobnicate: 1"),
            "unknown field `frobnicate`, expected one of `version`, `name`",
        ),
        (with("frobnicate: 1"), "`max_lag`, `metrics`, `log`"),
        (with("frobnicate: 1"), " at line 8 "),
        (
            with("  slots: s"),
            "parameters: unknown field `slots`, expected one of `publication`, `slot`",
        ),
        (with("  slots: s"), " at line 8 "),
        (
            with("producer: { size: 1MB }"),
            "producer: unknown field `size`, expected one of `linger`",
        ),
        (
            with("partition: first"),
            "partition: expected the number of a partition, table or key at line 8 column 12",
        ),
        (
            with("  tables: pets"),
            "parameters.tables: invalid type: a string, expected a sequence at line 8",
        ),
        (
            with("create-topic: perhaps"),
            "create-topic: invalid type: a string, expected a boolean at line 8",
        ),
        (
            with("  skip_setup: perhaps"),
            "parameters.skip_setup: expected true or false at line 8 column 15",
        ),
        (
            with("  publish: [insert, upsert]"),
            "expected insert, update, delete or truncate at line 8",
        ),
        (
            with("  publish_via_partition_root: leaf"),
            "parameters.publish_via_partition_root: expected true or false at line 8",
        ),
        (
            with("  generated_columns: all"),
            "parameters.generated_columns: expected none or stored at line 8",
        ),
        (
            with("  origin: here"),
            "parameters.origin: expected any or none at line 8",
        ),
        (
            with("  messages: outbox"),
            "parameters.messages: invalid type: a string, expected a sequence at line 8",
        ),
        (
            with("").replace("  slot: s\n", ""),
            "parameters: missing field `slot` at line 6",
        ),
        (
            with("").replace("name: n\n", ""),
            "missing field `name` at line 1",
        ),
        (
            with("").replace("topic: t\n", ""),
            "missing field `topic`: the topic to write into",
        ),
        (
            with("").replace("slot: s", "slot: My-Slot"),
            "parameters.slot: expected a slot name: 1 to 63 lower-case letters, digits and \
             underscores at line 7 column 9",
        ),
        (
            with("").replace("slot: s", &format!("slot: {}", "s".repeat(64))),
            "parameters.slot: expected a slot name: 1 to 63",
        ),
        (
            with("").replace("postgres-source", "http-source"),
            "type: expected \"postgres-source\": this program is no other connector at line 3 \
             column 7",
        ),
        (
            with("transforms:\n  - uses: infinyon/jolt@0.4.1"),
            "transforms: invalid type: sequence, expected no such key: SmartModules do \
             not run inside this connector; attach them to the topic's consumers",
        ),
        (with("transforms: {}"), " at line 8 "),
        (
            with("status_interval: soon"),
            "status_interval: expected a duration of at least 1ms, such as 500ms, 10s or 1m at line 8 column 18",
        ),
        (
            with("status_interval: 0"),
            "status_interval: expected a duration of at least 1ms",
        ),
        (
            with("producer: { linger: 10 }"),
            "producer.linger: expected a duration such as 500ms, 10s or 1m",
        ),
        (
            with("producer: { batch-size: big }"),
            "producer.batch-size: expected a size such as 16KB or 1MB, at most 32MiB",
        ),
        (
            with("producer: { compression: rar }"),
            "producer.compression: expected none, gzip, snappy, lz4 or zstd",
        ),
        (
            with("retry: { min: 2s, max: 1s }"),
            "retry: \"min\" is longer than \"max\"",
        ),
        (with("topic: u"), "duplicate field `topic` at line 8"),
        (
            with("log: loud"),
            "log: expected off, error, warn, info, debug or trace at line 8",
        ),
        (
            with("fluvio: { endpoint: localhost }"),
            "fluvio.endpoint: expected host:port at line 8",
        ),
        (
            with("raw_text: hex"),
            "raw_text: expected bytes or string at line 8",
        ),
        (
            with("").replace("name: n", "name: \"a\\0b\""),
            "name: expected a name: 1 to 255 bytes, none of them a control character at line 2",
        ),
        (
            with("").replace("name: n", "name: \"a\\nb\""),
            "name: expected a name: 1 to 255 bytes",
        ),
        (
            with("").replace("name: n", &format!("name: {}", "n".repeat(256))),
            "name: expected a name: 1 to 255 bytes",
        ),
        (
            with("").replace("publication: p", "publication: |\n    p"),
            "parameters.publication: expected the name of a publication",
        ),
        (
            with("  tables: [\"a\\tb\"]"),
            "expected the name of a table, without control characters at line 8",
        ),
        (
            with("fluvio: { endpoint: \"a\\e[2J:1\" }"),
            "fluvio.endpoint: expected host:port",
        ),
        (
            with("state_dir: \"a\\0b\""),
            "state_dir: expected a path at line 8",
        ),
        (
            with("metrics: { textfile: '' }"),
            "metrics.textfile: expected a path at line 8",
        ),
        (
            with("secrets: { FLUVIO_PG_DATABASE_URL: ' ' }"),
            "secrets.FLUVIO_PG_DATABASE_URL: expected postgres://",
        ),
        (
            with("retry: { <<: { min: 1s } }"),
            "a merge key (<<) is not understood: write the keys out where they belong",
        ),
        (
            with("x-common: &c { min: 1s }\nretry:\n  <<: *c"),
            "a merge key (<<) is not understood",
        ),
    ];
    cases.extend(refused_ways());
    cases
}

/// Formats, topics, partitions and keys that are none, and what is said of them.
fn refused_ways() -> Vec<(String, &'static str)> {
    vec![
        (
            with("partition: -1"),
            "partition: invalid type: integer `-1`, expected the number of a partition, table or key",
        ),
        (
            with("partitions: 0"),
            "partitions: invalid value: integer `0`, expected a number from 1 to 1000 at line 8",
        ),
        (
            with("partitions: 1001"),
            "partitions: invalid value: integer `1001`, expected a number from 1 to 1000 at line 8",
        ),
        (
            with("partitions: many"),
            "partitions: invalid type: a string, expected a number from 1 to 1000 at line 8",
        ),
        (
            with("format: avro"),
            "format: expected events or rows at line 8",
        ),
        (
            with("int8: text"),
            "int8: expected number or string at line 8",
        ),
        (
            with("json: string"),
            "json: expected value or text at line 8",
        ),
        (
            with("").replace("topic: t", "topic: cdc-{tabel}"),
            "topic: expected a topic name: 1 to 63 lower-case letters, digits and inner hyphens, in which {schema} and {table} stand for a table's names (in quotes if it begins with one) at line 4 column 8",
        ),
        (
            with("").replace("topic: t", "topic: {table}"),
            "topic: invalid type: map, expected a topic name: 1 to 63",
        ),
        (
            with("").replace("topic: t", "topic: cdc-{table"),
            "topic: expected a topic name",
        ),
        (
            with("routes: { tables: [a.b] }"),
            "routes: invalid type: map, expected a sequence at line 8",
        ),
        (
            with("routes: [a.b]"),
            "routes[0]: invalid type: a string, expected a route: { tables: [public.t], topic: t } at line 8",
        ),
        (
            with("routes: [{ topic: u }]"),
            "routes[0]: missing field `tables` at line 8",
        ),
        (
            with("routes: [{ tables: [] }]"),
            "routes[0]: expected at least one of \"tables\" at line 8",
        ),
        (
            with("routes: [{ tables: [pets] }]"),
            "routes[0].tables[0]: expected schema.table, each quoted as in SQL where that is needed, or with * for any characters where it is not quoted at line 8",
        ),
        (
            with("routes: [{ tables: [a.b], key: [id] }]"),
            "routes[0]: unknown field `key`, expected one of `tables`, `topic`, `partitions`, `partition` at line 8",
        ),
        (
            with("routes: [{ tables: [a.b], topic: A }]"),
            "routes[0].topic: expected a topic name",
        ),
        (
            with("keys: [id]"),
            "keys: invalid type: sequence, expected a map of tables, each with the columns of its key: public.t: [id] at line 8",
        ),
        (
            with("keys: { t: [id] }"),
            "keys: expected schema.table, each quoted as in SQL where that is needed at line 8",
        ),
        (
            with("keys: { \"public.*\": [id] }"),
            "keys: expected schema.table, each quoted as in SQL where that is needed at line 8",
        ),
        (
            with("keys: { a.b: [] }"),
            "keys: expected the columns of the key, each of them once at line 8",
        ),
        (
            with("keys: { a.b: [id, id] }"),
            "keys: expected the columns of the key, each of them once at line 8",
        ),
        (
            with("keys: { a.b: [x y] }"),
            "keys[0]: expected the name of a column, quoted as in SQL where that is needed at line 8",
        ),
        (
            with("keys: { a.b: [id], A.B: [id] }"),
            "keys: expected each table once at line 8",
        ),
        (
            with("partition: key"),
            "the tables without a route: \"partition: key\" with \"format: events\": the changes of a row would be taken out of their transactions, whose begin and commit are in one partition (hint: set \"partition: table\", or \"format: rows\")",
        ),
        (
            with("routes: [{ tables: [a.b], partition: key }]"),
            "the route of a.b: \"partition: key\" with \"format: events\": ",
        ),
        (
            with("partitions: 4\npartition: 4"),
            "the tables without a route: \"partition: 4\" with \"partitions: 4\", which are counted from 0",
        ),
        (
            with("routes: [{ tables: [a.b], topic: t, partitions: 2 }]"),
            "the topic t would have 2 partitions for the route of a.b and 1 for the tables without a route (hint: write the same \"partitions\" for both, or two topics)",
        ),
        (
            with("keys: { a.b: [id] }"),
            "\"keys\" does nothing with \"format: events\": it is of the rows of \"format: rows\" (hint: take it out, or set \"format: rows\")",
        ),
        (
            with("int8: number"),
            "\"int8\" does nothing with \"format: events\": it is of the rows of \"format: rows\" (hint: take it out, or set \"format: rows\")",
        ),
        (
            with("json: text"),
            "\"json\" does nothing with \"format: events\": it is of the rows of \"format: rows\" (hint: take it out, or set \"format: rows\")",
        ),
    ]
}

#[test]
fn every_error_names_file_key_line_and_what_was_expected() {
    let home = Home::new();
    for (text, says) in refused() {
        let path = home.write("config.yaml", &text, 0o600);
        let name = path.display().to_string();
        assert_refused(&path, &[(URL_VARIABLE, URL)], &[&format!("{name}: "), says]);
    }
}

#[test]
fn what_is_no_config_at_all() {
    let home = Home::new();
    let cases: [(&[u8], &str); 6] = [
        (b"{ [", "at line 1"),
        (b"name: n\n\tversion: 1\n", "at line 2"),
        (
            b"just words",
            "expected the keys of a connector's config at line 1",
        ),
        (
            b"- a\n- b\n",
            "expected the keys of a connector's config at line 1",
        ),
        (b"", "missing field `version`"),
        (b"name: \xff\n", "UTF-8"),
    ];
    for (text, says) in cases {
        let path = home.path("config.yaml");
        fs::write(&path, text).expect("a file can be written");
        let name = path.display().to_string();
        assert_refused(&path, &[(URL_VARIABLE, URL)], &[&name, says]);
    }
    for (path, says) in [
        (home.path("missing.yaml"), "No such file or directory"),
        (home.0.path().to_owned(), "Is a directory"),
    ] {
        let name = format!("{}: cannot read the config file", path.display());
        assert_refused(&path, &[(URL_VARIABLE, URL)], &[&name, says]);
    }
}

#[test]
fn a_file_that_may_not_be_read() {
    let home = Home::new();
    let path = home.write("config.yaml", &with(""), 0o000);
    let is_root = fs::metadata("/proc/self").expect("Linux has it").uid() == 0;
    let program = env!("CARGO_BIN_EXE_postgres-source");
    let mut command = Command::new(if is_root { "setpriv" } else { program });
    if is_root {
        // Root reads everything, unless that capability is taken away.
        command.args(["--bounding-set=-dac_override,-dac_read_search", program]);
    }
    let output = command
        .args(["run", "--config"])
        .arg(&path)
        .env(URL_VARIABLE, URL)
        .env_remove("RUST_LOG")
        .output()
        .expect("the program runs");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let name = format!(
        "{}: cannot read the config file: Permission denied",
        path.display()
    );
    let code = output.status.code().expect("it ended by itself");
    assert_end((code, log, Vec::new()), 78, &[&name]);
}

/// The secret in a wrong place is not repeated.
#[test]
fn a_secret_in_a_wrong_place_is_not_shown() {
    let home = Home::new();
    for text in [
        with(&format!("secrets: {URL}")),
        with(&format!("secrets: {{ DATABASE_URL: {URL} }}")),
        with(&format!("secrets: [ {URL} ]")),
        with(&format!("secrets: {{ \"{URL}\": 1 }}")),
        with(&format!(
            "secrets: {{ FLUVIO_PG_DATABASE_URL: {{ {URL}: 1 }} }}"
        )),
        with(&format!("{URL}: 1")),
        with(&format!("log: {URL}")),
        with(&format!("partition: {URL}")),
        with(&format!("partitions: {URL}")),
        with(&format!("format: {URL}")),
        with(&format!("routes: [ {URL} ]")),
        with(&format!("routes: [{{ tables: [ {URL} ] }}]")),
        with(&format!("routes: [{{ tables: [ a.b ], topic: {URL} }}]")),
        with(&format!("keys: {{ {URL}: [id] }}")),
        with(&format!("keys: {{ a.b: [ {URL} ] }}")),
        with(&format!("keys: {{ '\"{URL}\".b': [1 2] }}")),
        with(&format!("keys: {{ '\"{URL}\".\"]\"\"\\\"': {URL} }}")),
        with(&format!(
            "keys: {{ '\"{URL}\".b': [a], '\"{URL}\".b': [a] }}"
        )),
        with(&format!("fluvio: {{ endpoint: {URL} }}")),
        with("").replace("slot: s", &format!("slot: {URL}")),
        with("").replace("postgres-source", URL),
        with(&format!(
            "secrets: {{ FLUVIO_PG_DATABASE_URL: '{URL}?sslmode=always' }}"
        )),
        with("secrets: { FLUVIO_PG_DATABASE_URL: 'postgres:/u:hunter2@h/db' }"),
        with("secrets: { FLUVIO_PG_DATABASE_URL: 'postgres://u:hunter2@h:port/db' }"),
        with("secrets: { FLUVIO_PG_DATABASE_URL: 'postgres://u:hunter2@h/db?hunter2=1' }")
            .replace("hunter2=1", "keepalives=hunter2"),
        with("secrets: { FLUVIO_PG_DATABASE_URL: 'hunter2' }"),
        with("secrets: { FLUVIO_PG_DATABASE_URL: 'host=h password=hunter2 hunter2=1' }"),
        URL.to_owned(),
    ] {
        let path = home.write("config.yaml", &text, 0o600);
        assert_refused(&path, &[], &[]);
        let variables = [("RUST_LOG", "trace")];
        assert_refused(&path, &variables, &[]);
    }
}

#[test]
fn the_environment_is_held_to_the_same_rules() {
    let home = Home::new();
    let path = home.write("config.yaml", &with(""), 0o600);
    let cases = [
        (
            "FLUVIO_PG_SLOT",
            "My-Slot",
            "FLUVIO_PG_SLOT: expected a slot name: 1 to 63",
        ),
        (
            "FLUVIO_PG_PUBLICATION",
            "a name of more than sixty-three bytes, which no identifier can be",
            "FLUVIO_PG_PUBLICATION: expected the name of a publication",
        ),
        (
            "FLUVIO_PG_DATABASE_URL_FILE",
            "/no/such/file",
            "cannot read the secret FLUVIO_PG_DATABASE_URL from /no/such/file",
        ),
        (
            "OTHER",
            "",
            "no database URL: the secret FLUVIO_PG_DATABASE_URL is missing (hint: set",
        ),
    ];
    for (name, value, says) in cases {
        let mut variables = vec![(name, value)];
        if name.starts_with("FLUVIO_PG_SLOT") || name.starts_with("FLUVIO_PG_PUBLICATION") {
            variables.push((URL_VARIABLE, URL));
        }
        assert_refused(&path, &variables, &[says]);
    }
}
