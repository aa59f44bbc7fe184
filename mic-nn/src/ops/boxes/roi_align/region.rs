//! One region on a map, and the two loops over a plane.
//!
//! The bins of a region are `rows x plane x columns` with sparse `rows` and `columns`. Forward, the
//! columns come first, for the bins of a row at a time as the lanes of a vector; backward they come
//! last, for neighbouring columns of the map as lanes.

use candle_core::Result;
use num_traits::Float;

use super::super::bilinear::{Bins, Side};
use super::RoiAlignOptions;
use crate::ops::cpu::Elem;

/// Lanes of a vector.
const LANES: usize = 8;
/// Rows that share the weights of a column once they are loaded.
const ROWS: usize = 4;

/// A region on a map.
pub(super) struct Region<T> {
    /// Its row of the output.
    pub(super) place: usize,
    rows: Bins<T>,
    /// Bins in a row.
    width: usize,
    groups: Vec<Group<T>>,
    chunks: Vec<Chunk<T>>,
}

/// [`LANES`] bins of every row: the columns that they read, and what each gives to each bin.
struct Group<T> {
    columns: Vec<u32>,
    weights: Vec<[T; LANES]>,
}

/// [`LANES`] columns of the map from `start` on: the bins that read them, and what each reads.
struct Chunk<T> {
    start: usize,
    bins: Vec<(u32, [T; LANES])>,
}

fn groups<T: Elem>(columns: &Bins<T>) -> Vec<Group<T>> {
    let group = |first: usize| {
        let mut rows: Vec<(u32, [T; LANES])> = Vec::new();
        for lane in 0..LANES.min(columns.len() - first) {
            for &(place, weight) in columns.bin(first + lane) {
                let column = columns.elements[place as usize];
                let row = rows.iter().position(|&(c, _)| c == column);
                let row = row.unwrap_or(rows.len());
                if row == rows.len() {
                    rows.push((column, [T::zero(); LANES]));
                }
                rows[row].1[lane] = weight;
            }
        }
        let (columns, weights) = rows.into_iter().unzip();
        Group { columns, weights }
    };
    (0..columns.len()).step_by(LANES).map(group).collect()
}

fn chunks<T: Elem>(columns: &Bins<T>, size: usize) -> Vec<Chunk<T>> {
    let mut chunks: Vec<Chunk<T>> = Vec::new();
    // Of each column that is read: its chunk and lane.
    let mut places = Vec::new();
    for &column in &columns.elements {
        let column = column as usize;
        if chunks.last().is_none_or(|c| column >= c.start + LANES) {
            chunks.push(Chunk {
                start: column.min(size.saturating_sub(LANES)),
                bins: Vec::new(),
            });
        }
        let chunk = chunks.len() - 1;
        places.push((chunk, column - chunks[chunk].start));
    }
    for bin in 0..columns.len() {
        for &(place, weight) in columns.bin(bin) {
            let (chunk, lane) = places[place as usize];
            let bins = &mut chunks[chunk].bins;
            if bins.last().is_none_or(|&(last, _)| last != bin as u32) {
                bins.push((bin as u32, [T::zero(); LANES]));
            }
            if let Some((_, weights)) = bins.last_mut() {
                weights[lane] = weight;
            }
        }
    }
    chunks
}

impl<T: Elem> Region<T> {
    /// `place` is the region's row of the output, `size` that of the map (H, W).
    ///
    /// # Errors
    /// When the region's place on the map is not finite.
    pub(super) fn new(
        op: &str,
        place: usize,
        roi: &[T; 5],
        size: (usize, usize),
        options: &RoiAlignOptions,
    ) -> Result<Self> {
        let scale = T::of(options.spatial_scale);
        let shift = T::of(if options.aligned { 0.5 } else { 0.0 });
        let side = |low: T, high: T, size: usize| {
            let start = low * scale - shift;
            let length = (high * scale - shift) - start;
            let length = if options.aligned {
                length
            } else {
                Float::max(length, T::one())
            };
            Side {
                start,
                length,
                size,
            }
        };
        let (rows, cols) = (side(roi[2], roi[4], size.0), side(roi[1], roi[3], size.1));
        if !(rows.start + rows.length + cols.start + cols.length).is_finite() {
            let roi = roi.map(|v| v.to_f64());
            candle_core::bail!(
                "{op}: rois[{place}] {roi:?} times the scale {} is not finite",
                options.spatial_scale
            )
        }
        let samples = options.sampling_ratio;
        let columns = Bins::new(&cols, options.output_size.1, samples);
        Ok(Self {
            place,
            rows: Bins::new(&rows, options.output_size.0, samples),
            width: columns.len(),
            groups: groups(&columns),
            chunks: chunks(&columns, size.1),
        })
    }

