//! Records on standard output: the same as in the topic, confirmed when they are written.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use crate::support::connector::{ConfigFile, Connector, piped};
use crate::support::pipeline::{DEADLINE, Pipeline};
use crate::support::postgres::{Database, Postgres, unique};
use crate::support::record::{Record, last_commit_end, without_repeated_descriptions};
use crate::support::wait_until;

/// What Linux lets stand in a pipe.
const PIPE_BYTES: usize = 64 * 1024;

#[test]
fn standard_output_gets_what_the_topic_gets() {
    let pipeline = Pipeline::new("same");
    let database = &pipeline.database;
    database.execute("CREATE TABLE pets (id int PRIMARY KEY, name text, born date)");
    let topic = pipeline.start();
    let config = pipeline.config().parameter("slot", &unique("same_out"));
    let mut stdout = Connector::spawn_config(&config, &database.url(), &["--stdout"]);
    stdout.wait_log("to standard output", DEADLINE);

    database
        .execute("INSERT INTO pets VALUES (1, 'Üli \"the\" cat\n', '2020-01-01'), (2, NULL, NULL)");
    database.execute("UPDATE pets SET name = 'Tom' WHERE id = 2; DELETE FROM pets WHERE id = 1");
    database.execute("TRUNCATE pets");
    let in_topic = without_empty(pipeline.settled());
    let end = last_commit_end(&in_topic);
    let last = format!("\"end_lsn\":{end},");
    let on_stdout = stdout.wait_stdout(DEADLINE, |lines| {
        lines.iter().any(|line| line.contains(&last))
    });

    // Each walsender stamps its messages with the time at which it sends them, and may forget what it has
    // described.
    let without_time = |records: Vec<Record>| -> Vec<Value> {
        let remove = |record: &Record| {
            let mut value = record.0.clone();
            let envelope = value.as_object_mut().expect("an object");
            envelope.shift_remove("timestamp").expect("a time");
            value
        };
        let records = without_repeated_descriptions(&records);
        records.into_iter().map(remove).collect()
    };
    let lines: Vec<Vec<u8>> = on_stdout.into_iter().map(String::into_bytes).collect();
    let on_stdout = without_empty(Record::parse_all(&lines));
    assert_eq!(without_time(on_stdout), without_time(in_topic));

    stdout.sigterm();
    assert_eq!(stdout.wait_exit(DEADLINE), 0, "{}", stdout.log());
    let slot = config.yaml();
    let (_, slot) = slot.split_once("slot: ").expect("the config has it");
    let slot = slot.lines().next().expect("a name");
    assert!(database.slot_confirmed_lsn(slot) >= Some(end));
    drop(topic);
}

/// Servers up to 14 also send transactions without changes, and what they know of those depends on
/// when the slot was made.
fn without_empty(records: Vec<Record>) -> Vec<Record> {
    let mut kept: Vec<Record> = Vec::new();
    for record in records {
        match kept.last() {
            Some(last) if record.kind() == "commit" && last.kind() == "begin" => drop(kept.pop()),
            _ => kept.push(record),
        }
    }
    kept
}

/// A program whose standard output the test reads, or does not.
struct Writer {
    child: Child,
    stdout: Option<ChildStdout>,
}

impl Writer {
    fn spawn(config: &Path, url: &str) -> Writer {
        let mut child = piped(config, url, Stdio::piped());
        let stdout = child.stdout.take();
        Writer { child, stdout }
    }

