//! The arithmetic of resuming: a small stream, cut after every record, goes on without a seam.

use std::collections::{BTreeMap, BTreeSet};

use postgres_source::base::Lsn;
use postgres_source::change::Catalog;
use postgres_source::change::{Batch, Envelope};
use postgres_source::pg::Message;
use postgres_source::pipeline::Position;
use postgres_source::pipeline::{Mark, NoTail, Resume, Tail, Verdict, WalkBack};
use postgres_source::record::{Placed, Record as Place, Unit};
use postgres_source::record::{RawText, render};

use crate::support::record::Record;

/// Behind everything that the streams here have.
const WAL_END: Lsn = Lsn(u64::MAX);

/// What a transaction does, as the server sends it.
#[derive(Clone, Copy)]
enum Change {
    /// A row of a table; rows of one COPY page have the same LSN.
    Insert {
        table: u32,
        value: &'static str,
        lsn: u64,
    },
    Update {
        table: u32,
        value: &'static str,
        lsn: u64,
    },
    Delete {
        table: u32,
        value: &'static str,
        lsn: u64,
    },
    Truncate {
        tables: [u32; 2],
        lsn: u64,
    },
    /// A column more: the table is described again before its next row.
    Alter {
        table: u32,
    },
    /// The transaction comes from another server.
    Origin,
    /// A message of the transaction; its record ends where that of a row may begin.
    Message {
        lsn: u64,
    },
    /// A message that stands alone: no transaction.
    Alone,
}

use Change::{Alone, Alter, Delete, Insert, Message as Logical, Origin, Truncate, Update};

/// Transactions in commit order, and messages between them. What a savepoint took back is not sent, and what others kept has
/// its place by LSN; so nothing but LSNs tells of savepoints. The third is empty, as servers up to
/// 14 send those without published changes.
fn stream() -> Vec<(u64, Vec<Change>)> {
    vec![
        (
            100,
            vec![
                Insert {
                    table: 1,
                    value: "a",
                    lsn: 91,
                },
                Insert {
                    table: 1,
                    value: "b",
                    lsn: 95,
                },
            ],
        ),
        (
            200,
            vec![
                Origin,
                Insert {
                    table: 1,
                    value: "copy 1",
                    lsn: 150,
                },
                Insert {
                    table: 1,
                    value: "copy 2",
                    lsn: 150,
                },
                Insert {
                    table: 1,
                    value: "copy 2",
                    lsn: 150,
                },
                Insert {
                    table: 2,
                    value: "c",
                    lsn: 160,
                },
            ],
        ),
        (260, vec![Alone]),
        (300, vec![]),
        // It ends where the next commit record begins.
        (400, vec![Alone]),
        (
            400,
            vec![
                // Written before the transaction that was committed first: they overlapped.
                Update {
                    table: 2,
                    value: "d",
                    lsn: 155,
                },
                Alter { table: 2 },
                Update {
                    table: 2,
                    value: "e",
                    lsn: 310,
                },
                Logical { lsn: 315 },
                Truncate {
                    tables: [3, 1],
                    lsn: 320,
                },
                Delete {
                    table: 1,
                    value: "f",
                    lsn: 330,
                },
                Logical { lsn: 330 },
                Logical { lsn: 335 },
                Insert {
                    table: 1,
                    value: "f",
                    lsn: 335,
                },
                Logical { lsn: 340 },
            ],
        ),
        (
            500,
            vec![
                Alter { table: 1 },
                Insert {
                    table: 1,
                    value: "g",
                    lsn: 450,
                },
            ],
        ),
        (520, vec![Alone]),
        (600, vec![Logical { lsn: 590 }]),
    ]
}

/// One session's messages from transaction `from` on: tables are described before their first row
/// in the session.
pub fn session(from: usize) -> Vec<(u64, Vec<u8>)> {
    let mut columns: BTreeMap<u32, u16> = BTreeMap::from([(1, 1), (2, 1), (3, 1)]);
    let mut described = BTreeSet::new();
    let mut messages = Vec::new();
    for (i, (final_lsn, changes)) in stream().into_iter().enumerate() {
        if matches!(changes[..], [Alone]) {
            let alone = (i >= from).then(|| (final_lsn, logical(0, final_lsn)));
            messages.extend(alone);
            continue;
        }
        let mut own = vec![(final_lsn - 1, begin(final_lsn))];
        for change in changes {
            match change {
                Alone => unreachable!("no transaction has one"),
                Logical { lsn } => own.push((lsn, logical(1, lsn))),
                Origin => own.push((0, [&b"O"[..], &[0; 8], b"north\0"].concat())),
                Alter { table } => {
                    *columns.get_mut(&table).unwrap() += 1;
                    described.remove(&table);
                }
                Insert { table, value, lsn }
                | Update { table, value, lsn }
                | Delete { table, value, lsn } => {
                    describe(&mut own, i >= from, &mut described, table, columns[&table]);
                    let tuple = tuple(value, columns[&table]);
                    let kind: &[u8] = match change {
                        Insert { .. } => b"N",
                        Update { .. } => b"N",
                        _ => b"K",
                    };
                    let tag: &[u8] = match change {
                        Insert { .. } => b"I",
                        Update { .. } => b"U",
                        _ => b"D",
                    };
                    own.push((lsn, [tag, &table.to_be_bytes(), kind, &tuple].concat()));
                }
                Truncate { tables, lsn } => {
                    for table in tables {
                        describe(&mut own, i >= from, &mut described, table, columns[&table]);
                    }
                    let ids = tables.map(u32::to_be_bytes).concat();
                    own.push((lsn, [&b"T\0\0\0\x02\0"[..], &ids].concat()));
                }
            }
        }
        own.push((final_lsn, commit(final_lsn)));
        if i >= from {
            messages.extend(own);
        }
    }
    messages
}

