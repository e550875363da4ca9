//! A small stream over three lanes: where its records go, and every cut of them.

use super::*;
use crate::change::relation::Catalog;
use crate::change::{Batch, Envelope};
use crate::pg::wire::pgoutput::Message;

/// Lanes that keep what is written to them.
#[derive(Clone, Default, PartialEq)]
struct Kept {
    lanes: Vec<Vec<Vec<u8>>>,
    open: Vec<usize>,
}

impl RowSink for Kept {
    fn write_row(&mut self, lane: usize, record: &ProducerRecord<'_>) -> Result<usize> {
        let mut bytes = Vec::new();
        record.render(&mut bytes);
        self.lanes[lane].push(bytes);
        if record.is_open() && !self.open.contains(&lane) {
            self.open.push(lane);
        }
        Ok(self.lanes[lane].len())
    }
}

impl Kept {
    fn end_unit(&mut self) {
        for lane in std::mem::take(&mut self.open) {
            let last = self.lanes[lane].last_mut().unwrap();
            assert_eq!(last.pop(), Some(b'}'));
            last.extend_from_slice(crate::record::LAST);
        }
    }

    fn tails(&self) -> Vec<Option<RowTail>> {
        let tail = |lane: &Vec<Vec<u8>>| lane.last().map(|last| RowTail::of(last).unwrap());
        self.lanes.iter().map(tail).collect()
    }
}

fn config() -> Config {
    crate::config::tests::resolve(
        "{ version: 1, name: n, type: postgres-source, topic: t, format: rows, partitions: 3, partition: key,
        parameters: { publication: p, slot: s, messages: [m] } }",
    )
    .unwrap()
}

/// A table of an int4 key and a text, `t`.
const TABLE: &[u8] =
    b"R\0\0\0\x01public\0t\0d\0\x02\x01id\0\0\0\0\x17\xFF\xFF\xFF\xFF\0v\0\0\0\0\x19\xFF\xFF\xFF\xFF";

fn row(tag: u8, id: &str) -> Vec<u8> {
    let mut bytes = vec![tag, 0, 2, b't', 0, 0, 0, id.len() as u8];
    bytes.extend_from_slice(id.as_bytes());
    bytes.extend_from_slice(b"t\0\0\0\x01v");
    bytes
}

/// An old key: the id, and no text.
fn key(id: &str) -> Vec<u8> {
    let mut bytes = vec![b'K', 0, 2, b't', 0, 0, 0, id.len() as u8];
    bytes.extend_from_slice(id.as_bytes());
    bytes.push(b'n');
    bytes
}

fn insert(id: &str) -> Vec<u8> {
    [b"I\0\0\0\x01".to_vec(), row(b'N', id)].concat()
}

fn update(old: &str, id: &str) -> Vec<u8> {
    let old = if old == id { Vec::new() } else { key(old) };
    [b"U\0\0\0\x01".to_vec(), old, row(b'N', id)].concat()
}

fn delete(id: &str) -> Vec<u8> {
    [b"D\0\0\0\x01".to_vec(), key(id)].concat()
}

fn message(is_transactional: u8, lsn: u64) -> Vec<u8> {
    let lsn = lsn.to_be_bytes();
    [&[b'M', is_transactional][..], &lsn, b"m\0\0\0\0\x01x"].concat()
}

fn transaction(lsn: u64, changes: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (at, end) = (lsn.to_be_bytes(), (lsn + 8).to_be_bytes());
    let begin = [b"B", &at[..], &[0; 8], &[0, 0, 0, 7]].concat();
    let commit = [b"C\0", &at[..], &end, &[0; 8]].concat();
    [&[begin][..], changes, &[commit]].concat()
}

/// Rows that stay in their lanes, rows that move, a truncate, messages, and a transaction without any.
fn stream() -> Vec<Vec<u8>> {
    let changes = [
        transaction(
            100,
            &[TABLE.to_vec(), insert("1"), insert("2"), insert("3")],
        ),
        vec![message(0, 150)],
        transaction(
            200,
            &[
                update("1", "1"),
                message(1, 190),
                update("2", "5"),
                delete("3"),
            ],
        ),
        transaction(300, &[]),
        transaction(310, &[insert("6"), insert("7"), insert("8"), insert("10")]),
        transaction(400, &[b"T\0\0\0\x01\0\0\0\0\x01".to_vec(), insert("4")]),
        transaction(500, &[message(1, 490)]),
        transaction(600, &[update("4", "9"), delete("9")]),
    ];
    changes.concat()
}

