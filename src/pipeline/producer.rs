//! The producer thread: batches of events → records → lanes → progress.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use super::progress::{Progress, Stored};
use super::rows::Rows;
use crate::base::clock::postgres_now_us;
use crate::base::error::{Error, Kind, Result};
use crate::change::{Batch, Change, Event, NO_LANE};
use crate::observe::metrics::{Metrics, Tally};
use crate::observe::peer::Side;
use crate::record::{ProducerRecord, RawText};
use crate::sink::InDoubt;
use crate::sink::lane::{Lanes, UnitEnd};

/// How often a topic whose end is not on all replicas is asked whether it is by now.
const SETTLE_INTERVAL: Duration = Duration::from_millis(500);

/// What the producer works with.
pub struct Producer<'a> {
    /// Where records go.
    pub lanes: Lanes,
    /// The form of the records.
    pub form: Form,
    /// How long records wait for company when no batch is waiting.
    pub linger: Duration,
    /// Where the stored position is published.
    pub progress: &'a Progress,
    /// What the lanes end with, while not all of their replicas have that.
    pub unsettled: Option<Unsettled>,
    /// Where it is counted.
    pub metrics: &'a Metrics,
}

/// What lanes end with that not all of their replicas have.
pub struct Unsettled {
    stored: Stored,
    /// When it was asked last whether they have.
    asked_at: Instant,
}

impl From<Stored> for Unsettled {
    fn from(stored: Stored) -> Unsettled {
        Unsettled {
            stored,
            asked_at: Instant::now(),
        }
    }
}

/// The form of the records.
pub enum Form {
    /// Events, whose values without a JSON form of their own are written so.
    Events(RawText),
    /// Rows.
    Rows(Box<Rows>),
}

