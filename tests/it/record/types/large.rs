//! Values of a hundred megabytes. A topic does not take them; standard output does.

use crate::support::connector::Connector;
use crate::support::pipeline::{DEADLINE, Pipeline};

/// A hundred megabytes are so many pieces of a thousand bytes.
const PIECES: usize = 100_000;

/// Pieces that all differ, so that one that is lost or doubled shows.
fn piece(n: usize) -> String {
    format!("{n:x>1000}")
}

#[test]
fn a_hundred_megabytes() {
    let pipeline = Pipeline::new("types_large");
    pipeline
        .database
        .execute("CREATE TABLE large (t text, b bytea)");
    let config = pipeline.config().set("raw_text", "string");
    let connector = Connector::spawn_config(&config, &pipeline.database.url(), &["--stdout"]);
    connector.wait_log("streaming from", DEADLINE);
    let pieces = format!("FROM generate_series(0, {PIECES} - 1) AS n");
    pipeline.database.execute(&format!(
        "INSERT INTO large VALUES ('', '');
         INSERT INTO large SELECT string_agg(lpad(n::text, 1000, 'x'), '' ORDER BY n), '' {pieces};
         INSERT INTO large SELECT '', decode(repeat('00ff', {PIECES} * 500), 'hex')"
    ));
    let is_commit = |line: &String| {
        let head = line.get(..200).unwrap_or(line);
        head.contains("\"message\":{\"type\":\"commit\"")
    };
    let lines = connector.wait_stdout(2 * DEADLINE, |lines| lines.iter().any(is_commit));
    let tuples: Vec<&str> = lines
        .iter()
        .filter_map(|line| Some(line.split_once("\"tuple\":")?.1))
        .collect();
    let [empty, text, bytes] = tuples[..] else {
        panic!("{} rows", tuples.len())
    };
    assert_eq!(empty, r#"[{"String":""},{"String":"\\x"}]}}"#);
    let text = text.strip_prefix(r#"[{"String":""#).unwrap();
    let text = text.strip_suffix(r#""},{"String":"\\x"}]}}"#).unwrap();
    assert_eq!(text.len(), PIECES * 1000);
    for (n, found) in text.as_bytes().chunks(1000).enumerate() {
        assert_eq!(found, piece(n).as_bytes());
    }
    let bytes = bytes
        .strip_prefix(r#"[{"String":""},{"String":"\\x"#)
        .unwrap();
    let bytes = bytes.strip_suffix(r#""}]}}"#).unwrap();
    assert_eq!(bytes.len(), PIECES * 2000);
    assert!(bytes.as_bytes().chunks(4).all(|digits| digits == b"00ff"));
}
