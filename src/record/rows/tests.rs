//! Records as they are written and read back, byte for byte.

use super::readback::{self, Commit, Op};
use super::*;
use crate::base::lsn::Lsn;
use crate::change::Catalog;
use crate::pg::wire::pgoutput::{Begin, Message};
use crate::record::{Checksum, Placed, ProducerRecord, Record, Unit};

const COLUMNS: [(u8, &str, u32); 4] = [
    (1, "id", 23),
    (0, "name", 25),
    (0, "price", 1700),
    (0, "doc", 3802),
];

fn begin() -> Begin {
    Begin {
        final_lsn: Lsn(23_912_640),
        timestamp: 849_325_800_123_456,
        xid: 735,
    }
}

/// `R`, of `public.pets`, its columns with this flag if it is one of the key.
fn relation(identity: u8, columns: &[(u8, &str, u32)]) -> Vec<u8> {
    let mut bytes = b"R\0\0\0\x01public\0pets\0".to_vec();
    bytes.push(identity);
    bytes.extend((columns.len() as u16).to_be_bytes());
    for (flags, name, type_id) in columns {
        bytes.push(*flags);
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.extend(type_id.to_be_bytes());
        bytes.extend((-1_i32).to_be_bytes());
    }
    bytes
}

fn table_of(message: &[u8], keys: Option<&[&str]>, style: RowStyle) -> Result<RowTable, String> {
    let Ok(Message::Relation(described)) = Message::decode(message) else {
        panic!("it is one");
    };
    let mut catalog = Catalog::default();
    catalog.describe(&described).unwrap();
    let keys = keys.map(|keys| {
        keys.iter()
            .map(|key| String::from(*key))
            .collect::<Vec<_>>()
    });
    let relation = catalog.relation(1).unwrap();
    RowTable::new(&relation, keys.as_deref(), style).map_err(|error| error.to_string())
}

fn table(identity: u8, keys: Option<&[&str]>) -> RowTable {
    let message = relation(identity, &COLUMNS);
    table_of(&message, keys, RowStyle::default()).unwrap()
}

/// A row: `-` is NULL and `~` a large value that did not change.
fn row(values: &[&str]) -> Vec<u8> {
    let mut bytes = (values.len() as u16).to_be_bytes().to_vec();
    for value in values {
        match *value {
            "-" => bytes.push(b'n'),
            "~" => bytes.push(b'u'),
            text => {
                bytes.push(b't');
                bytes.extend((text.len() as u32).to_be_bytes());
                bytes.extend(text.as_bytes());
            }
        }
    }
    bytes
}

fn tuple(row: &[u8]) -> Tuple<'_> {
    Tuple::from_parts(u16::from_be_bytes([row[0], row[1]]), &row[2..])
}

fn render(op: RowOp<'_>, place: Place<'_>) -> String {
    let record = RowRecord { op, place };
    let mut out = Vec::new();
    record.render(&mut out);
    let mut pieces = Vec::new();
    let producer_record = ProducerRecord::row(&record, None);
    let given = producer_record.pieces(&mut |piece| {
        pieces.extend_from_slice(piece);
        Ok(())
    });
    given.unwrap();
    assert!(pieces == out);
    assert_eq!(producer_record.measure(), out.len());
    String::from_utf8(out).unwrap()
}

/// Renders the operation as the third of the transaction, without what they all end with.
#[track_caller]
fn rendered(op: RowOp<'_>) -> String {
    let transaction = Transaction::new(&begin());
    let place = Place::Within {
        transaction: &transaction,
        seq: 2,
    };
    let json = render(op, place);
    let (change, moved) = json.split_once(PLACE).unwrap();
    assert_eq!(
        moved,
        if matches!(op, RowOp::Moved { .. }) {
            MOVED
        } else {
            "}"
        }
    );
    change.to_owned()
}

const PLACE: &str = r#","lsn":23912640,"seq":2,"xid":735,"ts":"2026-11-30T03:50:00.123456Z""#;
const MOVED: &str = r#","moved":true}"#;

