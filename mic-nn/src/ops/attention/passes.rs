//! The forward and the backward pass, tile by tile.

use std::ops::Range;

use rayon::prelude::*;

use super::Sizes;
use super::right::Right;
use crate::ops::cpu::{Mat, Shared, fresh};
use crate::ops::math::{Math, accumulate, max, sum};
use crate::ops::simd::vectorized;

/// Tasks that are enough to keep the pool busy.
const TASKS: usize = 8;

/// Buffers of one task.
#[derive(Default)]
struct Scratch<T> {
    probabilities: Vec<T>,
    gradients: Vec<T>,
    /// Packed operands.
    packed: [Vec<f32>; 5],
}

fn sized<T: Math>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::zero());
    }
    &mut buffer[..len]
}

/// How the tiles of a head are dealt to tasks.
struct Shares {
    count: usize,
    tiles: usize,
    each: usize,
}

impl Shares {
    fn new(s: &Sizes) -> Self {
        let (groups, tiles) = (s.batch * s.heads, s.tiles());
        let count = TASKS.div_ceil(groups.max(1)).clamp(1, tiles.max(1));
        Self {
            count,
            tiles,
            each: tiles.div_ceil(count),
        }
    }

    fn tiles(&self, share: usize) -> Range<usize> {
        (share * self.each).min(self.tiles)..((share + 1) * self.each).min(self.tiles)
    }
}

/// The result (B, N, C) and the logarithms of the softmax's sums (B, heads, N).
pub(super) fn forward<T: Math>(q: &[T], kv: &[T], s: Sizes) -> (Vec<T>, Vec<T>) {
    let mut output = fresh(s.batch * s.queries * s.channels);
    let mut log_sums = fresh(s.batch * s.heads * s.queries);
    let (out, sums) = (Shared::new(&mut output), Shared::new(&mut log_sums));
    let shares = Shares::new(&s);
    (0..s.batch * s.heads * shares.count)
        .into_par_iter()
        .for_each_init(Scratch::default, |scratch, task| {
            let (group, share) = (task / shares.count, task % shares.count);
            let (image, head) = (group / s.heads, group % s.heads);
            let [keys, values] = s.keys_and_values(kv, image, head);
            let [a, b, ..] = &mut scratch.packed;
            let (keys, values) = (Right::new(keys.t(), a), Right::new(values, b));
            for tile in shares.tiles(share).map(|index| s.tile_at(index)) {
                let queries = s.rows_of(q, s.query_row, image, head, tile);
                let scores = sized(&mut scratch.probabilities, tile.rows * s.keys);
                keys.times(scores, s.keys, false, queries);
                let first = group * s.queries + tile.first;
                let (start, len) = s.span(s.channels, image, head, tile);
                // SAFETY: a task owns its queries' sums and, in its strided rows, the head's
                // columns.
                let (sums, out) = unsafe {
                    (
                        sums.slice(first..first + tile.rows),
                        out.slice(start..start + len),
                    )
                };
                softmax(scores, sums, s);
                let scores = Mat::new(scores, tile.rows, s.keys);
                values.times(out, s.channels, false, scores);
            }
        });
    (output, log_sums)
}

/// Turns rows of products of queries and keys into probabilities.
fn softmax<T: Math>(scores: &mut [T], log_sums: &mut [T], s: Sizes) {
    let scale = s.scale::<T>();
    vectorized(
        #[inline(always)]
        || {
            for (scores, log_sum) in scores.chunks_exact_mut(s.keys).zip(log_sums) {
                let largest = max(scores);
                for p in scores.iter_mut() {
                    *p = ((*p - largest) * scale).exp_fast();
                }
                let total = sum(
                    [&*scores],
                    #[inline(always)]
                    |[p]| p,
                );
                *log_sum = largest * scale + total.ln();
                let factor = T::one() / total;
                for p in scores.iter_mut() {
                    *p *= factor;
                }
            }
        },
    );
}

/// What the forward pass leaves for the backward pass.
#[derive(Clone, Copy)]
pub(super) struct Saved<'a, T> {
    pub(super) q: &'a [T],
    pub(super) kv: &'a [T],
    pub(super) log_sums: &'a [T],
    /// The result.
    pub(super) y: &'a [T],
}

/// Writes the gradients of q and kv, as far as they are asked for; `g` is that of the result.
pub(super) fn backward<T: Math>(
    saved: Saved<'_, T>,
    g: &[T],
    s: Sizes,
    dq: Option<Shared<'_, T>>,
    dkv: Option<Shared<'_, T>>,
) {
    // Keys and values gather gradients from all queries. Where there are few heads, their tiles
    // are dealt to several tasks with a sum each; the sums are added in order.
    let groups = s.batch * s.heads;
    let shares = Shares::new(&s);
    let part = s.keys * s.depth;
    let len = if dkv.is_some() { 2 * part } else { 0 };
    let mut partials = fresh(groups * shares.count * len);
    let shared = Shared::new(&mut partials);
    (0..groups * shares.count)
        .into_par_iter()
        .for_each_init(Scratch::default, |scratch, task| {
            let (group, share) = (task / shares.count, task % shares.count);
            let head = (group / s.heads, group % s.heads);
            // SAFETY: a task owns its partial sums.
            let partial = unsafe { shared.slice(task * len..(task + 1) * len) };
            let tiles = shares.tiles(share);
            if tiles.is_empty() {
                partial.fill(T::zero());
            }
            let log_sums = &saved.log_sums[group * s.queries..][..s.queries];
            let saved = Saved { log_sums, ..saved };
            backward_task(saved, g, s, head, tiles, scratch, dq, partial);
        });
    if let Some(dkv) = dkv {
        gather(dkv, &partials, shares.count, s);
    }
}

