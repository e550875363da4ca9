//! The row format as a test makes it of what a slot has, and reads it.

use std::collections::{BTreeMap, HashMap};

use postgres_source::base::Lsn;
use postgres_source::change::{Batch, Catalog, Change, Envelope, Event};
use postgres_source::pg::Message;
use postgres_source::record::{LAST, Place, ProducerRecord, RowOp, RowRecord, RowStyle, RowTable};
use postgres_source::record::{Placed, Transaction};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::postgres::Database;

/// What the program asks the server for, so that a text never depends on who connects.
const PINNED: &str = "SET LOCAL client_encoding = ENCODING; SET LOCAL DateStyle = 'ISO';
    SET LOCAL IntervalStyle = 'postgres'; SET LOCAL TimeZone = 'UTC';
    SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex';
    SET LOCAL lc_monetary = 'C'; SET LOCAL search_path = pg_catalog;
    SET LOCAL quote_all_identifiers = off;";

/// A record of the row format, and its key in Fluvio.
#[derive(Debug, Clone)]
pub struct RowLine {
    pub json: String,
    pub key: Option<String>,
}

impl RowLine {
    /// The JSON of the value that a column has in the row after the change; `None` if it is absent.
    pub fn after(&self, column: &str) -> Option<&str> {
        member(member(&self.json, "after")?, column)
    }
}

/// The JSON of a member of an object, digit by digit, which a parsed number has not any more.
fn member<'j>(object: &'j str, wanted: &str) -> Option<&'j str> {
    let mut rest = object.strip_prefix('{').expect("an object").trim_start();
    while !rest.starts_with('}') {
        let (name, after) = split_value::<String>(rest);
        let (_, after) = after.split_once(':').expect("a name has a value");
        let (_, behind) = split_value::<IgnoredAny>(after);
        if name == wanted {
            return Some(after[..after.len() - behind.len()].trim());
        }
        let behind = behind.trim_start();
        rest = behind.strip_prefix(',').unwrap_or(behind).trim_start();
    }
    None
}

/// The value that the text begins with, and what comes behind it.
fn split_value<'j, T: Deserialize<'j>>(json: &'j str) -> (T, &'j str) {
    let mut values = serde_json::Deserializer::from_str(json).into_iter();
    let value = values.next().expect("a value").expect("JSON");
    (value, &json[values.byte_offset()..])
}

/// Whether the type is `json` or `jsonb`, of which the one is a word of SQL from version 16 on and is quoted.
pub fn is_document(sql_type: &str) -> bool {
    let name = sql_type.trim_start_matches("pg_catalog.").trim_matches('"');
    matches!(name, "json" | "jsonb")
}

/// The text that the server sent for a value; `None` for NULL. Of a JSON document, line breaks are
/// spaces, and the space around it is left out.
pub fn server_text(sql_type: &str, json: &str) -> Option<Vec<u8>> {
    let is_document = is_document(sql_type);
    Some(match json.as_bytes()[0] {
        b'n' => return None,
        b't' => b"t".to_vec(),
        b'f' => b"f".to_vec(),
        b'"' => serde_json::from_str::<String>(json)
            .expect("a string")
            .into(),
        b'{' if !is_document => {
            let hex: BTreeMap<&str, &str> = serde_json::from_str(json)
                .unwrap_or_else(|error| panic!("{sql_type}: {json}: {error}"));
            assert_eq!(hex.len(), 1, "{json}");
            let pairs = hex["hex"].as_bytes().chunks(2);
            let pairs = pairs.map(|pair| std::str::from_utf8(pair).expect("ASCII"));
            pairs
                .map(|pair| u8::from_str_radix(pair, 16).expect("two digits"))
                .collect()
        }
        _ => json.as_bytes().to_vec(),
    })
}

/// Takes what a slot has, and makes records of it as for one partition that has them all.
pub struct RowDecoder<'d> {
    pub database: &'d Database,
    pub publication: &'d str,
    pub slot: &'d str,
    pub keys: HashMap<&'static str, Vec<String>>,
    pub style: RowStyle,
}

