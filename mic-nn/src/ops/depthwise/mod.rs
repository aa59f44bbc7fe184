//! Depthwise convolution of channels-last images, the layout of transformer tokens.
//!
//! Channels are contiguous, so every tap is a multiply-add over whole vectors of channels. The
//! input gradient is the same computation with the roles of the positions exchanged.

#[cfg(target_arch = "x86_64")]
mod wide;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach;
use super::cast::in_single;
use super::conv2d::Conv2dOptions;
use super::conv2d::axis::{Axis, Links};
use super::cpu::{Elem, Shared, dispatch, fresh, on_gpu, storage, tensor, view};
use super::simd::vectorized;

/// Channels that a row is worked through at a time: their taps and inputs stay in the L1 cache.
const BLOCK: usize = 256;
/// Channels that are kept in registers.
const LANES: usize = 64;
/// Sets of rows whose kernel gradients are summed separately, then added in order.
const SETS: usize = 8;

/// Convolves every channel of `x` (B, H, W, C) with its own kernel of `w` (C, 1, kh, kw) and adds
/// `bias` (C): (B, Ho, Wo, C). Equals [`conv2d`](super::conv2d()) with one group a channel; the
/// `groups` of `options` must be C or 1 (the default).
///
/// # Errors
/// When shapes, options or dtypes (F32 or F64, all the same) do not fit together.
pub fn depthwise_conv2d_nhwc(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    options: &Conv2dOptions,
) -> Result<Tensor> {
    const OP: &str = "depthwise_conv2d_nhwc";
    in_single!([x, w; bias] => depthwise_conv2d_nhwc(x, w, bias, options));
    let &[batch, h, width, channels] = x.dims() else {
        candle_core::bail!("{OP}: x is {:?}, expected (B, H, W, C)", x.dims())
    };
    let kernel = match *w.dims() {
        [c, 1, kh, kw] if c == channels => (kh, kw),
        ref other => {
            candle_core::bail!("{OP}: w is {other:?}, expected ({channels}, 1, kh, kw)")
        }
    };
    if let Some(bias) = bias
        && bias.dims() != [channels]
    {
        candle_core::bail!("{OP}: bias is {:?}, expected [{channels}]", bias.dims())
    }
    if options.groups != 1 && options.groups != channels {
        candle_core::bail!("{OP}: {} groups, expected {channels}", options.groups)
    }
    if batch == 0 || channels == 0 {
        candle_core::bail!("{OP}: x {:?} is empty", x.dims())
    }
    let (y_axis, x_axis) = options.axes(OP, (h, width), kernel)?;
    let g = Geometry {
        batch,
        channels,
        y: y_axis,
        x: x_axis,
    };
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    let bias = bias.map(Tensor::contiguous).transpose()?;
    on_gpu!(x => depthwise_conv2d(&x, &w, bias.as_ref(), (g.y, g.x)));
    dispatch!(OP, x.dtype(), T => depthwise_cpu::<T>(OP, &x, &w, bias.as_ref(), g))
}

#[derive(Clone, Copy)]
struct Geometry {
    batch: usize,
    channels: usize,
    y: Axis,
    x: Axis,
}

