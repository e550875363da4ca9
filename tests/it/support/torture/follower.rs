//! Reads the topic as it grows and checks every record on the way.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use postgres_source::sink::{LanePlace, Options, Partition};

use super::super::fluvio::Cluster;
use super::journal::{Change, Found, Journal, Kind};
use super::plan::text_len;

/// How long one look at a cluster may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The last records that a message about a violation shows.
const SHOWN: usize = 12;

/// The topic from its beginning to where it was read.
pub struct Follower<'a> {
    source: Source<'a>,
    journal: &'a Journal,
    next_offset: i64,
    described: HashMap<u64, Described>,
    open: Option<Open>,
    last_commit: u64,
    /// The highest transaction of the journal that came.
    newest: i64,
    /// The highest position that was confirmed when everything up to here was read.
    confirmed: u64,
    /// From the begin to the commit of each transaction.
    transactions: Vec<Range<i64>>,
    /// In short, for a message.
    recent: std::collections::VecDeque<String>,
}

/// Where the records come from.
enum Source<'a> {
    InProcess(&'a super::super::fluvio::FluvioServer, &'a str),
    /// The ordinary client sees no further than the last stable offset, which a server that was
    /// killed finds again only later; the log goes further.
    Real(Options, LanePlace),
}

struct Described {
    name: Rc<str>,
    columns: usize,
}

/// A transaction that has begun.
struct Open {
    offset: i64,
    final_lsn: u64,
    xid: u64,
    marker: Option<(i64, usize)>,
    changes: Vec<Change>,
}

