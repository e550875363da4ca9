//! Reading without writing, until it is known whether slot and lanes meet.

use std::time::Instant;

use super::Opened;
use super::lane::SETTLE;
use crate::base::error::Result;
use crate::change::Batch;
use crate::change::relation::Catalog;
use crate::observe::long_work::LongWork;
use crate::pg::replication::StreamMessage;
use crate::pipeline::position::Position;
use crate::pipeline::reader::{Intake, Taken};
use crate::pipeline::rows::Nowhere;

impl Opened {
    fn rows_are_resuming(&self) -> bool {
        let rows = self.rows.as_ref();
        rows.is_some_and(|rows| rows.is_resuming(self.confirmed))
    }

    /// Reads until what the lanes end with has come again, writes and confirms nothing, and gives
    /// the slot back.
    pub fn prove(mut self) -> Result<()> {
        let (mut catalog, mut batch) = (Catalog::default(), Batch::default());
        let mut position = Position::starting_at(self.confirmed, self.stored.lsn);
        let mut reported = Instant::now();
        let mut work = LongWork::begin("comparing what comes again with the topic");
        while self.past.is_resuming() || self.rows_are_resuming() {
            if let Some(left) = self.past.left() {
                work.log_progress(self.past.dropped().messages, &left);
            }
            while let Some(message) = self.stream.message()? {
                match message {
                    StreamMessage::XLogData { envelope, data } => {
                        let taken = Intake {
                            position: &mut position,
                            past: &mut self.past,
                            lanes: &self.map,
                            messages: &self.messages,
                            catalog: &mut catalog,
                            batch: &mut batch,
                            large: None,
                        }
                        .take(envelope, data)?;
                        if let Taken::NewTable(_) = taken {
                            // What follows is new to all lanes that there are.
                            return self.stream.end();
                        }
                    }
                    StreamMessage::Keepalive { wal_end, .. } => self.past.sent_up_to(wal_end)?,
                }
                for event in batch.take().events() {
                    if let Some(rows) = &mut self.rows {
                        rows.write(&event, &mut Nowhere)?;
                    }
                }
            }
            if reported.elapsed() >= SETTLE {
                self.stream.send_status(self.confirmed)?;
                reported = Instant::now();
            }
            self.stream.wait()?;
        }
        self.stream.end()
    }
}
