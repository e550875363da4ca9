//! Where the reader is in the stream, and what it may confirm.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::progress::Stored;
use crate::base::error::{Error, Result};
use crate::base::lsn::Lsn;
use crate::pg::wire::pgoutput::{Begin, Logical, Message};

/// The reader's position. What is confirmed only grows, and never runs ahead of what is stored.
#[derive(Debug)]
pub struct Position {
    transaction: Option<Begin>,
    /// Where the last commit, or message between transactions, that was read ends.
    last_end: Lsn,
    /// The position before which everything has been sent to us.
    sent_up_to: Lsn,
    /// Whether events were read that the producer does not have yet.
    in_hand: bool,
    confirmed: Lsn,
    /// The commit time of the last transaction that was begun.
    committed_us: i64,
}

impl Position {
    /// Begins at the position that the slot was confirmed at. The topic may have more than that: it is
    /// confirmed in its turn, like everything that is stored later.
    pub fn starting_at(confirmed: Lsn, stored: Lsn) -> Self {
        Position {
            transaction: None,
            last_end: stored,
            sent_up_to: stored,
            in_hand: false,
            confirmed,
            committed_us: 0,
        }
    }

    /// Follows one message: transactions begin and end in turn, and rows belong to one. Only a
    /// message that is not transactional stands between them.
    pub fn follow(&mut self, message: &Message<'_>) -> Result<()> {
        match (message, &self.transaction) {
            (Message::Begin(begin), None) => {
                self.transaction = Some(*begin);
                self.committed_us = begin.timestamp;
            }
            (Message::Begin(_), Some(open)) => {
                return Err(misplaced("a begin inside transaction", open.xid));
            }
            (Message::Commit(commit), Some(open)) => {
                if commit.commit_lsn != open.final_lsn {
                    return Err(misplaced(
                        "a commit of something else inside transaction",
                        open.xid,
                    ));
                }
                self.transaction = None;
                // A transaction that the topic has already may come again.
                self.last_end = self.last_end.max(commit.end_lsn);
            }
            (Message::Logical(logical), open) if !logical.is_transactional() => {
                self.between(logical, open.map(|begin| begin.xid))?;
            }
            (_, Some(_)) => {}
            (_, None) => {
                return Err(Error::undeliverable("a message outside any transaction"));
            }
        }
        self.in_hand = true;
        Ok(())
    }

    /// Follows a message between transactions. It is decoded where it stands in the WAL, and transactions
    /// where their commits do: it ends a position of its own.
    fn between(&mut self, logical: &Logical<'_>, open_xid: Option<u32>) -> Result<()> {
        if let Some(xid) = open_xid {
            return Err(misplaced(
                "a message that is not of it inside transaction",
                xid,
            ));
        }
        self.last_end = self.last_end.max(logical.lsn);
        Ok(())
    }

    /// Takes down what a keepalive says: the server has sent everything before `wal_end`.
    pub fn sent_up_to(&mut self, wal_end: Lsn) {
        self.sent_up_to = self.sent_up_to.max(wal_end);
    }

    /// Takes down that the producer has everything that was read.
    pub fn handed_over(&mut self) {
        self.in_hand = false;
    }

    /// What may be confirmed when so much is stored.
    ///
    /// When nothing that was read is missing there, that is all the server has sent: it moves on
    /// with WAL that is not for us, which would otherwise hold the slot back.
    pub fn confirmable(&self, stored: Stored) -> Stored {
        let lsn = if self.is_idle(&stored) {
            stored.lsn.max(self.sent_up_to)
        } else {
            stored.lsn
        };
        Stored { lsn, ..stored }
    }

    /// Whether all that was read is stored, and no transaction is open.
    pub fn is_idle(&self, stored: &Stored) -> bool {
        self.transaction.is_none() && !self.in_hand && stored.lsn >= self.last_end
    }

    /// Takes down that `confirmed` is confirmed, and stays so.
    pub fn confirm(&mut self, confirmed: Lsn) {
        self.confirmed = self.confirmed.max(confirmed);
    }

    /// What was confirmed last.
    pub fn confirmed(&self) -> Lsn {
        self.confirmed
    }

    /// How far the server's WAL is known to go.
    pub fn sent(&self) -> Lsn {
        let read = self
            .transaction
            .map_or(self.last_end, |open| open.final_lsn);
        read.max(self.sent_up_to)
    }

    /// The commit time of the transaction that was begun last, in the server's microseconds.
    pub fn committed_us(&self) -> i64 {
        self.committed_us
    }

    /// How much WAL was sent to us and is not confirmed.
    pub fn lag_bytes(&self) -> u64 {
        self.sent().bytes_since(self.confirmed)
    }

    /// The open transaction's id.
    pub fn open_transaction(&self) -> Option<u32> {
        self.transaction.map(|begin| begin.xid)
    }
}

/// Holds what could be confirmed back for a while, so that a topic that loses its last seconds can
/// be filled again.
#[derive(Debug)]
pub struct Delay {
    delay: Duration,
    pending: VecDeque<(Instant, Stored)>,
    passed: Stored,
}

