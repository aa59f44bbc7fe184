//! The bins of one region along one direction, as sparse weights.
//!
//! A bin of RoIAlign averages bilinear samples on a grid. Grid, interpolation and border rule are
//! products of one factor for each direction, so the bins of a region are `rows x map x columns`
//! with two small sparse matrices, shared by all channels.

use std::ops::Range;

use num_traits::Float;

use crate::ops::cpu::Elem;

/// A region's place along one direction of a map.
pub(super) struct Side<T> {
    /// Where the region starts, in pixels of the map.
    pub(super) start: T,
    /// Its length, in pixels of the map.
    pub(super) length: T,
    /// Pixels of the map.
    pub(super) size: usize,
}

/// Sparse weights of the bins along one direction.
pub(super) struct Bins<T> {
    /// The elements that any bin reads, ascending.
    pub(super) elements: Vec<u32>,
    /// The weights of bin `i` are `taps[starts[i]..starts[i + 1]]`.
    starts: Vec<u32>,
    /// Places in `elements` and their weights.
    taps: Vec<(u32, T)>,
}

impl<T: Elem> Bins<T> {
    /// Divides a side into `bins` with `samples` each, or as many as a bin has pixels if that is 0.
    ///
    /// Computed in `T` and in torchvision's order of operations, as the rounding of a sample's
    /// place decides between a value and zero at the border.
    pub(super) fn new(side: &Side<T>, bins: usize, samples: usize) -> Self {
        let length = side.length / T::of(bins as f64);
        let grid = match samples {
            0 => length.ceil(),
            n => T::of(n as f64),
        };
        let (mut starts, mut taps) = (vec![0], Vec::new());
        let mut found = Vec::new();
        for i in 0..bins {
            let corner = side.start + T::of(i as f64) * length;
            found.clear();
            for sample in inside(corner, length, grid, side.size) {
                let at = corner + (T::of(sample as f64) + T::of(0.5)) * length / grid;
                interpolate(at, side.size, grid, &mut found);
            }
            merge(&mut found, &mut taps);
            starts.push(taps.len() as u32);
        }
        let mut elements: Vec<u32> = taps.iter().map(|&(at, _)| at).collect();
        elements.sort_unstable();
        elements.dedup();
        for (at, _) in &mut taps {
            *at = elements.partition_point(|e| e < at) as u32;
        }
        Self {
            elements,
            starts,
            taps,
        }
    }

    /// Number of bins.
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The places in `elements` that bin `i` reads, and their weights.
    #[inline(always)]
    pub(super) fn bin(&self, i: usize) -> &[(u32, T)] {
        &self.taps[self.starts[i] as usize..self.starts[i + 1] as usize]
    }
}

/// The samples of a bin that can lie inside; their number is bounded by the map, however large the
/// bin is.
fn inside<T: Elem>(corner: T, length: T, grid: T, size: usize) -> Range<usize> {
    let (corner, step, grid) = (
        corner.to_f64(),
        (length / grid).to_f64(),
        grid.to_f64().max(0.0),
    );
    if step > 0.0 {
        let first = ((-1.0 - corner) / step - 2.0).max(0.0);
        let end = ((size as f64 - corner) / step + 2.0).min(grid);
        first as usize..end.max(0.0) as usize
    } else {
        0..grid as usize
    }
}

/// Adds the elements that a sample is interpolated from, if it is at most one pixel outside.
fn interpolate<T: Elem>(at: T, size: usize, grid: T, taps: &mut Vec<(u32, T)>) {
    if !(at >= -T::one() && at <= T::of(size as f64)) {
        return;
    }
    let at = Float::max(at, T::zero());
    let low = at.to_f64() as usize;
    if low + 1 >= size {
        taps.push((size as u32 - 1, T::one() / grid));
        return;
    }
    let fraction = at - T::of(low as f64);
    taps.push((low as u32, (T::one() - fraction) / grid));
    taps.push((low as u32 + 1, fraction / grid));
}

/// Appends the elements that were found to `taps`, ascending, each once.
fn merge<T: Elem>(found: &mut [(u32, T)], taps: &mut Vec<(u32, T)>) {
    found.sort_by_key(|&(at, _)| at);
    let first = taps.len();
    for &(at, weight) in &*found {
        let fresh = taps.len() == first;
        match taps.last_mut() {
            Some((last, sum)) if !fresh && *last == at => *sum += weight,
            _ => taps.push((at, weight)),
        }
    }
}
