//! Memory of batches that were acknowledged, for the next ones.

use super::records::SentRecords;

/// Memory that is free, and how much of it was lent: both together are bounded, so that many lanes with
/// few records each do not hold what one needed that had many.
pub(super) struct Spare {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
    lent: usize,
    /// No buffer is kept that is larger.
    most_of_one: usize,
    most: usize,
}

impl Spare {
    /// Nothing yet, for batches that have `batch_bytes` at the most, as a rule.
    pub fn new(batch_bytes: usize) -> Spare {
        /// What is kept beside the batches that are filled and sent: a few large batches, or many small ones.
        const KEPT_BYTES: usize = 4 * 1024 * 1024;
        let most_of_one = 2 * batch_bytes;
        Spare {
            buffers: Vec::new(),
            bytes: 0,
            lent: 0,
            most_of_one,
            // One lane has three batches at a time.
            most: KEPT_BYTES.max(3 * most_of_one),
        }
    }

    /// Lends memory to a batch; returned is its capacity too, which is to be given back.
    pub fn lend(&mut self) -> Vec<u8> {
        match self
            .buffers
            .pop_if(|next| self.lent + next.capacity() <= self.most)
        {
            Some(buffer) => {
                self.bytes -= buffer.capacity();
                self.lent += buffer.capacity();
                buffer
            }
            None => Vec::new(),
        }
    }

    /// Takes down that a batch is sent that had so much lent to it.
    pub fn take_back(&mut self, lent: usize) {
        self.lent -= lent;
    }

    /// Takes the memory of a batch that is acknowledged.
    pub fn put(&mut self, records: SentRecords) {
        let buffer = records.into_memory(self.most_of_one);
        if self.bytes + buffer.capacity() <= self.most {
            self.bytes += buffer.capacity();
            self.buffers.push(buffer);
        }
    }
}
