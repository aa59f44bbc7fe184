//! Depthwise convolution of (B, C, H, W) images: every channel has its own kernel.
//!
//! Each task takes one plane and adds, for every output row and tap, a shifted input row.

#[cfg(target_arch = "x86_64")]
mod wide;

use rayon::prelude::*;

use super::axis::Axis;
use super::geometry::Geometry;
use crate::ops::cpu::{Elem, fresh};
use crate::ops::simd::vectorized;

/// The output (B, C, Ho, Wo).
pub(super) fn forward<T: Elem>(g: &Geometry, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    let mut output = fresh(g.out_len());
    output
        .par_chunks_mut(g.out_pixels())
        .zip(x.par_chunks(g.in_pixels()))
        .enumerate()
        .for_each(|(plane, (out, x))| {
            let channel = plane % g.groups;
            let w = &weight[channel * g.taps()..(channel + 1) * g.taps()];
            let start = bias.map_or(T::zero(), |b| b[channel]);
            vectorized(
                #[inline(always)]
                || {
                    if g.y.stride == 1 && g.x.stride == 1 {
                        plane_dense(g, x, w, start, out)
                    } else {
                        plane_forward(g, x, w, start, out)
                    }
                },
            );
        });
    output
}

/// Output pixels that are kept in registers.
const LANES: usize = 64;

/// A plane with stride 1. The input is copied into a frame of zeros, so that every tap of every
/// output pixel can be read without looking where it falls.
#[inline(always)]
fn plane_dense<T: Elem>(g: &Geometry, x: &[T], weight: &[T], start: T, out: &mut [T]) {
    let width = g.x.input + 2 * g.x.padding;
    let mut frame = vec![T::zero(); (g.y.input + 2 * g.y.padding) * width];
    let inside = frame.chunks_exact_mut(width).skip(g.y.padding);
    for (frame, x) in inside.zip(x.chunks_exact(g.x.input)) {
        frame[g.x.padding..g.x.padding + g.x.input].copy_from_slice(x);
    }
    let mut taps = vec![(0, T::zero()); g.taps()];
    for (k, (tap, w)) in taps.iter_mut().zip(weight).enumerate() {
        let (ky, kx) = (k / g.x.kernel, k % g.x.kernel);
        *tap = (ky * g.y.dilation * width + kx * g.x.dilation, *w);
    }
    for (oy, out) in out.chunks_exact_mut(g.x.output).enumerate() {
        let frame = &frame[oy * width..];
        let mut ox = 0;
        while ox + LANES <= out.len() {
            pixels::<T, LANES>(frame, &taps, start, ox, out);
            ox += LANES;
        }
        while ox + 16 <= out.len() {
            pixels::<T, 16>(frame, &taps, start, ox, out);
            ox += 16;
        }
        while ox + 4 <= out.len() {
            pixels::<T, 4>(frame, &taps, start, ox, out);
            ox += 4;
        }
        while ox < out.len() {
            pixels::<T, 1>(frame, &taps, start, ox, out);
            ox += 1;
        }
    }
}

/// `N` neighbouring output pixels.
#[inline(always)]
fn pixels<T: Elem, const N: usize>(
    frame: &[T],
    taps: &[(usize, T)],
    start: T,
    ox: usize,
    out: &mut [T],
) {
    let mut sum = [start; N];
    for &(from, w) in taps {
        let x = &frame[from + ox..][..N];
        for l in 0..N {
            sum[l] = x[l].mul_add(w, sum[l]);
        }
    }
    out[ox..ox + N].copy_from_slice(&sum);
}

/// A plane with any stride.
#[inline(always)]
fn plane_forward<T: Elem>(g: &Geometry, x: &[T], weight: &[T], start: T, out: &mut [T]) {
    out.fill(start);
    for (oy, out) in out.chunks_exact_mut(g.x.output).enumerate() {
        for ky in 0..g.y.kernel {
            if !g.y.valid(ky).contains(&oy) {
                continue;
            }
            let row = g.y.source(oy, ky) * g.x.input;
            let (x, w) = (&x[row..row + g.x.input], &weight[ky * g.x.kernel..]);
            for kx in 0..g.x.kernel {
                let valid = g.x.valid(kx);
                if valid.is_empty() {
                    continue;
                }
                let x = &x[g.x.source(valid.start, kx)..];
                let w = w[kx];
                for (o, x) in out[valid].iter_mut().zip(x.iter().step_by(g.x.stride)) {
                    *o = w.mul_add(*x, *o);
                }
            }
        }
    }
}

