//! Values so large that their records are not held whole: what that takes in memory.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use crate::support::connector::{ConfigFile, Connector, piped, process};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Postgres, unique};

/// Beside the value as the server sends it.
const REST_KB: u64 = 32 * 1024;

/// A value made of the same piece again and again.
struct Value {
    column: &'static str,
    /// What makes it, with `{n}` for how often.
    expression: &'static str,
    raw_text: &'static str,
    times: usize,
    /// What the server sends of it: before the pieces, and of each.
    sent: (&'static str, &'static str),
    /// What a record has before it, of each piece, and behind it.
    written: (String, String, &'static str),
}

impl Value {
    fn sent_kb(&self) -> u64 {
        let (head, piece) = self.sent;
        ((head.len() + piece.len() * self.times) / 1024) as u64
    }

    fn insert(&self) -> String {
        let expression = self.expression.replace("{n}", &self.times.to_string());
        format!("INSERT INTO large VALUES (7, {expression})")
    }

    fn create(&self) -> String {
        format!("CREATE TABLE large (id int8, body {})", self.column)
    }

    fn escaped(times: usize) -> Value {
        Value {
            column: "text",
            expression: r"repeat(E'\x01\x02\x03', {n})",
            raw_text: "bytes",
            times,
            sent: ("", "\u{1}\u{2}\u{3}"),
            written: (
                r#"{"String":""#.into(),
                r"\u0001\u0002\u0003".into(),
                r#""}"#,
            ),
        }
    }

    fn bytea_as_bytes(times: usize) -> Value {
        let numbers = |text: &str| text.bytes().map(|byte| format!(",{byte}")).collect();
        Value {
            column: "bytea",
            expression: r"decode(repeat('0123456789abcdef', {n}), 'hex')",
            raw_text: "bytes",
            times,
            sent: (r"\x", "0123456789abcdef"),
            written: (
                r#"{"RawText":[92,120"#.into(),
                numbers("0123456789abcdef"),
                "]}",
            ),
        }
    }

    fn bytea_as_string(times: usize) -> Value {
        Value {
            raw_text: "string",
            written: (
                r#"{"String":"\\x"#.into(),
                "0123456789abcdef".into(),
                r#""}"#,
            ),
            ..Value::bytea_as_bytes(times)
        }
    }
}

/// The program with its standard output in our hands: one line is more than a test should hold.
struct Streamed {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Streamed {
    fn spawn(config: &Path, url: &str) -> Streamed {
        let mut child = piped(config, url, Stdio::null());
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Streamed { child, stdout }
    }

    /// Reads lines until one begins as an insert does, and that up to its first value.
    fn skip_to_insert(&mut self) {
        let mut line = Vec::new();
        loop {
            line.clear();
            self.stdout.read_until(b',', &mut line).expect("it is read");
            assert!(!line.is_empty(), "the program ended");
            if line.ends_with(br#""message":{"type":"insert","#) {
                break;
            }
        }
        let tuple = br#""tuple":["#;
        self.stdout.read_until(b'[', &mut line).expect("it is read");
        assert!(line.ends_with(tuple), "{}", String::from_utf8_lossy(&line));
    }

