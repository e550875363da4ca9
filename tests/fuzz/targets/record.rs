//! Records read back from a topic that anybody may have written to.

use postgres_source::pipeline::WalkBack;
use postgres_source::record::{Placed, Record};
use serde_json::Value;

/// Each line is a record; an empty one ends a part of the walk to where the topic ends.
pub fn record(data: &[u8]) {
    let mut walk = WalkBack::default();
    let mut rows = 0;
    for line in data.split(|byte| *byte == b'\n') {
        let placed = parse(line);
        if line.is_empty() {
            if !matches!(walk.end_part(), Ok(None)) {
                return;
            }
            continue;
        }
        walk.take(placed);
        rows += u64::from(placed.is_some_and(|placed| placed.record.counts()));
        assert!(walk.rows() <= rows);
    }
    let _ = walk.end_part();
}

fn parse(json: &[u8]) -> Option<Placed> {
    let placed = Placed::parse(json);
    let record = Record::parse(json);
    assert_eq!(placed.map(|placed| placed.record), record);
    // A number in a value may be larger than this parser takes; that is all they differ in.
    if let (Some(placed), Ok(value)) = (placed, serde_json::from_slice::<Value>(json)) {
        if let Record::OfRows(row) = placed.record {
            assert_eq!(value["lsn"], row.order.unit.lsn().0);
            assert_eq!(value["seq"], row.order.seq);
            assert_eq!(value["last"].is_boolean(), row.is_last);
            assert_eq!(value["moved"].is_boolean(), row.is_moved);
            return Some(placed);
        }
        assert_eq!(value["wal_start"], placed.wal_start.0);
        let message = &value["message"];
        match placed.record {
            Record::Begin {
                final_lsn,
                timestamp,
                xid,
            } => {
                assert_eq!(message["timestamp"], timestamp);
                assert_eq!(message["final_lsn"], final_lsn.0);
                assert_eq!(message["xid"], xid);
            }
            Record::Commit {
                commit_lsn,
                end_lsn,
                timestamp,
            } => {
                assert_eq!(message["timestamp"], timestamp);
                assert_eq!(message["commit_lsn"], commit_lsn.0);
                assert_eq!(message["end_lsn"], end_lsn.0);
            }
            Record::Row { rel_id } | Record::Relation { rel_id } => {
                assert_eq!(message["rel_id"], rel_id);
            }
            Record::Message { lsn, .. } => assert_eq!(message["lsn"], lsn.0),
            Record::Truncate | Record::Type | Record::Origin | Record::OfRows(_) => {}
        }
    }
    placed
}
