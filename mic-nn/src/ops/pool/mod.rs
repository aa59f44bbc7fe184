//! Pooling of (B, C, H, W) images.

mod adaptive;
mod average;
mod axis;
mod max;
mod mean;
#[cfg(test)]
mod reference;

pub use adaptive::{adaptive_avg_pool2d, global_avg_pool2d};
pub use average::avg_pool2d;
pub use max::max_pool2d;

use candle_core::{Result, Tensor};

/// Windows of a pooling op, (height, width) each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2dOptions {
    /// Size of a window.
    pub kernel: (usize, usize),
    /// Step between windows.
    pub stride: (usize, usize),
    /// Rows and columns added on every side, at most half the kernel: minus infinity for the
    /// maximum, zero for the average.
    pub padding: (usize, usize),
}

/// Height and width of `x`, which has to be a non-empty (B, C, H, W).
fn size_of(op: &str, x: &Tensor) -> Result<(usize, usize)> {
    let &[_, _, h, w] = x.dims() else {
        candle_core::bail!("{op}: x is {:?}, expected (B, C, H, W)", x.dims())
    };
    if x.elem_count() == 0 {
        candle_core::bail!("{op}: x {:?} is empty", x.dims())
    }
    Ok((h, w))
}

/// Planes that one task handles, so that small planes are not a task each.
fn planes_per_task(pixels: usize) -> usize {
    const PIXELS: usize = 1 << 14;
    (PIXELS / pixels).max(1)
}