    /// Writes the region's bins.
    #[inline(always)]
    pub(super) fn gather(&self, plane: &[T], w: usize, lines: &mut Vec<[T; LANES]>, out: &mut [T]) {
        let rows = &self.rows.elements;
        let height = rows.len().next_multiple_of(ROWS);
        lines.clear();
        lines.resize(height * self.groups.len(), [T::zero(); LANES]);
        for (group, lines) in self
            .groups
            .iter()
            .zip(lines.chunks_exact_mut(height.max(1)))
        {
            let (lines, _) = lines.as_chunks_mut::<ROWS>();
            for (rows, lines) in rows.chunks(ROWS).zip(lines) {
                // Rows that are missing repeat the last one; nothing reads them.
                let line = |n: usize| {
                    let row = rows[n.min(rows.len() - 1)] as usize;
                    &plane[row * w..(row + 1) * w]
                };
                group.sums([line(0), line(1), line(2), line(3)], lines);
            }
        }
        for y in 0..self.rows.len() {
            for g in 0..self.groups.len() {
                let mut sum = [T::zero(); LANES];
                for &(row, weight) in self.rows.bin(y) {
                    add_scaled(&mut sum, weight, &lines[g * height + row as usize]);
                }
                // Lanes behind the last bin of a row are overwritten by the next row.
                let start = y * self.width + g * LANES;
                if let Some(out) = out[start..].first_chunk_mut() {
                    *out = sum;
                } else {
                    for (o, s) in out[start..].iter_mut().zip(sum) {
                        *o = s;
                    }
                }
            }
        }
    }

    /// The transposed of [`gather`](Self::gather), added to `plane`.
    #[inline(always)]
    pub(super) fn spread(
        &self,
        grad: &[T],
        w: usize,
        lines: &mut Vec<[T; LANES]>,
        plane: &mut [T],
    ) {
        let groups = self.groups.len();
        lines.clear();
        lines.resize(self.rows.elements.len() * groups, [T::zero(); LANES]);
        for y in 0..self.rows.len() {
            for g in 0..groups {
                let grad = &grad[y * self.width + g * LANES..];
                // Lanes behind the last bin of a row are not read.
                let grad = grad.first_chunk().copied().unwrap_or_else(|| {
                    let mut padded = [T::zero(); LANES];
                    for (p, &g) in padded.iter_mut().zip(grad) {
                        *p = g;
                    }
                    padded
                });
                for &(row, weight) in self.rows.bin(y) {
                    add_scaled(&mut lines[row as usize * groups + g], weight, &grad);
                }
            }
        }
        let lines = lines.chunks_exact(groups.max(1));
        for (&row, line) in self.rows.elements.iter().zip(lines) {
            let line = line.as_flattened();
            let row = &mut plane[row as usize * w..(row as usize + 1) * w];
            for chunk in &self.chunks {
                chunk.add(line, &mut row[chunk.start..]);
            }
        }
    }
}

impl<T: Elem> Group<T> {
    /// The weighted sums of the columns, for some rows of a plane.
    #[inline(always)]
    fn sums(&self, [a, b, c, d]: [&[T]; ROWS], sums: &mut [[T; LANES]; ROWS]) {
        let mut acc = [[T::zero(); LANES]; ROWS];
        for (&column, weights) in self.columns.iter().zip(&self.weights) {
            let column = column as usize;
            add_scaled(&mut acc[0], a[column], weights);
            add_scaled(&mut acc[1], b[column], weights);
            add_scaled(&mut acc[2], c[column], weights);
            add_scaled(&mut acc[3], d[column], weights);
        }
        *sums = acc;
    }
}

impl<T: Elem> Chunk<T> {
    /// Adds what the bins of a row give to the columns, which `row` begins with.
    #[inline(always)]
    fn add(&self, bins: &[T], row: &mut [T]) {
        if let Some(row) = row.first_chunk_mut() {
            let mut sum = *row;
            for &(bin, ref weights) in &self.bins {
                add_scaled(&mut sum, bins[bin as usize], weights);
            }
            *row = sum;
            return;
        }
        for &(bin, ref weights) in &self.bins {
            for (r, &weight) in row.iter_mut().zip(weights) {
                *r = weight.mul_add(bins[bin as usize], *r);
            }
        }
    }
}

/// `sum += weight * x`.
#[inline(always)]
fn add_scaled<T: Elem>(sum: &mut [T; LANES], weight: T, x: &[T; LANES]) {
    for (s, &v) in sum.iter_mut().zip(x) {
        *s = weight.mul_add(v, *s);
    }
}
