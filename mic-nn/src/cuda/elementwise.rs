//! Activations and softmax.

use candle_core::{DType, Result, Tensor};

use super::gpu::{Gpu, storage_of};
use super::source::{GELU, RELU, SOFTMAX};
use super::value::Value;
use crate::ops::attach::{attach, attach_with_result};

/// A contiguous tensor in another floating-point dtype, by candle's kernel.
pub(crate) fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let from = x.dtype();
    let y = x.detach().to_dtype(dtype)?;
    attach("cast", [x], storage_of(&y)?, x.shape(), move |g| {
        Ok([Some(g.to_dtype(from)?)])
    })
}

/// GELU of a contiguous tensor.
pub(crate) fn gelu(x: &Tensor) -> Result<Tensor> {
    const OP: &str = "gelu";
    let gpu = Gpu::of(OP, x)?;
    let n = x.elem_count();
    let y = gpu.floats(n)?;
    gpu.over(
        GELU,
        "gelu_forward",
        n,
        &[gpu.at(x)?, y.at(), Value::long(n)],
    )?;
    let saved = x.detach();
    attach(OP, [x], y.storage(), x.shape(), move |g| {
        let dx = gpu.floats(n)?;
        let arguments = [gpu.at(&saved)?, gpu.at(g)?, dx.at(), Value::long(n)];
        gpu.over(GELU, "gelu_backward", n, &arguments)?;
        Ok([Some(dx.tensor(g.shape()))])
    })
}

/// The rectifier of a contiguous tensor.
pub(crate) fn relu(x: &Tensor) -> Result<Tensor> {
    const OP: &str = "relu";
    let gpu = Gpu::of(OP, x)?;
    let n = x.elem_count();
    let y = gpu.floats(n)?;
    gpu.over(
        RELU,
        "relu_forward",
        n,
        &[gpu.at(x)?, y.at(), Value::long(n)],
    )?;
    attach_with_result(OP, [x], y.storage(), x.shape(), move |y, g| {
        let dx = gpu.floats(n)?;
        let arguments = [gpu.at(y)?, gpu.at(g)?, dx.at(), Value::long(n)];
        gpu.over(RELU, "relu_backward", n, &arguments)?;
        Ok([Some(dx.tensor(g.shape()))])
    })
}

/// Softmax of a contiguous (.., size, inner..) over `size`.
pub(crate) fn softmax(x: &Tensor, size: usize, inner: usize) -> Result<Tensor> {
    const OP: &str = "softmax";
    let gpu = Gpu::of(OP, x)?;
    let n = x.elem_count();
    let rows = n / size.max(1);
    let y = gpu.floats(n)?;
    let sizes = move || [Value::long(rows), Value::count(size), Value::long(inner)];
    let [a, b, c] = sizes();
    gpu.over(
        SOFTMAX,
        "softmax_forward",
        rows,
        &[gpu.at(x)?, a, b, c, y.at()],
    )?;
    attach_with_result(OP, [x], y.storage(), x.shape(), move |y, g| {
        let dx = gpu.floats(n)?;
        let [a, b, c] = sizes();
        let arguments = [gpu.at(y)?, gpu.at(g)?, a, b, c, dx.at()];
        gpu.over(SOFTMAX, "softmax_backward", rows, &arguments)?;
        Ok([Some(dx.tensor(g.shape()))])
    })
}