impl<'a> Follower<'a> {
    pub fn new(cluster: &'a Cluster, topic: &'a str, journal: &'a Journal) -> Follower<'a> {
        let source = match cluster {
            Cluster::InProcess(server) => Source::InProcess(server, topic),
            Cluster::Real(sc_addr) => {
                let options = Options {
                    endpoint: Some(sc_addr.clone()),
                    create_topic: false,
                    batch_bytes: 1,
                    compression: None,
                    timeout: READ_TIMEOUT,
                };
                let place = LanePlace {
                    topic: topic.into(),
                    partition: 0,
                };
                Source::Real(options, place)
            }
        };
        Follower {
            source,
            journal,
            next_offset: 0,
            described: HashMap::new(),
            open: None,
            last_commit: 0,
            newest: 0,
            confirmed: 0,
            transactions: Vec::new(),
            recent: Default::default(),
        }
    }

    /// Reads on to the end that the topic has now; false when that is not known, because the
    /// cluster is just coming back.
    pub fn advance(&mut self) -> Result<bool, String> {
        loop {
            let values = match self.source.read(self.next_offset) {
                Some(values) if values.is_empty() => return Ok(true),
                Some(values) => values,
                None => return Ok(false),
            };
            for value in values {
                let offset = self.next_offset;
                self.next_offset += 1;
                self.take(offset, &value).map_err(|what| {
                    let recent: Vec<&str> = self.recent.iter().map(String::as_str).collect();
                    format!("offset {offset}: {what}; before it:\n{}", recent.join("\n"))
                })?;
            }
        }
    }

    /// The same; `confirmed` was looked at before this call, so everything before it is there.
    pub fn advance_past(&mut self, confirmed: u64) -> Result<(), String> {
        if self.advance()? {
            self.confirmed = self.confirmed.max(confirmed);
        }
        Ok(())
    }

    /// The highest transaction of the journal that came.
    pub fn newest(&self) -> i64 {
        self.newest
    }

    pub fn end_offset(&self) -> i64 {
        self.next_offset
    }

    /// Whether the topic ended inside a transaction when it had so many records.
    pub fn is_inside(&self, end: i64) -> bool {
        let after = self.transactions.partition_point(|tx| tx.end < end);
        let transaction = self.transactions.get(after);
        transaction.is_some_and(|tx| tx.start < end && end <= tx.end)
    }

    /// At the end: no transaction is open, and none is missing.
    pub fn finish(&self) -> Result<(), String> {
        match &self.open {
            Some(open) => Err(format!(
                "the topic ends inside the transaction whose begin is at offset {}",
                open.offset
            )),
            None => self.journal.finish(),
        }
    }

    fn take(&mut self, offset: i64, value: &[u8]) -> Result<(), String> {
        let record: Value = serde_json::from_slice(value).map_err(|e| e.to_string())?;
        let message = &record["message"];
        let kind = message["type"].as_str().ok_or("a record without a type")?;
        if self.recent.len() == SHOWN {
            self.recent.pop_front();
        }
        self.recent.push_back(brief(offset, kind, message));
        match kind {
            "begin" => self.begin(offset, message),
            "commit" => self.commit(offset, message),
            _ if self.open.is_none() => Err(format!("{kind} outside of any transaction")),
            "relation" => self.relation(message),
            "type" | "origin" => Ok(()),
            "truncate" => self.truncate(message),
            "insert" => self.row(Kind::Insert, message, "tuple"),
            "update" => self.row(Kind::Update, message, "new_tuple"),
            "delete" => self.row(Kind::Delete, message, "key_tuple"),
            other => Err(format!("a record of the type {other}")),
        }
    }

    fn begin(&mut self, offset: i64, message: &Value) -> Result<(), String> {
        let final_lsn = number(message, "final_lsn")?;
        if let Some(open) = &self.open {
            return Err(format!(
                "a begin inside the transaction whose begin is at offset {}",
                open.offset
            ));
        }
        if final_lsn <= self.last_commit {
            return Err(format!(
                "the transaction at {final_lsn} comes after the commit at {}",
                self.last_commit
            ));
        }
        if final_lsn < self.confirmed {
            return Err(format!(
                "{} was confirmed before the transaction at {final_lsn} was stored",
                self.confirmed
            ));
        }
        self.open = Some(Open {
            offset,
            final_lsn,
            xid: number(message, "xid")?,
            marker: None,
            changes: Vec::new(),
        });
        Ok(())
    }

    fn commit(&mut self, offset: i64, message: &Value) -> Result<(), String> {
        let open = self.open.take().ok_or("a commit without a begin")?;
        let (commit, end) = (number(message, "commit_lsn")?, number(message, "end_lsn")?);
        if commit != open.final_lsn || end <= commit {
            return Err(format!(
                "the commit at {commit}, which ends at {end}, of the begin at offset {} for {}",
                open.offset, open.final_lsn
            ));
        }
        self.last_commit = commit;
        let offsets = open.offset..offset;
        self.transactions.push(offsets.clone());
        let Some((id, writer)) = open.marker else {
            // Servers up to version 14 send what changed nothing that is published.
            return match open.changes.first() {
                None => Ok(()),
                Some(change) => Err(format!("a transaction without a marker: {change:?}")),
            };
        };
        self.newest = self.newest.max(id);
        self.journal.deliver(&Found {
            id,
            writer,
            xid: open.xid as u32,
            changes: open.changes,
            offsets,
        })
    }

    fn relation(&mut self, message: &Value) -> Result<(), String> {
        let name = message["name"].as_str().ok_or("a relation has a name")?;
        let columns = message["columns"].as_array().ok_or("and columns")?.len();
        let name = Rc::from(name);
        let rel_id = number(message, "rel_id")?;
        self.described.insert(rel_id, Described { name, columns });
        Ok(())
    }

    fn row(&mut self, kind: Kind, message: &Value, tuple: &str) -> Result<(), String> {
        let described = self.described(message["rel_id"].as_u64())?;
        let table = Rc::clone(&described.name);
        let row = message[tuple].as_array().ok_or("a row without a tuple")?;
        if row.len() != described.columns {
            return Err(format!(
                "a row of {} columns in {table}, which was described with {}",
                row.len(),
                described.columns
            ));
        }
        let id = row[0]["Int8"].as_i64().ok_or("a row without an id")?;
        let open = self.open.as_mut().expect("a row is inside");
        if &*table == "marker" {
            let writer = row[1]["Int4"].as_u64().ok_or("a marker has a writer")?;
            let first = open.marker.is_none() && open.changes.is_empty();
            if kind != Kind::Insert || !first {
                return Err(format!(
                    "the marker {id} is not the first of its transaction"
                ));
            }
            open.marker = Some((id, writer as usize));
            return Ok(());
        }
        if kind == Kind::Insert {
            let body = row[1]["String"].as_str().ok_or("a row without a body")?;
            let expected = text_len(&table, id);
            if body.len() != expected || body.bytes().any(|byte| byte != b'x') {
                return Err(format!("the body of row {id} of {table} is another"));
            }
        }
        open.changes.push(Change {
            kind,
            table,
            row: id,
        });
        Ok(())
    }

    fn truncate(&mut self, message: &Value) -> Result<(), String> {
        let rel_ids = message["rel_ids"].as_array().ok_or("a truncate of none")?;
        let mut names = Vec::new();
        for rel_id in rel_ids {
            names.push(Rc::clone(&self.described(rel_id.as_u64())?.name));
        }
        names.sort_unstable();
        let open = self.open.as_mut().expect("a truncate is inside");
        open.changes.push(Change {
            kind: Kind::Truncate,
            table: names.join(",").into(),
            row: 0,
        });
        Ok(())
    }

    fn described(&self, rel_id: Option<u64>) -> Result<&Described, String> {
        let rel_id = rel_id.ok_or("a row without a table")?;
        self.described
            .get(&rel_id)
            .ok_or_else(|| format!("the table {rel_id} was not described"))
    }
}

impl Source<'_> {
    /// The records from `offset` on; some of them at least, if there are any. None when the cluster
    /// does not answer: the deadline of who waits decides.
    fn read(&mut self, offset: i64) -> Option<Vec<Vec<u8>>> {
        match self {
            Source::InProcess(server, topic) => {
                if server.end_offset(topic, 0) <= offset {
                    return Some(Vec::new());
                }
                Some(server.records_from(topic, 0, offset))
            }
            Source::Real(options, place) => {
                let partition = Partition::open(options, place).ok()?;
                if partition.bounds().end <= offset {
                    return Some(Vec::new());
                }
                let records = partition.reader().ok()?.fetch(offset).ok()?;
                Some(
                    records
                        .into_iter()
                        .map(|record| record.value.to_vec())
                        .collect(),
                )
            }
        }
    }
}

fn number(message: &Value, key: &str) -> Result<u64, String> {
    message[key]
        .as_u64()
        .ok_or_else(|| format!("a record without {key}"))
}

/// The records in short, a line for each.
pub fn outline(records: &[Vec<u8>]) -> impl Iterator<Item = String> {
    (0..).zip(records).map(|(offset, value)| {
        let record: Value = serde_json::from_slice(value).unwrap_or_default();
        let message = &record["message"];
        brief(offset, message["type"].as_str().unwrap_or("?"), message)
    })
}

/// A record for a message: never its text, which may be long.
fn brief(offset: i64, kind: &str, message: &Value) -> String {
    let fields = [
        "final_lsn",
        "commit_lsn",
        "xid",
        "rel_id",
        "rel_ids",
        "name",
    ]
    .iter()
    .filter(|key| !message[**key].is_null())
    .map(|key| format!(" {key} {}", message[*key]));
    let tuple = ["tuple", "new_tuple", "key_tuple"]
        .iter()
        .find_map(|key| message[*key][0]["Int8"].as_i64());
    let row = tuple.map_or(String::new(), |id| format!(" row {id}"));
    format!("  {offset} {kind}{}{row}", fields.collect::<String>())
}