    #[track_caller]
    fn expect(&mut self, expected: &[u8], what: &str) {
        let mut found = vec![0; expected.len()];
        self.stdout.read_exact(&mut found).expect("it is read");
        assert!(found == expected, "{what}");
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn to_standard_output(value: &Value) {
    let database = Postgres::shared().database("large");
    let slot = unique("large");
    let config = ConfigFile::new("t", &slot, &slot).set("raw_text", value.raw_text);
    database.execute(&value.create());
    let mut streamed = Streamed::spawn(&config.path(), &database.url());
    database.wait_slot_active(&slot);
    database.execute(&value.insert());
    streamed.skip_to_insert();
    let (head, piece, end) = &value.written;
    streamed.expect(format!("{{\"Int8\":7}},{head}").as_bytes(), "the beginning");
    const TOGETHER: usize = 1000;
    assert_eq!(value.times % TOGETHER, 0);
    let pieces = piece.repeat(TOGETHER);
    for at in 0..value.times / TOGETHER {
        streamed.expect(pieces.as_bytes(), &format!("thousand {at}"));
    }
    streamed.expect(format!("{end}]}}}}\n").as_bytes(), "the end");
    let peak = process::peak_rss_kb(streamed.child.id());
    let sent = value.sent_kb();
    assert!(
        peak <= sent + REST_KB,
        "{peak} KiB for a value of {sent} KiB"
    );
}

#[test]
fn a_bytea_to_standard_output_takes_little_beside_its_text() {
    to_standard_output(&Value::bytea_as_bytes(2_000_000));
}

#[test]
fn a_bytea_as_a_string_takes_no_more() {
    to_standard_output(&Value::bytea_as_string(2_000_000));
}

#[test]
fn a_text_that_grows_by_its_escapes_takes_no_more() {
    to_standard_output(&Value::escaped(3_000_000));
}

/// It ends with the error of a record that is too large, and takes no more than to know that.
fn beyond_the_limit(value: &Value) {
    let pipeline = Pipeline::new("large");
    pipeline.database.execute(&value.create());
    let config = pipeline.config().set("raw_text", value.raw_text);
    let mut connector = pipeline.start_with(&config);
    pipeline.database.execute(&value.insert());
    let (code, peak) = connector.wait_exit_and_peak_rss(DEADLINE);
    let log = connector.log();
    assert_eq!(code, 65, "{log}");
    for part in [
        "insert into public.large at ",
        "bytes in one batch",
        "33554432",
    ] {
        assert!(log.contains(part), "{part} in {log}");
    }
    let sent = value.sent_kb();
    assert!(
        peak <= sent + REST_KB,
        "{peak} KiB for a value of {sent} KiB"
    );
    assert!(
        pipeline
            .records()
            .iter()
            .all(|record| record.kind() != "insert")
    );
}

#[test]
fn a_bytea_beyond_the_limit_is_refused_before_it_is_rendered() {
    beyond_the_limit(&Value::bytea_as_bytes(2_000_000));
}

#[test]
fn a_bytea_as_a_string_beyond_the_limit_too() {
    beyond_the_limit(&Value::bytea_as_string(4_000_000));
}

#[test]
fn a_text_that_its_escapes_bring_beyond_the_limit_too() {
    beyond_the_limit(&Value::escaped(3_000_000));
}

/// Just under the limit it is stored: its bytes are held twice, in the batch and in the request.
fn under_the_limit(value: &Value) {
    let pipeline = Pipeline::new("large");
    pipeline.database.execute(&value.create());
    let config = pipeline.config().set("raw_text", value.raw_text);
    let connector: Connector = pipeline.start_with(&config);
    pipeline.database.execute(&value.insert());
    pipeline.wait_caught_up();
    let peak = connector.peak_rss_kb();
    let records = pipeline.cluster().records(&pipeline.topic);
    let (head, piece, end) = &value.written;
    let tuple = format!(
        "[{{\"Int8\":7}},{head}{}{end}]}}}}",
        piece.repeat(value.times)
    );
    let longest = records.iter().max_by_key(|record| record.len());
    let longest = longest.expect("there are records");
    assert!(longest.ends_with(tuple.as_bytes()));
    let record = (longest.len() / 1024) as u64;
    assert!(
        peak <= 2 * record + REST_KB,
        "{peak} KiB for a record of {record} KiB"
    );
}

#[test]
fn a_bytea_under_the_limit_takes_twice_its_record() {
    under_the_limit(&Value::bytea_as_bytes(640_000));
}

#[test]
fn a_text_under_the_limit_takes_twice_its_record() {
    under_the_limit(&Value::escaped(1_800_000));
}
