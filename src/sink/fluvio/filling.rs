//! Batches that are filled, and which of them go into one request.

use std::cmp::Reverse;

use super::batch::BatchBuilder;

/// The batch of a lane that is filled.
pub(super) struct Filling {
    /// The number of the SPU that leads the lane.
    pub spu: usize,
    pub batch: BatchBuilder,
    /// Whether the last record of the batch is open.
    pub is_open: bool,
    /// How much memory was lent to the batch.
    pub lent: usize,
}

impl Filling {
    /// The batch of a lane that an SPU leads, with nothing yet.
    pub fn of(spu: usize) -> Filling {
        Filling {
            spu,
            batch: BatchBuilder::default(),
            is_open: false,
            lent: 0,
        }
    }

    /// Whether there is something that can be sent.
    pub fn is_sendable(&self) -> bool {
        self.batch.count() > u64::from(self.is_open)
    }
}

/// Adds lanes with batches of at least `least` bytes to those that are chosen, the fullest first, as long as
/// their batches together have no more than `most`.
pub(super) fn choose(
    filling: &[Filling],
    lanes: impl Iterator<Item = usize>,
    least: usize,
    most: usize,
    chosen: &mut Vec<usize>,
) {
    let len = |lane: usize| filling[lane].batch.len();
    let worth = |&lane: &usize| filling[lane].is_sendable() && len(lane) >= least;
    let mut worth: Vec<_> = lanes.filter(worth).collect();
    worth.sort_unstable_by_key(|&lane| Reverse(len(lane)));
    let mut bytes: usize = chosen.iter().map(|&lane| len(lane)).sum();
    for lane in worth {
        if !chosen.is_empty() && bytes + len(lane) > most {
            break;
        }
        bytes += len(lane);
        chosen.push(lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_go_together_as_long_as_there_is_room() {
        let with = |len: usize, is_open: bool| {
            let mut filling = Filling::of(0);
            filling.batch.push(None, &vec![0; len]);
            filling.is_open = is_open;
            filling
        };
        let mut filling = [
            with(100, false),
            with(900, false),
            with(500, false),
            with(700, true),
        ];
        let choose = |filling: &[Filling], least, most| {
            let mut chosen = Vec::new();
            super::choose(filling, 0..4, least, most, &mut chosen);
            chosen
        };
        // The last one has nothing but a record that is open.
        assert_eq!(choose(&filling, 0, 10_000), [1, 2, 0]);
        assert_eq!(choose(&filling, 400, 10_000), [1, 2]);
        assert_eq!(choose(&filling, 0, 1_200), [1]);
        // One that is larger than a request goes alone.
        assert_eq!(choose(&filling, 0, 10), [1]);
        filling[3].batch.push(None, b"another");
        assert_eq!(choose(&filling, 0, 10_000), [1, 3, 2, 0]);
    }
}
