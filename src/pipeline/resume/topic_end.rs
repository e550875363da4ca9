//! Reading how a partition ends, when nobody else writes to it.

use std::thread;
use std::time::{Duration, Instant};

use super::continuity;
use super::row_tail::other_format;
use super::{NoTail, Tail, WalkBack};
use crate::base::error::{Error, Result};
use crate::observe::long_work::{Left, LongWork};
use crate::record::{Format, Placed, Record};
use crate::sink::InDoubt;
use crate::sink::fluvio::Leaders;
use crate::sink::fluvio::reader::{Bounds, PartitionReader};

/// How often the ends of the lanes are looked at while they must be still.
const POLL: Duration = Duration::from_millis(20);

/// How long a lane may move while we do not write: then it has another writer.
const RESTLESS: Duration = Duration::from_secs(60);

/// How many records are read at a time on the way back to a begin, at the least.
const STEP: i64 = 2_000;

/// How long a lane must be still before its end counts.
#[derive(Debug, Clone, Copy)]
pub struct Rest {
    /// The time.
    pub settle: Duration,
    /// Where the lane ends once all is there that may still come.
    pub all: Option<i64>,
}

/// Waits until the end of each lane has been still for its time, or is where nothing more can come; the
/// bounds of `leaders` are those that count then. All lanes are asked in one round, over new connections.
///
/// Bytes that a former connection left in the server's socket may still be stored by a server
/// that was frozen. Once all that was sent is there, nothing more can come.
pub fn settle(
    leaders: &mut Leaders,
    rests: &[Rest],
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<()> {
    let begun = Instant::now();
    leaders.connect_anew()?;
    leaders.ask_again()?;
    let mut since = vec![Instant::now(); rests.len()];
    loop {
        let ends: Vec<i64> = (0..rests.len())
            .map(|lane| leaders.bounds(lane).end)
            .collect();
        let moving = rests.iter().zip(&ends).zip(&since);
        let mut moving = moving.filter(|((rest, end), since)| {
            since.elapsed() < rest.settle && rest.all != Some(**end)
        });
        let Some(((first, _), _)) = moving.next() else {
            return Ok(());
        };
        thread::sleep(POLL.min(first.settle));
        meanwhile()?;
        leaders.ask_again()?;
        for (lane, (rest, end)) in rests.iter().zip(ends).enumerate() {
            if leaders.bounds(lane).end == end {
                continue;
            }
            if begun.elapsed() > rest.settle + RESTLESS {
                let what = "it does not come to rest: something else writes to it";
                return Err(leaders.error(lane, continuity::gap(what)));
            }
            since[lane] = Instant::now();
        }
    }
}

/// How a lane of events ends whose last record is `last`, if that ends a unit; else the way back to a begin has
/// to be read.
pub fn tail_of_last(last: &[u8]) -> Result<Option<Tail>> {
    let placed = Placed::parse(last);
    if let Some(Record::OfRows(_)) = placed.map(|placed| placed.record) {
        return Err(other_format(Format::Rows));
    }
    let mut walk = WalkBack::default();
    walk.take(placed);
    Ok(walk.end_part().ok().flatten())
}

/// Reads the end of a partition, and lets its caller do something else all the time: the
/// walsender, whose stream is open, must hear from us however long this takes.
pub struct TailReader<F: FnMut() -> Result<()>> {
    /// The partition.
    pub reader: PartitionReader,
    /// What else has to be done.
    pub meanwhile: F,
}

impl<F: FnMut() -> Result<()>> TailReader<F> {
    /// Compares what was in doubt with what is there now; returns how many of its records are not, or
    /// nothing when another process of this program has written there instead. Those that were removed
    /// since by the topic's retention had been stored before.
    pub fn compare(&mut self, bounds: Bounds, in_doubt: &InDoubt) -> Result<Option<u64>> {
        let sent = in_doubt.records.count();
        let removed = (bounds.start - in_doubt.offset).max(0).unsigned_abs();
        if removed >= sent {
            return Ok(Some(0));
        }
        let mut found = Vec::new();
        let mut offset = in_doubt.offset + removed as i64;
        while offset < bounds.end && (found.len() as u64) < sent - removed {
            let records = self.reader.fetch(offset)?;
            (self.meanwhile)()?;
            offset += records.len() as i64;
            found.extend(records);
        }
        // What comes after that was not sent by us.
        found.truncate((sent - removed) as usize);
        let records = found
            .iter()
            .map(|record| (record.key.as_deref(), &record.value[..]));
        if in_doubt.records.match_after(removed, records) {
            return Ok(Some(sent - removed - found.len() as u64));
        }
        if (found.iter()).all(|record| Placed::parse(&record.value).is_some()) {
            return Ok(None);
        }
        let at = in_doubt.offset;
        Err(self.gap(&format!(
            "the records from offset {at} on are not those that were sent"
        )))
    }

    /// Reads how the partition ends: one record, if that is a commit, else back to the begin of its
    /// transaction. Records before `first` do not matter.
    pub fn read(&mut self, bounds: Bounds, first: i64) -> Result<Tail> {
        let first = first.max(bounds.start);
        if bounds.end <= first {
            return Ok(Tail::Empty);
        }
        let mut walk = WalkBack::default();
        let mut work = LongWork::begin("reading the open transaction back");
        let (mut high, mut step) = (bounds.end, 1);
        while high > first {
            let low = first.max(high - step);
            self.read_part(&mut walk, low, high, |offset| {
                let (after, before) = (bounds.end - high, low - first);
                let left = Left::AtMost((high - offset + before).unsigned_abs());
                work.log_progress((after + offset - low).unsigned_abs(), &left);
            })?;
            let at = |after: u64| high - 1 - after as i64;
            match walk.end_part() {
                Ok(Some(tail)) => return Ok(tail),
                Ok(None) => {}
                Err(NoTail::Foreign { after }) => {
                    return Err(self.gap(&format!(
                        "the record at offset {} was not written by this program: it cannot be told \
                         what the topic holds",
                        at(after)
                    )));
                }
                Err(NoTail::NoBegin { after }) => {
                    let at = at(after);
                    return Err(self.gap(&format!("no begin after the commit at offset {at}")));
                }
            }
            (high, step) = (low, STEP.max(bounds.end - low));
        }
        walk.without_begin().ok_or_else(|| {
            self.gap(&format!(
                "the begin of the transaction at its end is not there, nor a row of it; it starts at \
                 offset {first}"
            ))
        })
    }

    /// Takes the records from `low` up to and not including `high`, and says after each fetch which offset
    /// is reached. None of them is kept.
    fn read_part(
        &mut self,
        walk: &mut WalkBack,
        low: i64,
        high: i64,
        mut reached: impl FnMut(i64),
    ) -> Result<()> {
        let mut offset = low;
        while offset < high {
            for record in self.reader.fetch(offset)? {
                if record.offset < high {
                    walk.take(Placed::parse(&record.value));
                    offset = record.offset + 1;
                }
            }
            (self.meanwhile)()?;
            reached(offset);
        }
        Ok(())
    }

    fn gap(&self, message: &str) -> Error {
        self.reader.error(continuity::gap(message))
    }
}
