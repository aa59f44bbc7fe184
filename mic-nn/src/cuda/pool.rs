//! Pooling.

use candle_core::{Result, Tensor};

use super::gpu::{Gpu, THREADS};
use super::source::{AVG_POOL, MAX_POOL};
use super::value::Value;
use crate::ops::attach::attach;

/// The windows along one direction. With kernel 0 they cover the image (adaptive pooling).
#[derive(Clone, Copy)]
pub(crate) struct PoolWindow {
    pub(crate) size: usize,
    pub(crate) outputs: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    /// Whether the padding counts in a mean.
    pub(crate) padded: bool,
}

impl PoolWindow {
    /// `outputs` windows that cover `size` elements.
    pub(crate) fn covering(size: usize, outputs: usize) -> Self {
        Self {
            size,
            outputs,
            kernel: 0,
            stride: 0,
            padding: 0,
            padded: false,
        }
    }

    fn value(&self) -> Value {
        let padded = usize::from(self.padded);
        Value::ints(&[
            self.size,
            self.outputs,
            self.kernel,
            self.stride,
            self.padding,
            padded,
        ])
    }
}

/// Maxima of a contiguous (B, C, H, W).
pub(crate) fn max_pool(x: &Tensor, rows: PoolWindow, columns: PoolWindow) -> Result<Tensor> {
    const OP: &str = "max_pool2d";
    let gpu = Gpu::of(OP, x)?;
    let (batch, channels, h, w) = x.dims4()?;
    let (planes, outputs) = (batch * channels, rows.outputs * columns.outputs);
    let pool = move || {
        let (a, b) = (rows, columns);
        let sizes = [a.size, b.size, a.outputs, b.outputs, a.kernel, b.kernel];
        let steps = [a.stride, b.stride, a.padding, b.padding];
        Value::ints(&[&sizes[..], &steps].concat())
    };
    let (y, chosen) = (
        gpu.floats(planes * outputs)?,
        gpu.room::<i32>(planes * outputs)?,
    );
    let arguments = [gpu.at(x)?, pool(), y.at(), chosen.at()];
    gpu.planes(MAX_POOL, "max_pool_forward", planes, outputs, &arguments)?;
    let shape = (batch, channels, rows.outputs, columns.outputs);
    attach(OP, [x], y.storage(), shape, move |g| {
        let dx = gpu.floats(planes * h * w)?;
        let arguments = [gpu.at(g)?, chosen.at(), pool(), dx.at()];
        gpu.planes(MAX_POOL, "max_pool_backward", planes, h * w, &arguments)?;
        Ok([Some(dx.tensor((batch, channels, h, w)))])
    })
}

/// Means of a contiguous (B, C, H, W).
pub(crate) fn average_pool(
    op: &'static str,
    x: &Tensor,
    rows: PoolWindow,
    columns: PoolWindow,
) -> Result<Tensor> {
    let gpu = Gpu::of(op, x)?;
    let (batch, channels, h, w) = x.dims4()?;
    let (planes, outputs) = (batch * channels, rows.outputs * columns.outputs);
    let y = gpu.floats(planes * outputs)?;
    let arguments = [gpu.at(x)?, rows.value(), columns.value(), y.at()];
    gpu.planes(AVG_POOL, "avg_pool_forward", planes, outputs, &arguments)?;
    let shape = (batch, channels, rows.outputs, columns.outputs);
    attach(op, [x], y.storage(), shape, move |g| {
        let dx = gpu.floats(planes * h * w)?;
        let arguments = [gpu.at(g)?, rows.value(), columns.value(), dx.at()];
        gpu.planes(AVG_POOL, "avg_pool_backward", planes, h * w, &arguments)?;
        Ok([Some(dx.tensor((batch, channels, h, w)))])
    })
}

/// The means of whole planes of a contiguous (B, C, H, W), as (B, C) and then `rest`, all 1.
pub(crate) fn global_average_pool(op: &'static str, x: &Tensor, rest: &[usize]) -> Result<Tensor> {
    let gpu = Gpu::of(op, x)?;
    let (batch, channels, h, w) = x.dims4()?;
    let (planes, pixels) = (batch * channels, h * w);
    let y = gpu.floats(planes)?;
    let arguments = [gpu.at(x)?, Value::count(pixels), y.at()];
    let grid = [planes, 1, 1];
    gpu.launch(
        AVG_POOL,
        "global_avg_pool_forward",
        grid,
        [THREADS, 1],
        &arguments,
    )?;
    let shape = [&[batch, channels], rest].concat();
    attach(op, [x], y.storage(), shape, move |g| {
        let dx = gpu.floats(planes * pixels)?;
        let arguments = [gpu.at(g)?, Value::count(pixels), dx.at()];
        gpu.planes(
            AVG_POOL,
            "global_avg_pool_backward",
            planes,
            pixels,
            &arguments,
        )?;
        Ok([Some(dx.tensor((batch, channels, h, w)))])
    })
}
