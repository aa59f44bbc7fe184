//! Convolution as matrix products over tiles of output pixels.
//!
//! The patch matrix of a whole batch would be `kh * kw` times the input. Here each task gathers
//! the patches of one tile, small enough to stay in the cache, and multiplies them at once.
//! A convolution with 1x1 kernels needs no patches at all.

use std::ops::Range;

use rayon::prelude::*;

use super::columns::{gather, scatter_add};
use super::fast;
use super::geometry::{Geometry, Tile, split};
use crate::ops::cpu::{Elem, Mat, Shared, gemm};
use crate::ops::simd::vectorized;

/// Output pixels of a tile where patches are gathered, and where they are not.
const PATCH_PIXELS: usize = 256;
const POINT_PIXELS: usize = 1024;
/// Elements of the largest patch buffer (1 MB of f32).
const BUFFER: usize = 1 << 18;
/// Independent tasks that are enough to keep the pool busy.
const TASKS: usize = 8;

fn tiles(geometry: &Geometry) -> Vec<Tile> {
    let pixels = geometry.out_pixels();
    if geometry.pointwise() && pixels >= PATCH_PIXELS {
        Tile::cut(geometry.batch, pixels, POINT_PIXELS)
    } else {
        Tile::cut(geometry.batch, pixels, PATCH_PIXELS)
    }
}

/// A tile of `channels` (counted over all groups) of a (batch, planes, pixels) array as a matrix.
///
/// Part of one image is used in place; several images are copied to `buffer`.
fn block<'a, T: Elem>(
    data: &'a [T],
    planes: usize,
    pixels: usize,
    channels: Range<usize>,
    tile: &Tile,
    buffer: &'a mut Vec<T>,
) -> Mat<'a, T> {
    if tile.images.len() == 1 {
        let first = (tile.images.start * planes + channels.start) * pixels + tile.pixels.start;
        return Mat::strided(&data[first..], channels.len(), tile.len(), pixels);
    }
    buffer.clear();
    for channel in channels.clone() {
        for image in tile.images.clone() {
            let plane = (image * planes + channel) * pixels;
            buffer.extend_from_slice(&data[plane..plane + pixels]);
        }
    }
    Mat::new(buffer, channels.len(), tile.len())
}

/// The patches of some channels of a group as a (channels * taps, pixels) matrix.
fn patches<'a, T: Elem>(
    geometry: &Geometry,
    x: &'a [T],
    channels: Range<usize>,
    tile: &Tile,
    buffer: &'a mut Vec<T>,
) -> Mat<'a, T> {
    if geometry.pointwise() {
        let planes = geometry.groups * geometry.cin;
        return block(x, planes, geometry.in_pixels(), channels, tile, buffer);
    }
    let rows = channels.len() * geometry.taps();
    buffer.resize(rows * tile.len(), T::zero());
    vectorized(
        #[inline(always)]
        || gather(geometry, x, channels, tile, buffer),
    );
    Mat::new(buffer, rows, tile.len())
}

/// Input channels of a group whose patches fit the buffer together.
fn channels_at_once(geometry: &Geometry, tile: &Tile) -> usize {
    (BUFFER / (geometry.taps() * tile.len())).clamp(1, geometry.cin)
}

