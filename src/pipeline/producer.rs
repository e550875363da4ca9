//! The producer thread: batches of events → records → lanes → progress.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use super::progress::{Progress, Stored};
use crate::base::clock::postgres_now_us;
use crate::base::error::{Error, Kind, Result};
use crate::base::lsn::Lsn;
use crate::change::{Batch, Change, Event};
use crate::observe::metrics::{Metrics, Tally};
use crate::observe::peer::Side;
use crate::record::{ProducerRecord, RawText};
use crate::sink::InDoubt;
use crate::sink::lane::{Lane, UnitEnd};

/// How often a topic whose end is not on all replicas is asked whether it is by now.
const SETTLE_INTERVAL: Duration = Duration::from_millis(500);

/// What the producer works with.
pub struct Producer<'a> {
    /// Where records go.
    pub lanes: Vec<Lane>,
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
    /// The lanes are flushed when no batch is waiting, and write by themselves what is more than their
    /// own batches hold. What is stored is published after each. An error comes with what it left
    /// in doubt.
    pub fn run(mut self, batches: &Receiver<Batch>) -> Result<(), (Error, Vec<InDoubt>)> {
        let result = self.store(batches);
        // What is stored counts, also when something after it cannot be.
        self.publish();
        result.map_err(|error| {
            let in_doubt = self.lanes.iter_mut().filter_map(Lane::in_doubt);
            (error, in_doubt.collect())
        })
    }

    fn store(&mut self, batches: &Receiver<Batch>) -> Result<()> {
        while let Some(batch) = self.next(batches)? {
            self.metrics.waits.begin(Side::Sink);
            let (mut tally, mut bytes) = (Tally::default(), 0);
            for event in batch.events() {
                let written = self.write(&event);
                bytes += written.map_err(|error| place(error, &event))? as u64;
                tally.count(event.change.event_type());
                // A batch of ours may be many of the sink's.
                self.publish();
            }
            self.metrics.waits.answered(Side::Sink);
            self.metrics.count_events(&tally);
            self.metrics.written_bytes.add(bytes);
            self.metrics.batches_in_flight.subtract(1);
        }
        self.wait_for(Lane::flush)
    }

    /// Writes the record of an event, and returns its length.
    fn write(&mut self, event: &Event<'_>) -> Result<usize> {
        let record = ProducerRecord::new(event, self.raw_text);
        let mut len = 0;
        for lane in &mut self.lanes {
            len += lane.write(&record)?;
        }
        if let Some(end) = unit_end(event) {
            let before = self.written();
            for lane in &mut self.lanes {
                lane.end_unit(before, end);
            }
        }
        Ok(len)
    }

    /// The next batch; `None` when there will be none.
    fn next(&mut self, batches: &Receiver<Batch>) -> Result<Option<Batch>> {
        match batches.try_recv() {
            Ok(batch) => return Ok(Some(batch)),
            Err(TryRecvError::Disconnected) => return Ok(None),
            Err(TryRecvError::Empty) => {}
        }
        if let Some(since) = self.lanes.iter().filter_map(Lane::unstored_since).min()
            && self.linger > Duration::ZERO
        {
            self.wait_for(Lane::pause)?;
            match batches.recv_deadline(since + self.linger) {
                Ok(batch) => return Ok(Some(batch)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.wait_for(Lane::flush)?;
        while let Some(unsettled) = self.unsettled {
            if self.is_settled()? {
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

    /// Lets the lanes do something that takes its time, and publishes what is stored then.
    fn wait_for(&mut self, step: fn(&mut Lane) -> Result<()>) -> Result<()> {
        self.metrics.waits.begin(Side::Sink);
        self.lanes.iter_mut().try_for_each(step)?;
        self.metrics.waits.answered(Side::Sink);
        self.publish();
        Ok(())
    }

    fn is_settled(&mut self) -> Result<bool> {
        for lane in &mut self.lanes {
            if !lane.is_settled()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Publishes what all lanes have stored, if one of them has stored more.
    fn publish(&mut self) {
        let (mut has_moved, mut now) = (false, None);
        for lane in &mut self.lanes {
            let acknowledged = lane.acknowledge();
            if acknowledged == 0 {
                continue;
            }
            has_moved = true;
            self.metrics.waits.moved(Side::Sink);
            self.metrics.acknowledged.add(acknowledged);
            while let Some(end) = lane.take_stored() {
                if let Some(committed_us) = end.committed_us {
                    let now_us = *now.get_or_insert_with(postgres_now_us);
                    self.metrics.transaction_stored(committed_us, now_us);
                }
            }
        }
        if has_moved && let Some(confirmed) = self.confirmed() {
            self.progress.advance(confirmed);
        }
    }

    /// What every lane has: the least of what each has.
    fn confirmed(&self) -> Option<Stored> {
        let written = self.written();
        let confirmed = self.lanes.iter().map(|lane| lane.confirmed(written));
        confirmed.min_by_key(|stored| stored.lsn)
    }

    /// The end of the last transaction, or message between two, that was written to any lane.
    fn written(&self) -> Lsn {
        let ends = self.lanes.iter().map(Lane::written);
        ends.max().unwrap_or_default()
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
    use crate::pg::wire::pgoutput::{Begin, Commit};
    use crate::sink::Sink;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A sink that stores as many records as the test says.
    #[derive(Clone, Default)]
    struct Held(Arc<AtomicU64>);

    impl Sink for Held {
        fn write(&mut self, _: &ProducerRecord<'_>) -> Result<usize> {
            Ok(0)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }

        fn stored(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    const START: Stored = Stored {
        lsn: Lsn(10),
        offset: 100,
    };

    /// A producer of a lane for each sink.
    fn producer<'a>(sinks: &[Held], progress: &'a Progress, metrics: &'a Metrics) -> Producer<'a> {
        let lane = |sink: &Held| Lane::new(Box::new(sink.clone()), START);
        Producer {
            lanes: sinks.iter().map(lane).collect(),
            raw_text: RawText::Bytes,
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
        let progress = Progress::starting_at(START).unwrap();
        let (sinks, metrics) = ([Held::default()], Metrics::default());
        let mut producer = producer(&sinks, &progress, &metrics);
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
        for (stored, lsn, offset) in [
            (0, 10, 100),
            (1, 10, 100),
            (2, 20, 102),
            (5, 50, 105),
            (5, 50, 105),
            (6, 60, 106),
        ] {
            sinks[0].0.store(stored, Ordering::Relaxed);
            producer.publish();
            let lsn = Lsn(lsn);
            assert_eq!(progress.stored(), Stored { lsn, offset }, "{stored} stored");
        }
        assert_eq!(metrics.transactions.value(), 3);
        assert_eq!(metrics.acknowledged.value(), 6);
    }

    #[test]
    fn what_one_lane_has_not_stored_is_not_published_and_one_without_records_holds_nothing_back() {
        let progress = Progress::starting_at(START).unwrap();
        let (sinks, metrics) = ([Held::default(), Held::default()], Metrics::default());
        let mut producer = producer(&sinks, &progress, &metrics);
        producer.write(&commit(20)).unwrap();
        let of_the_first_alone = commit(50);
        let record = ProducerRecord::new(&of_the_first_alone, RawText::Bytes);
        producer.lanes[0].write(&record).unwrap();
        producer.lanes[0].end_unit(Lsn(20), unit_end(&of_the_first_alone).unwrap());
        for (stored, published) in [([0, 1], 10), ([1, 1], 20), ([2, 1], 50)] {
            for (sink, stored) in sinks.iter().zip(stored) {
                sink.0.store(stored, Ordering::Relaxed);
            }
            producer.publish();
            assert_eq!(progress.stored().lsn, Lsn(published), "{stored:?} stored");
        }
    }
}
