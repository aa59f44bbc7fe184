//! Resizing.

use candle_core::{Result, Tensor};

use super::gpu::Gpu;
use super::source::RESIZE;
use super::value::Value;
use crate::ops::attach::attach;

/// Sizes of a resize.
#[derive(Clone, Copy)]
struct Sizes {
    h: usize,
    w: usize,
    oh: usize,
    ow: usize,
}

/// One direction; the step is computed in F32, as on the CPU.
fn axis(input: usize, output: usize, align_corners: bool) -> Value {
    let (n, m) = (input as f32, output as f32);
    let step = match (align_corners, output) {
        (true, 0..=1) => 0.0,
        (true, _) => (n - 1.0) / (m - 1.0),
        (false, _) => n / m,
    };
    Value::ints(&[input, output])
        .float(step)
        .int(i32::from(align_corners))
}

/// Bilinear resizing of a contiguous (B, C, H, W).
pub(crate) fn resize_bilinear(x: &Tensor, size: (usize, usize), align: bool) -> Result<Tensor> {
    let values = move |s: Sizes| vec![axis(s.h, s.oh, align), axis(s.w, s.ow, align)];
    let kernels = ["resize_bilinear_forward", "resize_bilinear_backward"];
    resize("resize_bilinear", kernels, x, size, values)
}

/// Nearest resizing of a contiguous (B, C, H, W).
pub(crate) fn resize_nearest(x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
    let values = |s: Sizes| -> Vec<Value> { [s.h, s.w, s.oh, s.ow].map(Value::count).into() };
    let kernels = ["resize_nearest_forward", "resize_nearest_backward"];
    resize("resize_nearest", kernels, x, size, values)
}

fn resize(
    op: &'static str,
    [forward, backward]: [&'static str; 2],
    x: &Tensor,
    (oh, ow): (usize, usize),
    values: impl Fn(Sizes) -> Vec<Value> + Send + Sync + 'static,
) -> Result<Tensor> {
    let gpu = Gpu::of(op, x)?;
    let (batch, channels, h, w) = x.dims4()?;
    let (s, planes) = (Sizes { h, w, oh, ow }, batch * channels);
    let y = gpu.floats(planes * oh * ow)?;
    let mut arguments = vec![gpu.at(x)?];
    arguments.extend(values(s));
    arguments.push(y.at());
    gpu.planes(RESIZE, forward, planes, oh * ow, &arguments)?;
    attach(op, [x], y.storage(), (batch, channels, oh, ow), move |g| {
        let dx = gpu.floats(planes * h * w)?;
        let mut arguments = vec![gpu.at(g)?];
        arguments.extend(values(s));
        arguments.push(dx.at());
        gpu.planes(RESIZE, backward, planes, h * w, &arguments)?;
        Ok([Some(dx.tensor((batch, channels, h, w)))])
    })
}