    fn wait_exit(&mut self) -> (Option<i32>, String) {
        let mut status = None;
        wait_until("the program ends", DEADLINE, || {
            status = self.child.try_wait().expect("it is ours");
            status.is_some()
        });
        let mut log = String::new();
        let stderr = self.child.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut log).expect("stderr is text");
        (status.and_then(|status| status.code()), log)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Transactions of a few KB each, more than any pipe holds.
fn fill(database: &Database) {
    database.execute("CREATE TABLE t (id int PRIMARY KEY, filler text)");
    let insert = |id| format!("INSERT INTO t VALUES ({id}, repeat('x', 2000))");
    database.execute_each((1..=400).map(insert));
}

fn plain_config(slot: &str) -> ConfigFile {
    ConfigFile::new("t", slot, slot).set("status_interval", "50ms")
}

#[test]
fn only_what_was_written_is_confirmed() {
    let database = Postgres::shared().database("blocked");
    let slot = unique("blocked");
    let config = plain_config(&slot);
    let mut writer = Writer::spawn(&config.path(), &database.url());
    database.wait_slot_active(&slot);
    database.execute("CREATE TABLE t (id int PRIMARY KEY, filler text)");
    let insert = |id: usize, bytes: usize| {
        database.execute(&format!(
            "INSERT INTO t VALUES ({id}, repeat('x', {bytes}))"
        ));
        database.current_wal_lsn()
    };
    for id in 1..=3 {
        let lsn = insert(id, 2000);
        database.wait_slot_confirmed(&slot, lsn);
    }
    // This one fits into a buffer of the program, and not into the pipe behind the others.
    let target = insert(LAST, PIPE_BYTES - 1500);

    // Everything was sent, and reports came since.
    let ask = |what: &str| {
        database.query_one_text(&format!(
            "SELECT {what} FROM pg_stat_replication
             WHERE pid = (SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{slot}')"
        ))
    };
    wait_until("all is sent", DEADLINE, || {
        ask(&format!("sent_lsn - '0/0'::pg_lsn >= {target}")) == "t"
    });
    for _ in 0..2 {
        let before = database.status_mark(&slot);
        wait_until("a report comes", DEADLINE, || {
            database.status_mark(&slot) != before
        });
    }
    let confirmed = database.slot_confirmed_lsn(&slot).expect("the slot exists");

    // Now the pipe is read: what stands in it was written, and nothing behind it can have been.
    let mut stdout = BufReader::new(writer.stdout.take().expect("a pipe"));
    let mut records = Vec::new();
    let mut line = Vec::new();
    let mut written = 0;
    while !ends_with_row(&records, LAST) {
        line.clear();
        stdout.read_until(b'\n', &mut line).expect("it is read");
        assert_ne!(line.len(), 0, "the program ended: {:?}", writer.wait_exit());
        written += line.len();
        line.pop();
        records.push(Record::parse(&line));
    }
    assert!(written > PIPE_BYTES, "{written} bytes fit into the pipe");
    let last_end = last_commit_end(&records);
    assert!(
        confirmed < last_end,
        "{confirmed} was confirmed, {last_end} was not written"
    );
    database.wait_slot_confirmed(&slot, last_end);
}

/// The last row of a test.
const LAST: usize = 4;

/// Whether the last transaction, with this row at its end, is complete.
fn ends_with_row(records: &[Record], id: usize) -> bool {
    match records {
        [.., row, commit] if commit.kind() == "commit" && row.kind() == "insert" => {
            usize::try_from(row.int(0)) == Ok(id)
        }
        _ => false,
    }
}

#[test]
fn a_closed_standard_output_ends_it_and_loses_nothing() {
    let database = Postgres::shared().database("closed");
    let slot = unique("closed");
    let config = plain_config(&slot);
    let mut writer = Writer::spawn(&config.path(), &database.url());
    database.wait_slot_active(&slot);
    drop(writer.stdout.take());
    fill(&database);
    let (code, log) = writer.wait_exit();
    assert_eq!(code, Some(65), "{log}");
    let last = log.lines().last().unwrap_or_default();
    for part in [
        "cannot write to standard output",
        "Broken pipe",
        "has not been confirmed and will come again",
    ] {
        assert!(last.contains(part), "{log}");
    }

    let again = Connector::spawn_config(&config, &database.url(), &["--stdout"]);
    let last = "{\"Int4\":400}";
    let lines = again.wait_stdout(DEADLINE, |lines| lines.iter().any(|l| l.contains(last)));
    let records: Vec<Vec<u8>> = lines.into_iter().map(String::into_bytes).collect();
    let rows = crate::support::record::inserted(&Record::parse_all(&records));
    assert_eq!(rows, (1..=400).collect::<Vec<_>>());
}