/// The output (B, Cout, Ho, Wo).
pub(super) fn forward<T: Elem>(g: &Geometry, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    if let Some(output) = fast::forward(g, x, weight, bias) {
        return output;
    }
    let mut output = vec![T::zero(); g.out_len()];
    let shared = Shared::new(&mut output);
    let (pixels, planes, depth) = (g.out_pixels(), g.groups * g.cout, g.cin * g.taps());
    let tiles = tiles(g);
    // Few tiles: let several tasks gather the same patches for different output channels.
    let parts = split(g.cout, (TASKS / (tiles.len() * g.groups)).min(g.cout / 64));
    let mut tasks = Vec::new();
    for tile in &tiles {
        for group in 0..g.groups {
            tasks.extend(parts.iter().map(|rows| (tile, group, rows.clone())));
        }
    }
    tasks.into_par_iter().for_each(|(tile, group, rows)| {
        let channels = group * g.cout + rows.start..group * g.cout + rows.end;
        let columns = tile.len();
        let mut buffer = Vec::new();
        let mut product = Vec::new();
        let in_place = tile.images.len() == 1;
        let (out, stride) = if in_place {
            let first = (tile.images.start * planes + channels.start) * pixels + tile.pixels.start;
            let last = first + (rows.len() - 1) * pixels + columns;
            // SAFETY: tasks differ in image, output channel or pixel; only those are touched.
            (unsafe { shared.slice(first..last) }, pixels)
        } else {
            product.resize(rows.len() * columns, T::zero());
            (&mut product[..], columns)
        };
        if let Some(bias) = bias {
            for (row, &b) in bias[channels.clone()].iter().enumerate() {
                out[row * stride..][..columns].fill(b);
            }
        }
        let step = if g.pointwise() {
            g.cin
        } else {
            channels_at_once(g, tile)
        };
        for c in (0..g.cin).step_by(step) {
            let part = c..(c + step).min(g.cin);
            let inputs = group * g.cin + part.start..group * g.cin + part.end;
            let patches = patches(g, x, inputs, tile, &mut buffer);
            let w = &weight[channels.start * depth + part.start * g.taps()..];
            let w = Mat::strided(w, rows.len(), patches.rows, depth);
            let beta = if c > 0 || bias.is_some() {
                T::one()
            } else {
                T::zero()
            };
            gemm(out, stride, beta, T::one(), w, patches, false);
        }
        if !in_place {
            let mut from = product.chunks_exact(pixels);
            for channel in channels {
                for image in tile.images.clone() {
                    let start = (image * planes + channel) * pixels;
                    // SAFETY: as above.
                    let to = unsafe { shared.slice(start..start + pixels) };
                    if let Some(from) = from.next() {
                        to.copy_from_slice(from);
                    }
                }
            }
        }
    });
    output
}

/// The gradient of the input (B, Cin, H, W).
pub(super) fn input_gradient<T: Elem>(g: &Geometry, grad: &[T], weight: &[T]) -> Vec<T> {
    if let Some(dx) = fast::input_gradient(g, grad, weight) {
        return dx;
    }
    if let Some(transposed) = g.transposed() {
        return forward(&transposed, grad, &transposed_weight(g, weight), None);
    }
    let mut dx = vec![T::zero(); g.in_len()];
    let shared = Shared::new(&mut dx);
    let (planes, depth) = (g.groups * g.cout, g.cin * g.taps());
    let tiles = tiles(g);
    // A task owns some channels of some images, so that it can add up overlapping patches.
    let mut owners: Vec<Vec<&Tile>> = Vec::new();
    for tile in &tiles {
        match owners.last_mut() {
            Some(last) if last[0].images == tile.images => last.push(tile),
            _ => owners.push(vec![tile]),
        }
    }
    let largest = tiles.iter().map(Tile::len).max().unwrap_or(1);
    let fitting = g.cin.div_ceil((BUFFER / (g.taps() * largest)).max(1));
    let wanted = (TASKS / (owners.len() * g.groups)).min(depth / 64);
    let parts = split(g.cin, fitting.max(wanted));
    let mut tasks = Vec::new();
    for tiles in &owners {
        for group in 0..g.groups {
            tasks.extend(parts.iter().map(|part| (tiles, group, part.clone())));
        }
    }
    tasks.into_par_iter().for_each(|(tiles, group, part)| {
        let rows = part.len() * g.taps();
        let outputs = group * g.cout..(group + 1) * g.cout;
        let inputs = group * g.cin + part.start..group * g.cin + part.end;
        let w = &weight[outputs.start * depth + part.start * g.taps()..];
        let w = Mat::strided(w, g.cout, rows, depth);
        let mut buffer = Vec::new();
        let mut columns = vec![T::zero(); rows * largest];
        for tile in tiles {
            let dy = block(
                grad,
                planes,
                g.out_pixels(),
                outputs.clone(),
                tile,
                &mut buffer,
            );
            gemm(
                &mut columns,
                tile.len(),
                T::zero(),
                T::one(),
                w.t(),
                dy,
                false,
            );
            vectorized(
                #[inline(always)]
                || {
                    scatter_add(g, &columns, inputs.clone(), tile, |plane| {
                        let start = plane * g.in_pixels();
                        // SAFETY: this task alone owns these channels of these images, and one
                        // plane is borrowed at a time.
                        unsafe { shared.slice(start..start + g.in_pixels()) }
                    })
                },
            );
        }
    });
    dx
}

