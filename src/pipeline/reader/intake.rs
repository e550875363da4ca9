//! The way of one message, from its bytes into the batch.

use bytes::Bytes;

use crate::base::error::Result;
use crate::change::relation::Catalog;
use crate::change::{Batch, Envelope};
use crate::pg::wire::pgoutput::Message;
use crate::pipeline::lane_map::{LaneMap, TableName};
use crate::pipeline::position::Position;
use crate::pipeline::resume::past::Past;
use crate::pipeline::resume::{Dropped, Verdict, unit_of};

/// What a message passes.
pub struct Intake<'a> {
    /// Where the reader is.
    pub position: &'a mut Position,
    /// What the lanes have already.
    pub past: &'a mut Past,
    /// Where tables go.
    pub lanes: &'a LaneMap,
    /// The prefixes of the messages that are written.
    pub messages: &'a [String],
    /// What the server described.
    pub catalog: &'a mut Catalog,
    /// The open batch.
    pub batch: &'a mut Batch,
    /// The message's memory, if it is large: the batch shares it.
    pub large: Option<&'a Bytes>,
}

/// What a message that was taken was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// A commit.
    Commit,
    /// Something else.
    Other,
    /// The description of a table whose lanes are not open. It was not taken.
    NewTable(TableName),
}

impl Intake<'_> {
    /// Takes a message.
    pub fn take(self, envelope: Envelope, data: &[u8]) -> Result<Taken> {
        let message = Message::decode(data)?;
        if let Some(table) = self.new_table(&message)? {
            return Ok(Taken::NewTable(table));
        }
        let is_wanted = self.is_wanted(&message);
        if is_wanted {
            self.position.follow(&message)?;
        }
        let resuming = !self.past.is_over();
        match self.past {
            Past::Events(resume) => {
                let verdict = resume.judge(envelope, &message, self.catalog)?;
                if verdict == Verdict::Write && is_wanted {
                    self.batch.share(self.large);
                    resume.release(&message, self.batch, self.catalog)?;
                    self.batch.push(envelope, &message, self.catalog)?;
                }
            }
            Past::EventLanes(lanes) => {
                self.batch.share(self.large);
                lanes.take(envelope, &message, is_wanted, self.catalog, self.batch)?;
            }
            Past::Rows(units) => {
                if let Some((unit, mark)) = unit_of(&message) {
                    units.arrive(unit, mark)?;
                }
                if is_wanted {
                    self.batch.share(self.large);
                    self.batch.push(envelope, &message, self.catalog)?;
                }
            }
        }
        if resuming && self.past.is_over() {
            log_resumed(self.past);
        }
        Ok(match message {
            Message::Commit(_) => Taken::Commit,
            _ => Taken::Other,
        })
    }
    /// The table that is described, if its lanes are not open.
    fn new_table(&self, message: &Message<'_>) -> Result<Option<TableName>> {
        let Message::Relation(described) = message else {
            return Ok(None);
        };
        let (schema, table) = (&described.namespace, &described.name);
        Ok(match self.lanes.of_table(schema, table)? {
            Some(_) => None,
            None => Some((schema.clone().into_owned(), table.clone().into_owned())),
        })
    }

    /// The server sends the messages of every prefix. What is not written must not be waited for;
    /// but the topic may have it from a time when it was, so it is judged all the same.
    fn is_wanted(&self, message: &Message<'_>) -> bool {
        match message {
            Message::Logical(logical) => logical.has_prefix_of(self.messages),
            _ => true,
        }
    }
}

fn log_resumed(past: &Past) {
    if let Past::Rows(_) = past {
        log::info!("resumed: what the lanes end with has come again");
        return;
    }
    let Dropped {
        transactions,
        messages,
    } = past.dropped();
    log::info!(
        "resumed: {messages} messages that came again were in the topic, {transactions} \
         transactions of them whole"
    );
}