impl Producer<'_> {
    /// Stores what comes, in order, until the reader drops its end; then stores the rest.
    ///
    /// The lanes are flushed when no batch is waiting, and write by themselves what is more than their
    /// own batches hold. What is stored is published after each. An error comes with what it left
    /// in doubt.
    pub fn run(mut self, batches: &Receiver<Batch>) -> Result<(), (Error, Vec<InDoubt>)> {
        let result = self.store(batches);
        let result = result.map_err(|error| (error, self.lanes.in_doubt()));
        // What is stored counts, also when something beside or after it cannot be.
        self.publish();
        result
    }

    fn store(&mut self, batches: &Receiver<Batch>) -> Result<()> {
        while let Some(batch) = self.next(batches)? {
            self.metrics.waits.begin(Side::Sink);
            let (mut tally, mut bytes) = (Tally::default(), 0);
            for event in batch.events() {
                let written = self.write(&event);
                let len = written.map_err(|error| place(error, &event))?;
                bytes += len as u64;
                if len > 0 {
                    tally.count(event.change.event_type());
                }
                // A batch of ours may be many of the sink's.
                self.publish();
            }
            self.metrics.waits.answered(Side::Sink);
            self.metrics.count_events(&tally);
            self.metrics.written_bytes.add(bytes);
            self.metrics.batches_in_flight.subtract(1);
            if let Some(unsettled) = &self.unsettled
                && unsettled.asked_at.elapsed() > SETTLE_INTERVAL
            {
                self.settle()?;
            }
        }
        self.wait_for(Lanes::flush)
    }

    /// Writes the record of an event, and returns its length.
    fn write(&mut self, event: &Event<'_>) -> Result<usize> {
        let len = match &mut self.form {
            Form::Events(_) if event.lane == NO_LANE => 0,
            Form::Events(raw_text) => {
                let record = ProducerRecord::new(event, *raw_text);
                self.lanes.write(event.lane as usize, &record)?
            }
            Form::Rows(rows) => {
                let dropped = rows.dropped();
                let len = rows.write(event, &mut self.lanes)?;
                self.metrics.skipped.add(rows.dropped() - dropped);
                len
            }
        };
        if let Some(end) = unit_end(event)
            && self.is_ended_by(event)
        {
            self.lanes.end_unit(end)?;
        }
        Ok(len)
    }

    /// Whether the end of a unit is that in all lanes: of events there is one in each lane, and one in none
    /// behind them, unless there is one lane.
    fn is_ended_by(&self, event: &Event<'_>) -> bool {
        match (&self.form, &event.change) {
            (Form::Events(_), Change::Commit(_)) => {
                event.lane == NO_LANE || self.lanes.count() == 1
            }
            _ => true,
        }
    }

    /// The next batch; `None` when there will be none.
    fn next(&mut self, batches: &Receiver<Batch>) -> Result<Option<Batch>> {
        match batches.try_recv() {
            Ok(batch) => return Ok(Some(batch)),
            Err(TryRecvError::Disconnected) => return Ok(None),
            Err(TryRecvError::Empty) => {}
        }
        if let Some(since) = self.lanes.unstored_since()
            && self.linger > Duration::ZERO
        {
            self.wait_for(Lanes::pause)?;
            match batches.recv_deadline(since + self.linger) {
                Ok(batch) => return Ok(Some(batch)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.wait_for(Lanes::flush)?;
        while self.unsettled.is_some() {
            self.settle()?;
            if self.unsettled.is_none() {
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

    /// Publishes what was stored before the session once all replicas have it.
    fn settle(&mut self) -> Result<()> {
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.asked_at = Instant::now();
        }
        if self.lanes.is_settled()?
            && let Some(unsettled) = self.unsettled.take()
        {
            self.progress.advance(unsettled.stored);
            self.progress.advance(self.lanes.confirmed());
        }
        Ok(())
    }

    /// Lets the lanes do something that takes its time, and publishes what is stored then.
    fn wait_for(&mut self, step: fn(&mut Lanes) -> Result<()>) -> Result<()> {
        self.metrics.waits.begin(Side::Sink);
        step(&mut self.lanes)?;
        self.metrics.waits.answered(Side::Sink);
        self.publish();
        Ok(())
    }

    /// Publishes what is stored in all lanes that it concerns, if one of them has stored more.
    fn publish(&mut self) {
        let acknowledged = self.lanes.acknowledge();
        let mut has_moved = acknowledged > 0;
        if has_moved {
            self.metrics.waits.moved(Side::Sink);
            self.metrics.acknowledged.add(acknowledged);
        }
        let mut now = None;
        while let Some(end) = self.lanes.take_stored() {
            has_moved = true;
            if let Some(committed_us) = end.committed_us {
                let now_us = *now.get_or_insert_with(postgres_now_us);
                self.metrics.transaction_stored(committed_us, now_us);
            }
        }
        // What is acknowledged in one lane says nothing of what another had before.
        let is_settled = self.unsettled.is_none() || self.lanes.count() == 1;
        if has_moved && is_settled {
            let confirmed = self.lanes.confirmed();
            self.metrics.lanes.end_at(&confirmed.offsets);
            self.progress.advance(confirmed);
        }
    }
}

/// The end of a transaction, or of a message between two, if the event is that.
fn unit_end(event: &Event<'_>) -> Option<UnitEnd> {
    let (lsn, committed_us) = match &event.change {
        Change::Commit(commit) => (commit.end_lsn, Some(commit.timestamp)),
        Change::Logical(logical) if !logical.is_transactional() => (logical.lsn, None),
        _ => return None,
    };
    Some(UnitEnd { lsn, committed_us })
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
    use crate::base::lsn::Lsn;
    use crate::pg::wire::pgoutput::{Begin, Commit};
    use crate::sink::Sink;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A sink that stores as many records of each lane as the test says.
    #[derive(Clone, Default)]
    struct Held(Arc<[AtomicU64; 2]>);

    impl Held {
        fn store(&self, stored: [u64; 2]) {
            for (lane, stored) in self.0.iter().zip(stored) {
                lane.store(stored, Ordering::Relaxed);
            }
        }
    }

    impl Sink for Held {
        fn write(&mut self, _: usize, _: &ProducerRecord<'_>) -> Result<usize> {
            Ok(0)
        }

        fn end_unit(&mut self, _: usize) -> Result<()> {
            Ok(())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }

        fn stored(&self, lane: usize) -> u64 {
            self.0[lane].load(Ordering::Relaxed)
        }

        fn acknowledged(&self) -> u64 {
            self.stored(0) + self.stored(1)
        }
    }

    fn stored(lsn: u64, offsets: &[i64]) -> Stored {
        Stored {
            lsn: Lsn(lsn),
            offsets: Arc::from(offsets),
        }
    }

    /// A producer of lanes that end at these offsets.
    fn producer<'a>(
        sink: &Held,
        start: &Stored,
        progress: &'a Progress,
        metrics: &'a Metrics,
    ) -> Producer<'a> {
        Producer {
            lanes: Lanes::new(Box::new(sink.clone()), start),
            form: Form::Events(RawText::Bytes),
            linger: Duration::ZERO,
            progress,
            unsettled: None,
            metrics,
        }
    }

    fn begin() -> Event<'static> {
        Event::of(Change::Begin(Begin {
            final_lsn: Lsn(1),
            timestamp: 0,
            xid: 1,
        }))
    }

    fn commit(end_lsn: u64) -> Event<'static> {
        Event::of(Change::Commit(Commit {
            flags: 0,
            commit_lsn: Lsn(1),
            end_lsn: Lsn(end_lsn),
            timestamp: 0,
        }))
    }

    #[test]
    fn a_commit_is_published_when_its_record_is_stored() {
        let start = stored(10, &[100]);
        let progress = Progress::starting_at(start.clone()).unwrap();
        let (sink, metrics) = (Held::default(), Metrics::default());
        let mut producer = producer(&sink, &start, &progress, &metrics);
        let events = [
            begin(),
            commit(20),
            begin(),
            begin(),
            commit(50),
            commit(60),
        ];
        for event in &events {
            producer.write(event).unwrap();
        }
        for (records, lsn, offset) in [
            (0, 10, 100),
            (1, 10, 100),
            (2, 20, 102),
            (5, 50, 105),
            (5, 50, 105),
            (6, 60, 106),
        ] {
            sink.store([records, 0]);
            producer.publish();
            let expected = stored(lsn, &[offset]);
            assert_eq!(progress.stored(), expected, "{records} stored");
        }
        assert_eq!(metrics.transactions.value(), 3);
        assert_eq!(metrics.acknowledged.value(), 6);
    }

    #[test]
    fn what_one_lane_has_not_stored_is_not_published_and_one_without_records_holds_nothing_back() {
        let start = stored(10, &[100, 200]);
        let progress = Progress::starting_at(start.clone()).unwrap();
        let (sink, metrics) = (Held::default(), Metrics::default());
        let mut producer = producer(&sink, &start, &progress, &metrics);
        // The lanes of each transaction: both, the first alone, the second alone, none.
        for (lanes, end) in [(&[0, 1][..], 20), (&[0], 50), (&[1, 1], 60), (&[], 70)] {
            let event = commit(end);
            let record = ProducerRecord::new(&event, RawText::Bytes);
            for &lane in lanes {
                producer.lanes.write(lane, &record).unwrap();
            }
            producer.lanes.end_unit(unit_end(&event).unwrap()).unwrap();
        }
        for (records, lsn, offsets) in [
            ([0, 1], 10, [100, 200]),
            ([1, 1], 20, [101, 201]),
            // The third is stored, and the second is not.
            ([1, 3], 20, [101, 201]),
            ([2, 3], 70, [102, 203]),
        ] {
            sink.store(records);
            producer.publish();
            assert_eq!(progress.stored(), stored(lsn, &offsets), "{records:?}");
        }
        // Each that left something counts once, whatever lanes it touched.
        assert_eq!(metrics.transactions.value(), 3);
        assert_eq!(metrics.acknowledged.value(), 5);
    }
}
