//! The way of one message, from its bytes into the batch.

use bytes::Bytes;

use crate::base::error::Result;
use crate::change::relation::Catalog;
use crate::change::{Batch, Envelope};
use crate::pg::wire::pgoutput;
use crate::pipeline::position::Position;
use crate::pipeline::resume::{Dropped, Resume, Verdict};

/// What a message passes.
pub struct Intake<'a> {
    /// Where the reader is.
    pub position: &'a mut Position,
    /// What the topic has already.
    pub resume: &'a mut Resume,
    /// The prefixes of the messages that are written.
    pub messages: &'a [String],
    /// What the server described.
    pub catalog: &'a mut Catalog,
    /// The open batch.
    pub batch: &'a mut Batch,
    /// The message's memory, if it is large: the batch shares it.
    pub large: Option<&'a Bytes>,
}

impl Intake<'_> {
    /// Takes a message; returns whether it was a commit.
    pub fn take(self, envelope: Envelope, data: &[u8]) -> Result<bool> {
        let message = pgoutput::Message::decode(data)?;
        let is_wanted = self.is_wanted(&message);
        if is_wanted {
            self.position.follow(&message)?;
        }
        let resuming = !self.resume.is_over();
        match self.resume.judge(envelope, &message, self.catalog)? {
            Verdict::Write if !is_wanted => {}
            Verdict::Write => {
                if let Some(large) = self.large {
                    self.batch.share(large);
                }
                self.resume.release(&message, self.batch, self.catalog)?;
                self.batch.push(envelope, &message, self.catalog)?;
            }
            Verdict::Drop => {}
        }
        if resuming && self.resume.is_over() {
            let Dropped {
                transactions,
                messages,
            } = self.resume.dropped();
            log::info!(
                "resumed: {messages} messages that came again were in the topic, {transactions} \
                 transactions of them whole"
            );
        }
        Ok(matches!(message, pgoutput::Message::Commit(_)))
    }

    /// The server sends the messages of every prefix. What is not written must not be waited for;
    /// but the topic may have it from a time when it was, so it is judged all the same.
    fn is_wanted(&self, message: &pgoutput::Message<'_>) -> bool {
        match message {
            pgoutput::Message::Logical(logical) => logical.has_prefix_of(self.messages),
            _ => true,
        }
    }
}
