//! Between images and the matrix of the patches under a kernel.

use super::geometry::{Geometry, Tile};
use crate::ops::cpu::Elem;
use std::ops::Range;

/// Writes the patches under a tile's output pixels: row `(channel, ky, kx)`, column = pixel.
///
/// `x` is the whole input, `channels` count from the input's first channel (over all groups).
#[inline(always)]
pub(super) fn gather<T: Elem>(
    geometry: &Geometry,
    x: &[T],
    channels: Range<usize>,
    tile: &Tile,
    columns: &mut [T],
) {
    walk(geometry, channels, tile, |row, plane, start, run| {
        let column = &mut columns[row * tile.len()..(row + 1) * tile.len()];
        let out = &mut column[start..start + run.whole];
        let Some(source) = run.source else {
            return out.fill(T::zero());
        };
        out[..run.before].fill(T::zero());
        out[run.before + run.inside..].fill(T::zero());
        let inside = &mut out[run.before..run.before + run.inside];
        let source = &x[plane * geometry.in_pixels() + source..];
        if geometry.x.stride == 1 {
            inside.copy_from_slice(&source[..run.inside]);
        } else {
            for (o, s) in inside
                .iter_mut()
                .zip(source.iter().step_by(geometry.x.stride))
            {
                *o = *s;
            }
        }
    });
}

/// Adds a tile's patch matrix back to the places its elements came from.
///
/// `plane` gives the input plane of (image, channel), to be written exclusively by the caller.
#[inline(always)]
pub(super) fn scatter_add<'a, T: Elem>(
    geometry: &Geometry,
    columns: &[T],
    channels: Range<usize>,
    tile: &Tile,
    plane_of: impl Fn(usize) -> &'a mut [T],
) {
    walk(geometry, channels, tile, |row, plane, start, run| {
        let Some(source) = run.source else { return };
        let from = row * tile.len() + start + run.before;
        let values = &columns[from..from + run.inside];
        let target = &mut plane_of(plane)[source..];
        if geometry.x.stride == 1 {
            for (t, v) in target[..run.inside].iter_mut().zip(values) {
                *t += *v;
            }
        } else {
            for (t, v) in target.iter_mut().step_by(geometry.x.stride).zip(values) {
                *t += *v;
            }
        }
    });
}

/// Consecutive output pixels of one row as one kernel tap sees them.
struct Run {
    /// All pixels of the run, of which `before` and then `inside` fall into padding and image.
    whole: usize,
    before: usize,
    inside: usize,
    /// Where in the input plane the first inside pixel lies; `None` if all is padding.
    source: Option<usize>,
}

/// Visits every run of a tile for every row: `visit(row, input plane, first column, run)`.
#[inline(always)]
fn walk(
    geometry: &Geometry,
    channels: Range<usize>,
    tile: &Tile,
    mut visit: impl FnMut(usize, usize, usize, Run),
) {
    let (y, x) = (&geometry.y, &geometry.x);
    let planes = geometry.groups * geometry.cin;
    let mut row = 0;
    for channel in channels {
        for ky in 0..y.kernel {
            let valid_y = y.valid(ky);
            for kx in 0..x.kernel {
                let valid_x = x.valid(kx);
                let mut start = 0;
                for image in tile.images.clone() {
                    let plane = image * planes + channel;
                    let mut pixel = tile.pixels.start;
                    let mut oy = pixel / x.output;
                    let mut ox = pixel % x.output;
                    while pixel < tile.pixels.end {
                        let whole = (x.output - ox).min(tile.pixels.end - pixel);
                        let low = valid_x.start.clamp(ox, ox + whole);
                        let high = valid_x.end.clamp(low, ox + whole);
                        let source = (valid_y.contains(&oy) && low < high)
                            .then(|| y.source(oy, ky) * x.input + x.source(low, kx));
                        let run = Run {
                            whole,
                            before: low - ox,
                            inside: high - low,
                            source,
                        };
                        visit(row, plane, start, run);
                        start += whole;
                        pixel += whole;
                        oy += 1;
                        ox = 0;
                    }
                }
                row += 1;
            }
        }
    }
}