fn key(op: RowOp<'_>) -> Option<String> {
    let mut out = b"before".to_vec();
    let has_key = op.append_key(&mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let key = out.strip_prefix("before").unwrap();
    assert_eq!(has_key, !key.is_empty());
    has_key.then(|| key.to_owned())
}

#[test]
fn inserts() {
    let new = row(&["1", "Polly \"P\"\n", "-", "{\"a\": [1]}"]);
    let new = tuple(&new);
    for (identity, keys, expected, fluvio_key) in [
        (b'd', None, r#"{"id":1}"#, Some(r#"["public","pets",1]"#)),
        (b'i', None, r#"{"id":1}"#, Some(r#"["public","pets",1]"#)),
        (b'f', None, "null", None),
        (
            b'f',
            Some(&["price", "id"][..]),
            r#"{"id":1,"price":null}"#,
            Some(r#"["public","pets",1,null]"#),
        ),
    ] {
        let table = table(identity, keys);
        let op = RowOp::Insert { table: &table, new };
        assert_eq!(
            rendered(op),
            format!(
                r#"{{"op":"insert","schema":"public","table":"pets","key":{expected},"before":null,"after":{{"id":1,"name":"Polly \"P\"\n","price":null,"doc":{{"a": [1]}}}}"#
            )
        );
        assert_eq!(key(op).as_deref(), fluvio_key);
    }
}

#[test]
fn updates() {
    let table = table(b'd', None);
    let op = |old, new| RowOp::Update {
        table: &table,
        old,
        new,
    };
    let new = row(&["1", "Polly", "13.00", "-"]);
    assert_eq!(
        rendered(op(None, tuple(&new))),
        r#"{"op":"update","schema":"public","table":"pets","key":{"id":1},"before":null,"after":{"id":1,"name":"Polly","price":"13.00","doc":null}"#
    );
    let old = row(&["7", "-", "-", "-"]);
    let moves = op(Some(OldTuple::Key(tuple(&old))), tuple(&new));
    assert_eq!(
        rendered(moves),
        r#"{"op":"update","schema":"public","table":"pets","key":{"id":1},"before":{"id":7},"after":{"id":1,"name":"Polly","price":"13.00","doc":null}"#
    );
    assert_eq!(key(moves).as_deref(), Some(r#"["public","pets",1]"#));
    let moved = moves.moved().unwrap();
    assert_eq!(
        rendered(moved),
        r#"{"op":"delete","schema":"public","table":"pets","key":{"id":7},"before":{"id":7},"after":null"#
    );
    assert_eq!(key(moved).as_deref(), Some(r#"["public","pets",7]"#));
    assert!(op(None, tuple(&new)).moved().is_none() && moved.moved().is_none());
}

#[test]
fn what_did_not_change_is_named_or_filled_in() {
    let identity = table(b'd', None);
    let new = row(&["1", "~", "13.00", "~"]);
    let new = tuple(&new);
    let op = RowOp::Update {
        table: &identity,
        old: None,
        new,
    };
    assert_eq!(
        rendered(op),
        r#"{"op":"update","schema":"public","table":"pets","key":{"id":1},"before":null,"after":{"id":1,"price":"13.00"},"unchanged":["name","doc"]"#
    );
    let full = table(b'f', Some(&["name"]));
    let whole = row(&["1", "Polly", "1", "{}"]);
    let old = row(&["1", "Polly", "12", "{}"]);
    for (old, rest) in [
        (
            old,
            r#""before":{"id":1,"name":"Polly","price":"12","doc":{}},"after":{"id":1,"name":"Polly","price":"13.00","doc":{}}"#,
        ),
        // No server sends this.
        (
            row(&["1", "Polly", "12", "~"]),
            r#""before":{"id":1,"name":"Polly","price":"12"},"after":{"id":1,"name":"Polly","price":"13.00"},"unchanged":["doc"]"#,
        ),
    ] {
        let op = RowOp::Update {
            table: &full,
            old: Some(OldTuple::Full(tuple(&old))),
            new,
        };
        assert_eq!(
            rendered(op),
            format!(
                r#"{{"op":"update","schema":"public","table":"pets","key":{{"name":"Polly"}},{rest}"#
            )
        );
        assert_eq!(key(op).as_deref(), Some(r#"["public","pets","Polly"]"#));
    }
    let all = row(&["~", "~", "~", "~"]);
    let op = RowOp::Update {
        table: &full,
        old: Some(OldTuple::Full(tuple(&whole))),
        new: tuple(&all),
    };
    assert!(!rendered(op).contains("unchanged"));
    let op = RowOp::Delete {
        table: &identity,
        old: OldTuple::Key(tuple(&all)),
    };
    assert_eq!(
        rendered(op),
        r#"{"op":"delete","schema":"public","table":"pets","key":null,"before":{},"after":null,"unchanged":["id","name","price","doc"]"#
    );
}

#[test]
fn a_large_key_that_did_not_change_is_the_old_one() {
    let table = table(b'd', None);
    let (new, old) = (row(&["~", "x", "1", "-"]), row(&["5", "-", "-", "-"]));
    let op = |old| RowOp::Update {
        table: &table,
        old,
        new: tuple(&new),
    };
    let sent = op(Some(OldTuple::Key(tuple(&old))));
    assert_eq!(
        rendered(sent),
        r#"{"op":"update","schema":"public","table":"pets","key":{"id":5},"before":{"id":5},"after":{"id":5,"name":"x","price":"1","doc":null}"#
    );
    assert_eq!(key(sent).as_deref(), Some(r#"["public","pets",5]"#));
    // As servers did up to February 2022.
    let lost = op(None);
    assert_eq!(
        rendered(lost),
        r#"{"op":"update","schema":"public","table":"pets","key":null,"before":null,"after":{"name":"x","price":"1","doc":null},"unchanged":["id"]"#
    );
    let mut out = b"[]".to_vec();
    let error = lost.append_key(&mut out).unwrap_err();
    assert!(
        error.to_string().contains(r#"["public","pets"]"#),
        "{error}"
    );
    assert_eq!(out, b"[]");
}

#[test]
fn deletes_and_truncates() {
    let (by_key, full, nothing) = (table(b'd', None), table(b'f', None), table(b'n', Some(&[])));
    let (key_row, whole) = (row(&["2", "-", "-", "-"]), row(&["2", "Rex", "-", "[]"]));
    let delete = |table, old| RowOp::Delete { table, old };
    assert_eq!(
        rendered(delete(&by_key, OldTuple::Key(tuple(&key_row)))),
        r#"{"op":"delete","schema":"public","table":"pets","key":{"id":2},"before":{"id":2},"after":null"#
    );
    assert_eq!(
        rendered(delete(&full, OldTuple::Full(tuple(&whole)))),
        r#"{"op":"delete","schema":"public","table":"pets","key":null,"before":{"id":2,"name":"Rex","price":null,"doc":[]},"after":null"#
    );
    let head = r#"{"op":"truncate","schema":"public","table":"pets","key":null,"before":null,"after":null"#;
    for (options, rest) in [
        (0, ""),
        (1, r#","cascade":true"#),
        (2, r#","restart_identity":true"#),
        (3, r#","cascade":true,"restart_identity":true"#),
    ] {
        let op = RowOp::Truncate {
            table: &nothing,
            options,
        };
        assert_eq!(rendered(op), format!("{head}{rest}"));
        assert_eq!(key(op), None);
    }
    assert!(!nothing.has_key() && !full.has_key() && by_key.has_key());
}

fn logical(flags: i8, content: &[u8]) -> RowOp<'_> {
    RowOp::Message(Logical {
        flags,
        lsn: Lsn(23_912_600),
        prefix: b"out\"box",
        content,
    })
}

#[test]
fn messages() {
    let content = r#""prefix":"out\"box","content":"{\"a\":1}""#;
    assert_eq!(
        rendered(logical(1, b"{\"a\":1}")),
        format!(r#"{{"op":"message",{content},"transactional":true,"at":23912600"#)
    );
    let lsn = Lsn(23_912_600);
    assert_eq!(
        render(logical(0, b"\xFF"), Place::Between { lsn }),
        r#"{"op":"message","prefix":"out\"box","content":{"hex":"ff"},"transactional":false,"at":23912600,"lsn":23912600,"seq":0,"xid":null,"ts":null,"last":true}"#
    );
    assert_eq!(key(logical(1, b"")), None);
}

#[test]
fn styles() {
    let columns = [(1, "a", 20), (0, "b", 114), (0, "c\"\n", 16), (0, "d", 18)];
    let message = relation(b'd', &columns);
    let style = RowStyle {
        int8: Int8::String,
        json: JsonStyle::Text,
    };
    let new = row(&["5", "{}", "t", "x"]);
    for (style, a, b) in [(RowStyle::default(), "5", "{}"), (style, "\"5\"", "\"{}\"")] {
        let table = table_of(&message, None, style).unwrap();
        let op = RowOp::Insert {
            table: &table,
            new: tuple(&new),
        };
        let after = format!(r#"{{"a":{a},"b":{b},"c\"\n":true,"d":"x"}}"#);
        assert!(rendered(op).ends_with(&after));
        assert_eq!(key(op), Some(format!(r#"["public","pets",{a}]"#)));
    }
}

#[test]
fn keys_that_cannot_be() {
    let refusal = |identity, keys: &[&str]| {
        let message = relation(identity, &COLUMNS);
        table_of(&message, Some(keys), RowStyle::default()).unwrap_err()
    };
    assert_eq!(
        refusal(b'f', &["id", "Id"]),
        "keys: public.pets has no column \"Id\" that is published"
    );
    assert_eq!(
        refusal(b'd', &["name"]),
        "keys: column \"name\" of public.pets is not part of its replica identity, so deletes would \
         not tell it (hint: leave public.pets out of \"keys\", or name columns of its replica \
         identity, or give it REPLICA IDENTITY FULL)"
    );
    // A table whose inserts alone are published.
    let message = relation(b'n', &[(0, "id", 23)]);
    assert!(
        table_of(&message, Some(&["id"]), RowStyle::default())
            .unwrap()
            .has_key()
    );
}

/// Records of every kind, each with its place.
fn goldens() -> Vec<(String, RowPlacedParts)> {
    let transaction = Transaction::new(&begin());
    let place = Place::Within {
        transaction: &transaction,
        seq: 2,
    };
    let (table, new) = (table(b'd', None), row(&["1", "~", "-", " {\n\"a\":1} "]));
    let old = row(&["7", "-", "-", "-"]);
    let (new, old) = (tuple(&new), OldTuple::Key(tuple(&old)));
    let update = RowOp::Update {
        table: &table,
        old: Some(old),
        new,
    };
    let (lsn, sum) = (Lsn(23_912_600), Checksum::of("out\"box", b"\xFF"));
    let message = OrderKind::Message { at: lsn };
    let mut goldens = Vec::new();
    for (op, read, kind) in [
        (
            RowOp::Insert { table: &table, new },
            Op::Insert,
            OrderKind::Change,
        ),
        (update, Op::Update, OrderKind::Change),
        (
            RowOp::Delete { table: &table, old },
            Op::Delete,
            OrderKind::Change,
        ),
        (update.moved().unwrap(), Op::Delete, OrderKind::Change),
        (
            RowOp::Truncate {
                table: &table,
                options: 3,
            },
            Op::Truncate,
            OrderKind::Change,
        ),
        (logical(1, b"\xFF"), Op::Message(sum), message),
    ] {
        let json = render(op, place);
        let last = json.strip_suffix('}').unwrap().to_owned() + std::str::from_utf8(LAST).unwrap();
        let is_moved = matches!(op, RowOp::Moved { .. });
        let order = RowOrder {
            unit: Unit::transaction(begin().final_lsn),
            seq: 2,
            kind,
        };
        goldens.push((json, (read, order, false, is_moved)));
        goldens.push((last, (read, order, true, is_moved)));
    }
    let between = RowOrder {
        unit: Unit::message(lsn),
        seq: 0,
        kind: message,
    };
    let json = render(logical(0, b"\xFF"), Place::Between { lsn });
    goldens.push((json, (Op::Message(sum), between, true, false)));
    goldens
}

type RowPlacedParts = (Op, RowOrder, bool, bool);

#[test]
fn records_are_read_back() {
    for (json, (op, order, is_last, is_moved)) in goldens() {
        let commit = order.unit.is_transaction().then_some(Commit {
            xid: 735,
            time_us: begin().timestamp,
        });
        let expected = readback::RowPlaced {
            order,
            op,
            commit,
            is_last,
            is_moved,
        };
        assert_eq!(readback::parse(json.as_bytes()), Some(expected), "{json}");
        let placed = Placed::parse(json.as_bytes()).unwrap();
        assert_eq!(placed.record, Record::OfRows(expected));
        assert!(
            serde_json::from_str::<serde_json::Value>(&json).is_ok(),
            "{json}"
        );
    }
}

#[test]
fn the_key_is_read_back() {
    let columns = [(1, "i\"d", 23), (1, "doc", 3802), (0, "n", 25)];
    let table = table_of(&relation(b'i', &columns), None, RowStyle::default()).unwrap();
    let new = row(&["1", " {\"a\": \",\"} ", "x"]);
    let op = RowOp::Insert {
        table: &table,
        new: tuple(&new),
    };
    let json = rendered(op) + PLACE + "}";
    let (_, names) = readback::parse_with_names(json.as_bytes()).unwrap();
    let names = names.unwrap();
    assert_eq!((&*names.schema(), &*names.table()), ("public", "pets"));
    let (mut key_read, mut name_read, mut name) = (Vec::new(), Vec::new(), Vec::new());
    assert!(names.append_key(&mut key_read));
    assert_eq!(String::from_utf8(key_read).ok(), key(op));
    names.append_name(&mut name_read);
    table.append_name(&mut name);
    assert_eq!(
        (&*name, &*name_read),
        (&br#"["public","pets"]"#[..], &*name)
    );
}

#[test]
fn hostile_records_are_read_or_not() {
    for (json, _) in goldens() {
        for end in 0..json.len() {
            assert_eq!(readback::parse(&json.as_bytes()[..end]), None);
        }
        for at in 0..json.len() {
            for flip in (0..8).map(|bit| 1 << bit) {
                let mut bytes = json.clone().into_bytes();
                bytes[at] ^= flip;
                if let Some((_, Some(names))) = readback::parse_with_names(&bytes) {
                    names.append_key(&mut Vec::new());
                    let _ = (names.schema(), names.table());
                }
            }
        }
        let spaced = json.replacen("\"seq\":", "\"seq\": ", 1);
        assert_eq!(readback::parse(spaced.as_bytes()), None);
        assert_eq!(readback::parse(format!("{json}\n").as_bytes()), None);
    }
}

#[test]
fn the_order_is_that_of_the_stream() {
    let change = |unit, seq| RowOrder {
        unit,
        seq,
        kind: OrderKind::Change,
    };
    let message = |unit, seq, at| RowOrder {
        unit,
        seq,
        kind: OrderKind::Message { at: Lsn(at) },
    };
    let (first, second) = (Unit::transaction(Lsn(50)), Unit::transaction(Lsn(90)));
    let ordered = [
        message(first, 0, 10),
        message(first, 0, 20),
        change(first, 0),
        change(first, 1),
        message(Unit::message(Lsn(90)), 0, 90),
        message(second, 0, 70),
        change(second, 0),
        message(second, 1, 80),
    ];
    assert!(ordered.is_sorted_by(|one, next| one < next));
}
