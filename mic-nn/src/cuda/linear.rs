//! Linear maps, by cuBLAS.

use candle_core::{Result, Tensor};

use super::gpu::{Gpu, storage_of};
use crate::ops::attach::attach;

/// `y = x W^T + b` of contiguous `x` (..., Cin), `w` (Cout, Cin), `bias` (Cout).
pub(crate) fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    const OP: &str = "linear";
    Gpu::of(OP, x)?;
    let (c_out, c_in) = w.dims2()?;
    let rows = x.elem_count() / c_in;
    let (flat, weight) = (x.detach().reshape((rows, c_in))?, w.detach());
    let mut y = flat.matmul(&weight.t()?)?;
    if let Some(bias) = bias {
        y = y.broadcast_add(&bias.detach())?;
    }
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(c_out);
    let needs = [Some(x), Some(w), bias].map(|t| t.is_some_and(Tensor::track_op));
    let (inputs, with_bias) = (x.shape().clone(), bias.is_some());
    let backward = move |g: &Tensor| -> Result<Vec<Option<Tensor>>> {
        let g = g.reshape((rows, c_out))?;
        let mut gradients = vec![None; 2 + usize::from(with_bias)];
        if needs[0] {
            gradients[0] = Some(g.matmul(&weight)?.reshape(&inputs)?);
        }
        if needs[1] {
            gradients[1] = Some(g.t()?.matmul(&flat)?);
        }
        if needs[2] {
            gradients[2] = Some(g.sum(0)?);
        }
        Ok(gradients)
    };
    let sources: Vec<&Tensor> = [x, w].into_iter().chain(bias).collect();
    attach(OP, sources, storage_of(&y)?, shape, backward)
}
