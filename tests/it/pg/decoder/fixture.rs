//! The recorded messages, and how they are recorded.
//!
//! The file has a block for each message, after a first one that says where they come from: a
//! comment, the CopyData in hex, and its record. LSNs, OIDs and times are those of the server;
//! `UPDATE_EXPECT=1` records it anew.

use super::{hex, push, records};
use crate::support::pipeline::DEADLINE;
use crate::support::postgres::{Database, Postgres, unique};
use postgres_source::change::Batch;
use postgres_source::change::Catalog;
use postgres_source::pg::ConnectParams;
use postgres_source::pg::{ReplicationConnection, StreamMessage, Wanted};
use postgres_source::record::RawText;
use std::fmt::Write as _;
use std::fs;
use std::sync::OnceLock;
use std::time::Instant;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pgoutput.txt");

/// XLogData: its tag, two positions and a time stand before the plugin's message.
const HEADER_BYTES: usize = 25;

/// What is there before the recording begins. Floats have no exponent, whose `e` has two forms.
const SETUP: &str = r#"
    CREATE EXTENSION citext;
    CREATE SCHEMA "other é";
    CREATE TYPE "other é".mood AS ENUM ('sad', 'fine');
    CREATE DOMAIN small AS int4;
    CREATE TABLE every (
        k int4, part varchar(9), b bool, c "char", i2 int2, i8 int8, o oid, f4 float4, f8 float8,
        t text, n numeric(9, 3), d date, m "other é".mood, s small, ci citext,
        PRIMARY KEY (k, part));
    CREATE TABLE "other é".whole (id serial PRIMARY KEY, t text);
    ALTER TABLE "other é".whole REPLICA IDENTITY FULL;
    CREATE TABLE part (code text NOT NULL, id int4);
    CREATE UNIQUE INDEX part_code ON part (code);
    ALTER TABLE part REPLICA IDENTITY USING INDEX part_code;
    CREATE TABLE log (t text);
    ALTER TABLE log REPLICA IDENTITY NOTHING;
    CREATE TABLE big (id int4 PRIMARY KEY, large text, n int4);
    ALTER TABLE big ALTER large SET STORAGE EXTERNAL;
    INSERT INTO big VALUES (1, repeat('x', 5000), 0);
"#;

/// Each is one transaction.
const SCRIPT: [&str; 9] = [
    r#"INSERT INTO every VALUES
        (1, 'a', true, 'c', -32768, 9223372036854775807, 4294967295, 0.1, -1.5, E'q"\\\n😀', -0.5,
         '4713-01-01 BC', 'fine', 7, 'MiXed'),
        (2, '', false, (-1)::"char", 0, 0, 0, 'NaN', '-Infinity', '', 'NaN', 'infinity', 'sad', -7, '')"#,
    "INSERT INTO every (k, part) VALUES (3, 'c')",
    "UPDATE every SET b = NULL WHERE k = 1; UPDATE every SET k = 4 WHERE k = 3",
    "DELETE FROM every WHERE k = 4",
    r#"INSERT INTO "other é".whole (t) VALUES ('x'); UPDATE "other é".whole SET t = NULL;
       DELETE FROM "other é".whole"#,
    "INSERT INTO part VALUES ('a', 1); UPDATE part SET code = 'b'; DELETE FROM part",
    "INSERT INTO log VALUES ('x')",
    "UPDATE big SET n = 1",
    r#"TRUNCATE every, "other é".whole RESTART IDENTITY CASCADE"#,
];

/// A transaction that came from another server; the session says so before.
const FROM_ELSEWHERE: &str = "BEGIN;
    SELECT pg_replication_origin_xact_setup('16/B374D848', '2020-01-01 00:00:00+00');
    INSERT INTO log VALUES ('y');
    COMMIT";

/// The origin's name; origins belong to the whole server, so one recording at a time.
const ORIGIN: &str = "decoder_origin";

/// One recorded message.
#[derive(Debug)]
pub struct Golden {
    /// Its place in the file.
    pub index: usize,
    /// The SQL of a begin's transaction, or what the message is.
    pub comment: String,
    /// The CopyData.
    pub payload: Vec<u8>,
    /// The record.
    pub json: String,
}

impl Golden {
    /// The plugin's message.
    pub fn data(&self) -> &[u8] {
        &self.payload[HEADER_BYTES..]
    }
}

/// The messages of the file.
pub fn fixture() -> &'static [Golden] {
    static FIXTURE: OnceLock<Vec<Golden>> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            let recorded = record().expect("a fixture needs a server from version 11 on");
            fs::write(PATH, written(recorded)).expect("the fixture can be written");
        }
        let text = fs::read_to_string(PATH)
            .unwrap_or_else(|error| panic!("{PATH}: {error}; UPDATE_EXPECT=1 records it"));
        parse(&text)
    })
}

