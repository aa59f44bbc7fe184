//! Matrix products in single precision on AVX-512, for operands that are arranged on the fly.
//!
//! The right operand is packed in panels of [`WIDTH`] columns, for at most [`TERMS`] terms of the
//! sums at a time, so that a panel stays in the L1 cache while all rows of the left operand pass
//! by. The left operand is read in place, through a table of row offsets. What fills the panels
//! (a matrix, its transpose, the patches of a convolution) is the caller's business.
//!
//! Sums run in a fixed order: blocks of terms one after the other, each block in order.

mod kernel;
mod pack;
mod rows;

pub(crate) use kernel::{Left, Output, Start, product};
pub(crate) use pack::{Panels, transpose};
pub(crate) use rows::{add_sets, cross, rows};

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::ops::Range;

use super::cpu::{Elem, Mat};

/// Elements of a vector.
pub(crate) const LANES: usize = 16;
/// Rows of the largest block.
pub(crate) const ROWS: usize = 8;
/// Columns of a panel of the right operand.
pub(crate) const WIDTH: usize = 3 * LANES;
/// Terms of the sums that are handled at a time.
pub(crate) const TERMS: usize = 160;

/// Whether products of this type can be computed here.
pub(crate) fn available<T: Elem>() -> bool {
    TypeId::of::<T>() == TypeId::of::<f32>() && is_x86_feature_detected!("avx512f")
}

/// The elements as single precision, if they are.
pub(crate) fn single<T: Elem>(data: &[T]) -> Option<&[f32]> {
    if TypeId::of::<T>() != TypeId::of::<f32>() {
        return None;
    }
    // SAFETY: the types are the same.
    Some(unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), data.len()) })
}

/// [`single`] for writing.
pub(crate) fn single_mut<T: Elem>(data: &mut [T]) -> Option<&mut [f32]> {
    if TypeId::of::<T>() != TypeId::of::<f32>() {
        return None;
    }
    // SAFETY: the types are the same.
    Some(unsafe { std::slice::from_raw_parts_mut(data.as_mut_ptr().cast(), data.len()) })
}

/// A matrix in single precision, if it is one.
pub(crate) fn single_mat<T: Elem>(mat: Mat<'_, T>) -> Option<Mat<'_, f32>> {
    Some(Mat {
        data: single(mat.data)?,
        rows: mat.rows,
        cols: mat.cols,
        row_stride: mat.row_stride,
        col_stride: mat.col_stride,
    })
}

/// A vector of single precision as one of `T`, if they are the same.
pub(crate) fn generic<T: Elem>(data: Vec<f32>) -> Option<Vec<T>> {
    let mut data = Some(data);
    let any: &mut dyn Any = &mut data;
    any.downcast_mut::<Option<Vec<T>>>().and_then(Option::take)
}

/// Runs `f` with a buffer of this thread that keeps its memory between calls.
pub(crate) fn with_scratch<R>(f: impl FnOnce(&mut Vec<f32>) -> R) -> R {
    thread_local! {
        static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    let mut buffer = SCRATCH.take();
    let result = f(&mut buffer);
    SCRATCH.set(buffer);
    result
}

/// The first `len` elements of a scratch buffer, of arbitrary content.
pub(crate) fn grown(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// Cuts `0..len` into as few nearly equal ranges as keep each within `most`.
pub(crate) fn cut(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let parts = len.div_ceil(most.max(1)).max(1);
    (0..parts).map(move |i| i * len / parts..(i + 1) * len / parts)
}

/// What a product is added to.
#[derive(Clone, Copy)]
pub(crate) enum Onto<'a> {
    Nothing,
    Output,
    /// One element a column.
    Columns(&'a [f32]),
}

/// `out = start + a * panels`, for some rows of a left operand whose sums run along `a`'s columns.
/// Rows of `out` are `stride` elements apart.
pub(crate) fn multiply(
    out: &mut [f32],
    stride: usize,
    onto: Onto<'_>,
    a: Mat<'_, f32>,
    panels: &Panels<'_>,
) {
    multiply_columns(out, stride, onto, a, panels, 0..panels.columns);
}

/// Some columns of [`multiply`], from a multiple of [`WIDTH`] on: `out` and `onto` begin there.
pub(crate) fn multiply_columns(
    out: &mut [f32],
    stride: usize,
    onto: Onto<'_>,
    a: Mat<'_, f32>,
    panels: &Panels<'_>,
    range: Range<usize>,
) {
    assert_eq!(a.cols, panels.terms, "inner sizes of a matrix product");
    assert!(range.start.is_multiple_of(WIDTH) && range.end <= panels.columns);
    assert!(range.end.is_multiple_of(WIDTH) || range.end == panels.columns);
    let columns = range.len();
    if a.rows == 0 || columns == 0 {
        return;
    }
    assert!(a.fits() && (a.rows - 1) * stride + columns <= out.len());
    if let Onto::Columns(start) = onto {
        assert!(start.len() >= columns);
    }
    let mut rows = [0; ROWS];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = r * a.row_stride;
    }
    for terms in cut(a.cols, TERMS) {
        for (panel, first) in (0..columns).step_by(WIDTH).enumerate() {
            let width = (columns - first).min(WIDTH);
            let panel = range.start / WIDTH + panel;
            let right = panels.panel(&terms, panel).as_ptr();
            // The next panel is fetched in equal parts while this one is used.
            let calls = a.rows.div_ceil(ROWS);
            let soon = right.wrapping_add(width.next_multiple_of(LANES) * terms.len());
            let ahead_step = WIDTH.div_ceil(calls);
            for (call, block) in cut(a.rows, ROWS).enumerate() {
                let from = block.start * a.row_stride + terms.start * a.col_stride;
                let pointer = a.data.as_ptr().wrapping_add(from);
                let left = Left {
                    ahead: soon.wrapping_add(call * ahead_step * terms.len()),
                    ahead_step,
                    ..Left::line(pointer, &rows, terms.len(), a.col_stride)
                };
                let start = match onto {
                    _ if terms.start > 0 => Start::Output,
                    Onto::Nothing => Start::Zero,
                    Onto::Output => Start::Output,
                    Onto::Columns(start) => Start::Columns(start[first..].as_ptr()),
                };
                let output = Output {
                    pointer: out[block.start * stride + first..].as_mut_ptr(),
                    stride,
                    columns: width,
                    start,
                };
                // SAFETY: `a` and `out` have been checked to hold these rows and columns, the
                // panel is as long as its terms, and panels exist only where AVX-512 does.
                unsafe { product(block.len(), width.div_ceil(LANES), &left, right, &output) };
            }
        }
    }
}

#[cfg(test)]
mod tests;
