//! Rows: as a run would write them, whatever topics they go to.

use serde_json::Value;

use super::{peek, prepared, standing, wait_no_copies};
use crate::support::connector::Connector;
use crate::support::pipeline::DEADLINE;

fn parsed(lines: &[String]) -> Vec<Value> {
    let parse =
        |line: &String| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    lines.iter().map(parse).collect()
}

#[test]
fn it_shows_the_rows_that_a_run_would_write_and_leaves_them_there() {
    let place = prepared("peek_rows");
    let database = &place.database;
    let config = place
        .config()
        .set("format", "rows")
        .set("topic", "\"cdc-{table}\"")
        .set("partitions", "3")
        .set("partition", "key");
    let has_messages = database.major() >= 14;
    let config = match has_messages {
        true => config.parameter("messages", "[p]"),
        false => config,
    };
    database
        .execute("INSERT INTO t VALUES (1, 'Üli \"the\" cat\n', '2020-01-01'), (2, NULL, NULL)");
    database.execute("UPDATE t SET id = 3 WHERE id = 1; DELETE FROM t WHERE id = 2");
    database.execute("SELECT pg_logical_emit_message(false, 'p', 'x')");
    database.execute("CREATE TABLE u (id int); INSERT INTO u VALUES (1); TRUNCATE t, u");
    let before = standing(database, &place.slot);

    let (code, log, lines) = peek(&place, &config, &["-n", "1000"]);
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("which is all that was pending"), "{log}");
    assert_eq!(standing(database, &place.slot), before);
    let ops: Vec<(String, bool)> = parsed(&lines)
        .iter()
        .map(|record| {
            let op = record["op"].as_str().expect("an op").to_owned();
            (op, record["last"] == true)
        })
        .collect();
    let mut expected = vec![
        ("insert", false),
        ("insert", true),
        ("update", false),
        ("delete", true),
    ];
    if has_messages {
        expected.push(("message", true));
    }
    // From version 11 on a truncate is sent.
    match database.major() >= 11 {
        true => expected.extend([("insert", false), ("truncate", false), ("truncate", true)]),
        false => expected.push(("insert", true)),
    }
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(op, last)| (op.to_owned(), last))
        .collect();
    assert_eq!(ops, expected);

    let args = ["--stdout", "--once-drained"];
    let mut run = Connector::spawn_config(&config, &database.url(), &args);
    assert_eq!(run.wait_exit(DEADLINE), 0, "{}", run.log());
    assert_eq!(run.stdout_lines(), lines);
    let (code, log, lines) = peek(&place, &config, &[]);
    assert_eq!((code, lines.len()), (0, 0), "{log}");
    wait_no_copies(database);
}

#[test]
fn it_ends_after_so_many_rows() {
    let place = prepared("peek_rows_few");
    let database = &place.database;
    let config = place.config().set("format", "rows");
    database.execute("INSERT INTO t SELECT generate_series(1, 3)");
    database.execute("INSERT INTO t SELECT generate_series(4, 20)");
    for (count, lasts) in [(1, &[][..]), (2, &[]), (3, &[3]), (4, &[3]), (10, &[3])] {
        let (code, log, lines) = peek(&place, &config, &["-n", &count.to_string()]);
        assert_eq!((code, lines.len()), (0, count), "{log}");
        assert!(
            log.contains(&format!("{count} records; there may be more")),
            "{log}"
        );
        let is_last = |(_, record): &(u64, Value)| record["last"] == true;
        let records = (1..).zip(parsed(&lines));
        let found: Vec<u64> = records.filter(is_last).map(|(number, _)| number).collect();
        assert_eq!(found, lasts, "of {count}");
    }
    let (_, log, lines) = peek(&place, &config, &["-n", "20"]);
    assert_eq!(lines.len(), 20, "{log}");
    wait_no_copies(database);
}
