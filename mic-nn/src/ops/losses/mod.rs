//! Losses that compare two tensors element by element.

mod bce;
mod entropy;
mod kl;
mod smooth_l1;

use candle_core::{Result, Tensor, WithDType};
use rayon::prelude::*;

use super::attach::attach;
use super::cpu::{dispatch, storage, tensor, view};
use super::math::Math;
use crate::ops::cast::in_single;

pub use bce::binary_cross_entropy_with_logits;
pub use entropy::entropy;
pub use kl::kl_divergence;
pub use smooth_l1::smooth_l1;

/// Elements a task handles; fixed, so that results do not depend on the number of threads.
const CHUNK: usize = 1 << 13;

/// How the losses of single elements become the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// The elements themselves, in the input's shape.
    None,
    /// Their sum, a scalar.
    Sum,
    /// Their sum divided by their number; NaN when there is none.
    Mean,
    /// Their sum divided by the size of the first dimension (1 for a scalar), which PyTorch has
    /// for the Kullback-Leibler divergence.
    BatchMean,
}

impl Reduction {
    /// What the sum is divided by; nothing without a sum.
    fn divisor(self, dims: &[usize]) -> Option<f64> {
        match self {
            Self::None => None,
            Self::Sum => Some(1.0),
            Self::Mean => Some(dims.iter().product::<usize>() as f64),
            Self::BatchMean => Some(dims.first().copied().unwrap_or(1) as f64),
        }
    }
}

/// A loss of one element `x` and its target `t`.
trait PairLoss: Copy + Send + Sync + 'static {
    const OP: &'static str;
    fn value<T: Math>(self, x: T, t: T) -> T;
    /// The derivatives by `x` and by `t`.
    fn derivatives<T: Math>(self, x: T, t: T) -> [T; 2];
}

/// Applies `loss` to two tensors of one shape; both get a gradient where they are tracked.
fn pairwise<L: PairLoss>(
    loss: L,
    input: &Tensor,
    target: &Tensor,
    reduction: Reduction,
) -> Result<Tensor> {
    in_single!([input, target] => pairwise(loss, input, target, reduction));
    if input.dims() != target.dims() || input.dtype() != target.dtype() {
        candle_core::bail!(
            "{}: expected a target like the input, {:?} {:?}, got {:?} {:?}",
            L::OP,
            input.dims(),
            input.dtype(),
            target.dims(),
            target.dtype()
        )
    }
    let (input, target) = (input.contiguous()?, target.contiguous()?);
    dispatch!(L::OP, input.dtype(), T => pairwise_cpu::<T, L>(loss, &input, &target, reduction))
}

fn pairwise_cpu<T: Math, L: PairLoss>(
    loss: L,
    input: &Tensor,
    target: &Tensor,
    reduction: Reduction,
) -> Result<Tensor> {
    let divisor = reduction.divisor(input.dims());
    let (output, shape) = {
        let (x, t) = (view::<T>(L::OP, input)?, view::<T>(L::OP, target)?);
        let (x, t): (&[T], &[T]) = (&x, &t);
        if let Some(divisor) = divisor {
            let parts: Vec<f64> = x
                .par_chunks(CHUNK)
                .zip(t.par_chunks(CHUNK))
                .map(|(x, t)| {
                    let values = x.iter().zip(t).map(|(&x, &t)| loss.value(x, t));
                    values.map(WithDType::to_f64).sum()
                })
                .collect();
            let total: f64 = parts.iter().sum();
            (vec![T::of(total / divisor)], Vec::new())
        } else {
            let values = x.par_iter().zip(t).map(|(&x, &t)| loss.value(x, t));
            (values.collect(), input.dims().to_vec())
        }
    };
    let saved = (input.detach(), target.detach());
    let tracked = [input.track_op(), target.track_op()];
    attach(
        L::OP,
        [input, target],
        storage(output),
        shape,
        move |grad| {
            let (x, t) = (view::<T>(L::OP, &saved.0)?, view::<T>(L::OP, &saved.1)?);
            let g = view::<T>(L::OP, grad)?;
            let (x, t, g): (&[T], &[T], &[T]) = (&x, &t, &g);
            let gradient = |which: usize| {
                let gradient = |i: usize| {
                    let upstream = divisor.map_or_else(|| g[i], |d| g[0] / T::of(d));
                    upstream * loss.derivatives(x[i], t[i])[which]
                };
                let values: Vec<T> = (0..x.len()).into_par_iter().map(gradient).collect();
                tensor(values, saved.0.shape())
            };
            Ok([0, 1].map(|which| tracked[which].then(|| gradient(which))))
        },
    )
}
