//! Two-dimensional convolution of (B, C, H, W) images.
//!
//! [`dense`] handles every case as matrix products; [`planes`] is the direct kernel for depthwise
//! convolutions, where a matrix product would have a single row.

pub(crate) mod axis;
mod columns;
mod dense;
#[cfg(target_arch = "x86_64")]
mod direct;
mod fast;
pub(crate) mod geometry;
#[cfg(target_arch = "x86_64")]
mod kernel_gradient;
mod planes;

pub use geometry::Conv2dOptions;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach;
use super::cast::in_single;
use super::cpu::{Elem, dispatch, on_gpu, storage, tensor, view};
use super::simd::vectorized;
use super::sums::sum;
use geometry::Geometry;

/// Cross-correlates `x` (B, Cin, H, W) with the kernels `w` (Cout, Cin / groups, kh, kw) and adds
/// `bias` (Cout): (B, Cout, Ho, Wo) with `Ho = (H + 2p - d (kh - 1) - 1) / s + 1`, zero padding.
///
/// Same results as PyTorch's `conv2d` for every stride, padding, dilation and number of groups.
///
/// # Errors
/// When shapes, options or dtypes (F32 or F64, all the same) do not fit together.
pub fn conv2d(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    options: &Conv2dOptions,
) -> Result<Tensor> {
    in_single!([x, w; bias] => conv2d(x, w, bias, options));
    let geometry = Geometry::new(dims("x", x)?, dims("w", w)?, options)?;
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    let bias = bias.map(Tensor::contiguous).transpose()?;
    if let Some(bias) = &bias {
        let channels = w.dims()[0];
        if bias.dims() != [channels] {
            candle_core::bail!("conv2d: bias is {:?}, expected [{channels}]", bias.dims())
        }
    }
    on_gpu!(x => conv2d(&x, &w, bias.as_ref(), geometry.groups, (geometry.y, geometry.x)));
    dispatch!("conv2d", x.dtype(), T => conv2d_cpu::<T>(&x, &w, bias.as_ref(), geometry))
}

fn dims(name: &str, tensor: &Tensor) -> Result<(usize, usize, usize, usize)> {
    match *tensor.dims() {
        [a, b, c, d] => Ok((a, b, c, d)),
        ref other => candle_core::bail!("conv2d: {name} is {other:?}, expected 4 dimensions"),
    }
}

fn conv2d_cpu<T: Elem>(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    g: Geometry,
) -> Result<Tensor> {
    let output = {
        let (x, w) = (view::<T>("conv2d", x)?, view::<T>("conv2d", w)?);
        let bias = bias.map(|b| view::<T>("conv2d", b)).transpose()?;
        if g.depthwise() {
            planes::forward(&g, &x, &w, bias.as_deref())
        } else {
            dense::forward(&g, &x, &w, bias.as_deref())
        }
    };
    let shape = (g.batch, g.groups * g.cout, g.y.output, g.x.output);
    let needs = (
        x.track_op(),
        w.track_op(),
        bias.is_some_and(Tensor::track_op),
    );
    let (saved_x, saved_w) = (x.detach(), w.detach());
    let gradients =
        move |grad: &Tensor| -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
            let dy = view::<T>("conv2d", grad)?;
            let dx = if needs.0 {
                let w = view::<T>("conv2d", &saved_w)?;
                let dx = if g.depthwise() {
                    planes::input_gradient(&g, &dy, &w)
                } else {
                    dense::input_gradient(&g, &dy, &w)
                };
                Some(tensor(dx, saved_x.shape()))
            } else {
                None
            };
            let dw = if needs.1 {
                let x = view::<T>("conv2d", &saved_x)?;
                let dw = if g.depthwise() {
                    planes::weight_gradient(&g, &x, &dy)
                } else {
                    dense::weight_gradient(&g, &x, &dy)
                };
                Some(tensor(dw, saved_w.shape()))
            } else {
                None
            };
            let channels = g.groups * g.cout;
            let db = needs
                .2
                .then(|| tensor(channel_sums(&dy, channels, g.out_pixels()), channels));
            Ok((dx, dw, db))
        };
    match bias {
        Some(bias) => attach(
            "conv2d",
            [x, w, bias],
            storage(output),
            shape,
            move |grad| {
                let (dx, dw, db) = gradients(grad)?;
                Ok([dx, dw, db])
            },
        ),
        None => attach("conv2d", [x, w], storage(output), shape, move |grad| {
            let (dx, dw, _) = gradients(grad)?;
            Ok([dx, dw])
        }),
    }
}

/// Sums (B, C, pixels) over batch and pixels.
fn channel_sums<T: Elem>(data: &[T], channels: usize, pixels: usize) -> Vec<T> {
    (0..channels)
        .into_par_iter()
        .map(|channel| {
            let planes = data.chunks_exact(pixels).skip(channel).step_by(channels);
            vectorized(
                #[inline(always)]
                || {
                    // A plain loop: an iterator's `sum` would not be compiled for wide vectors.
                    let mut total = 0f64;
                    for plane in planes {
                        total += sum(plane);
                    }
                    T::of(total)
                },
            )
        })
        .collect()
}

#[cfg(test)]
mod tests;
