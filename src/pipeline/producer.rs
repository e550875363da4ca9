//! The producer thread: batches of events → JSON → sink → progress.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use super::progress::{Progress, Stored};
use crate::base::clock::postgres_now_us;
use crate::base::error::{Error, Kind, Result};
use crate::base::lsn::Lsn;
use crate::change::{Batch, Change, Event};
use crate::observe::metrics::{Metrics, Tally};
use crate::observe::peer::Side;
use crate::record::{ProducerRecord, RawText};
use crate::sink::{InDoubt, Sink};

/// How often a topic whose end is not on all replicas is asked whether it is by now.
const SETTLE_INTERVAL: Duration = Duration::from_millis(500);

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
    /// What the topic ends with, while not all of its replicas have that.
    pub unsettled: Option<Stored>,
    /// Where it is counted.
    pub metrics: &'a Metrics,
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
        commits.publish(self.sink.stored(), self.progress, self.metrics);
        result.map_err(|error| (error, self.sink.in_doubt()))
    }

    fn store(&mut self, batches: &Receiver<Batch>, commits: &mut Commits) -> Result<()> {
        while let Some(batch) = self.next(batches, commits)? {
            self.metrics.waits.begin(Side::Sink);
            let (mut tally, mut bytes) = (Tally::default(), 0);
            for event in batch.events() {
                let record = ProducerRecord::new(&event, self.raw_text);
                let written = self.sink.write(&record);
                bytes += written.map_err(|error| place(error, &event))? as u64;
                commits.written(&event);
                tally.count(event.change.event_type());
                // A batch of ours may be many of the sink's.
                commits.publish(self.sink.stored(), self.progress, self.metrics);
            }
            self.metrics.waits.answered(Side::Sink);
            self.metrics.count_events(&tally);
            self.metrics.written_bytes.add(bytes);
            self.metrics.batches_in_flight.subtract(1);
        }
        self.wait_for(|sink| sink.flush(), commits)
    }

    /// The next batch; `None` when there will be none.
    fn next(&mut self, batches: &Receiver<Batch>, commits: &mut Commits) -> Result<Option<Batch>> {
        match batches.try_recv() {
            Ok(batch) => return Ok(Some(batch)),
            Err(TryRecvError::Disconnected) => return Ok(None),
            Err(TryRecvError::Empty) => {}
        }
        if let Some(since) = commits.unstored_since
            && self.linger > Duration::ZERO
        {
            self.wait_for(|sink| sink.pause(), commits)?;
            match batches.recv_deadline(since + self.linger) {
                Ok(batch) => return Ok(Some(batch)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.wait_for(|sink| sink.flush(), commits)?;
        while let Some(unsettled) = self.unsettled {
            // What was written since could be acknowledged only with what was there before.
            if commits.stored > 0 || self.sink.is_settled()? {
                self.progress.advance(unsettled);
                self.unsettled = None;
                break;
            }
            match batches.recv_timeout(SETTLE_INTERVAL) {
                Ok(batch) => return Ok(Some(batch)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        Ok(batches.recv().ok())
    }

    /// Lets the sink do something that takes its time, and publishes what is stored then.
    fn wait_for(
        &mut self,
        step: impl FnOnce(&mut dyn Sink) -> Result<()>,
        commits: &mut Commits,
    ) -> Result<()> {
        self.metrics.waits.begin(Side::Sink);
        step(&mut *self.sink)?;
        self.metrics.waits.answered(Side::Sink);
        commits.publish(self.sink.stored(), self.progress, self.metrics);
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
    pending: VecDeque<Pending>,
}

/// A record that confirms something once it is stored.
struct Pending {
    /// The record's number.
    record: u64,
    /// The position that it confirms.
    end: Lsn,
    /// When its transaction was committed, if it is one's commit.
    committed_us: Option<i64>,
}

impl Commits {
    fn written(&mut self, event: &Event<'_>) {
        self.records += 1;
        self.unstored_since.get_or_insert_with(Instant::now);
        let (end, committed_us) = match &event.change {
            Change::Commit(commit) => (commit.end_lsn, Some(commit.timestamp)),
            Change::Logical(logical) if !logical.is_transactional() => (logical.lsn, None),
            _ => return,
        };
        self.pending.push_back(Pending {
            record: self.records,
            end,
            committed_us,
        });
    }

    fn publish(&mut self, stored: u64, progress: &Progress, metrics: &Metrics) {
        if stored == self.stored {
            return;
        }
        metrics.waits.moved(Side::Sink);
        metrics.acknowledged.add(stored - self.stored);
        self.stored = stored;
        self.unstored_since = (self.records > stored).then(Instant::now);
        let mut now = None;
        while let Some(next) = self.pending.front()
            && next.record <= stored
        {
            progress.advance(Stored {
                lsn: next.end,
                offset: self.base + next.record as i64,
            });
            if let Some(committed_us) = next.committed_us {
                metrics.transaction_stored(committed_us, *now.get_or_insert_with(postgres_now_us));
            }
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
        let progress = Progress::starting_at(Stored::default()).unwrap();
        let mut commits = Commits {
            base: 100,
            ..Commits::default()
        };
        let metrics = Metrics::default();
        let pending = [(2, Lsn(20)), (5, Lsn(50)), (6, Lsn(60))];
        commits.pending.extend(pending.map(|(record, end)| Pending {
            record,
            end,
            committed_us: Some(0),
        }));
        for (stored, published) in [(0, 0), (1, 0), (2, 20), (5, 50), (5, 50), (6, 60)] {
            commits.publish(stored, &progress, &metrics);
            assert_eq!(progress.stored().lsn, Lsn(published), "{stored} stored");
        }
        assert_eq!(metrics.transactions.value(), 3);
        assert_eq!(metrics.acknowledged.value(), 6);
    }
}
