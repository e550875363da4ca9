//! The arithmetic of resuming, when what comes again is of another history: the positions are
//! those of what the topic has, and something of what is there differs.

use postgres_source::base::Lsn;
use postgres_source::base::{Error, Kind};
use postgres_source::change::Catalog;
use postgres_source::change::Envelope;
use postgres_source::pg::Message;
use postgres_source::pipeline::{Resume, Tail, Verdict};
use postgres_source::record::Record as Place;

use crate::pipeline::resume::arithmetic::{deliver, session, tail};

/// The messages of a stream, and the position of each.
type Stream = Vec<(u64, Vec<u8>)>;

/// Where a topic ends: the last of it, and how many rows of that are there.
struct End {
    /// The transaction's commit, or the message.
    lsn: u64,
    rows: usize,
    kind: EndKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum EndKind {
    Whole,
    Open,
    Message,
}

fn end(topic: &[Vec<u8>]) -> Option<End> {
    let mut end = None;
    for record in topic {
        match (Place::parse(record)?, &mut end) {
            (Place::Begin { final_lsn, .. }, _) => {
                end = Some(End {
                    lsn: final_lsn.0,
                    rows: 0,
                    kind: EndKind::Open,
                });
            }
            (Place::Commit { .. }, Some(end)) => end.kind = EndKind::Whole,
            (Place::Row { .. } | Place::Truncate, Some(end)) => end.rows += 1,
            (record, _) => {
                if let Some(lsn) = position_of_message(record) {
                    end = Some(End {
                        lsn,
                        rows: 0,
                        kind: EndKind::Message,
                    });
                }
            }
        }
    }
    end
}

/// Of a message between two transactions.
fn position_of_message(record: Place) -> Option<u64> {
    match record {
        Place::Message {
            lsn,
            transactional: false,
            ..
        } => Some(lsn.0),
        _ => None,
    }
}

/// What the topic makes of a stream, from its begin on: the error, if it finds one before it
/// writes anything or could confirm it.
fn refusal(stream: &Stream, tail: Tail) -> Option<Error> {
    let (mut resume, mut catalog) = (
        Resume::after(tail, Lsn::ZERO, Lsn(u64::MAX)),
        Catalog::default(),
    );
    for (lsn, bytes) in stream {
        let envelope = Envelope {
            wal_start: Lsn(*lsn),
            wal_end: Lsn(*lsn),
            timestamp: 0,
        };
        let message = Message::decode(bytes).expect("it is a message");
        match resume.judge(envelope, &message, &mut catalog) {
            Err(error) => return Some(error),
            Ok(Verdict::Write) => return None,
            Ok(Verdict::Drop) => {}
        }
    }
    None
}

/// The messages of the transaction whose commit is there.
fn transaction(stream: &mut Stream, final_lsn: u64) -> &mut [(u64, Vec<u8>)] {
    let is_begin =
        |(_, bytes): &(u64, Vec<u8>)| bytes[0] == b'B' && bytes[1..9] == final_lsn.to_be_bytes();
    let first = stream.iter().position(is_begin).expect("it is there");
    let is_commit = |(_, bytes): &(u64, Vec<u8>)| bytes[0] == b'C';
    let rest = stream[first..].iter().position(is_commit);
    &mut stream[first..=first + rest.expect("it ends")]
}

/// A row of it, counted from 1.
fn row(stream: &mut Stream, final_lsn: u64, number: usize) -> &mut (u64, Vec<u8>) {
    let rows = transaction(stream, final_lsn).iter_mut();
    let mut rows = rows.filter(|(_, bytes)| b"IUDT".contains(&bytes[0]));
    rows.nth(number - 1).expect("it has so many rows")
}

/// Something else where the topic ends; false if it cannot differ in this.
type Change = fn(&mut Stream, &End) -> bool;

fn another_commit_time(stream: &mut Stream, end: &End) -> bool {
    if end.kind == EndKind::Message {
        return false;
    }
    for (_, bytes) in transaction(stream, end.lsn) {
        match bytes[0] {
            b'B' => bytes[16] ^= 1,
            b'C' => bytes[25] ^= 1,
            _ => {}
        }
    }
    true
}

/// The last record of a whole transaction does not tell it.
fn another_xid(stream: &mut Stream, end: &End) -> bool {
    if end.kind != EndKind::Open {
        return false;
    }
    transaction(stream, end.lsn)[0].1[20] ^= 1;
    true
}

fn another_position_of_the_last_row(stream: &mut Stream, end: &End) -> bool {
    if end.kind != EndKind::Open || end.rows == 0 {
        return false;
    }
    row(stream, end.lsn, end.rows).0 += 1;
    true
}

fn another_table_of_the_last_row(stream: &mut Stream, end: &End) -> bool {
    if end.kind != EndKind::Open || end.rows == 0 {
        return false;
    }
    let (_, bytes) = row(stream, end.lsn, end.rows);
    if bytes[0] == b'T' {
        return false;
    }
    bytes[4] ^= 0x40;
    true
}

fn message(stream: &mut Stream, end: &End) -> Option<usize> {
    let is_it = |(_, bytes): &(u64, Vec<u8>)| {
        bytes[..2] == *b"M\0" && bytes[2..10] == end.lsn.to_be_bytes()
    };
    let at = stream.iter().position(is_it);
    at.filter(|_| end.kind == EndKind::Message)
}

fn another_prefix(stream: &mut Stream, end: &End) -> bool {
    let at = message(stream, end);
    at.is_some_and(|at| std::mem::replace(&mut stream[at].1[10], b'q') == b'p')
}

fn another_content(stream: &mut Stream, end: &End) -> bool {
    let at = message(stream, end);
    at.is_some_and(|at| {
        let content = stream[at].1.last_mut().expect("it has content");
        std::mem::replace(content, b'?') == b'!'
    })
}

/// The topic is cut after each of its records; where it ends, the stream that comes again differs.
#[track_caller]
fn assert_noticed(change: Change, least: usize) {
    let whole = deliver(0, Tail::Empty);
    let mut changed = 0;
    for cut in 1..=whole.len() {
        let topic = &whole[..cut];
        let end = end(topic).expect("it begins with a transaction");
        let mut stream = session(0);
        assert!(refusal(&stream, tail(topic)).is_none(), "cut after {cut}");
        if !change(&mut stream, &end) {
            continue;
        }
        changed += 1;
        let last = String::from_utf8_lossy(&topic[cut - 1]).into_owned();
        match refusal(&stream, tail(topic)) {
            Some(error) => assert_eq!(error.kind(), Kind::Gap, "after {last}: {error}"),
            None => panic!("nothing is noticed after {last}"),
        }
    }
    assert!(changed >= least, "{changed}");
}

#[test]
fn another_commit_time_is_noticed() {
    assert_noticed(another_commit_time, 20);
}

#[test]
fn another_transaction_id_is_noticed_inside_a_transaction() {
    assert_noticed(another_xid, 20);
}

#[test]
fn another_position_of_the_last_row_is_noticed() {
    assert_noticed(another_position_of_the_last_row, 10);
}

#[test]
fn another_table_of_the_last_row_is_noticed() {
    assert_noticed(another_table_of_the_last_row, 10);
}

#[test]
fn another_prefix_of_a_message_is_noticed() {
    assert_noticed(another_prefix, 3);
}

#[test]
fn another_content_of_a_message_is_noticed() {
    assert_noticed(another_content, 3);
}