fn describe(
    messages: &mut Vec<(u64, Vec<u8>)>,
    in_session: bool,
    described: &mut BTreeSet<u32>,
    table: u32,
    columns: u16,
) {
    if !in_session || !described.insert(table) {
        return;
    }
    // A column of a type that is not built in is announced by a type message.
    messages.push((
        0,
        [&b"Y"[..], &(9000 + table).to_be_bytes(), b"public\0mood\0"].concat(),
    ));
    let mut relation = [&b"R"[..], &table.to_be_bytes(), b"public\0t\0f"].concat();
    relation.extend(columns.to_be_bytes());
    for _ in 0..columns {
        relation.extend(
            [
                &b"\x01c\0"[..],
                &(9000 + table).to_be_bytes(),
                &(-1i32).to_be_bytes(),
            ]
            .concat(),
        );
    }
    messages.push((0, relation));
}

fn tuple(value: &str, columns: u16) -> Vec<u8> {
    let mut tuple = columns.to_be_bytes().to_vec();
    for _ in 0..columns {
        tuple.extend(
            [
                &b"t"[..],
                &(value.len() as u32).to_be_bytes(),
                value.as_bytes(),
            ]
            .concat(),
        );
    }
    tuple
}

fn begin(final_lsn: u64) -> Vec<u8> {
    [
        &b"B"[..],
        &final_lsn.to_be_bytes(),
        &[0; 8],
        &7u32.to_be_bytes(),
    ]
    .concat()
}

fn commit(lsn: u64) -> Vec<u8> {
    [
        &b"C\0"[..],
        &lsn.to_be_bytes(),
        &(lsn + 10).to_be_bytes(),
        &[0; 8],
    ]
    .concat()
}

fn logical(flags: u8, lsn: u64) -> Vec<u8> {
    [
        &[b'M', flags][..],
        &lsn.to_be_bytes(),
        b"p\0",
        &[0, 0, 0, 1],
        b"!",
    ]
    .concat()
}

/// What a slot was confirmed at that sends the stream from there on.
fn confirmed_before(from: usize) -> Lsn {
    let end = |(lsn, changes): &(u64, Vec<Change>)| match changes[..] {
        [Alone] => *lsn,
        _ => lsn + 10,
    };
    Lsn(stream()[..from].last().map_or(0, end))
}

/// Whether the config has the prefix of the messages.
#[derive(Clone, Copy, PartialEq)]
enum Messages {
    Wanted,
    Unwanted,
}

/// What a session from there on writes after a topic that ends with `tail`.
pub fn deliver(from: usize, tail: Tail) -> Vec<Vec<u8>> {
    deliver_with(Messages::Wanted, from, tail)
}

fn deliver_with(messages: Messages, from: usize, tail: Tail) -> Vec<Vec<u8>> {
    let confirmed = confirmed_before(from);
    let (mut position, mut catalog) = (
        Position::starting_at(confirmed, confirmed),
        Catalog::default(),
    );
    let (mut resume, mut batch) = (Resume::after(tail, confirmed, WAL_END), Batch::default());
    for (lsn, bytes) in session(from) {
        let envelope = Envelope {
            wal_start: Lsn(lsn),
            wal_end: Lsn(lsn),
            timestamp: 0,
        };
        let message = Message::decode(&bytes).unwrap();
        position.follow(&message).unwrap();
        let is_logical = matches!(message, Message::Logical(_));
        let verdict = resume.judge(envelope, &message, &mut catalog).unwrap();
        if verdict == Verdict::Write && !(is_logical && messages == Messages::Unwanted) {
            resume.release(&message, &mut batch, &mut catalog).unwrap();
            batch.push(envelope, &message, &mut catalog).unwrap();
        }
    }
    assert!(!resume.is_resuming(), "{tail:?} has not come again");
    let records = batch.events().map(|event| {
        let mut record = Vec::new();
        render(&event, RawText::String, &mut record);
        record
    });
    records.collect()
}

