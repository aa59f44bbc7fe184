//! Python's `random.random()`: the published code tosses the coins of its colour changes with it,
//! once a run, so that a seed decides whether a whole run has them.

const SIZE: usize = 624;
const SHIFT: usize = 397;

/// The Mersenne Twister MT19937 (Matsumoto and Nishimura, 1998), seeded and read as Python does.
pub struct PythonRandom {
    state: [u32; SIZE],
    next: usize,
}

impl PythonRandom {
    /// `random.seed(seed)`.
    pub fn new(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        match high {
            0 => Self::from_key(&[low]),
            _ => Self::from_key(&[low, high]),
        }
    }

    /// `init_by_array`.
    fn from_key(key: &[u32]) -> Self {
        let mut state = [0u32; SIZE];
        state[0] = 19_650_218;
        for i in 1..SIZE {
            let last = state[i - 1] ^ (state[i - 1] >> 30);
            state[i] = last.wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        let mut i = 1;
        let step = |state: &mut [u32; SIZE], i: &mut usize, factor: u32| {
            let last = state[*i - 1] ^ (state[*i - 1] >> 30);
            state[*i] ^= last.wrapping_mul(factor);
            *i
        };
        let advance = |state: &mut [u32; SIZE], i: &mut usize| {
            *i += 1;
            if *i == SIZE {
                state[0] = state[SIZE - 1];
                *i = 1;
            }
        };
        for (j, word) in key.iter().enumerate().cycle().take(SIZE.max(key.len())) {
            let at = step(&mut state, &mut i, 1_664_525);
            state[at] = state[at].wrapping_add(*word).wrapping_add(j as u32);
            advance(&mut state, &mut i);
        }
        for _ in 1..SIZE {
            let at = step(&mut state, &mut i, 1_566_083_941);
            state[at] = state[at].wrapping_sub(at as u32);
            advance(&mut state, &mut i);
        }
        state[0] = 1 << 31;
        Self { state, next: SIZE }
    }

    fn refill(&mut self) {
        for i in 0..SIZE {
            let joined = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % SIZE] & 0x7fff_ffff);
            let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % SIZE] ^ (joined >> 1) ^ twist;
        }
        self.next = 0;
    }

    fn word(&mut self) -> u32 {
        if self.next == SIZE {
            self.refill();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// `random.random()`: 53 random bits in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * (1u64 << 26) as f64 + f64::from(low)) / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_draws_are_pythons() {
        let expected = [
            (0, 0.8444218515, 0.7579544029),
            (1, 0.1343642441, 0.8474337369),
            (2, 0.9560342719, 0.9478274871),
            (3, 0.2379646271, 0.5442292253),
            (4, 0.2360480897, 0.1031660342),
            (5, 0.6229016949, 0.7417869893),
            (6, 0.7933400838, 0.8219540423),
            (7, 0.3238327648, 0.1508491739),
        ];
        for (seed, first, second) in expected {
            let mut random = PythonRandom::new(seed);
            assert!((random.uniform() - first).abs() < 1e-10, "seed {seed}");
            assert!((random.uniform() - second).abs() < 1e-10, "seed {seed}");
        }
    }

    #[test]
    fn later_draws_and_long_seeds_are_pythons() {
        let mut random = PythonRandom::new(12);
        let thousandth = (0..1000).map(|_| random.uniform()).last().unwrap();
        assert!(
            (thousandth - THOUSANDTH_OF_12).abs() < 1e-15,
            "{thousandth}"
        );
        let first = PythonRandom::new((1 << 40) + 5).uniform();
        assert!((first - FIRST_OF_LONG).abs() < 1e-15, "{first}");
    }

    const THOUSANDTH_OF_12: f64 = 0.5127197856449134;
    const FIRST_OF_LONG: f64 = 0.5043802970418443;
}
