//! The products of linear layers, on all threads.

use rayon::prelude::*;

use super::{
    Onto, Panels, TERMS, WIDTH, cut, grown, multiply, multiply_columns, pack::pack_block,
    transpose, with_scratch,
};
use crate::ops::conv2d::geometry::split;
use crate::ops::cpu::{Mat, Shared, fresh};
use crate::ops::math::{accumulate, sum};
use crate::ops::simd::vectorized;

/// Independent tasks that are enough to keep the pool busy.
const TASKS: usize = 16;
/// Rows that a task handles at most: their terms stay in the L2 cache.
const ROWS: usize = 160;
/// Columns that a task handles at most: the results stay in the L2 cache.
const BREADTH: usize = 768;
/// Columns that are packed together.
const COLUMNS: usize = 8 * WIDTH;

/// `a b + bias`.
pub(crate) fn rows(a: Mat<'_, f32>, b: Mat<'_, f32>, bias: Option<&[f32]>) -> Vec<f32> {
    let (count, columns) = (a.rows, b.cols);
    let mut out = fresh(count * columns);
    if out.is_empty() {
        return out;
    }
    let packed = packed(b);
    let panels = Panels::new(&packed, b.rows, columns);
    // An even number of equal blocks, whose results stay in the cache; for few rows, more parts of
    // the columns are tasks, too.
    let rounds = count.div_ceil(TASKS * ROWS);
    let blocks: Vec<_> = cut(count, count.div_ceil(TASKS * rounds).max(48)).collect();
    let parts = (TASKS / blocks.len())
        .clamp(1, columns.div_ceil(COLUMNS))
        .max(columns.div_ceil(BREADTH));
    let part = columns.div_ceil(parts).next_multiple_of(WIDTH);
    let mut tasks = Vec::new();
    for block in &blocks {
        for first in (0..columns).step_by(part) {
            tasks.push((block.clone(), first..(first + part).min(columns)));
        }
    }
    let shared = Shared::new(&mut out);
    tasks.into_par_iter().for_each(|(block, range)| {
        let a = Mat {
            data: &a.data[block.start * a.row_stride..],
            rows: block.len(),
            ..a
        };
        let first = block.start * columns + range.start;
        let last = (block.end - 1) * columns + range.end;
        // SAFETY: tasks differ in row or column; only those are touched.
        let out = unsafe { shared.slice(first..last) };
        let onto = match bias {
            Some(bias) => Onto::Columns(&bias[range.start..]),
            None => Onto::Nothing,
        };
        multiply_columns(out, columns, onto, a, &panels, range);
    });
    out
}

/// Packs a right operand on all threads.
fn packed(b: Mat<'_, f32>) -> Vec<f32> {
    let mut out = fresh(Panels::len(b.rows, b.cols));
    let shared = Shared::new(&mut out);
    let mut tasks = Vec::new();
    for terms in cut(b.rows, TERMS) {
        for first in (0..b.cols).step_by(COLUMNS) {
            tasks.push((terms.clone(), first..(first + COLUMNS).min(b.cols)));
        }
    }
    tasks.into_par_iter().for_each(|(terms, columns)| {
        let part = Mat {
            data: &b.data[columns.start * b.col_stride..],
            cols: columns.len(),
            ..b
        };
        let start = Panels::len(terms.start, b.cols) + columns.start * terms.len();
        let len = Panels::len(terms.len(), columns.len());
        // SAFETY: every task writes its own panels.
        let out = unsafe { shared.slice(start..start + len) };
        pack_block(part, &terms, out);
    });
    out
}

/// Rows and columns of the product that a task of [`cross`] handles at most: they stay in the L2
/// cache beside the packed operands.
const SIDE: usize = 384;

