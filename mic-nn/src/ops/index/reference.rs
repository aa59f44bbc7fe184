//! What the tests of the ops by index share.

use candle_core::{Result, Tensor};
use rand::Rng;

use crate::gradcheck::wave;

/// A tensor of random shape, stored in another order of dimensions.
pub(super) struct Case {
    pub(super) dims: Vec<usize>,
    pub(super) dim: usize,
}

pub(super) fn random(rng: &mut impl Rng) -> Case {
    let dims: Vec<usize> = (0..rng.random_range(1..5))
        .map(|_| rng.random_range(1..6))
        .collect();
    let dim = rng.random_range(0..dims.len());
    Case { dims, dim }
}

impl Case {
    /// The tensor, with its dimensions in memory in the opposite order.
    pub(super) fn x(&self) -> Result<Tensor> {
        let reversed: Vec<usize> = (0..self.dims.len()).rev().collect();
        let x = wave(&self.dims, 1.0, 1.3, 0.2)?;
        x.permute(reversed.clone())?.contiguous()?.permute(reversed)
    }

    /// Where a coordinate lies in row-major order.
    pub(super) fn offset(&self, at: &[usize]) -> usize {
        at.iter().zip(&self.dims).fold(0, |sum, (a, d)| sum * d + a)
    }

    pub(super) fn value(&self, at: &[usize]) -> f64 {
        (1.3 * self.offset(at) as f64 + 0.2).sin()
    }

    /// A shape that fits inside.
    pub(super) fn smaller(&self, rng: &mut impl Rng) -> Vec<usize> {
        let sizes = self.dims.iter();
        sizes
            .map(|&d| rng.random_range(d.div_ceil(2)..=d))
            .collect()
    }
}

/// Indices below `size` for a tensor of `dims`.
pub(super) fn indices(rng: &mut impl Rng, dims: &[usize], size: usize) -> Vec<i64> {
    let count = dims.iter().product();
    (0..count)
        .map(|_| rng.random_range(0..size) as i64)
        .collect()
}

/// Visits all coordinates of a shape in row-major order.
pub(super) fn plain(dims: &[usize], mut visit: impl FnMut(&[usize])) {
    for n in 0..dims.iter().product() {
        let (mut rest, mut at): (usize, Vec<usize>) = (n, vec![0; dims.len()]);
        for (a, d) in at.iter_mut().zip(dims).rev() {
            (*a, rest) = (rest % d, rest / d);
        }
        visit(&at);
    }
}