/// How a topic ends; the same whatever parts it is read in.
pub fn tail(topic: &[Vec<u8>]) -> Tail {
    let in_parts = |size: usize| {
        let mut walk = WalkBack::default();
        let mut parts = topic.rchunks(size.max(1));
        let found = parts.find_map(|part| {
            part.iter()
                .for_each(|record| walk.take(Placed::parse(record)));
            walk.end_part().unwrap()
        });
        found.unwrap_or_default()
    };
    let whole = in_parts(topic.len());
    for size in 1..topic.len() {
        assert_eq!(in_parts(size), whole, "in parts of {size}");
    }
    whole
}

/// The records that have a place of their own, with what they say.
fn counted(topic: &[Vec<u8>]) -> Vec<String> {
    let counted = |record: &&Vec<u8>| {
        !matches!(
            Place::parse(record),
            Some(Place::Relation { .. } | Place::Type | Place::Origin)
        )
    };
    topic
        .iter()
        .filter(counted)
        .map(|record| String::from_utf8(record.clone()).unwrap())
        .collect()
}

/// Every row has as many values as the last description of its table has columns, and every
/// description follows those of its types; all inside of transactions.
fn assert_described(topic: &[Vec<u8>]) {
    let (mut columns, mut types, mut open) = (BTreeMap::new(), BTreeSet::new(), false);
    for record in Record::parse_all(topic) {
        let message = record.message().clone();
        match record.kind() {
            "begin" => open = true,
            "commit" => open = false,
            "type" => drop(types.insert(message["id"].as_u64().unwrap())),
            "relation" => {
                let described = message["columns"].as_array().unwrap();
                for column in described {
                    assert!(
                        types.contains(&column["type_id"].as_u64().unwrap()),
                        "{record:?}"
                    );
                }
                columns.insert(message["rel_id"].as_u64().unwrap(), described.len());
            }
            "truncate" => {
                for rel_id in message["rel_ids"].as_array().unwrap() {
                    assert!(
                        columns.contains_key(&rel_id.as_u64().unwrap()),
                        "{record:?}"
                    );
                }
            }
            "insert" | "update" | "delete" => {
                let row = ["tuple", "new_tuple", "key_tuple"];
                let row = row
                    .iter()
                    .find_map(|key| message.get(key)?.as_array())
                    .unwrap();
                let rel_id = message["rel_id"].as_u64().unwrap();
                assert_eq!(columns.get(&rel_id), Some(&row.len()), "{record:?}");
            }
            _ => {}
        }
        let is_alone = record.kind() == "message" && message["flags"] == 0;
        assert!(open != is_alone || record.kind() == "commit", "{record:?}");
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_goes_on_without_a_seam() {
    let whole = deliver(0, Tail::Empty);
    assert_described(&whole);
    let expected = counted(&whole);
    // Each transaction or message that the slot may go back to, at or before the cut.
    for cut in 0..=whole.len() {
        for from in 0..=complete(&whole[..cut]) {
            let mut topic = whole[..cut].to_vec();
            topic.extend(deliver(from, tail(&topic)));
            assert_eq!(
                counted(&topic),
                expected,
                "cut after {cut}, from transaction {from}"
            );
            assert_described(&topic);
        }
    }
}

/// How many transactions and messages between them are whole.
fn complete(topic: &[Vec<u8>]) -> usize {
    let is_end = |record: &&Vec<u8>| {
        matches!(
            Place::parse(record),
            Some(
                Place::Commit { .. }
                    | Place::Message {
                        transactional: false,
                        ..
                    }
            )
        )
    };
    topic.iter().filter(is_end).count()
}

/// Which messages are wanted may be another thing after the cut: what is no message is there once
/// all the same, and no message is there twice.
#[test]
fn a_stream_goes_on_without_a_seam_when_other_messages_are_wanted() {
    use Messages::{Unwanted, Wanted};
    let is_message = |record: &String| record.contains("\"type\":\"message\"");
    let plain = counted(&deliver_with(Unwanted, 0, Tail::Empty));
    for (before, after) in [(Wanted, Unwanted), (Unwanted, Wanted)] {
        let whole = deliver_with(before, 0, Tail::Empty);
        for cut in 0..=whole.len() {
            let mut topic = whole[..cut].to_vec();
            topic.extend(deliver_with(after, 0, tail(&topic)));
            assert_described(&topic);
            let (messages, rest): (Vec<_>, Vec<_>) =
                counted(&topic).into_iter().partition(is_message);
            assert_eq!(rest, plain, "cut after {cut}");
            let once: BTreeSet<&String> = messages.iter().collect();
            assert_eq!(once.len(), messages.len(), "cut after {cut}");
        }
    }
}

#[test]
fn a_resume_that_is_cut_anywhere_goes_on_too() {
    let whole = deliver(0, Tail::Empty);
    let expected = counted(&whole);
    for first in 0..=whole.len() {
        let again = deliver(0, tail(&whole[..first]));
        for second in 0..=again.len() {
            let mut topic = [&whole[..first], &again[..second]].concat();
            topic.extend(deliver(0, tail(&topic)));
            assert_eq!(counted(&topic), expected, "cut after {first} and {second}");
            assert_described(&topic);
        }
    }
}

#[test]
fn a_topic_of_another_history_is_a_gap() {
    let judge = |tail: Tail, confirmed: u64| {
        let (mut resume, mut catalog) = (
            Resume::after(tail, Lsn(confirmed), WAL_END),
            Catalog::default(),
        );
        let envelope = Envelope {
            wal_start: Lsn(0),
            wal_end: Lsn(0),
            timestamp: 0,
        };
        let found = session(0).iter().find_map(|(_, bytes)| {
            let message = Message::decode(bytes).unwrap();
            resume.judge(envelope, &message, &mut catalog).err()
        });
        assert_ne!(found.is_none(), resume.is_resuming());
        found.map(|error| error.to_string())
    };
    let open = |lsn, rows| Tail::Open {
        final_lsn: Lsn(lsn),
        mark: Mark::default(),
        rows,
        last_row: None,
        last_message: Lsn::ZERO,
    };
    let complete = |lsn| Tail::Complete {
        last: Unit::transaction(Lsn(lsn)),
        end_lsn: Lsn(lsn + 10),
        mark: Mark::default(),
    };
    let message = |lsn| Tail::Complete {
        last: Unit::message(Lsn(lsn)),
        end_lsn: Lsn(lsn),
        mark: Mark::default(),
    };
    for (tail, confirmed, says) in [
        (message(255), 210, "the message at 0/FF, which"),
        (open(100, 3), 0, "1 rows less"),
        (open(99, 0), 0, "the transaction at 0/63, which"),
        (open(99, 0), 99, "the transaction at 0/63, which"),
        (complete(99), 0, "the transaction at 0/63, which"),
        (complete(250), 99, "the transaction at 0/FA, which"),
    ] {
        let error = judge(tail, confirmed).unwrap();
        assert!(error.contains(says), "{tail:?} at {confirmed}: {error}");
    }
    for (tail, confirmed) in [
        (open(100, 2), 0),
        (complete(100), 0),
        (complete(100), 100),
        (message(260), 210),
        // What is confirmed does not come again.
        (message(260), 260),
        (complete(90), 99),
    ] {
        assert_eq!(judge(tail, confirmed), None, "{tail:?} at {confirmed}");
    }
}

/// Nothing has to be written for a gap to be noticed: the server tells how far it has sent.
#[test]
fn what_is_awaited_is_missed_when_the_server_has_gone_past_it() {
    let tail = Tail::Complete {
        last: Unit::transaction(Lsn(250)),
        end_lsn: Lsn(260),
        mark: Mark::default(),
    };
    let resume = Resume::after(tail, Lsn(99), WAL_END);
    assert!(resume.is_awaiting());
    resume.sent_up_to(Lsn(250)).unwrap();
    assert!(resume.sent_up_to(Lsn(260)).is_err());
    Resume::after(tail, Lsn(251), WAL_END)
        .sent_up_to(Lsn(300))
        .unwrap();
}

#[test]
fn a_topic_that_ends_otherwise_has_no_tail() {
    let whole = deliver(0, Tail::Empty);
    let commit = whole
        .iter()
        .position(|record| matches!(Place::parse(record), Some(Place::Commit { .. })))
        .unwrap();
    let end = |records: &[Vec<u8>]| {
        let mut walk = WalkBack::default();
        records
            .iter()
            .for_each(|record| walk.take(Placed::parse(record)));
        walk.end_part()
    };
    let foreign = [b"{}".to_vec()];
    let is_foreign = |after| Err(NoTail::Foreign { after });
    assert_eq!(end(&[&whole[..1], &foreign[..]].concat()), is_foreign(0));
    assert_eq!(
        end(&[&whole[..1], &foreign[..], &whole[1..2]].concat()),
        is_foreign(1)
    );
    assert_eq!(
        end(&[&whole[..=commit], &whole[1..3]].concat()),
        Err(NoTail::NoBegin { after: 2 })
    );
    // What is before the transaction at the end is not looked at.
    let before = [&whole[..1], &foreign[..], &whole[..2]].concat();
    assert!(matches!(end(&before), Ok(Some(Tail::Open { .. }))));
}
