//! Reads the lanes as they grow, checks every record on the way, and puts the transactions together
//! again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use serde_json::Value;

use postgres_source::sink::LanePlace;

use super::super::postgres::Database;
use super::WRITERS;
use super::events::EventReader;
use super::fold::Fold;
use super::journal::{Change, Found, Journal, Kind};
use super::lanes::{Format, Layout, Source};
use super::piece::{MARKER, Piece, Reader, Row};
use super::plan;
use super::rows::RowReader;
use super::stage::Stage;

/// The last records that a message about a violation shows.
const SHOWN: usize = 12;

/// The topics from their beginnings to where they were read.
pub struct Follower<'a> {
    source: Source<'a>,
    layout: Layout,
    base: &'a str,
    journal: &'a Journal,
    lanes: Vec<Lane>,
    /// What is not compared with the journal yet, by where it commits.
    waiting: BTreeMap<u64, Assembly>,
    /// The lane that each row is in.
    homes: HashMap<(Rc<str>, i64), usize>,
    /// Of each table the lane that all of it is in, in the event format.
    tables: HashMap<Rc<str>, usize>,
    /// The highest transaction of the journal that came.
    newest: i64,
    /// The highest position that was confirmed when everything up to here was read.
    confirmed: u64,
    /// From the first record to the last of each transaction, where there is one lane.
    transactions: Vec<Range<i64>>,
}

struct Lane {
    place: LanePlace,
    next_offset: i64,
    reader: Box<dyn Reader>,
    fold: Fold,
    /// In short, for a message.
    recent: VecDeque<String>,
}

/// A transaction as the lanes have it so far.
#[derive(Default)]
struct Assembly {
    xid: u64,
    /// The first record that came, by lane and offset.
    first: (usize, i64),
    /// With the lane of each.
    pieces: Vec<(usize, Piece)>,
}

