//! The producer thread: batches of events → JSON → sink → progress.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use crate::error::{Error, Kind, Result};
use crate::event::{Batch, Change, Event};
use crate::json::{RawText, render};
use crate::lsn::Lsn;
use crate::progress::{Progress, Stored};
use crate::sink::{InDoubt, Sink};

/// The buffer of a record is given back after one that was longer than this.
const KEEP_RECORD_BYTES: usize = 1024 * 1024;

/// What the producer works with.
pub struct Producer<'a> {
    /// Where records go.
    pub sink: Box<dyn Sink>,
    /// How values without a JSON form of their own are written.
    pub raw_text: RawText,
    /// How long records wait for company when no batch is waiting.
    pub linger: Duration,
    /// Where the stored position is published.
    pub progress: &'a Progress,
}

impl Producer<'_> {
    /// Stores what comes, in order, until the reader drops its end; then stores the rest.
    ///
    /// The sink is flushed when no batch is waiting, and writes by itself what is more than its
    /// own batches hold. What is stored is published after each. An error comes with what it left
    /// in doubt.
    pub fn run(mut self, batches: &Receiver<Batch>) -> Result<(), (Error, Option<InDoubt>)> {
        let base = self.progress.stored().offset;
        let mut commits = Commits {
            base,
            ..Commits::default()
        };
        let result = self.store(batches, &mut commits);
        // What is stored counts, also when something after it cannot be.
        commits.publish(self.sink.stored(), self.progress);
        result.map_err(|error| (error, self.sink.in_doubt()))
    }

    fn store(&mut self, batches: &Receiver<Batch>, commits: &mut Commits) -> Result<()> {
        let mut record = Vec::new();
        while let Some(batch) = self.next(batches, commits)? {
            for event in batch.events() {
                record.clear();
                render(&event, self.raw_text, &mut record);
                self.sink
                    .write(&record)
                    .map_err(|error| place(error, &event))?;
                commits.written(&event);
                // A batch of ours may be many of the sink's.
                commits.publish(self.sink.stored(), self.progress);
            }
            record.shrink_to(KEEP_RECORD_BYTES);
        }
        self.flush(commits)
    }

    /// The next batch; `None` when there will be none.
    fn next(&mut self, batches: &Receiver<Batch>, commits: &mut Commits) -> Result<Option<Batch>> {
        self.progress.idle();
        let batch = self.wait(batches, commits)?;
        self.progress.busy();
        Ok(batch)
    }

    fn wait(&mut self, batches: &Receiver<Batch>, commits: &mut Commits) -> Result<Option<Batch>> {
        match batches.try_recv() {
            Ok(batch) => return Ok(Some(batch)),
            Err(TryRecvError::Disconnected) => return Ok(None),
            Err(TryRecvError::Empty) => {}
        }
        if let Some(since) = commits.unstored_since {
            match batches.recv_deadline(since + self.linger) {
                Ok(batch) => return Ok(Some(batch)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.flush(commits)?;
        self.progress.idle();
        Ok(batches.recv().ok())
    }

    fn flush(&mut self, commits: &mut Commits) -> Result<()> {
        self.progress.busy();
        self.sink.flush()?;
        commits.publish(self.sink.stored(), self.progress);
        Ok(())
    }
}

/// The commits, and messages between transactions, that were written and are not known to be stored.
#[derive(Default)]
struct Commits {
    /// The offset of the first record.
    base: i64,
    /// How many records were written.
    records: u64,
    /// How many of them are stored.
    stored: u64,
    /// Since when there are others, or there were when the last of those were stored.
    unstored_since: Option<Instant>,
    /// The number of the record, and the position that it confirms.
    pending: VecDeque<(u64, Lsn)>,
}

impl Commits {
    fn written(&mut self, event: &Event<'_>) {
        self.records += 1;
        self.unstored_since.get_or_insert_with(Instant::now);
        let end = match &event.change {
            Change::Commit(commit) => commit.end_lsn,
            Change::Logical(logical) if !logical.is_transactional() => logical.lsn,
            _ => return,
        };
        self.pending.push_back((self.records, end));
    }

    fn publish(&mut self, stored: u64, progress: &Progress) {
        if stored == self.stored {
            return;
        }
        progress.busy();
        self.stored = stored;
        self.unstored_since = (self.records > stored).then(Instant::now);
        while let Some((record, end_lsn)) = self.pending.front()
            && *record <= stored
        {
            progress.advance(Stored {
                lsn: *end_lsn,
                offset: self.base + *record as i64,
            });
            self.pending.pop_front();
        }
    }
}

/// An error of the record itself gets its event; a connection that is lost has nothing to do with it.
fn place(error: Error, event: &Event<'_>) -> Error {
    match error.kind() {
        Kind::Undeliverable => error.at(describe(event)),
        _ => error,
    }
}

/// What an error says of the event it happened at: never a value.
fn describe(event: &Event<'_>) -> String {
    let lsn = event.envelope.wal_start;
    match &event.change {
        Change::Insert { relation, .. } => format!("insert into {relation} at {lsn}"),
        Change::Update { relation, .. } => format!("update of {relation} at {lsn}"),
        Change::Delete { relation, .. } => format!("delete from {relation} at {lsn}"),
        Change::Relation(relation) => format!("relation {relation}"),
        Change::Begin(begin) => {
            format!("begin of transaction {} at {}", begin.xid, begin.final_lsn)
        }
        Change::Commit(commit) => format!("commit at {}", commit.commit_lsn),
        Change::Logical(logical) => format!("message at {}", logical.lsn),
        Change::Origin(_) | Change::Type(_) | Change::Truncate { .. } => format!("event at {lsn}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_published_when_its_record_is_stored() {
        let progress = Progress::default();
        let mut commits = Commits {
            base: 100,
            ..Commits::default()
        };
        commits
            .pending
            .extend([(2, Lsn(20)), (5, Lsn(50)), (6, Lsn(60))]);
        for (stored, published) in [(0, 0), (1, 0), (2, 20), (5, 50), (5, 50), (6, 60)] {
            commits.publish(stored, &progress);
            assert_eq!(progress.stored().lsn, Lsn(published), "{stored} stored");
        }
    }
}