/// Runs the script and records what this server sends; none from version 10, which does not
/// decode all of it.
pub fn record() -> Option<&'static [Golden]> {
    static RECORDED: OnceLock<Option<Vec<Golden>>> = OnceLock::new();
    RECORDED
        .get_or_init(|| (Postgres::shared().major() > 10).then(run_script))
        .as_deref()
}

fn run_script() -> Vec<Golden> {
    let database = Postgres::shared().database("decoder");
    let (slot, publication) = (unique("decoder"), unique("decoder"));
    database.execute(SETUP);
    database.execute(&format!("SELECT pg_replication_origin_create('{ORIGIN}')"));
    database.execute(&format!("CREATE PUBLICATION {publication} FOR ALL TABLES"));
    database.create_slot(&slot);
    for transaction in SCRIPT {
        database.execute(transaction);
    }
    let mut client = database.client();
    for statement in [
        &format!("SELECT pg_replication_origin_session_setup('{ORIGIN}')"),
        FROM_ELSEWHERE,
        "SELECT pg_replication_origin_session_reset()",
    ] {
        client.batch_execute(statement).unwrap();
    }
    let payloads = receive(&database, &slot, &publication);
    // Not before: the server leaves out an origin that is not there any more when it decodes.
    database.execute(&format!("SELECT pg_replication_origin_drop('{ORIGIN}')"));
    let (mut batch, mut catalog) = (Batch::default(), Catalog::default());
    for payload in &payloads {
        push(payload, &mut batch, &mut catalog).unwrap();
    }
    let mut transactions = SCRIPT.iter().chain([&FROM_ELSEWHERE]);
    let records = records(&batch, RawText::Bytes);
    payloads
        .into_iter()
        .zip(records)
        .enumerate()
        .map(|(index, (payload, json))| Golden {
            index,
            comment: match kind(&json) {
                kind if kind == "begin" => {
                    let sql = transactions
                        .next()
                        .expect("no more begins than transactions");
                    format!("begin: {}", one_line(sql))
                }
                kind => kind,
            },
            payload,
            json,
        })
        .collect()
}

/// The CopyData of every message up to the last commit of the script.
fn receive(database: &Database, slot: &str, publication: &str) -> Vec<Vec<u8>> {
    let target = ConnectParams::parse(&database.url(), "recorder").unwrap();
    let connection = ReplicationConnection::connect(&target).unwrap();
    let mut stream = connection.start(slot, Wanted::of(publication)).unwrap();
    let deadline = Instant::now() + DEADLINE;
    let (mut payloads, mut commits) = (Vec::new(), 0);
    while commits <= SCRIPT.len() {
        assert!(Instant::now() < deadline, "{commits} transactions came");
        match stream.message().unwrap() {
            Some(StreamMessage::XLogData { envelope, data }) => {
                commits += usize::from(data.starts_with(b"C"));
                let (start, end) = (envelope.wal_start.0, envelope.wal_end.0);
                let header = [start.to_be_bytes(), end.to_be_bytes()].concat();
                let timestamp = envelope.timestamp.to_be_bytes();
                payloads.push([b"w", &header[..], &timestamp, data].concat());
            }
            Some(StreamMessage::Keepalive { .. }) => {}
            None => drop(stream.wait().unwrap()),
        }
    }
    stream.end().unwrap();
    payloads
}

fn kind(json: &str) -> String {
    let record: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let kind = record["message"]["type"].as_str();
    kind.expect("every message has a type").to_owned()
}

fn one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn written(goldens: &[Golden]) -> String {
    let version = Postgres::shared().major();
    let mut text = format!("# Messages of pgoutput, version 1, from PostgreSQL {version}\n\n");
    for golden in goldens {
        let Golden {
            comment,
            payload,
            json,
            ..
        } = golden;
        writeln!(text, "# {comment}\n{}\n{json}\n", hex(payload)).expect("a string takes it");
    }
    text
}

fn parse(text: &str) -> Vec<Golden> {
    text.trim_end()
        .split("\n\n")
        .skip(1)
        .enumerate()
        .map(|(index, block)| {
            let lines: Vec<&str> = block.lines().collect();
            let [comment, payload, json] = lines[..] else {
                panic!("not three lines: {block}")
            };
            Golden {
                index,
                comment: comment.trim_start_matches("# ").to_owned(),
                payload: unhex(payload),
                json: json.to_owned(),
            }
        })
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0, "{text}");
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap_or_else(|e| panic!("{e}: {text}")))
        .collect()
}
