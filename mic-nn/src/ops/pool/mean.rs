//! Means over a grid of windows: the kernel of all average pooling.

use std::ops::Range;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::axis::{Axis, Phases};
use super::planes_per_task;
use crate::ops::attach::attach;
use crate::ops::cpu::{Elem, fresh, storage, tensor, view};
use crate::ops::simd::vectorized;

/// The windows along one direction, and the divisor that each contributes.
pub(super) struct Windows {
    size: usize,
    spans: Vec<Range<usize>>,
    divisors: Vec<f64>,
    /// Set where the windows follow each other at equal steps.
    steps: Option<Axis>,
}

impl Windows {
    /// Windows at equal steps. `padded` counts the padding in a window's divisor.
    pub(super) fn regular(axis: Axis, padded: bool) -> Self {
        let spans: Vec<_> = (0..axis.outputs).map(|o| axis.window(o)).collect();
        let divisor = |span: &Range<usize>| (if padded { axis.kernel } else { span.len() }) as f64;
        Self {
            size: axis.size,
            divisors: spans.iter().map(divisor).collect(),
            spans,
            steps: Some(axis),
        }
    }

    /// `outputs` windows that cover `size` elements: window `i` is
    /// `floor(i size / outputs) .. ceil((i + 1) size / outputs)`.
    pub(super) fn covering(size: usize, outputs: usize) -> Self {
        let spans: Vec<_> = (0..outputs)
            .map(|i| i * size / outputs..((i + 1) * size).div_ceil(outputs))
            .collect();
        Self {
            size,
            divisors: spans.iter().map(|s| s.len() as f64).collect(),
            spans,
            steps: None,
        }
    }

    /// The outputs whose windows hold each element, or none.
    fn holders(&self) -> Vec<Range<usize>> {
        let mut holders = vec![0..0; self.size];
        for (output, span) in self.spans.iter().enumerate() {
            for holder in &mut holders[span.clone()] {
                if holder.start == holder.end {
                    *holder = output..output + 1;
                } else {
                    holder.end = output + 1;
                }
            }
        }
        holders
    }
}

/// The mean of every window of `x`, a contiguous (B, C, H, W).
pub(super) fn mean<T: Elem>(
    op: &'static str,
    x: &Tensor,
    rows: Windows,
    cols: Windows,
) -> Result<Tensor> {
    let (batch, channels, h, w) = x.dims4()?;
    let (pixels, outputs) = (h * w, rows.spans.len() * cols.spans.len());
    let planes = planes_per_task(pixels);
    let input = view::<T>(op, x)?;
    let mut output = fresh::<T>(batch * channels * outputs);
    output
        .par_chunks_mut(planes * outputs)
        .zip(input.par_chunks(planes * pixels))
        .for_each(|(out, x)| {
            vectorized(
                #[inline(always)]
                || average(x, &rows, &cols, out),
            );
        });
    drop(input);
    let shape = (batch, channels, rows.spans.len(), cols.spans.len());
    let input = x.shape().clone();
    attach(op, [x], storage(output), shape, move |grad| {
        let grad = view::<T>(op, grad)?;
        let holders = rows.holders();
        let mut dx = fresh::<T>(input.elem_count());
        dx.par_chunks_mut(planes * pixels)
            .zip(grad.par_chunks(planes * outputs))
            .for_each(|(dx, grad)| {
                vectorized(
                    #[inline(always)]
                    || spread(grad, &rows, &holders, &cols, dx),
                );
            });
        Ok([Some(tensor(dx, &input))])
    })
}

#[inline(always)]
fn add<T: Elem>(sum: &mut [T], x: &[T]) {
    for (s, &v) in sum.iter_mut().zip(x) {
        *s += v;
    }
}

/// Means over whole planes: the rows of a window are added up first, which needs no care at the
/// border, then the columns of the one row that this leaves.
#[inline(always)]
fn average<T: Elem>(x: &[T], rows: &Windows, cols: &Windows, out: &mut [T]) {
    let (w, ow) = (cols.size, cols.spans.len());
    let mut phases = cols.steps.map(|axis| Phases::new(axis, T::zero()));
    let mut summed = vec![T::zero(); w];
    let widths: Vec<T> = cols.divisors.iter().map(|&d| T::of(d)).collect();
    let planes = x.chunks_exact(rows.size * w);
    for (x, out) in planes.zip(out.chunks_exact_mut(rows.spans.len() * ow)) {
        for (oy, out) in out.chunks_exact_mut(ow).enumerate() {
            let span = rows.spans[oy].clone();
            summed.copy_from_slice(&x[span.start * w..][..w]);
            for y in span.skip(1) {
                add(&mut summed, &x[y * w..][..w]);
            }
            if let Some(phases) = &mut phases {
                phases.load(&summed);
                out.copy_from_slice(phases.tap(0));
                for t in 1..phases.kernel() {
                    add(out, phases.tap(t));
                }
            } else {
                for (o, span) in out.iter_mut().zip(&cols.spans) {
                    *o = summed[span.clone()].iter().copied().sum();
                }
            }
            let height = T::of(rows.divisors[oy]);
            for (o, &width) in out.iter_mut().zip(&widths) {
                *o /= height * width;
            }
        }
    }
}

/// The input gradient of whole planes.
#[inline(always)]
fn spread<T: Elem>(
    grad: &[T],
    rows: &Windows,
    holders: &[Range<usize>],
    cols: &Windows,
    dx: &mut [T],
) {
    let (w, ow) = (cols.size, cols.spans.len());
    let mut phases = cols.steps.map(|axis| Phases::new(axis, T::zero()));
    let mut mixed = vec![T::zero(); ow];
    let widths: Vec<T> = cols.divisors.iter().map(|&d| T::of(d)).collect();
    let planes = grad.chunks_exact(rows.spans.len() * ow);
    for (grad, dx) in planes.zip(dx.chunks_exact_mut(rows.size * w)) {
        let mut before = 0..0;
        for (y, held) in holders.iter().enumerate() {
            // Rows that the same windows hold have the same gradient.
            if y > 0 && *held == before {
                dx.copy_within((y - 1) * w..y * w, y * w);
                continue;
            }
            before = held.clone();
            mixed.fill(T::zero());
            for oy in held.clone() {
                let height = T::of(rows.divisors[oy]);
                let grad = grad[oy * ow..][..ow].iter().zip(&widths);
                for (m, (&g, &width)) in mixed.iter_mut().zip(grad) {
                    *m += g / (height * width);
                }
            }
            let dx = &mut dx[y * w..][..w];
            dx.fill(T::zero());
            if let Some(phases) = &mut phases {
                phases.fill(T::zero());
                for t in 0..phases.kernel() {
                    add(phases.tap_mut(t), &mixed);
                }
                phases.store(dx);
            } else {
                for (&m, span) in mixed.iter().zip(&cols.spans) {
                    for d in &mut dx[span.clone()] {
                        *d += m;
                    }
                }
            }
        }
    }
}
