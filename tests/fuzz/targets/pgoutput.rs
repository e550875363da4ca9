//! The plugin's messages: each is an error, or a record that says where it belongs.

use postgres_source::base::Lsn;
use postgres_source::base::Result;
use postgres_source::change::{Batch, Change, Envelope, Event};
use postgres_source::change::{Catalog, Relation};
use postgres_source::pg::StreamMessage;
use postgres_source::pg::{Message, OldTuple, Tuple};
use postgres_source::pipeline::Position;
use postgres_source::pipeline::Stored;
use postgres_source::pipeline::{Mark, Resume, Tail};
use postgres_source::record::{Checksum, Placed, Record};
use postgres_source::record::{RawText, render};
use serde_json::Value;

/// The input is a sequence of payloads of CopyData.
pub fn pgoutput(data: &[u8]) {
    let mut described = Described::default();
    let mut session = Session::new();
    for payload in super::pieces(data) {
        let before = described.batch.events().count();
        match described.push(payload) {
            Ok(()) => {}
            Err(_) => assert_eq!(described.batch.events().count(), before),
        }
        session.follow(payload);
    }
    for raw_text in [RawText::Bytes, RawText::String] {
        for event in described.batch.events() {
            check(&event, raw_text);
        }
    }
}

/// Messages in any order.
#[derive(Default)]
struct Described {
    batch: Batch,
    catalog: Catalog,
}

impl Described {
    fn push(&mut self, payload: &[u8]) -> Result<()> {
        match StreamMessage::decode(payload)? {
            StreamMessage::Keepalive { .. } => Ok(()),
            StreamMessage::XLogData { envelope, data } => {
                let message = Message::decode(data)?;
                check_message(&message);
                self.batch.push(envelope, &message, &mut self.catalog)
            }
        }
    }
}

/// A walk over a message that was decoded cannot fail, and ends where the message does.
fn check_message(message: &Message<'_>) {
    let whole = |tuple: &Tuple<'_>| {
        assert_eq!(tuple.values().count(), usize::from(tuple.columns()));
        assert!(tuple.bytes().len() >= usize::from(tuple.columns()));
    };
    match message {
        Message::Relation(relation) => {
            assert_eq!(relation.columns().count(), usize::from(relation.columns));
        }
        Message::Insert { new, .. } => whole(new),
        Message::Update { old, new, .. } => {
            old.iter().for_each(|old| whole(&old.tuple()));
            whole(new);
        }
        Message::Delete { old, .. } => whole(&old.tuple()),
        _ => {}
    }
}

/// The same messages as the reader takes them, up to the first that is out of order.
struct Session {
    position: Position,
    resume: Resume,
    catalog: Catalog,
    batch: Batch,
    ended: bool,
}

impl Session {
    fn new() -> Self {
        let tail = Tail::Open {
            final_lsn: Lsn(0x0150_0000),
            mark: Mark::default(),
            rows: 1,
            last_row: None,
            last_message: Lsn::ZERO,
        };
        Session {
            position: Position::starting_at(Lsn::ZERO, Lsn::ZERO),
            resume: Resume::after(tail, Lsn::ZERO, Lsn::ZERO),
            catalog: Catalog::default(),
            batch: Batch::default(),
            ended: false,
        }
    }

    fn follow(&mut self, payload: &[u8]) {
        if self.ended {
            return;
        }
        let confirmed = self.position.confirmed();
        self.ended = self.take(payload).is_err();
        let stored = Stored::in_one(confirmed, 0);
        let confirmable = self.position.confirmable(stored).lsn;
        self.position.confirm(confirmable);
        assert!(self.position.confirmed() >= confirmed, "never backwards");
        let _ = self.position.lag_bytes();
    }

    fn take(&mut self, payload: &[u8]) -> Result<()> {
        match StreamMessage::decode(payload)? {
            StreamMessage::Keepalive { wal_end, .. } => {
                self.resume.sent_up_to(wal_end)?;
                self.position.sent_up_to(wal_end);
            }
            StreamMessage::XLogData { envelope, data } => {
                let message = Message::decode(data)?;
                self.position.follow(&message)?;
                self.write(envelope, &message)?;
                self.position.handed_over();
            }
        }
        Ok(())
    }

