//! The records of a topic, as a test looks at them, and the properties that every topic has.

use std::collections::HashMap;

use serde_json::Value;

/// One record's JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Record(pub Value);

impl Record {
    pub fn parse(bytes: &[u8]) -> Record {
        let text = String::from_utf8(bytes.to_vec()).expect("records are UTF-8");
        let value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        // Compact, no trailing newline, keys in the order of the format.
        assert_eq!(serde_json::to_string(&value).expect("JSON"), text);
        Record(value)
    }

    pub fn parse_all(records: &[Vec<u8>]) -> Vec<Record> {
        records.iter().map(|record| Record::parse(record)).collect()
    }

    pub fn message(&self) -> &Value {
        &self.0["message"]
    }

    pub fn kind(&self) -> &str {
        self.message()["type"]
            .as_str()
            .expect("every message has a type")
    }

    pub fn lsn(&self, key: &str) -> u64 {
        self.message()[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} in {self:?}"))
    }

    /// The new row of an insert or update.
    pub fn row(&self) -> &Vec<Value> {
        let message = self.message();
        let tuple = message.get("tuple").or(message.get("new_tuple"));
        tuple
            .and_then(Value::as_array)
            .unwrap_or_else(|| panic!("a row in {self:?}"))
    }

    /// The integer in a column of the row.
    pub fn int(&self, column: usize) -> i64 {
        let value = self.row()[column]
            .as_object()
            .and_then(|value| value.values().next());
        value
            .and_then(Value::as_i64)
            .unwrap_or_else(|| panic!("an integer in {self:?}"))
    }
}

/// The records without descriptions of a table that repeat its last one, and without those of types in
/// front of them.
///
/// From version 15 on a walsender describes a table again when it has lost track of the catalog: others
/// changed much of it at once, which on a server that tests share may be at any time.
pub fn without_repeated_descriptions(records: &[Record]) -> Vec<&Record> {
    let mut last = HashMap::new();
    let mut kept: Vec<&Record> = Vec::new();
    for record in records {
        let message = record.message();
        if record.kind() == "relation"
            && last.insert(record.lsn("rel_id"), message) == Some(message)
        {
            while kept.last().is_some_and(|record| record.kind() == "type") {
                kept.pop();
            }
        } else {
            kept.push(record);
        }
    }
    kept
}

/// The messages between a begin and its commit, for each transaction that has any, in order, without
/// repeated descriptions.
///
/// Only for a stream without faults: each begin has its commit.
pub fn transactions(records: &[Record]) -> Vec<Vec<Value>> {
    let mut transactions = Vec::new();
    let mut open: Option<Vec<Value>> = None;
    for record in without_repeated_descriptions(records) {
        match (record.kind(), &mut open) {
            ("begin", None) => open = Some(Vec::new()),
            ("commit", Some(_)) => transactions.extend(open.take()),
            (kind, Some(messages)) if kind != "begin" => messages.push(record.message().clone()),
            (kind, _) => panic!("{kind} out of place"),
        }
    }
    assert!(open.is_none(), "the last transaction has no commit");
    transactions.retain(|messages| !messages.is_empty());
    transactions
}

/// The types, without repeated descriptions and the empty transactions that servers up to 14 send.
pub fn kinds(records: &[Record]) -> Vec<&str> {
    let mut kinds: Vec<&str> = Vec::new();
    for record in without_repeated_descriptions(records) {
        match (record.kind(), kinds.last()) {
            ("commit", Some(&"begin")) => drop(kinds.pop()),
            (kind, _) => kinds.push(kind),
        }
    }
    kinds
}

/// The integers that were inserted into the first column, in the order of the topic.
pub fn inserted(records: &[Record]) -> Vec<i64> {
    let inserts = records.iter().filter(|record| record.kind() == "insert");
    inserts.map(|record| record.int(0)).collect()
}

/// What holds in every topic, whatever died: a transaction that appears complete appears in commit
/// order the first time; one may be repeated whole, or be broken off and begin again, but nothing
/// of it stands outside its begin and commit.
///
/// Returns the integers inserted by complete transactions, at their first appearance.
pub fn first_appearances(records: &[Record]) -> Vec<i64> {
    let mut open: Option<(u64, Vec<i64>)> = None;
    let mut last_commit = 0;
    let mut rows = Vec::new();
    for record in records {
        match record.kind() {
            // A begin inside a transaction: the session before broke off.
            "begin" => open = Some((record.lsn("final_lsn"), Vec::new())),
            "commit" => {
                let (final_lsn, inserted) = open.take().expect("a commit has a begin");
                assert_eq!(record.lsn("commit_lsn"), final_lsn);
                if final_lsn > last_commit {
                    last_commit = final_lsn;
                    rows.extend(inserted);
                }
            }
            kind => {
                let (_, inserted) = open.as_mut().unwrap_or_else(|| panic!("{kind} outside"));
                if kind == "insert" {
                    inserted.push(record.int(0));
                }
            }
        }
    }
    rows
}

/// The end of the last commit in the topic.
pub fn last_commit_end(records: &[Record]) -> u64 {
    let commits = records.iter().filter(|record| record.kind() == "commit");
    commits
        .map(|commit| commit.lsn("end_lsn"))
        .max()
        .unwrap_or(0)
}
