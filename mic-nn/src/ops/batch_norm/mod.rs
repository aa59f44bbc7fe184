//! Batch normalisation of (B, C, H, W) images (Ioffe and Szegedy, 2015), alone and with the residual
//! sum and the rectifier that follow it.

mod kernels;

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::cast::{cast, is_half, single};
use super::cpu::{Shared, dispatch, on_gpu};
use kernels::{Inputs, forward};

/// Batch, channels and pixels of (B, C, H, W).
#[derive(Clone, Copy)]
struct Planes {
    batch: usize,
    channels: usize,
    pixels: usize,
}

impl Planes {
    fn new(op: &str, x: &Tensor, per_channel: &[(&str, &Tensor)]) -> Result<Self> {
        let &[batch, channels, h, w] = x.dims() else {
            candle_core::bail!("{op}: x is {:?}, expected (B, C, H, W)", x.dims())
        };
        for (name, tensor) in per_channel {
            if tensor.dims() != [channels] {
                candle_core::bail!("{op}: {name} is {:?}, expected [{channels}]", tensor.dims())
            }
        }
        if x.elem_count() == 0 {
            candle_core::bail!("{op}: x {:?} is empty", x.dims())
        }
        Ok(Self {
            batch,
            channels,
            pixels: h * w,
        })
    }

    fn range(&self, image: usize, channel: usize) -> Range<usize> {
        let start = (image * self.channels + channel) * self.pixels;
        start..start + self.pixels
    }

    /// One channel of one image.
    #[inline(always)]
    fn plane<'a, T>(&self, data: &'a [T], image: usize, channel: usize) -> &'a [T] {
        &data[self.range(image, channel)]
    }

    /// The same of shared output.
    ///
    /// # Safety
    /// No other task may use planes of this channel, and this one no other reference to it.
    #[inline(always)]
    unsafe fn shared_plane<'a, T>(
        &self,
        data: Shared<'a, T>,
        image: usize,
        channel: usize,
    ) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { data.slice(self.range(image, channel)) }
    }
}

/// The result of a batch normalisation over the batch's own statistics.
///
/// `(y, mean, var)`: `y` like `x`, and detached `mean` and biased `var` (C) of this batch for
/// running statistics, which are F32 where `x` has 16 bits.
pub type Normalized = (Tensor, Tensor, Tensor);

/// Normalises every channel of `x` (B, C, H, W) over batch and pixels:
/// `y = gamma (x - mean) / sqrt(var + eps) + beta`, with `gamma` and `beta` (C).
///
/// Returns `y`, and detached `mean` and biased `var` (C) of this batch for running statistics.
///
/// # Errors
/// When a channel has fewer than two values, or shapes or dtypes do not fit together.
pub fn batch_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<Normalized> {
    train("batch_norm", [x, gamma, beta], After::Nothing, eps)
}

