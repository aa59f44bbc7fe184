//! The logistic function.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach_with_result;
use super::cast::in_single;
use super::cpu::{dispatch, storage, tensor, view};
use super::math::Math;

const OP: &str = "sigmoid";

/// `1 / (1 + e^-x)` for a tensor of any shape, as PyTorch's `sigmoid`.
///
/// # Errors
/// When the dtype is another.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    in_single!([x] => sigmoid(x));
    let x = x.contiguous()?;
    dispatch!(OP, x.dtype(), T => sigmoid_cpu::<T>(&x))
}

/// The exponential's argument is never positive, so nothing overflows.
#[inline(always)]
pub(super) fn value<T: Math>(x: T) -> T {
    let e = (-x.abs()).exp_fast();
    (if x > T::zero() { T::one() } else { e }) / (T::one() + e)
}

fn sigmoid_cpu<T: Math>(x: &Tensor) -> Result<Tensor> {
    let output: Vec<T> = view::<T>(OP, x)?.par_iter().map(|&x| value(x)).collect();
    attach_with_result(OP, [x], storage(output), x.shape(), |result, grad| {
        let (y, g) = (view::<T>(OP, result)?, view::<T>(OP, grad)?);
        let pairs = y.par_iter().zip(g.par_iter());
        let dx: Vec<T> = pairs.map(|(&y, &g)| g * y * (T::one() - y)).collect();
        Ok([Some(tensor(dx, grad.shape()))])
    })
}
