use candle_core::{Result, Tensor};

use super::{PairLoss, Reduction, pairwise};
use crate::ops::math::Math;

#[derive(Clone, Copy)]
struct Bce;

impl PairLoss for Bce {
    const OP: &'static str = "binary_cross_entropy_with_logits";

    fn value<T: Math>(self, x: T, t: T) -> T {
        let positive = if x > T::zero() { x } else { T::zero() };
        positive - x * t + (-x.abs()).exp_fast().ln_1p()
    }

    fn derivatives<T: Math>(self, x: T, t: T) -> [T; 2] {
        [crate::ops::sigmoid::value(x) - t, -x]
    }
}

/// `-t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x))`, finite for every finite logit, as
/// PyTorch's `binary_cross_entropy_with_logits`.
///
/// `logits` and `target` have one shape, any, and one dtype; the gradient flows to both. Targets
/// are probabilities, which is not checked.
///
/// # Errors
/// When shapes or dtypes differ.
pub fn binary_cross_entropy_with_logits(
    logits: &Tensor,
    target: &Tensor,
    reduction: Reduction,
) -> Result<Tensor> {
    pairwise(Bce, logits, target, reduction)
}