fn depthwise_cpu<T: Elem>(
    op: &'static str,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    g: Geometry,
) -> Result<Tensor> {
    let output = {
        let x = view::<T>(op, x)?;
        let taps = by_tap(&view::<T>(op, w)?, g.channels);
        let bias = bias.map(|b| view::<T>(op, b)).transpose()?;
        let links = (Links::of_outputs(&g.y), Links::of_outputs(&g.x));
        combine(
            &g,
            &x,
            (g.y.input, g.x.input),
            (g.y.output, g.x.output),
            &links,
            &taps,
            bias.as_deref(),
        )
    };
    let shape = (g.batch, g.y.output, g.x.output, g.channels);
    let (needs_x, needs_w) = (x.track_op(), w.track_op());
    let needs_bias = bias.is_some_and(Tensor::track_op);
    let (saved_x, saved_w) = (x.detach(), w.detach());
    let gradients = move |grad: &Tensor| -> Result<[Option<Tensor>; 3]> {
        let dy = view::<T>(op, grad)?;
        let dx = if needs_x {
            let taps = by_tap(&view::<T>(op, &saved_w)?, g.channels);
            let links = (Links::of_inputs(&g.y), Links::of_inputs(&g.x));
            let dx = combine(
                &g,
                &dy,
                (g.y.output, g.x.output),
                (g.y.input, g.x.input),
                &links,
                &taps,
                None,
            );
            Some(tensor(dx, saved_x.shape()))
        } else {
            None
        };
        let (mut dw, mut db) = (None, None);
        if needs_w || needs_bias {
            let (kernel, bias) = parameter_gradients(&g, &view::<T>(op, &saved_x)?, &dy);
            dw = needs_w.then(|| tensor(kernel, saved_w.shape()));
            db = needs_bias.then(|| tensor(bias, g.channels));
        }
        Ok([dx, dw, db])
    };
    match bias {
        Some(bias) => attach(op, [x, w, bias], storage(output), shape, move |grad| {
            gradients(grad)
        }),
        None => attach(op, [x, w], storage(output), shape, move |grad| {
            let [dx, dw, _] = gradients(grad)?;
            Ok([dx, dw])
        }),
    }
}

/// The kernels (C, taps) as (taps, C).
fn by_tap<T: Elem>(w: &[T], channels: usize) -> Vec<T> {
    let taps = w.len() / channels;
    let mut out = Vec::with_capacity(w.len());
    for tap in 0..taps {
        out.extend(w.iter().skip(tap).step_by(taps));
    }
    out
}

/// For every position of the result the sum over its links of source times tap.
fn combine<T: Elem>(
    g: &Geometry,
    source: &[T],
    (sh, sw): (usize, usize),
    (rh, rw): (usize, usize),
    links: &(Links, Links),
    taps: &[T],
    bias: Option<&[T]>,
) -> Vec<T> {
    let c = g.channels;
    let mut result = fresh(g.batch * rh * rw * c);
    result
        .par_chunks_mut(rw * c)
        .enumerate()
        .for_each(|(row, out)| {
            let image = &source[row / rh * sh * sw * c..][..sh * sw * c];
            let rows = links.0.at(row % rh);
            vectorized(
                #[inline(always)]
                || combine_row(g, image, sw, rows, &links.1, taps, bias, out),
            );
        });
    result
}

#[inline(always)]
fn combine_row<T: Elem>(
    g: &Geometry,
    image: &[T],
    sw: usize,
    rows: &[(usize, usize)],
    columns: &Links,
    taps: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
) {
    let c = g.channels;
    let mut linked: Vec<(usize, usize)> = Vec::new();
    for block in (0..c).step_by(BLOCK) {
        let end = (block + BLOCK).min(c);
        for (position, out) in out.chunks_exact_mut(c).enumerate() {
            linked.clear();
            for &(sy, ky) in rows {
                for &(sx, kx) in columns.at(position) {
                    linked.push(((sy * sw + sx) * c, (ky * g.x.kernel + kx) * c));
                }
            }
            let mut lane = block;
            while lane + LANES <= end {
                lanes::<T, LANES>(image, taps, bias, &linked, lane, out);
                lane += LANES;
            }
            while lane + 16 <= end {
                lanes::<T, 16>(image, taps, bias, &linked, lane, out);
                lane += 16;
            }
            while lane < end {
                lanes::<T, 1>(image, taps, bias, &linked, lane, out);
                lane += 1;
            }
        }
    }
}

/// `N` channels of one position of the result.
#[inline(always)]
fn lanes<T: Elem, const N: usize>(
    image: &[T],
    taps: &[T],
    bias: Option<&[T]>,
    linked: &[(usize, usize)],
    lane: usize,
    out: &mut [T],
) {
    let mut sum = [T::zero(); N];
    if let Some(bias) = bias {
        sum.copy_from_slice(&bias[lane..lane + N]);
    }
    for &(from, tap) in linked {
        let (x, w) = (&image[from + lane..][..N], &taps[tap + lane..][..N]);
        for l in 0..N {
            sum[l] = x[l].mul_add(w[l], sum[l]);
        }
    }
    out[lane..lane + N].copy_from_slice(&sum);
}

