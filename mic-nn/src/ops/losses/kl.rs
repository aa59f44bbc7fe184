use candle_core::{Result, Tensor};

use super::{PairLoss, Reduction, pairwise};
use crate::ops::math::Math;

#[derive(Clone, Copy)]
struct Kl;

impl PairLoss for Kl {
    const OP: &'static str = "kl_divergence";

    fn value<T: Math>(self, x: T, t: T) -> T {
        // The limit of t log t at 0 is 0.
        let own = if t == T::zero() { t } else { t * t.ln() };
        own - t * x
    }

    fn derivatives<T: Math>(self, x: T, t: T) -> [T; 2] {
        let by_target = if t == T::zero() {
            T::zero()
        } else {
            t.ln() + T::one() - x
        };
        [-t, by_target]
    }
}

/// `t (log t - x)` for log-probabilities `x` and probabilities `t`, as PyTorch's `kl_div` with
/// `log_target=False`: the divergence of the input's distribution from the target's.
///
/// `log_probabilities` and `target` have one shape, any, and one dtype; the gradient flows to
/// both, and is 0 for a target that is exactly 0.
///
/// # Errors
/// When shapes or dtypes differ.
pub fn kl_divergence(
    log_probabilities: &Tensor,
    target: &Tensor,
    reduction: Reduction,
) -> Result<Tensor> {
    pairwise(Kl, log_probabilities, target, reduction)
}