/// The part of some tiles of a head: the gradients of their queries, and `partial`, those of the
/// keys and of the values (empty if they are not asked for).
fn backward_task<T: Math>(
    saved: Saved<'_, T>,
    g: &[T],
    s: Sizes,
    (image, head): (usize, usize),
    tiles: Range<usize>,
    scratch: &mut Scratch<T>,
    dq: Option<Shared<'_, T>>,
    partial: &mut [T],
) {
    let [keys, values] = s.keys_and_values(saved.kv, image, head);
    let [a, b, c, d, e] = &mut scratch.packed;
    let (turned_keys, turned_values) = (Right::new(keys.t(), a), Right::new(values.t(), b));
    let keys = dq.map(|dq| (dq, Right::new(keys, c)));
    let (dk, dv) = partial.split_at_mut(partial.len() / 2);
    for (done, tile) in tiles.map(|index| s.tile_at(index)).enumerate() {
        let queries = s.rows_of(saved.q, s.query_row, image, head, tile);
        let result = s.rows_of(saved.y, s.channels, image, head, tile);
        let gradient = s.rows_of(g, s.channels, image, head, tile);
        let probabilities = sized(&mut scratch.probabilities, tile.rows * s.keys);
        let scores = sized(&mut scratch.gradients, tile.rows * s.keys);
        turned_keys.times(probabilities, s.keys, false, queries);
        turned_values.times(scores, s.keys, false, gradient);
        let log_sums = &saved.log_sums[tile.first..][..tile.rows];
        softmax_backward(probabilities, scores, log_sums, result, gradient, s);
        let probabilities = Mat::new(&*probabilities, tile.rows, s.keys);
        let scores = Mat::new(&*scores, tile.rows, s.keys);
        if let Some((dq, keys)) = &keys {
            let (start, len) = s.span(s.query_row, image, head, tile);
            // SAFETY: a task owns the head's columns of its queries.
            let dq = unsafe { dq.slice(start..start + len) };
            keys.times(dq, s.query_row, false, scores);
        }
        if !dk.is_empty() {
            Right::new(queries, d).times(dk, s.depth, done > 0, scores.t());
            Right::new(gradient, e).times(dv, s.depth, done > 0, probabilities.t());
        }
    }
}

/// Turns products of queries and keys into probabilities and the probabilities' gradients into
/// those of the products.
fn softmax_backward<T: Math>(
    probabilities: &mut [T],
    gradients: &mut [T],
    log_sums: &[T],
    result: Mat<'_, T>,
    gradient: Mat<'_, T>,
    s: Sizes,
) {
    let scale = s.scale::<T>();
    vectorized(
        #[inline(always)]
        || {
            for (row, &log_sum) in log_sums.iter().enumerate() {
                let (y, g) = (
                    &result.data[row * s.channels..],
                    &gradient.data[row * s.channels..],
                );
                let dot = sum(
                    [&y[..s.depth], &g[..s.depth]],
                    #[inline(always)]
                    |[y, g]| y * g,
                );
                let p = &mut probabilities[row * s.keys..][..s.keys];
                let d = &mut gradients[row * s.keys..][..s.keys];
                for (p, d) in p.iter_mut().zip(d) {
                    *p = p.mul_add(scale, -log_sum).exp_fast();
                    *d = *p * (*d - dot) * scale;
                }
            }
        },
    );
}

/// Adds up the partial sums and writes them to the places of keys and values.
fn gather<T: Math>(dkv: Shared<'_, T>, partials: &[T], shares: usize, s: Sizes) {
    let part = s.keys * s.depth;
    (0..s.batch * s.keys).into_par_iter().for_each(|row| {
        let (image, key) = (row / s.keys, row % s.keys);
        for (which, at) in [s.keys_at, s.values_at].into_iter().enumerate() {
            let start = row * s.key_row + at;
            // SAFETY: every task writes the keys and values of its row.
            let out = unsafe { dkv.slice(start..start + s.channels) };
            vectorized(
                #[inline(always)]
                || {
                    for (head, out) in out.chunks_exact_mut(s.depth).enumerate() {
                        out.fill(T::zero());
                        for share in 0..shares {
                            let task = (image * s.heads + head) * shares + share;
                            let start = task * 2 * part + which * part + key * s.depth;
                            accumulate(out, &partials[start..start + s.depth]);
                        }
                    }
                },
            );
        }
    });
}