/// The kernel of the transposed convolution: input and output channels exchanged within each
/// group, taps reversed.
fn transposed_weight<T: Elem>(g: &Geometry, weight: &[T]) -> Vec<T> {
    let taps = g.taps();
    let mut transposed = vec![T::zero(); weight.len()];
    transposed
        .par_chunks_mut(g.cout * taps)
        .enumerate()
        .for_each(|(row, out)| {
            let (group, input) = (row / g.cin, row % g.cin);
            for (output, out) in out.chunks_exact_mut(taps).enumerate() {
                let from = ((group * g.cout + output) * g.cin + input) * taps;
                for (o, w) in out.iter_mut().zip(weight[from..from + taps].iter().rev()) {
                    *o = *w;
                }
            }
        });
    transposed
}

/// The gradient of the kernel (Cout, Cin / groups, kh, kw).
pub(super) fn weight_gradient<T: Elem>(g: &Geometry, x: &[T], grad: &[T]) -> Vec<T> {
    if let Some(dw) = fast::weight_gradient(g, x, grad) {
        return dw;
    }
    let (planes, depth) = (g.groups * g.cout, g.cin * g.taps());
    let tiles = tiles(g);
    let largest = tiles.iter().map(Tile::len).max().unwrap_or(1);
    let fitting = g.cin.div_ceil((BUFFER / (g.taps() * largest)).max(1));
    // At least this many columns, for the sake of the matrix product.
    let wanted = (TASKS / g.groups).min(depth / 192);
    let parts = split(
        g.cin,
        if g.pointwise() {
            wanted
        } else {
            fitting.max(wanted)
        },
    );
    // Few channels (a stem): separate sums over sets of tiles, added up afterwards in order.
    let sets = split(tiles.len(), TASKS / (g.groups * parts.len()));
    let size = planes * depth;
    let mut sums = vec![T::zero(); size * sets.len()];
    let shared = Shared::new(&mut sums);
    let mut tasks = Vec::new();
    for (index, set) in sets.iter().enumerate() {
        for group in 0..g.groups {
            tasks.extend(
                parts
                    .iter()
                    .map(|part| (index, set.clone(), group, part.clone())),
            );
        }
    }
    tasks.into_par_iter().for_each(|(index, set, group, part)| {
        let outputs = group * g.cout..(group + 1) * g.cout;
        let inputs = group * g.cin + part.start..group * g.cin + part.end;
        let first = index * size + outputs.start * depth + part.start * g.taps();
        let last = first + (g.cout - 1) * depth + part.len() * g.taps();
        // SAFETY: tasks differ in set, group or input channel; only those columns are touched.
        let out = unsafe { shared.slice(first..last) };
        let (mut dy_buffer, mut x_buffer) = (Vec::new(), Vec::new());
        for (done, tile) in tiles[set].iter().enumerate() {
            let dy = block(
                grad,
                planes,
                g.out_pixels(),
                outputs.clone(),
                tile,
                &mut dy_buffer,
            );
            let patches = patches(g, x, inputs.clone(), tile, &mut x_buffer);
            let beta = if done > 0 { T::one() } else { T::zero() };
            gemm(out, depth, beta, T::one(), dy, patches.t(), false);
        }
    });
    let (first, rest) = sums.split_at_mut(size);
    for part in rest.chunks_exact(size) {
        for (s, p) in first.iter_mut().zip(part) {
            *s += *p;
        }
    }
    sums.truncate(size);
    sums
}