/// `relu` of [`batch_norm`] in one op: keeps `x` and the result for the backward pass and nothing
/// between them.
///
/// # Errors
/// As [`batch_norm`].
pub fn batch_norm_relu(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<Normalized> {
    train("batch_norm_relu", [x, gamma, beta], After::Relu, eps)
}

/// `relu` of the sum of [`batch_norm`] and `residual`, which is like `x`, in one op: the end of a
/// residual block (He et al., 2016). Keeps `x` and the result for the backward pass.
///
/// # Errors
/// As [`batch_norm`], and when `residual` is not like `x`.
pub fn batch_norm_add_relu(
    x: &Tensor,
    residual: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
) -> Result<Normalized> {
    let after = After::AddRelu(residual);
    train("batch_norm_add_relu", [x, gamma, beta], after, eps)
}

/// Normalises `x` (B, C, H, W) with given statistics:
/// `y = gamma (x - running_mean) / sqrt(running_var + eps) + beta`, all of these (C).
///
/// Gradients flow to `x`, `gamma` and `beta`; the statistics are constants.
///
/// # Errors
/// When shapes or dtypes do not fit together.
pub fn batch_norm_eval(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    running_mean: &Tensor,
    running_var: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    let statistics = [running_mean, running_var];
    let inputs = [x, gamma, beta];
    eval("batch_norm_eval", inputs, statistics, After::Nothing, eps)
}

/// `relu` of [`batch_norm_eval`] in one op.
///
/// # Errors
/// As [`batch_norm_eval`].
pub fn batch_norm_relu_eval(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    running_mean: &Tensor,
    running_var: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    let statistics = [running_mean, running_var];
    let inputs = [x, gamma, beta];
    eval("batch_norm_relu_eval", inputs, statistics, After::Relu, eps)
}

/// `relu` of the sum of [`batch_norm_eval`] and `residual`, which is like `x`, in one op.
///
/// # Errors
/// As [`batch_norm_eval`], and when `residual` is not like `x`.
pub fn batch_norm_add_relu_eval(
    x: &Tensor,
    residual: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    running_mean: &Tensor,
    running_var: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    const OP: &str = "batch_norm_add_relu_eval";
    let statistics = [running_mean, running_var];
    let after = After::AddRelu(residual);
    eval(OP, [x, gamma, beta], statistics, after, eps)
}

/// What follows the normalisation.
#[derive(Clone, Copy)]
enum After<'a> {
    Nothing,
    Relu,
    AddRelu(&'a Tensor),
}

fn train(op: &'static str, inputs: [&Tensor; 3], after: After<'_>, eps: f64) -> Result<Normalized> {
    let [x, gamma, beta] = inputs;
    if is_half(x) {
        let run = |inputs: [&Tensor; 3], after: After<'_>| train(op, inputs, after, eps);
        let (y, mean, var) = with_single(inputs, after, run)?;
        return Ok((cast(&y, x.dtype())?, mean, var));
    }
    let p = Planes::new(op, x, &[("gamma", gamma), ("beta", beta)])?;
    if p.batch * p.pixels < 2 {
        candle_core::bail!(
            "{op}: x {:?} has one value per channel, expected at least two to take statistics of",
            x.dims()
        )
    }
    let inputs = Inputs::new(op, inputs, after)?;
    on_gpu!(x => batch_norm(op, inputs.on_gpu(), None, eps));
    dispatch!(op, x.dtype(), T => forward::<T>(op, inputs, None, eps, p))
}

fn eval(
    op: &'static str,
    inputs: [&Tensor; 3],
    [mean, var]: [&Tensor; 2],
    after: After<'_>,
    eps: f64,
) -> Result<Tensor> {
    let [x, gamma, beta] = inputs;
    if is_half(x) {
        let given = [&single(mean)?, &single(var)?];
        let run = |inputs: [&Tensor; 3], after: After<'_>| eval(op, inputs, given, after, eps);
        return cast(&with_single(inputs, after, run)?, x.dtype());
    }
    let named = [
        ("gamma", gamma),
        ("beta", beta),
        ("running_mean", mean),
        ("running_var", var),
    ];
    let p = Planes::new(op, x, &named)?;
    let inputs = Inputs::new(op, inputs, after)?;
    let given = [mean.contiguous()?, var.contiguous()?];
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let (y, ..) = crate::cuda::batch_norm(op, inputs.on_gpu(), Some(given), eps)?;
        return Ok(y);
    }
    let (y, ..) = dispatch!(op, x.dtype(), T => forward::<T>(op, inputs, Some(given), eps, p))?;
    Ok(y)
}

/// Calls `run` with everything in single precision.
fn with_single<R>(
    [x, gamma, beta]: [&Tensor; 3],
    after: After<'_>,
    run: impl FnOnce([&Tensor; 3], After<'_>) -> Result<R>,
) -> Result<R> {
    let inputs = [&single(x)?, &single(gamma)?, &single(beta)?];
    match after {
        After::AddRelu(residual) => run(inputs, After::AddRelu(&single(residual)?)),
        other => run(inputs, other),
    }
}

#[cfg(test)]
mod tests;
