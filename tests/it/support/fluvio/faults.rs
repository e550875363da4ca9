//! What a test can make go wrong, and when.

use std::time::Duration;

use fluvio_protocol::link::ErrorCode;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The peer reads an orderly end.
    Fin,
    /// The peer gets "connection reset".
    Reset,
}

/// What happens to a produce request. Empty ones, which the ordinary client sends when it
/// flushes, are answered as always and not counted.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Nothing is stored and the answer is this error.
    Error(ErrorCode),
    /// The records of one partition are not stored and get this error; those of the others are stored.
    ErrorOf {
        /// The partition's number, of whichever topic.
        partition: u32,
        /// What the answer says of it.
        code: ErrorCode,
    },
    /// The records are stored and the answer is this error all the same.
    ErrorAfterApply(ErrorCode),
    /// The records are stored at once and the answer comes so much later.
    AckDelay(Duration),
    /// Nothing is stored and the connection closes.
    CloseBefore(Close),
    /// The records are stored and the connection closes without an answer.
    CloseAfter(Close),
    /// Nothing is stored, no answer ever comes, and nothing more is read from the connection.
    SilenceBefore,
    /// The same after the records were stored.
    SilenceAfter,
    /// The same, and the records are stored so much later, whatever became of the connection.
    SilenceAndApplyLate(Duration),
    /// The records are stored and the answer gives their base offset plus this.
    WrongBaseOffset(i64),
    /// The connection closes when so many bytes of the request were read, the length in front
    /// included. Up to 512 more may have been read, and nothing is stored. With [`Close::Fin`] a
    /// short while goes by in which the rest is taken and thrown away.
    CloseAfterBytes(usize, Close),
}

/// What happens to a request for the offsets of a partition.
#[derive(Debug, Clone)]
pub(super) enum OffsetFault {
    /// The answer is this error.
    Error(ErrorCode),
    /// The answer was made so many records ago.
    Old(i64),
}

/// Which request a fault meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The next one.
    Next,
    /// The nth from now; the first is the next one.
    Nth(usize),
    /// Every one until the faults are cleared.
    Every,
}

/// The faults that wait for their request.
#[derive(Debug)]
pub(super) struct Plan<T> {
    armed: Vec<Armed<T>>,
}

#[derive(Debug)]
struct Armed<T> {
    fault: T,
    /// How many requests pass before it.
    after: usize,
    repeats: bool,
}

impl<T> Default for Plan<T> {
    fn default() -> Self {
        Self { armed: Vec::new() }
    }
}

impl<T: Clone> Plan<T> {
    pub(super) fn arm(&mut self, fault: T, when: When) {
        let after = match when {
            When::Next | When::Every => 0,
            When::Nth(n) => n.saturating_sub(1),
        };
        self.armed.push(Armed {
            fault,
            after,
            repeats: when == When::Every,
        });
    }

    /// A request has come: the fault that it meets. Of two that are due the one that was armed
    /// first goes first, and the other meets the request after.
    pub(super) fn meet(&mut self) -> Option<T> {
        let due = self.armed.iter().position(|armed| armed.after == 0);
        for armed in &mut self.armed {
            armed.after = armed.after.saturating_sub(1);
        }
        let due = due?;
        if self.armed[due].repeats {
            Some(self.armed[due].fault.clone())
        } else {
            Some(self.armed.remove(due).fault)
        }
    }

    /// How many wait for their request.
    pub(super) fn len(&self) -> usize {
        self.armed.len()
    }

    pub(super) fn clear(&mut self) {
        self.armed.clear();
    }
}