/// The gradient of the input (B, C, H, W).
pub(super) fn input_gradient<T: Elem>(g: &Geometry, grad: &[T], weight: &[T]) -> Vec<T> {
    if let Some(transposed) = g.transposed() {
        let mut flipped = weight.to_vec();
        flipped.chunks_exact_mut(g.taps()).for_each(<[T]>::reverse);
        return forward(&transposed, grad, &flipped, None);
    }
    let mut dx = vec![T::zero(); g.in_len()];
    dx.par_chunks_mut(g.in_pixels())
        .zip(grad.par_chunks(g.out_pixels()))
        .enumerate()
        .for_each(|(plane, (dx, grad))| {
            let channel = plane % g.groups;
            let w = &weight[channel * g.taps()..(channel + 1) * g.taps()];
            vectorized(
                #[inline(always)]
                || plane_backward(g, grad, w, dx),
            );
        });
    dx
}

#[inline(always)]
fn plane_backward<T: Elem>(g: &Geometry, grad: &[T], weight: &[T], dx: &mut [T]) {
    for (oy, grad) in grad.chunks_exact(g.x.output).enumerate() {
        for ky in 0..g.y.kernel {
            if !g.y.valid(ky).contains(&oy) {
                continue;
            }
            let row = g.y.source(oy, ky) * g.x.input;
            let dx = &mut dx[row..row + g.x.input];
            for kx in 0..g.x.kernel {
                let valid = g.x.valid(kx);
                if valid.is_empty() {
                    continue;
                }
                let w = weight[ky * g.x.kernel + kx];
                let dx = &mut dx[g.x.source(valid.start, kx)..];
                for (d, grad) in dx.iter_mut().step_by(g.x.stride).zip(&grad[valid]) {
                    *d = w.mul_add(*grad, *d);
                }
            }
        }
    }
}

/// The gradient of the kernel (C, 1, kh, kw).
pub(super) fn weight_gradient<T: Elem>(g: &Geometry, x: &[T], grad: &[T]) -> Vec<T> {
    let mut dw = vec![T::zero(); g.groups * g.taps()];
    dw.par_chunks_mut(g.taps())
        .enumerate()
        .for_each(|(channel, dw)| {
            vectorized(
                #[inline(always)]
                || {
                    let mut total = vec![0f64; dw.len()];
                    for image in 0..g.batch {
                        let plane = image * g.groups + channel;
                        let x = &x[plane * g.in_pixels()..][..g.in_pixels()];
                        let grad = &grad[plane * g.out_pixels()..][..g.out_pixels()];
                        #[cfg(target_arch = "x86_64")]
                        if wide::plane_weight(g, x, grad, &mut total).is_some() {
                            continue;
                        }
                        plane_weight(g, x, grad, &mut total);
                    }
                    for (dw, total) in dw.iter_mut().zip(total) {
                        *dw = T::of(total);
                    }
                },
            );
        });
    dw
}

#[inline(always)]
fn plane_weight<T: Elem>(g: &Geometry, x: &[T], grad: &[T], total: &mut [f64]) {
    for ky in 0..g.y.kernel {
        for kx in 0..g.x.kernel {
            let valid = g.x.valid(kx);
            if valid.is_empty() {
                continue;
            }
            let mut lanes = [T::zero(); LANES];
            for oy in g.y.valid(ky) {
                let row = g.y.source(oy, ky) * g.x.input;
                let x = &x[row + g.x.source(valid.start, kx)..row + g.x.input];
                let grad = &grad[oy * g.x.output..][valid.clone()];
                row_products(&g.x, x, grad, &mut lanes);
            }
            // Each lane has summed a LANES-th of the plane.
            for lane in lanes {
                total[ky * g.x.kernel + kx] += lane.to_f64();
            }
        }
    }
}

/// Adds to `lanes` the products of `grad` with every `stride`-th element of `x`.
#[inline(always)]
fn row_products<T: Elem>(axis: &Axis, x: &[T], grad: &[T], lanes: &mut [T; LANES]) {
    if axis.stride != 1 {
        for (i, (x, grad)) in x.iter().step_by(axis.stride).zip(grad).enumerate() {
            lanes[i % LANES] = x.mul_add(*grad, lanes[i % LANES]);
        }
        return;
    }
    for (x, grad) in x.chunks(LANES).zip(grad.chunks(LANES)) {
        for ((lane, x), grad) in lanes.iter_mut().zip(x).zip(grad) {
            *lane = x.mul_add(*grad, *lane);
        }
    }
}
