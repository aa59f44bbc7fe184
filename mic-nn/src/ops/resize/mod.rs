//! Resizing of (B, C, H, W) images, without antialiasing.
//!
//! Both directions are separable: rows are resized horizontally once and then mixed vertically;
//! the gradient mixes rows first and then collects horizontally.

mod axis;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach;
use super::cpu::{Elem, dispatch, fresh, on_gpu, storage, tensor, view};
use super::simd::vectorized;
use crate::ops::cast::in_single;
use axis::{Taps, Transposed};

/// Output rows that one task makes.
const ROWS: usize = 64;

/// Resizes `x` (B, C, H, W) bilinearly to (B, C, oh, ow).
///
/// With `align_corners` the corner pixels' centres stay in place. Without, pixels are squares that
/// keep covering the image: `src = max((dst + 0.5) in / out - 0.5, 0)`. The same size returns `x`.
///
/// # Errors
/// When `x` is not a non-empty (B, C, H, W) of a floating-point dtype, or the size is zero.
pub fn resize_bilinear(x: &Tensor, size: (usize, usize), align_corners: bool) -> Result<Tensor> {
    const OP: &str = "resize_bilinear";
    in_single!([x] => resize_bilinear(x, size, align_corners));
    let (h, w) = check(OP, x, size)?;
    if (h, w) == size {
        return Ok(x.clone());
    }
    let x = x.contiguous()?;
    on_gpu!(x => resize_bilinear(&x, size, align_corners));
    dispatch!(OP, x.dtype(), T => {
        let rows = Taps::<T>::linear(h, size.0, align_corners);
        let columns = Taps::<T>::linear(w, size.1, align_corners);
        resize_cpu(OP, &x, rows, columns)
    })
}

/// Resizes `x` (B, C, H, W) to (B, C, oh, ow) by repeating or dropping pixels:
/// `src = floor(dst * in / out)`. The same size returns `x`.
///
/// # Errors
/// When `x` is not a non-empty (B, C, H, W) of a floating-point dtype, or the size is zero.
pub fn resize_nearest(x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
    const OP: &str = "resize_nearest";
    in_single!([x] => resize_nearest(x, size));
    let (h, w) = check(OP, x, size)?;
    if (h, w) == size {
        return Ok(x.clone());
    }
    let x = x.contiguous()?;
    on_gpu!(x => resize_nearest(&x, size));
    dispatch!(OP, x.dtype(), T => {
        resize_cpu(OP, &x, Taps::<T>::nearest(h, size.0), Taps::<T>::nearest(w, size.1))
    })
}

fn check(op: &str, x: &Tensor, size: (usize, usize)) -> Result<(usize, usize)> {
    let &[_, _, h, w] = x.dims() else {
        candle_core::bail!("{op}: x is {:?}, expected (B, C, H, W)", x.dims())
    };
    if x.elem_count() == 0 || size.0 == 0 || size.1 == 0 {
        candle_core::bail!(
            "{op}: x {:?} to {size:?}, expected non-empty sizes",
            x.dims()
        )
    }
    Ok((h, w))
}

fn resize_cpu<T: Elem>(
    op: &'static str,
    x: &Tensor,
    rows: Taps<T>,
    columns: Taps<T>,
) -> Result<Tensor> {
    let (batch, channels, h, w) = x.dims4()?;
    let (oh, ow) = (rows.taps.len(), columns.taps.len());
    let mut output = fresh::<T>(batch * channels * oh * ow);
    {
        let x = view::<T>(op, x)?;
        let planes = output.par_chunks_mut(oh * ow).zip(x.par_chunks(h * w));
        planes.for_each(|(out, x)| {
            out.par_chunks_mut(ROWS * ow)
                .zip(rows.taps.par_chunks(ROWS))
                .for_each(|(out, rows)| {
                    vectorized(
                        #[inline(always)]
                        || resize_rows(x, rows, &columns, out),
                    );
                });
        });
    }
    let (rows, columns) = (rows.transposed(), columns.transposed());
    let shape = x.shape().clone();
    attach(
        op,
        [x],
        storage(output),
        (batch, channels, oh, ow),
        move |grad| {
            let grad = view::<T>(op, grad)?;
            let mut dx = fresh::<T>(batch * channels * h * w);
            let planes = dx.par_chunks_mut(h * w).zip(grad.par_chunks(oh * ow));
            planes.for_each(|(dx, grad)| {
                dx.par_chunks_mut(ROWS * w)
                    .enumerate()
                    .for_each(|(chunk, dx)| {
                        vectorized(
                            #[inline(always)]
                            || collect_rows(grad, ow, chunk * ROWS, &rows, &columns, w, dx),
                        );
                    });
            });
            Ok([Some(tensor(dx, &shape))])
        },
    )
}

/// Makes consecutive output rows from a plane.
#[inline(always)]
fn resize_rows<T: Elem>(x: &[T], rows: &[(u32, u32, T, T)], columns: &Taps<T>, out: &mut [T]) {
    let ow = columns.taps.len();
    // The two input rows in use, already resized horizontally.
    let mut cache = vec![T::zero(); 2 * ow];
    let (mut upper, mut lower) = cache.split_at_mut(ow);
    let (mut upper_row, mut lower_row) = (u32::MAX, u32::MAX);
    for (&(a, b, wa, wb), out) in rows.iter().zip(out.chunks_exact_mut(ow)) {
        if a == lower_row {
            std::mem::swap(&mut upper, &mut lower);
            std::mem::swap(&mut upper_row, &mut lower_row);
        }
        if a != upper_row {
            resize_row(x, a, columns, upper);
            upper_row = a;
        }
        if wb == T::zero() {
            for (o, u) in out.iter_mut().zip(&*upper) {
                *o = *u * wa;
            }
            continue;
        }
        if b != lower_row {
            resize_row(x, b, columns, lower);
            lower_row = b;
        }
        for (o, (u, l)) in out.iter_mut().zip(upper.iter().zip(&*lower)) {
            *o = (*u * wa) + (*l * wb);
        }
    }
}

#[inline(always)]
fn resize_row<T: Elem>(x: &[T], row: u32, columns: &Taps<T>, out: &mut [T]) {
    let x = &x[row as usize * columns.input..][..columns.input];
    for (o, &(a, b, wa, wb)) in out.iter_mut().zip(&columns.taps) {
        *o = x[a as usize] * wa + x[b as usize] * wb;
    }
}

/// Makes consecutive rows of the input gradient of a plane, beginning with row `first`.
#[inline(always)]
fn collect_rows<T: Elem>(
    grad: &[T],
    ow: usize,
    first: usize,
    rows: &Transposed<T>,
    columns: &Transposed<T>,
    w: usize,
    dx: &mut [T],
) {
    let mut mixed = vec![T::zero(); ow];
    for (i, dx) in dx.chunks_exact_mut(w).enumerate() {
        let (start, weights) = rows.at(first + i);
        mixed.fill(T::zero());
        for (grad, &weight) in grad[start * ow..].chunks_exact(ow).zip(weights) {
            for (m, g) in mixed.iter_mut().zip(grad) {
                *m = g.mul_add(weight, *m);
            }
        }
        for (i, d) in dx.iter_mut().enumerate() {
            let (start, weights) = columns.at(i);
            let mut sum = T::zero();
            for (m, &weight) in mixed[start..].iter().zip(weights) {
                sum = m.mul_add(weight, sum);
            }
            *d = sum;
        }
    }
}

#[cfg(test)]
mod tests;