/// Runs the stream into lanes that have this already.
fn run(kept: &mut Kept) -> Result<u64> {
    run_after(kept, Lsn::ZERO)
}

/// Runs the stream, of which everything before `confirmed` is known to have been stored.
fn run_after(kept: &mut Kept, confirmed: Lsn) -> Result<u64> {
    let (config, mut catalog, mut batch) = (config(), Catalog::default(), Batch::default());
    let lanes = Arc::new(LaneMap::of(&config, &[]).unwrap());
    assert_eq!(lanes.names().len(), 3);
    for bytes in stream() {
        let envelope = Envelope {
            wal_start: Lsn(1),
            wal_end: Lsn(1),
            timestamp: 0,
        };
        let message = Message::decode(&bytes).unwrap();
        batch.push(envelope, &message, &mut catalog).unwrap();
    }
    let mut rows = Rows::new(&config, lanes, &kept.tails(), confirmed);
    for event in batch.events() {
        rows.write(&event, kept)?;
        if let Change::Commit(_) = event.change {
            kept.end_unit();
        }
    }
    Ok(rows.dropped())
}

fn empty() -> Kept {
    Kept {
        lanes: vec![Vec::new(); 3],
        open: Vec::new(),
    }
}

#[test]
fn every_cut_of_every_lane_is_filled_again() {
    let mut whole = empty();
    run(&mut whole).unwrap();
    let lens: Vec<usize> = whole.lanes.iter().map(Vec::len).collect();
    assert!(lens.iter().all(|len| *len > 2), "{lens:?}");
    for first in 0..=lens[0] {
        for second in 0..=lens[1] {
            for third in 0..=lens[2] {
                let mut cut = whole.clone();
                for (lane, len) in cut.lanes.iter_mut().zip([first, second, third]) {
                    lane.truncate(len);
                }
                run(&mut cut).unwrap();
                assert!(cut == whole, "cut at {first}, {second}, {third}");
            }
        }
    }
}

#[test]
fn what_was_confirmed_is_not_written_again_where_retention_removed_it() {
    let mut whole = empty();
    run(&mut whole).unwrap();
    let later = |record: &Vec<u8>| {
        let tail = RowTail::of(record).unwrap();
        tail.order.unit >= Unit::transaction(Lsn(310))
    };
    let mut removed = empty();
    run_after(&mut removed, Lsn(310)).unwrap();
    for (lane, whole) in removed.lanes.iter().zip(&whole.lanes) {
        let expected: Vec<Vec<u8>> = whole
            .iter()
            .filter(|record| later(record))
            .cloned()
            .collect();
        assert!(*lane == expected);
    }
}

#[test]
fn a_row_is_in_one_lane_and_tells_the_one_that_it_leaves() {
    let mut kept = empty();
    run(&mut kept).unwrap();
    let text = |lane: &Vec<Vec<u8>>| String::from_utf8(lane.join(&b'\n')).unwrap();
    let lanes: Vec<String> = kept.lanes.iter().map(text).collect();
    let all = lanes.join("\n");
    assert_eq!(all.matches("\"op\":\"truncate\"").count(), 3);
    assert_eq!(all.matches("\"op\":\"message\"").count(), 3);
    assert_eq!(all.matches("\"key\":{\"id\":1}").count(), 2);
    let of_one = lanes
        .iter()
        .filter(|lane| lane.contains("{\"id\":1}"))
        .count();
    assert_eq!(of_one, 1);
    let moved = all.matches("\"moved\":true").count();
    assert!(moved > 0, "{all}");
}

#[test]
fn lanes_that_are_not_the_ones_they_were_are_noticed() {
    let mut whole = empty();
    run(&mut whole).unwrap();
    for lane in &mut whole.lanes {
        lane.truncate(1);
    }
    let mut lanes = whole.lanes.into_iter();
    let (first, second) = (lanes.next().unwrap(), lanes.next().unwrap());
    let mut swapped = empty();
    (swapped.lanes[1], swapped.lanes[0]) = (first, second);
    let error = run(&mut swapped).unwrap_err();
    assert_eq!(error.kind(), Kind::Gap);
    let says = "does not go there any more";
    assert!(error.to_string().contains(says), "{error}");
}
