//! One direction of a separable resize as tables.

use candle_core::WithDType;
use num_traits::Float;

use crate::ops::cpu::Elem;

/// For every output position two input positions and their weights.
pub(super) struct Taps<T> {
    pub(super) input: usize,
    /// (first input, second input, weight of the first, weight of the second)
    pub(super) taps: Vec<(u32, u32, T, T)>,
}

impl<T: Elem> Taps<T> {
    /// Linear interpolation. The positions are computed in `T`, as PyTorch does.
    pub(super) fn linear(input: usize, output: usize, align_corners: bool) -> Self {
        let (n, m) = (T::of(input as f64), T::of(output as f64));
        let half = T::of(0.5);
        let step = match (align_corners, output) {
            (true, 0..=1) => T::zero(),
            (true, _) => (n - T::one()) / (m - T::one()),
            (false, _) => n / m,
        };
        let taps = (0..output).map(|o| {
            let o = T::of(o as f64);
            let source = if align_corners {
                o * step
            } else {
                Float::max((o + half) * step - half, T::zero())
            };
            let first = (WithDType::to_f64(source) as usize).min(input - 1);
            let second = (first + 1).min(input - 1);
            let weight = Float::min(source - T::of(first as f64), T::one());
            (first as u32, second as u32, T::one() - weight, weight)
        });
        Self {
            input,
            taps: taps.collect(),
        }
    }

    /// The input position `floor(o * input / output)` for every output position `o`.
    pub(super) fn nearest(input: usize, output: usize) -> Self {
        let taps = (0..output).map(|o| {
            let source = (o * input / output) as u32;
            (source, source, T::one(), T::zero())
        });
        Self {
            input,
            taps: taps.collect(),
        }
    }

    /// For every input position the output positions that use it, and how much.
    pub(super) fn transposed(&self) -> Transposed<T> {
        let mut start = Vec::with_capacity(self.input + 1);
        let mut first = Vec::with_capacity(self.input);
        let mut weights = Vec::new();
        // Source positions grow with output positions, so the users of an input are neighbours.
        let (mut low, mut high) = (0, 0);
        for i in 0..self.input as u32 {
            while low < self.taps.len() && self.taps[low].1 < i {
                low += 1;
            }
            high = high.max(low);
            while high < self.taps.len() && self.taps[high].0 <= i {
                high += 1;
            }
            start.push(weights.len());
            first.push(low);
            weights.extend(self.taps[low..high].iter().map(|&(a, b, wa, wb)| {
                let first = if a == i { wa } else { T::zero() };
                first + if b == i { wb } else { T::zero() }
            }));
        }
        start.push(weights.len());
        Transposed {
            first,
            start,
            weights,
        }
    }
}

/// For every input position a range of output positions with weights.
pub(super) struct Transposed<T> {
    first: Vec<usize>,
    start: Vec<usize>,
    weights: Vec<T>,
}

impl<T: Elem> Transposed<T> {
    /// The first output position that uses input `i`, and the weights of it and its followers.
    #[inline(always)]
    pub(super) fn at(&self, i: usize) -> (usize, &[T]) {
        (
            self.first[i],
            &self.weights[self.start[i]..self.start[i + 1]],
        )
    }
}
