//! What a reader makes of lanes of rows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pipeline::Pipeline;

/// The rows that a reader has, by table and key.
pub type Folded = BTreeMap<String, Value>;

/// The records of each of so many partitions of a topic.
pub fn lanes(pipeline: &Pipeline, topic: &str, partitions: u32) -> Vec<Vec<Value>> {
    let records = |partition| pipeline.cluster().records_of(topic, partition);
    let parse = |record: &Vec<u8>| serde_json::from_slice(record).expect("a record is JSON");
    (0..partitions)
        .map(|partition| records(partition).iter().map(parse).collect())
        .collect()
}

/// Checks that a lane is in order, and that each transaction has its last record marked, and no other.
#[track_caller]
pub fn check_order(lane: &[Value]) {
    let place = |record: &Value| {
        let number = |key: &str| record[key].as_u64().expect("a number");
        // A message has the number of the change that follows it.
        let at = record.get("at").map_or(u64::MAX, |_| number("at"));
        (number("lsn"), number("seq"), at)
    };
    for pair in lane.windows(2) {
        assert!(
            place(&pair[0]) < place(&pair[1]),
            "{} then {}",
            pair[0],
            pair[1]
        );
        let ends = pair[0]["lsn"] != pair[1]["lsn"];
        assert_eq!(
            pair[0]["last"] == true,
            ends,
            "{} then {}",
            pair[0],
            pair[1]
        );
    }
    if let Some(last) = lane.last() {
        assert_eq!(last["last"], true, "{last}");
    }
}

/// Checks the order of all lanes, and folds each: a row is in one of them.
#[track_caller]
pub fn fold(lanes: &[Vec<Value>]) -> Folded {
    let mut all = Folded::new();
    for lane in lanes {
        check_order(lane);
        let mut folded = Folded::new();
        for record in lane {
            apply(&mut folded, record);
        }
        for (place, row) in folded {
            let twice = all.insert(place.clone(), row);
            assert!(twice.is_none(), "in two lanes: {place}");
        }
    }
    all
}

fn apply(folded: &mut Folded, record: &Value) {
    let table = format!("{}.{}", record["schema"], record["table"]);
    let place = |key: &Value| format!("{table} {key}");
    let key = &record["key"];
    match record["op"].as_str().expect("an op") {
        "insert" => {
            let before = folded.insert(place(key), record["after"].clone());
            assert!(before.is_none(), "twice: {record}");
        }
        "update" => {
            let mut row = record["after"].clone();
            let old_key = old_key(record);
            let before = folded.remove(&place(&old_key));
            for name in record["unchanged"].as_array().into_iter().flatten() {
                let name = name.as_str().expect("a name");
                if let Some(before) = &before {
                    row[name] = before[name].clone();
                }
            }
            // A row that moved came to this lane by its update.
            assert!(
                before.is_some() || old_key != *key,
                "nothing to update: {record}"
            );
            folded.insert(place(key), row);
        }
        "delete" => {
            let before = folded.remove(&place(key));
            assert!(before.is_some(), "nothing to delete: {record}");
        }
        "truncate" => folded.retain(|place, _| !place.starts_with(&format!("{table} "))),
        op => assert_eq!(op, "message"),
    }
}

/// The key that a row had before an update.
fn old_key(record: &Value) -> Value {
    let (key, before) = (&record["key"], &record["before"]);
    match (before, key.as_object()) {
        (Value::Null, _) | (_, None) => key.clone(),
        (before, Some(names)) => {
            let old = names
                .keys()
                .map(|name| (name.clone(), before[name].clone()));
            Value::Object(old.collect())
        }
    }
}
