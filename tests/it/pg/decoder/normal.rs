//! Records without the numbers that every server has of its own.

use super::fixture::Golden;
use serde_json::{Value, json};

/// The first OID that a server gives to what its users make.
const FIRST_OWN_OID: u64 = 16_384;

/// Positions, times and transaction ids.
const OWN_NUMBERS: [&str; 5] = ["wal_start", "wal_end", "timestamp", "final_lsn", "end_lsn"];

/// OIDs are numbered by their first appearance; the other numbers of a server's own are zero.
pub fn normalized(goldens: &[Golden]) -> Vec<String> {
    let mut oids = Vec::new();
    goldens
        .iter()
        .map(|golden| {
            let mut record: Value = serde_json::from_str(&golden.json).expect("JSON");
            normalize(&mut record, &mut oids);
            let message = &mut record["message"];
            normalize(message, &mut oids);
            for list in ["columns", "rel_ids"] {
                let items = message.get_mut(list).and_then(Value::as_array_mut);
                for item in items.into_iter().flatten() {
                    normalize(item, &mut oids);
                }
            }
            record.to_string()
        })
        .collect()
}

fn normalize(value: &mut Value, oids: &mut Vec<u64>) {
    let is_commit = value["type"] == "commit";
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match key.as_str() {
                    "rel_id" | "id" | "type_id" => number(value, oids),
                    "xid" => *value = json!(0),
                    // An origin's is what the session said.
                    "commit_lsn" if is_commit => *value = json!(0),
                    key if OWN_NUMBERS.contains(&key) => *value = json!(0),
                    _ => {}
                }
            }
        }
        oid => number(oid, oids),
    }
}

fn number(value: &mut Value, oids: &mut Vec<u64>) {
    let oid = value.as_u64().expect("an OID");
    if oid >= FIRST_OWN_OID {
        let place = oids.iter().position(|known| *known == oid);
        let place = place.unwrap_or_else(|| {
            oids.push(oid);
            oids.len() - 1
        });
        *value = json!(format!("oid {place}"));
    }
}