impl RowDecoder<'_> {
    /// The records of everything that is pending.
    pub fn take(&self) -> Vec<RowLine> {
        let (mut batch, mut catalog) = (Batch::default(), Catalog::default());
        let envelope = Envelope {
            wal_start: Lsn(0),
            wal_end: Lsn(0),
            timestamp: 0,
        };
        for message in self.pending() {
            let message = Message::decode(&message).expect("the server's message");
            batch.push(envelope, &message, &mut catalog).unwrap();
        }
        let mut written = Written::default();
        for event in batch.events() {
            self.write(&event, &mut written);
        }
        written.lines
    }

    fn pending(&self) -> Vec<Vec<u8>> {
        let messages = match self.database.major() {
            ..14 => "",
            _ => ", 'messages', 'true'",
        };
        // A database in SQL_ASCII has no characters to convert.
        let encoding = match self
            .database
            .query_one_text("SHOW server_encoding")
            .as_str()
        {
            "SQL_ASCII" => "SQL_ASCII",
            _ => "UTF8",
        };
        let mut client = self.database.client();
        let pinned = PINNED.replace("ENCODING", encoding);
        client.batch_execute(&format!("BEGIN; {pinned}")).unwrap();
        let rows = client.query(
            &format!(
                "SELECT data FROM pg_logical_slot_get_binary_changes('{}', NULL, NULL,
                     'proto_version', '1', 'publication_names', '\"{}\"'{messages})",
                self.slot, self.publication
            ),
            &[],
        );
        let messages = rows.unwrap().iter().map(|row| row.get(0)).collect();
        client.batch_execute("COMMIT").unwrap();
        messages
    }

    fn write(&self, event: &Event<'_>, written: &mut Written) {
        match &event.change {
            Change::Begin(begin) => {
                written.transaction = Some(Transaction::new(begin));
                (written.seq, written.open) = (0, false);
            }
            Change::Commit(_) if written.open => {
                let last = &mut written.lines.last_mut().unwrap().json;
                last.pop();
                last.push_str(std::str::from_utf8(LAST).unwrap());
            }
            Change::Relation(relation) => {
                let keys = self.keys.get(relation.name()).map(Vec::as_slice);
                let table = RowTable::new(relation, keys, self.style).unwrap();
                written.tables.insert(relation.rel_id, table);
            }
            Change::Truncate { options, rel_ids } => {
                let tables = std::mem::take(&mut written.tables);
                for rel_id in rel_ids.iter() {
                    let options = *options;
                    let table = &tables[&rel_id];
                    written.push(RowOp::Truncate { table, options });
                }
                written.tables = tables;
            }
            Change::Logical(logical) => written.push(RowOp::Message(*logical)),
            change => {
                let tables = std::mem::take(&mut written.tables);
                let table = |rel_id| &tables[rel_id];
                match change {
                    Change::Insert { relation, new } => written.push(RowOp::Insert {
                        table: table(&relation.rel_id),
                        new: *new,
                    }),
                    Change::Update { relation, old, new } => written.push(RowOp::Update {
                        table: table(&relation.rel_id),
                        old: *old,
                        new: *new,
                    }),
                    Change::Delete { relation, old } => written.push(RowOp::Delete {
                        table: table(&relation.rel_id),
                        old: *old,
                    }),
                    _ => {}
                }
                written.tables = tables;
            }
        }
    }
}

#[derive(Default)]
struct Written {
    tables: HashMap<u32, RowTable>,
    transaction: Option<Transaction>,
    seq: u64,
    /// Whether the transaction has a record.
    open: bool,
    lines: Vec<RowLine>,
}

impl Written {
    fn push(&mut self, op: RowOp<'_>) {
        let place = match op {
            RowOp::Message(logical) if logical.flags & 1 == 0 => {
                Place::Between { lsn: logical.lsn }
            }
            _ => Place::Within {
                transaction: self.transaction.as_ref().expect("a transaction"),
                seq: self.seq,
            },
        };
        let record = RowRecord { op, place };
        let mut key = Vec::new();
        let has_key = op.append_key(&mut key).expect("the server sends it");
        let mut json = Vec::new();
        ProducerRecord::row(&record, None).render(&mut json);
        assert!(Placed::parse(&json).is_some());
        self.lines.push(RowLine {
            json: String::from_utf8(json).expect("records are UTF-8"),
            key: has_key.then(|| String::from_utf8(key).unwrap()),
        });
        self.open |= record.is_open();
        self.seq += u64::from(!matches!(op, RowOp::Message(_)));
    }
}