    fn write(&mut self, envelope: Envelope, message: &Message<'_>) -> Result<()> {
        use postgres_source::pipeline::Verdict;
        match self.resume.judge(envelope, message, &mut self.catalog)? {
            Verdict::Write => {
                self.resume
                    .release(message, &mut self.batch, &mut self.catalog)?;
                self.batch.push(envelope, message, &mut self.catalog)
            }
            Verdict::Drop => Ok(()),
        }
    }
}

/// The record of an event is JSON that anybody can read, and says what the event is.
fn check(event: &Event<'_>, raw_text: RawText) {
    let mut json = Vec::new();
    render(event, raw_text, &mut json);
    let value: Value = serde_json::from_slice(&json)
        .unwrap_or_else(|error| panic!("{error}: {}", json.escape_ascii()));
    let placed = Placed::parse(&json).expect("a record of this program");
    assert_eq!(placed.wal_start, event.envelope.wal_start);
    assert_eq!(value["wal_end"], event.envelope.wal_end.0);
    assert_eq!(value["timestamp"], event.envelope.timestamp);
    assert_eq!(placed.record, place(&event.change));
    let message = &value["message"];
    match &event.change {
        Change::Insert { relation, new } => tuple(&message["tuple"], relation, new),
        Change::Update { relation, old, new } => {
            tuple(&message["new_tuple"], relation, new);
            old_tuple(message, relation, old.as_ref());
        }
        Change::Delete { relation, old } => old_tuple(message, relation, Some(old)),
        Change::Relation(relation) => {
            assert_eq!(
                message["columns"].as_array().map(Vec::len),
                Some(relation.columns.len())
            );
            assert_eq!(message["name"], relation.name());
        }
        Change::Truncate { rel_ids, .. } => {
            assert_eq!(message["rel_ids"], Value::from_iter(rel_ids.iter()));
        }
        _ => {}
    }
}

fn place(change: &Change<'_>) -> Record {
    match change {
        Change::Begin(begin) => Record::Begin {
            final_lsn: begin.final_lsn,
            timestamp: begin.timestamp,
            xid: begin.xid,
        },
        Change::Commit(commit) => Record::Commit {
            commit_lsn: commit.commit_lsn,
            end_lsn: commit.end_lsn,
            timestamp: commit.timestamp,
        },
        Change::Origin(_) => Record::Origin,
        Change::Type(_) => Record::Type,
        Change::Relation(relation) => Record::Relation {
            rel_id: relation.rel_id,
        },
        Change::Insert { relation, .. }
        | Change::Update { relation, .. }
        | Change::Delete { relation, .. } => Record::Row {
            rel_id: relation.rel_id,
        },
        Change::Truncate { .. } => Record::Truncate,
        Change::Logical(logical) => Record::Message {
            lsn: logical.lsn,
            transactional: logical.is_transactional(),
            content: Checksum::of(&String::from_utf8_lossy(logical.prefix), logical.content),
        },
    }
}

/// A row has a value for each column of its table.
fn tuple(json: &Value, relation: &Relation<'_>, tuple: &Tuple<'_>) {
    assert_eq!(usize::from(tuple.columns()), relation.columns.len());
    assert_eq!(json.as_array().map(Vec::len), Some(relation.columns.len()));
}

fn old_tuple(message: &Value, relation: &Relation<'_>, old: Option<&OldTuple<'_>>) {
    for (key, old) in [
        (
            "key_tuple",
            old.filter(|old| matches!(old, OldTuple::Key(_))),
        ),
        (
            "old_tuple",
            old.filter(|old| matches!(old, OldTuple::Full(_))),
        ),
    ] {
        match old {
            Some(old) => tuple(&message[key], relation, &old.tuple()),
            None => assert!(message[key].is_null()),
        }
    }
}