/// `g^T x` for `x` of `c_in` and `g` of `c_out` columns, and the sum of `g`'s rows.
pub(crate) fn cross(x: &[f32], g: &[f32], c_in: usize, c_out: usize) -> (Vec<f32>, Vec<f32>) {
    let rows = g.len() / c_out.max(1);
    if rows == 0 || c_in == 0 || c_out == 0 {
        return (vec![0.0; c_in * c_out], vec![0.0; c_out]);
    }
    let blocks: Vec<_> = cut(rows, TERMS).collect();
    let heights: Vec<_> = cut(c_out, SIDE).collect();
    let breadths: Vec<_> = cut(c_in, SIDE).collect();
    // Few channels: separate sums over sets of rows, added up afterwards in order.
    let sets = split(
        blocks.len(),
        (TASKS / 2).div_ceil(heights.len() * breadths.len()),
    );
    let (mut dw, mut db) = (fresh(sets.len() * c_out * c_in), fresh(sets.len() * c_out));
    let (shared_w, shared_b) = (Shared::new(&mut dw), Shared::new(&mut db));
    let mut tasks = Vec::new();
    for (index, set) in sets.iter().enumerate() {
        for height in &heights {
            tasks.extend(
                breadths
                    .iter()
                    .map(|breadth| (index, set.clone(), height.clone(), breadth.clone())),
            );
        }
    }
    tasks
        .into_par_iter()
        .for_each(|(index, set, height, breadth)| {
            let first = (index * c_out + height.start) * c_in + breadth.start;
            let last = (index * c_out + height.end - 1) * c_in + breadth.end;
            // SAFETY: tasks differ in set, row or column; only those are touched, and the sums only
            // by the task of the first columns.
            let out = unsafe { shared_w.slice(first..last) };
            let mut sums = (breadth.start == 0).then(|| {
                // SAFETY: as above.
                unsafe { shared_b.slice(index * c_out + height.start..index * c_out + height.end) }
            });
            if let Some(sums) = &mut sums {
                sums.fill(0.0);
            }
            with_scratch(|buffer| {
                let turned = height.len() * TERMS;
                let packed = Panels::len(TERMS, breadth.len());
                let (turned, packed) = grown(buffer, turned + packed).split_at_mut(turned);
                for (done, terms) in blocks[set].iter().enumerate() {
                    let count = terms.len();
                    let rows = Mat::strided(
                        &g[terms.start * c_out + height.start..],
                        count,
                        height.len(),
                        c_out,
                    );
                    transpose(rows, turned, count);
                    if let Some(sums) = &mut sums {
                        add_rows(&turned[..height.len() * count], count, sums);
                    }
                    let x = Mat::strided(&x[breadth.start..], terms.end, breadth.len(), c_in);
                    pack_block(x, terms, packed);
                    let panels = Panels::new(packed, count, breadth.len());
                    let onto = match done {
                        0 => Onto::Nothing,
                        _ => Onto::Output,
                    };
                    multiply(
                        out,
                        c_in,
                        onto,
                        Mat::new(turned, height.len(), count),
                        &panels,
                    );
                }
            });
        });
    add_sets(&mut dw, c_out * c_in);
    add_sets(&mut db, c_out);
    (dw, db)
}

/// Adds the sum of every row to `sums`.
fn add_rows(rows: &[f32], cols: usize, sums: &mut [f32]) {
    vectorized(
        #[inline(always)]
        || {
            for (row, total) in rows.chunks_exact(cols).zip(sums) {
                *total += sum(
                    [row],
                    #[inline(always)]
                    |[x]| x,
                );
            }
        },
    );
}

/// Adds up sets of `size` elements in order and leaves their sum.
pub(crate) fn add_sets(data: &mut Vec<f32>, size: usize) {
    const BLOCK: usize = 1 << 13;
    let (first, rest) = data.split_at_mut(size);
    if !rest.is_empty() {
        first
            .par_chunks_mut(BLOCK)
            .enumerate()
            .for_each(|(block, first)| {
                for set in rest.chunks_exact(size) {
                    let set = &set[block * BLOCK..][..first.len()];
                    vectorized(
                        #[inline(always)]
                        || accumulate(first, set),
                    );
                }
            });
    }
    data.truncate(size);
}
