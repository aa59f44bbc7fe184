//! Depthwise convolution.

use candle_core::{Result, Tensor};

use super::gpu::Gpu;
use super::source::{DEPTHWISE_CONV, SUM_ROWS};
use super::value::Value;
use crate::ops::attach::attach;
use crate::ops::conv2d::axis::Axis;

/// Sets of positions whose parameter gradients are summed separately.
const SETS: usize = 64;

/// Depthwise convolution of contiguous `x` (B, H, W, C) with `w` (C, 1, kh, kw).
pub(crate) fn depthwise_conv2d(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    (y_axis, x_axis): (Axis, Axis),
) -> Result<Tensor> {
    const OP: &str = "depthwise_conv2d_nhwc";
    let gpu = Gpu::of(OP, x)?;
    let (batch, _, _, c) = x.dims4()?;
    let (oh, ow) = (y_axis.output, x_axis.output);
    let window = move || {
        let (a, b) = (y_axis, x_axis);
        let ints = [a.input, b.input, c, oh, ow, a.kernel, b.kernel];
        let steps = [
            a.stride, b.stride, a.padding, b.padding, a.dilation, b.dilation,
        ];
        Value::ints(&[&ints[..], &steps].concat())
    };
    let results = batch * oh * ow * c;
    let y = gpu.floats(results)?;
    let arguments = [
        gpu.at(x)?,
        gpu.at(w)?,
        gpu.optional(bias)?,
        Value::long(results),
        window(),
        y.at(),
    ];
    gpu.over(DEPTHWISE_CONV, "depthwise_forward", results, &arguments)?;
    let (saved_x, saved_w) = (x.detach(), w.detach());
    let needs_x = x.track_op();
    let needs_parameters = w.track_op() || bias.is_some_and(Tensor::track_op);
    let with_bias = bias.is_some();
    let backward = move |g: &Tensor| -> Result<Vec<Option<Tensor>>> {
        let mut gradients = vec![None; 2 + usize::from(with_bias)];
        if needs_x {
            let count = saved_x.elem_count();
            let dx = gpu.floats(count)?;
            let arguments = [
                gpu.at(g)?,
                gpu.at(&saved_w)?,
                Value::long(count),
                window(),
                dx.at(),
            ];
            gpu.over(
                DEPTHWISE_CONV,
                "depthwise_backward_input",
                count,
                &arguments,
            )?;
            gradients[0] = Some(dx.tensor(saved_x.shape()));
        }
        if needs_parameters {
            let taps = y_axis.kernel * x_axis.kernel;
            let (dw, db) = parameter_gradients(&gpu, &saved_x, g, window, (c, taps))?;
            gradients[1] = Some(dw.reshape(saved_w.shape())?);
            if with_bias {
                gradients[2] = Some(db);
            }
        }
        Ok(gradients)
    };
    let inputs: Vec<&Tensor> = [x, w].into_iter().chain(bias).collect();
    attach(OP, inputs, y.storage(), (batch, oh, ow, c), backward)
}

/// The gradients of the kernels (C, taps) and of the bias (C).
fn parameter_gradients(
    gpu: &Gpu,
    x: &Tensor,
    g: &Tensor,
    window: impl Fn() -> Value,
    (c, taps): (usize, usize),
) -> Result<(Tensor, Tensor)> {
    let positions = g.elem_count() / c;
    let per_set = positions.div_ceil(SETS).max(8);
    let sets = positions.div_ceil(per_set);
    let columns = (taps + 1) * c;
    let (partials, sums) = (gpu.floats(sets * columns)?, gpu.floats(columns)?);
    let arguments = [
        gpu.at(x)?,
        gpu.at(g)?,
        Value::long(positions),
        Value::long(per_set),
        window(),
        partials.at(),
    ];
    let grid = [c.div_ceil(32), sets, taps + 1];
    gpu.launch(
        DEPTHWISE_CONV,
        "depthwise_backward_parameters",
        grid,
        [32, 8],
        &arguments,
    )?;
    let arguments = [
        partials.at(),
        sums.at(),
        Value::count(sets),
        Value::long(columns),
    ];
    gpu.over(SUM_ROWS, "sum_rows", columns, &arguments)?;
    let dw = gpu.floats(c * taps)?;
    let arguments = [sums.at(), Value::count(c), Value::count(taps), dw.at()];
    gpu.over(DEPTHWISE_CONV, "depthwise_turn", c * taps, &arguments)?;
    let bias = sums.tensor((taps + 1, c)).get(taps)?;
    Ok((dw.tensor((c, taps)), bias))
}
