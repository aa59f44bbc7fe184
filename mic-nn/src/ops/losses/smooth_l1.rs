use candle_core::{Result, Tensor};

use super::{PairLoss, Reduction, pairwise};
use crate::ops::math::Math;

#[derive(Clone, Copy)]
struct SmoothL1 {
    beta: f64,
}

impl PairLoss for SmoothL1 {
    const OP: &'static str = "smooth_l1";

    fn value<T: Math>(self, x: T, t: T) -> T {
        let (distance, beta) = ((x - t).abs(), T::of(self.beta));
        let half = T::of(0.5);
        if distance < beta {
            half * distance * distance / beta
        } else {
            distance - half * beta
        }
    }

    fn derivatives<T: Math>(self, x: T, t: T) -> [T; 2] {
        let (d, beta) = (x - t, T::of(self.beta));
        let slope = if d.abs() < beta {
            d / beta
        } else if d > T::zero() {
            T::one()
        } else if d < T::zero() {
            -T::one()
        } else {
            // 0 where they are equal and beta is 0; NaN stays NaN.
            d
        };
        [slope, -slope]
    }
}

/// `d^2 / (2 beta)` where `d = |input - target|` is below `beta`, `d - beta / 2` elsewhere, as
/// PyTorch's `smooth_l1_loss`. With `beta` 0 it is `d`, with gradient 0 at `d = 0`.
///
/// `input` and `target` have one shape, any, and one dtype; the gradient flows to both.
///
/// # Errors
/// When shapes or dtypes differ, or `beta` is negative or not finite.
pub fn smooth_l1(
    input: &Tensor,
    target: &Tensor,
    beta: f64,
    reduction: Reduction,
) -> Result<Tensor> {
    if !(beta >= 0.0 && beta.is_finite()) {
        candle_core::bail!("smooth_l1: beta must be a finite number of at least 0, got {beta}")
    }
    pairwise(SmoothL1 { beta }, input, target, reduction)
}