impl<'a> Follower<'a> {
    pub fn new(stage: &'a Stage<'_>, journal: &'a Journal) -> Follower<'a> {
        let layout = stage.settings.layout;
        let lane = |place| Lane {
            place,
            next_offset: 0,
            reader: match layout.format {
                Format::Events => Box::new(EventReader::default()),
                Format::Rows => Box::new(RowReader::default()),
            },
            fold: Fold::default(),
            recent: VecDeque::new(),
        };
        let places = stage.lanes().into_iter();
        Follower {
            source: Source::of(&stage.cluster),
            layout,
            base: &stage.topic,
            journal,
            lanes: places.map(lane).collect(),
            waiting: BTreeMap::new(),
            homes: HashMap::new(),
            tables: HashMap::new(),
            newest: 0,
            confirmed: 0,
            transactions: Vec::new(),
        }
    }

    /// Reads on to the ends that the lanes have now; false when they are not known, because the
    /// cluster is just coming back.
    pub fn advance(&mut self) -> Result<bool, String> {
        let mut is_read = true;
        for lane in 0..self.lanes.len() {
            is_read &= self.advance_lane(lane)?;
        }
        Ok(is_read)
    }

    fn advance_lane(&mut self, number: usize) -> Result<bool, String> {
        loop {
            let lane = &self.lanes[number];
            let values = match self.source.read(&lane.place, lane.next_offset) {
                Some(values) if values.is_empty() => return Ok(true),
                Some(values) => values,
                None => return Ok(false),
            };
            for value in values {
                let offset = self.lanes[number].next_offset;
                self.lanes[number].next_offset += 1;
                self.take(number, offset, &value).map_err(|what| {
                    let lane = &self.lanes[number];
                    let recent: Vec<&str> = lane.recent.iter().map(String::as_str).collect();
                    let (place, recent) = (&lane.place, recent.join("\n"));
                    format!("{place}, offset {offset}: {what}; before it:\n{recent}")
                })?;
            }
        }
    }

    /// Reads on. `confirmed` was looked at before this call, so everything before it is there.
    pub fn advance_past(&mut self, confirmed: u64) -> Result<(), String> {
        if self.advance()? {
            self.confirmed = self.confirmed.max(confirmed);
            let rest = self.waiting.split_off(&self.confirmed);
            let complete = std::mem::replace(&mut self.waiting, rest);
            for (lsn, assembly) in complete {
                self.deliver(lsn, assembly)?;
            }
        }
        Ok(())
    }

    /// The highest transaction of the journal that came; with several lanes, that came and was
    /// confirmed.
    pub fn newest(&self) -> i64 {
        self.newest
    }

    /// How many records there are.
    pub fn end_offset(&self) -> i64 {
        self.lanes.iter().map(|lane| lane.next_offset).sum()
    }

    /// Whether the topic ended inside a transaction when it had so many records.
    pub fn is_inside(&self, end: i64) -> bool {
        let after = self.transactions.partition_point(|tx| tx.end < end);
        let transaction = self.transactions.get(after);
        transaction.is_some_and(|tx| tx.start < end && end <= tx.end)
    }

    /// At the end: no transaction is open, none is missing, and what the lanes add up to is what
    /// the tables hold.
    pub fn finish(&mut self, database: &Database) -> Result<(), String> {
        if let Some(lane) = self.lanes.iter().find(|lane| lane.reader.open().is_some()) {
            let (place, open) = (&lane.place, lane.reader.open());
            return Err(format!(
                "{place} ends inside the transaction at {}",
                open.unwrap_or_default()
            ));
        }
        for (lsn, assembly) in std::mem::take(&mut self.waiting) {
            self.deliver(lsn, assembly)?;
        }
        self.journal.finish()?;
        let lanes = self.lanes.iter_mut();
        let folds = lanes.map(|lane| std::mem::take(&mut lane.fold)).collect();
        Fold::compare(folds, database, &plan::tables(WRITERS))
    }

    fn take(&mut self, number: usize, offset: i64, value: &[u8]) -> Result<(), String> {
        let record: Value = serde_json::from_slice(value).map_err(|e| e.to_string())?;
        let lane = &mut self.lanes[number];
        if lane.recent.len() == SHOWN {
            lane.recent.pop_front();
        }
        lane.recent.push_back(brief(offset, &record));
        let mut pieces = Vec::new();
        let was_open = lane.reader.open().is_some();
        let ended = lane.reader.take(&record, &mut pieces)?;
        let begun = lane.reader.open().or(ended).unwrap_or_default();
        if !was_open && begun < self.confirmed {
            return Err(format!(
                "{} was confirmed before the transaction at {begun} was stored",
                self.confirmed
            ));
        }
        if !was_open && self.layout.is_one_lane() {
            self.transactions.push(offset..offset);
        }
        for piece in pieces {
            self.lanes[number].fold.apply(&piece)?;
            self.find_home(number, &piece)?;
            let assembly = self.waiting.entry(piece.lsn).or_insert_with(|| Assembly {
                xid: piece.xid,
                first: (number, offset),
                pieces: Vec::new(),
            });
            if assembly.xid != piece.xid {
                return Err(format!("the xid is {}, not {}", piece.xid, assembly.xid));
            }
            assembly.pieces.push((number, piece));
        }
        if let (Some(lsn), true) = (ended, self.layout.is_one_lane()) {
            if let Some(transaction) = self.transactions.last_mut() {
                transaction.end = offset;
            }
            if let Some(assembly) = self.waiting.remove(&lsn) {
                self.deliver(lsn, assembly)?;
            }
        }
        Ok(())
    }

    /// All changes of a row are in one lane, and in the event format all of a table.
    fn find_home(&mut self, number: usize, piece: &Piece) -> Result<(), String> {
        let (table, place) = (&piece.change.table, &self.lanes[number].place);
        if !self.layout.may_have(place, self.base, table) {
            return Err(format!("a change in {table}"));
        }
        let known = match (self.layout.format, piece.change.kind) {
            (Format::Events, _) => *self.tables.entry(Rc::clone(table)).or_insert(number),
            (Format::Rows, Kind::Truncate) => number,
            (Format::Rows, _) => {
                let row = (Rc::clone(table), piece.change.row);
                *self.homes.entry(row).or_insert(number)
            }
        };
        if known != number {
            let (row, other) = (piece.change.row, &self.lanes[known].place);
            return Err(format!("row {row} of {table}, which {other} had before"));
        }
        Ok(())
    }

    /// Compares a transaction of which everything came with the journal.
    fn deliver(&mut self, lsn: u64, assembly: Assembly) -> Result<(), String> {
        let (lane, offset) = assembly.first;
        let place = format!("{}, offset {offset}", self.lanes[lane].place);
        let named = |what: String| format!("the transaction at {lsn}, from {place} on: {what}");
        let is_open = |lane: &&Lane| lane.reader.open() == Some(lsn);
        if let Some(lane) = self.lanes.iter().find(is_open) {
            return Err(named(format!("{} has no end of it", lane.place)));
        }
        let is_ordered = self.layout.format == Format::Rows || self.layout.is_one_lane();
        let pieces = match self.layout.format {
            Format::Events => assembly
                .pieces
                .into_iter()
                .map(|(_, piece)| piece)
                .collect(),
            Format::Rows => self.numbered(assembly.pieces).map_err(&named)?,
        };
        let is_marker = |piece: &Piece| &*piece.change.table == MARKER;
        let mut changes = Vec::new();
        let mut marker = None;
        for (number, piece) in pieces.into_iter().enumerate() {
            match piece.row {
                Some(Row::Marker(writer)) if is_marker(&piece) && marker.is_none() => {
                    if is_ordered && number != 0 {
                        return Err(named("the marker is not the first".to_owned()));
                    }
                    marker = Some((piece.change.row, writer));
                }
                _ if is_marker(&piece) => return Err(named("a second marker".to_owned())),
                _ => changes.push(piece.change),
            }
        }
        let Some((id, writer)) = marker else {
            return Err(named(format!("no marker: {:?}", changes.first())));
        };
        self.newest = self.newest.max(id);
        self.journal.deliver(Found {
            id,
            writer: usize::try_from(writer).map_err(|error| error.to_string())?,
            xid: assembly.xid as u32,
            changes,
            is_ordered,
            place,
        })
    }

    /// The changes in their order, each once: a truncate is in every lane of its table, and a row that
    /// leaves its lane is a change in the new one that the old one is told of.
    fn numbered(&self, mut pieces: Vec<(usize, Piece)>) -> Result<Vec<Piece>, String> {
        pieces.sort_by_key(|(_, piece)| (piece.seq, piece.is_moved));
        let mut ordered: Vec<Piece> = Vec::new();
        let mut same = pieces.into_iter().peekable();
        while let Some((lane, piece)) = same.next() {
            let seq = piece.seq;
            let mut others = Vec::new();
            while let Some(other) = same.next_if(|(_, other)| other.seq == seq) {
                others.push(other);
            }
            if seq != Some(ordered.len() as u64) {
                return Err(format!("{seq:?} where {} was expected", ordered.len()));
            }
            self.check_others(lane, &piece, &others)?;
            ordered.push(piece);
        }
        Ok(ordered)
    }

    /// Checks what other lanes have of one change.
    fn check_others(
        &self,
        lane: usize,
        piece: &Piece,
        others: &[(usize, Piece)],
    ) -> Result<(), String> {
        let Change { table, .. } = &piece.change;
        let wrong = |what: &str| Err(format!("{what} of {piece:?} there are {others:?}"));
        if piece.is_moved {
            return wrong("the new place is missing;");
        }
        if piece.change.kind == Kind::Truncate {
            let is_other =
                |other: &Piece| other.change.kind != Kind::Truncate || other.change.table != *table;
            return match 1 + others.len() == self.layout.copies_of_truncate() {
                true if !others.iter().any(|(_, other)| is_other(other)) => Ok(()),
                _ => wrong("in other lanes"),
            };
        }
        let left = piece.change.old_row.and_then(|old_row| {
            let home = self.homes.get(&(Rc::clone(table), old_row)).copied();
            home.filter(|home| *home != lane)
                .map(|home| (home, old_row))
        });
        match (left, others) {
            (None, []) => Ok(()),
            (Some((home, old_row)), [(at, other)])
                if *at == home
                    && other.is_moved
                    && other.change.table == *table
                    && other.change.row == old_row =>
            {
                Ok(())
            }
            _ => wrong("in other lanes"),
        }
    }
}

/// The records in short, a line for each.
pub fn outline(first: i64, records: &[Vec<u8>]) -> impl Iterator<Item = String> {
    (first..).zip(records).map(|(offset, value)| {
        let record: Value = serde_json::from_slice(value).unwrap_or_default();
        brief(offset, &record)
    })
}

/// A record for a message: never its text, which may be long.
fn brief(offset: i64, record: &Value) -> String {
    let message = match &record["message"] {
        Value::Null => record,
        message => message,
    };
    let kind = message["type"].as_str().or(message["op"].as_str());
    let fields = [
        "final_lsn",
        "commit_lsn",
        "lsn",
        "seq",
        "xid",
        "rel_id",
        "rel_ids",
        "name",
        "table",
        "key",
        "moved",
        "last",
    ]
    .iter()
    .filter(|key| !message[**key].is_null())
    .map(|key| format!(" {key} {}", message[*key]));
    let tuple = ["tuple", "new_tuple", "key_tuple"]
        .iter()
        .find_map(|key| message[*key][0]["Int8"].as_i64());
    let row = tuple.map_or(String::new(), |id| format!(" row {id}"));
    let kind = kind.unwrap_or("?");
    format!("  {offset} {kind}{}{row}", fields.collect::<String>())
}
