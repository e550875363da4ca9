//! Messages as a real server sent them: what they render to, and that no damage to them does more
//! than an error.

pub mod fixture;
mod normal;

use crate::support::pipeline::DEADLINE;
use crate::support::script::{Script, frames};
use crate::support::wait_until;
use fixture::{Golden, fixture, record};
use normal::normalized;
use postgres_source::base::Result;
use postgres_source::change::Batch;
use postgres_source::change::Catalog;
use postgres_source::pg::ConnectParams;
use postgres_source::pg::Message;
use postgres_source::pg::{ReplicationConnection, StreamMessage, Wanted};
use postgres_source::record::{RawText, render};
use serde_json::Value;

const KINDS: [&str; 9] = [
    "begin", "commit", "origin", "relation", "type", "insert", "update", "delete", "truncate",
];

/// Takes one CopyData through the decoder and adds it to the batch; a keepalive adds nothing.
fn push(payload: &[u8], batch: &mut Batch, catalog: &mut Catalog) -> Result<()> {
    match StreamMessage::decode(payload)? {
        StreamMessage::Keepalive { .. } => Ok(()),
        StreamMessage::XLogData { envelope, data } => {
            batch.push(envelope, &Message::decode(data)?, catalog)
        }
    }
}

/// The records of a batch. Each must be JSON with one of the nine types, whatever went in.
fn records(batch: &Batch, raw_text: RawText) -> Vec<String> {
    let render = |event| {
        let mut out = Vec::new();
        render(&event, raw_text, &mut out);
        let record = String::from_utf8(out).expect("a record is UTF-8");
        let value: Value =
            serde_json::from_str(&record).unwrap_or_else(|error| panic!("{error}: {record}"));
        let kind = value["message"]["type"].as_str();
        assert!(kind.is_some_and(|kind| KINDS.contains(&kind)), "{record}");
        record
    };
    batch.events().map(render).collect()
}

#[test]
fn goldens_render_as_recorded() {
    let goldens = fixture();
    let (mut batch, mut catalog) = (Batch::default(), Catalog::default());
    for golden in goldens {
        push(&golden.payload, &mut batch, &mut catalog).unwrap();
    }
    let expected: Vec<&str> = goldens.iter().map(|golden| golden.json.as_str()).collect();
    assert_eq!(records(&batch, RawText::Bytes), expected);
    let kinds = KINDS.map(|kind| format!("\"message\":{{\"type\":\"{kind}\""));
    let forms = ["\"UnchangedToast\"", "\"key_tuple\":[", "\"old_tuple\":["];
    for part in kinds.iter().map(String::as_str).chain(forms) {
        let has = expected.iter().any(|json| json.contains(part));
        assert!(has, "the fixture has no {part}");
    }
}

/// The server of this run says the same as the one that was recorded, but for numbers of its own.
#[test]
fn this_server_sends_what_was_recorded() {
    let Some(recorded) = record() else {
        // Version 10 does not decode all of the script.
        return;
    };
    assert_eq!(normalized(recorded), normalized(fixture()));
}

#[test]
fn a_message_that_is_cut_or_too_long_is_an_error() {
    for golden in fixture() {
        let data = golden.data();
        for end in 0..data.len() {
            let cut = Message::decode(&data[..end]);
            assert!(cut.is_err(), "{} bytes of {golden:?}: {cut:?}", end);
        }
        let longer = [data, b"\0"].concat();
        assert!(Message::decode(&longer).is_err(), "{golden:?}");
        for end in 0..golden.payload.len() {
            let (mut batch, mut catalog) = described_before(golden);
            let cut = push(&golden.payload[..end], &mut batch, &mut catalog);
            assert!(cut.is_err(), "{} bytes of {golden:?}", end);
        }
    }
}

/// A flipped bit is an error or shows in the record: no bit that the server sends is ignored.
#[test]
fn every_flipped_bit_is_an_error_or_shows() {
    let (mut errors, mut values) = (0, 0);
    for golden in fixture() {
        for_each_flip(golden, |flipped| {
            let (mut batch, mut catalog) = described_before(golden);
            if push(flipped, &mut batch, &mut catalog).is_err() {
                errors += 1;
                assert!(batch.is_empty(), "an error leaves no event behind");
                return;
            }
            values += 1;
            records(&batch, RawText::String);
            let records = records(&batch, RawText::Bytes);
            assert_ne!(records, [golden.json.as_str()], "{}", hex(flipped));
        });
    }
    // Neither outcome is rare: both ways were really taken.
    assert!(errors > 1000 && values > 1000, "{errors} {values}");
}

/// A table or type that was described wrongly makes its rows errors or records, never a panic.
#[test]
fn rows_under_a_damaged_description() {
    let goldens = fixture();
    let is_description = |golden: &&Golden| matches!(golden.data()[0], b'R' | b'Y');
    let mut values = 0;
    for golden in goldens.iter().filter(is_description) {
        let rows: Vec<&Golden> = goldens[golden.index + 1..]
            .iter()
            .filter(|row| matches!(row.data()[0], b'R' | b'I' | b'U' | b'D'))
            .collect();
        for_each_flip(golden, |flipped| {
            let (mut batch, mut catalog) = described_before(golden);
            if push(flipped, &mut batch, &mut catalog).is_err() {
                return;
            }
            let mut batch = Batch::default();
            for row in &rows {
                // Another description of the table takes the damage away.
                let heals = row.data()[0] == b'R' && row.data()[1..5] == golden.data()[1..5];
                if heals {
                    break;
                }
                let _ = push(&row.payload, &mut batch, &mut catalog);
            }
            values += records(&batch, RawText::Bytes).len();
        });
    }
    assert!(values > 1000, "{values}");
}

/// Up to version 13 a server that does not find an origin sends an empty message in its place.
#[test]
fn an_empty_message_is_passed_over() {
    let script = Script::start(|peer| {
        peer.expect_startup()?;
        peer.send_welcome()?;
        peer.expect_query_with("START_REPLICATION")?;
        let messages = [
            frames::copy_both_response(),
            frames::xlog_data(1, 1, b""),
            frames::xlog_data(2, 2, b"anything"),
        ];
        peer.send(&messages.concat())?;
        peer.expect_closed()
    });
    let params = ConnectParams::parse(&script.url("db"), "test").unwrap();
    let connection = ReplicationConnection::connect(&params).unwrap();
    let mut stream = connection.start("slot", Wanted::of("publication")).unwrap();
    let mut data = None;
    wait_until("a message comes", DEADLINE, || {
        if let Some(StreamMessage::XLogData { data: bytes, .. }) = stream.message().unwrap() {
            data = Some(bytes.to_vec());
            return true;
        }
        stream.wait().unwrap();
        false
    });
    assert_eq!(data.as_deref(), Some(&b"anything"[..]));
    drop(stream);
    script.finish();
}

/// A batch and a catalog that know what the server had described before `golden`.
fn described_before(golden: &Golden) -> (Batch, Catalog) {
    let (mut batch, mut catalog) = (Batch::default(), Catalog::default());
    for before in &fixture()[..golden.index] {
        if matches!(before.data()[0], b'R' | b'Y') {
            push(&before.payload, &mut batch, &mut catalog).unwrap();
        }
    }
    (Batch::default(), catalog)
}

/// Calls `look` with each copy of the payload in which one bit is another.
fn for_each_flip(golden: &Golden, mut look: impl FnMut(&[u8])) {
    let mut flipped = golden.payload.clone();
    for at in 0..flipped.len() {
        for bit in 0..8 {
            flipped[at] ^= 1 << bit;
            look(&flipped);
            flipped[at] ^= 1 << bit;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
