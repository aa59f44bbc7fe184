//! A shuffle that need not be stored: entry `i` of a keyed permutation of `0..len`.

use rand::Rng;

use crate::rng::stream;

/// Rounds of the Feistel network; four suffice for large ranges, tiny ones mix less per round.
const ROUNDS: usize = 12;

/// A permutation of `0..len`, chosen by (seed, purpose, epoch). Entries cost the same for any
/// length, so that the pairs of two large data sets need no list.
///
/// A Feistel network permutes the next power of four; results outside `0..len` are permuted again
/// until they fall inside (cycle walking), which keeps it a permutation of `0..len`.
#[derive(Clone, Debug)]
pub struct Permutation {
    len: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..len` for one epoch of a purpose.
    pub fn new(len: u64, seed: u64, purpose: &str, epoch: u64) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        let mut rng = stream(seed, purpose, epoch);
        Self {
            len,
            half_bits: bits.div_ceil(2).max(1),
            keys: std::array::from_fn(|_| rng.random()),
        }
    }

    /// Entry `index`.
    ///
    /// # Panics
    ///
    /// If `index` is not below the length.
    pub fn get(&self, index: u64) -> u64 {
        assert!(index < self.len, "entry {index} of {}", self.len);
        let mut value = self.permute(index);
        while value >= self.len {
            value = self.permute(value);
        }
        value
    }

    fn permute(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

/// The finaliser of SplitMix64 with a leading increment, so that 0 does not map to 0.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_comes_exactly_once() {
        for len in [1, 2, 3, 5, 16, 17, 100, 1000, 4097] {
            let permutation = Permutation::new(len, 7, "pairs", 3);
            let mut entries: Vec<u64> = (0..len).map(|i| permutation.get(i)).collect();
            entries.sort_unstable();
            assert!(entries.into_iter().eq(0..len), "length {len}");
        }
    }

    #[test]
    fn long_ranges_need_no_list_and_keys_change_the_order() {
        let head = |seed, purpose, epoch| {
            let permutation = Permutation::new(u64::MAX / 2, seed, purpose, epoch);
            [0, 1, 2].map(|i| permutation.get(i))
        };
        assert_eq!(head(1, "pairs", 0), head(1, "pairs", 0));
        assert_ne!(head(1, "pairs", 0), head(2, "pairs", 0));
        assert_ne!(head(1, "pairs", 0), head(1, "source", 0));
        assert_ne!(head(1, "pairs", 0), head(1, "pairs", 1));
    }

    #[test]
    fn places_are_uniform_and_neighbours_independent() {
        // Over many keys every ordered pair of entries is equally likely to come first.
        for len in [2u64, 3, 4, 6, 11] {
            let pairs = (len * (len - 1)) as usize;
            let draws = 2000 * pairs;
            let mut counts = vec![0f64; (len * len) as usize];
            for epoch in 0..draws as u64 {
                let permutation = Permutation::new(len, 5, "pairs", epoch);
                counts[(permutation.get(0) * len + permutation.get(1)) as usize] += 1.0;
            }
            let chi2: f64 = (0..len * len)
                .filter(|place| place / len != place % len)
                .map(|place| (counts[place as usize] - 2000.0).powi(2) / 2000.0)
                .sum();
            let freedom = (pairs - 1) as f64;
            let limit = freedom + 5.0 * (2.0 * freedom).sqrt();
            assert!(chi2 < limit, "length {len}: {chi2} of at most {limit}");
        }
    }
}