/// The gradients of the kernels (C, taps) and of the bias (C).
fn parameter_gradients<T: Elem>(g: &Geometry, x: &[T], grad: &[T]) -> (Vec<T>, Vec<T>) {
    let c = g.channels;
    let taps = g.y.kernel * g.x.kernel;
    let size = (taps + 1) * c;
    let rows = g.batch * g.y.output;
    let links = (Links::of_outputs(&g.y), Links::of_outputs(&g.x));
    let per_set = rows.div_ceil(SETS);
    let sets = rows.div_ceil(per_set);
    // Fewer rows than tasks: blocks of channels are tasks, too.
    let block = if sets * c.div_ceil(BLOCK) >= SETS {
        BLOCK
    } else {
        LANES
    };
    let blocks = c.div_ceil(block);
    let mut sums = vec![T::zero(); sets * size];
    let shared = Shared::new(&mut sums);
    (0..sets * blocks).into_par_iter().for_each(|task| {
        let (set, block_index) = (task / blocks, task % blocks);
        let lanes = block_index * block..((block_index + 1) * block).min(c);
        // SAFETY: tasks differ in set or channel; a task writes its own channels of its own set.
        let sums = unsafe { shared.slice(set * size..(set + 1) * size) };
        vectorized(
            #[inline(always)]
            || {
                let mut local = vec![T::zero(); (taps + 1) * lanes.len()];
                for row in set * per_set..((set + 1) * per_set).min(rows) {
                    parameter_row(g, &links, x, grad, row, lanes.clone(), &mut local, sums);
                }
            },
        );
    });
    let (first, rest) = sums.split_at_mut(size);
    for part in rest.chunks_exact(size) {
        for (s, p) in first.iter_mut().zip(part) {
            *s += *p;
        }
    }
    let mut kernel = vec![T::zero(); taps * c];
    for (tap, sums) in first[..taps * c].chunks_exact(c).enumerate() {
        for (channel, s) in sums.iter().enumerate() {
            kernel[channel * taps + tap] = *s;
        }
    }
    (kernel, first[taps * c..].to_vec())
}

/// Adds one row's part of the gradients, channels `lanes`, to `sums` (taps + 1, C).
///
/// The row is summed in `local`, as short sums lose less than one long sum. Sums that stay in
/// memory vectorise reliably and are in the L1 cache.
#[inline(always)]
fn parameter_row<T: Elem>(
    g: &Geometry,
    links: &(Links, Links),
    x: &[T],
    grad: &[T],
    row: usize,
    lanes: std::ops::Range<usize>,
    local: &mut [T],
    sums: &mut [T],
) {
    let (c, count) = (g.channels, lanes.len());
    let (image, oy) = (row / g.y.output, row % g.y.output);
    let grad = &grad[row * g.x.output * c..][..g.x.output * c];
    local.fill(T::zero());
    #[cfg(target_arch = "x86_64")]
    let done = wide::parameter_row(g, &links.0, x, grad, row, lanes.clone(), local);
    #[cfg(not(target_arch = "x86_64"))]
    let done: Option<std::ops::Range<usize>> = None;
    let done = done.unwrap_or(0..0);
    for ox in (0..g.x.output).filter(|ox| !done.contains(ox)) {
        let a = &grad[ox * c + lanes.start..][..count];
        for &(iy, ky) in links.0.at(oy) {
            let start = (image * g.y.input + iy) * g.x.input;
            for &(ix, kx) in links.1.at(ox) {
                let b = &x[(start + ix) * c + lanes.start..][..count];
                let sum = &mut local[(ky * g.x.kernel + kx) * count..][..count];
                for ((s, a), b) in sum.iter_mut().zip(a).zip(b) {
                    *s = a.mul_add(*b, *s);
                }
            }
        }
        let sum = &mut local[g.y.kernel * g.x.kernel * count..][..count];
        for (s, a) in sum.iter_mut().zip(a) {
            *s += *a;
        }
    }
    for (sums, local) in sums.chunks_exact_mut(c).zip(local.chunks_exact(count)) {
        for (s, l) in sums[lanes.clone()].iter_mut().zip(local) {
            *s += *l;
        }
    }
}

#[cfg(test)]
mod tests;
