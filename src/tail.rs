//! Reading how a partition ends, when nobody else writes to it.

use std::thread;
use std::time::{Duration, Instant};

use crate::continuity;
use crate::error::{Error, Result};
use crate::record::Record;
use crate::resume::{NoTail, Tail, WalkBack};
use crate::sink::InDoubt;
use crate::sink::fluvio::reader::{Bounds, PartitionReader};

/// How often the end of a partition is looked at while it must be still.
const POLL: Duration = Duration::from_millis(20);

/// So many records before the last are looked at for its begin; then twice as many before those,
/// and so on. Most transactions are found at once, and of the largest each record is read once.
const STEP: i64 = 2_000;

/// A walk back that takes longer than this says so.
const REPORT: Duration = Duration::from_secs(5);

/// Waits until the end of the partition has been still for `settle`, calling `meanwhile` all the
/// time; returns what it holds.
///
/// Bytes that a former connection left in the server's socket may still be stored by a server that
/// was frozen. A partition that is never still has another writer.
pub fn settled(
    reader: &mut PartitionReader,
    settle: Duration,
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<Bounds> {
    let begun = Instant::now();
    let mut bounds = reader.bounds()?;
    let mut since = Instant::now();
    while since.elapsed() < settle {
        thread::sleep(POLL.min(settle));
        meanwhile()?;
        let now = reader.bounds()?;
        if now != bounds {
            (bounds, since) = (now, Instant::now());
        }
        if begun.elapsed() > settle * 10 {
            return Err(gap(
                "the topic does not come to rest: something else writes to it",
                reader,
            ));
        }
    }
    Ok(bounds)
}

/// Compares what was in doubt with what is there now; returns how many of its records are not.
pub fn compare(reader: &mut PartitionReader, bounds: Bounds, in_doubt: &InDoubt) -> Result<u64> {
    let mut found = Vec::new();
    let mut offset = in_doubt.offset.max(bounds.start);
    while offset < bounds.end && found.len() as u64 <= in_doubt.records.count() {
        let records = reader.fetch(offset)?;
        offset += records.len() as i64;
        found.extend(records.into_iter().map(|record| record.value));
    }
    if !in_doubt
        .records
        .start_with(found.iter().map(|value| &value[..]))?
    {
        let at = in_doubt.offset;
        let message = format!("the records from offset {at} on are not those that were sent");
        return Err(gap(&message, reader));
    }
    Ok(in_doubt.records.count() - found.len() as u64)
}

/// Reads how the partition ends, calling `meanwhile` all the time. Records before `first` do not
/// matter.
pub fn read(
    reader: &mut PartitionReader,
    bounds: Bounds,
    first: i64,
    meanwhile: impl FnMut() -> Result<()>,
) -> Result<Tail> {
    let first = first.max(bounds.start);
    if bounds.end <= first {
        return Ok(Tail::Empty);
    }
    walk_back(reader, first, bounds.end, meanwhile)
}

/// Walks from the end back to the begin of its transaction: one record, if that is a commit.
fn walk_back(
    reader: &mut PartitionReader,
    first: i64,
    end: i64,
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<Tail> {
    let mut walk = WalkBack::default();
    let mut reported = Instant::now();
    let (mut high, mut step) = (end, 1);
    while high > first {
        let low = first.max(high - step);
        let mut offset = low;
        while offset < high {
            for record in reader.fetch(offset)? {
                if record.offset < high {
                    walk.take(Record::parse(&record.value));
                    offset = record.offset + 1;
                }
            }
            meanwhile()?;
            if reported.elapsed() >= REPORT {
                let rows = walk.rows();
                log::info!("reading the open transaction back: {rows} rows, at offset {offset}");
                reported = Instant::now();
            }
        }
        match walk.end_part() {
            Ok(Some(tail)) => return Ok(tail),
            Ok(None) => {}
            Err(NoTail::Foreign { after }) => return Err(foreign(reader, high - 1 - after as i64)),
            Err(NoTail::NoBegin { after }) => {
                let at = high - 1 - after as i64;
                return Err(gap(
                    &format!("no begin after the commit at offset {at}"),
                    reader,
                ));
            }
        }
        (high, step) = (low, STEP.max(end - low));
    }
    let message = format!(
        "the begin of the transaction at its end is not there; it starts at offset {first}"
    );
    Err(gap(&message, reader))
}

fn foreign(reader: &PartitionReader, offset: i64) -> Error {
    let message = format!(
        "the record at offset {offset} was not written by this program: it cannot be told what the topic holds"
    );
    gap(&message, reader)
}

fn gap(message: &str, reader: &PartitionReader) -> Error {
    reader.error(continuity::gap(message))
}
