//! Sums and scalings by sample or channel, by candle's kernels.

use candle_core::{Result, Tensor};

use super::gpu::storage_of;
use crate::ops::attach::attach;

/// `x` with each of as many equal parts as there are factors times its factor.
fn scaled(x: &Tensor, factors: &Tensor) -> Result<Tensor> {
    let groups = factors.elem_count();
    let parts = x.reshape((groups, x.elem_count() / groups.max(1)))?;
    parts.broadcast_mul(factors)?.reshape(x.shape())
}

fn on_device(x: &Tensor, factors: &[f64]) -> Result<Tensor> {
    let factors: Vec<f32> = factors.iter().map(|&f| f as f32).collect();
    let groups = factors.len();
    Tensor::from_vec(factors, (groups, 1), x.device())
}

/// Scales the parts of a contiguous tensor.
pub(crate) fn scale_groups(op: &'static str, x: &Tensor, factors: &[f64]) -> Result<Tensor> {
    let factors = on_device(x, factors)?;
    let y = scaled(&x.detach(), &factors)?;
    attach(op, [x], storage_of(&y)?, x.shape(), move |g| {
        Ok([Some(scaled(g, &factors)?)])
    })
}

/// `a` plus the scaled parts of `b`, which is like it; both contiguous.
pub(crate) fn add_scaled(
    op: &'static str,
    a: &Tensor,
    b: &Tensor,
    factors: &[f64],
) -> Result<Tensor> {
    let plain = factors.iter().all(|&f| f == 1.0);
    let factors = on_device(b, factors)?;
    let by_factor = move |t: &Tensor| match plain {
        true => Ok(t.clone()),
        false => scaled(t, &factors),
    };
    let y = (a.detach() + by_factor(&b.detach())?)?;
    attach(op, [a, b], storage_of(&y)?, a.shape(), move |g| {
        Ok([Some(g.clone()), Some(by_factor(g)?)])
    })
}
