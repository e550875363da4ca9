//! Numbers from a seed, so that a run can be repeated.
#![allow(dead_code)]

use std::ops::RangeInclusive;

/// splitmix64: any seed is as good as another, and neighbours have nothing in common.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The generator of a part of the whole. What is drawn from one does not move another.
    pub fn part(seed: u64, part: u64) -> Random {
        Random(Random(seed).next() ^ Random(!part).next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        assert_ne!(limit, 0, "nothing is below zero");
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    pub fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }

    /// Each choice comes as often as its weight says.
    pub fn weighted<T: Clone>(&mut self, choices: &[(u64, T)]) -> T {
        let total = choices.iter().map(|(weight, _)| weight).sum();
        let mut point = self.below(total);
        for (weight, choice) in choices {
            match point.checked_sub(*weight) {
                Some(left) => point = left,
                None => return choice.clone(),
            }
        }
        unreachable!("the point is below the sum of the weights")
    }

    /// Below `1 << bits`, and small numbers about as often as large ones.
    pub fn magnitude(&mut self, bits: u64) -> u64 {
        let bits = self.between(bits / 2..=bits);
        self.below(1 << bits)
    }
}
