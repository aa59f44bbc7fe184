//! What the tests of all pooling ops share.

use candle_core::{Result, Tensor};
use rand::Rng;

use super::Pool2dOptions;

/// Windows that fit images of at least 4 x 4.
pub(super) fn options(rng: &mut impl Rng) -> Pool2dOptions {
    let kernel = (rng.random_range(1..5), rng.random_range(1..5));
    Pool2dOptions {
        kernel,
        stride: (rng.random_range(1..6), rng.random_range(1..6)),
        padding: (
            rng.random_range(0..=kernel.0 / 2),
            rng.random_range(0..=kernel.1 / 2),
        ),
    }
}

/// The same values in channels-last order.
pub(super) fn strided(x: &Tensor) -> Result<Tensor> {
    let last = x.permute((0, 2, 3, 1))?.contiguous()?;
    last.permute((0, 3, 1, 2))
}