impl Delay {
    /// Begins where nothing but `passed` is confirmed.
    pub fn new(delay: Duration, passed: Stored) -> Self {
        Delay {
            delay,
            pending: VecDeque::new(),
            passed,
        }
    }

    /// A hundred positions are enough for whatever the delay is.
    fn is_later(&self, now: Instant) -> bool {
        let last = self.pending.back();
        last.is_none_or(|(since, _)| now.duration_since(*since) >= self.delay / 100)
    }

    /// What could be confirmed this long ago.
    pub fn pass(&mut self, confirmable: Stored, now: Instant) -> Stored {
        let last = self.pending.back().map_or(&self.passed, |(_, last)| last);
        if confirmable.lsn > last.lsn && self.is_later(now) {
            self.pending.push_back((now, confirmable));
        }
        while let Some((since, oldest)) = self.pending.front_mut()
            && now.duration_since(*since) >= self.delay
        {
            self.passed = std::mem::take(oldest);
            self.pending.pop_front();
        }
        self.passed.clone()
    }
}

fn misplaced(what: &str, xid: u32) -> Error {
    Error::undeliverable(format!("{what} {xid}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::wire::pgoutput::Commit;

    fn begin(final_lsn: u64) -> Message<'static> {
        Message::Begin(Begin {
            final_lsn: Lsn(final_lsn),
            timestamp: 0,
            xid: 7,
        })
    }

    fn commit(commit_lsn: u64) -> Message<'static> {
        let (commit_lsn, end_lsn) = (Lsn(commit_lsn), Lsn(commit_lsn + 10));
        Message::Commit(Commit {
            flags: 0,
            commit_lsn,
            end_lsn,
            timestamp: 0,
        })
    }

    fn confirm(position: &mut Position, stored: u64) -> Lsn {
        let stored = Stored::in_one(Lsn(stored), 0);
        let confirmable = position.confirmable(stored).lsn;
        position.confirm(confirmable);
        position.confirmed()
    }

    #[test]
    fn a_keepalive_is_confirmed_only_when_everything_is_stored() {
        let mut position = Position::starting_at(Lsn(100), Lsn(100));
        position.sent_up_to(Lsn(150));
        assert_eq!(confirm(&mut position, 100), Lsn(150));

        position.follow(&begin(200)).unwrap();
        position.sent_up_to(Lsn(190));
        assert_eq!(
            confirm(&mut position, 100),
            Lsn(150),
            "inside a transaction"
        );
        position.follow(&commit(200)).unwrap();
        position.sent_up_to(Lsn(300));
        assert_eq!(confirm(&mut position, 100), Lsn(150), "in hand");
        position.handed_over();
        assert_eq!(confirm(&mut position, 100), Lsn(150), "not stored");
        assert_eq!(position.lag_bytes(), 150);
        assert_eq!(confirm(&mut position, 210), Lsn(300), "stored");
        assert_eq!(position.lag_bytes(), 0);
    }

    #[test]
    fn what_the_topic_has_more_than_the_slot_is_not_confirmed_by_itself() {
        let mut position = Position::starting_at(Lsn(100), Lsn(500));
        assert_eq!(position.confirmed(), Lsn(100));
        position.confirm(Lsn(100));
        assert_eq!(position.confirmed(), Lsn(100), "it is held back");
        assert_eq!(confirm(&mut position, 500), Lsn(500));
    }

    #[test]
    fn never_backwards() {
        let mut position = Position::starting_at(Lsn(100), Lsn(100));
        position.sent_up_to(Lsn(50));
        assert_eq!(confirm(&mut position, 0), Lsn(100));
    }

    #[test]
    fn a_transaction_that_comes_again_takes_nothing_back() {
        let mut position = Position::starting_at(Lsn(500), Lsn(500));
        position.follow(&begin(200)).unwrap();
        position.follow(&commit(200)).unwrap();
        position.sent_up_to(Lsn(600));
        assert_eq!(confirm(&mut position, 500), Lsn(500), "in hand");
        position.handed_over();
        assert_eq!(confirm(&mut position, 500), Lsn(600));
    }

    #[test]
    fn what_is_delayed_comes_out_late_and_in_order() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let at = |lsn: u64| Stored::in_one(Lsn(lsn), 0);
        let mut delay = Delay::new(10 * second, at(1));
        assert_eq!(delay.pass(at(2), start), at(1));
        assert_eq!(delay.pass(at(3), start + 5 * second), at(1));
        assert_eq!(delay.pass(at(3), start + 10 * second), at(2));
        assert_eq!(delay.pass(at(3), start + 15 * second), at(3));
        let mut none = Delay::new(Duration::ZERO, at(1));
        assert_eq!(none.pass(at(2), start), at(2));
    }

    #[test]
    fn transactions_come_in_turn() {
        let mut position = Position::starting_at(Lsn(0), Lsn(0));
        assert!(position.follow(&commit(5)).is_err());
        position.follow(&begin(10)).unwrap();
        assert!(position.follow(&begin(20)).is_err());
        assert!(position.follow(&commit(20)).is_err());
        position.follow(&commit(10)).unwrap();
    }
}
