//! RoIAlign: regions of a feature map, resampled to one size.

use candle_core::{Result, Tensor};
use num_traits::Float;
use rayon::prelude::*;

use super::bilinear::{Bins, LANES, Side};
use super::rows;
use crate::ops::attach::attach;
use crate::ops::cpu::{Elem, Shared, dispatch, storage, tensor, view};
use crate::ops::simd::vectorized;

/// How [`roi_align`] divides and samples regions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoiAlignOptions {
    /// Bins of a region, (rows, columns).
    pub output_size: (usize, usize),
    /// Pixels of the map for a pixel of the image: 1/4 for a map of stride 4.
    pub spatial_scale: f64,
    /// Samples of a bin in each direction; 0 takes as many as the bin has pixels of the map,
    /// rounded up.
    pub sampling_ratio: usize,
    /// Shifts regions by half a pixel, so that pixel centres lie at their coordinates. Without,
    /// regions also are at least one pixel of the map wide and high (the original definition).
    pub aligned: bool,
}

/// Averages bilinear samples of `features` (B, C, H, W) in the bins of each region, giving
/// (K, C, rows, columns).
///
/// `rois` (K, 5), of the same dtype, holds the image's index in the batch and x1, y1, x2, y2 in
/// pixels of the image. Samples more than one pixel outside are zero. The result equals
/// torchvision's `roi_align` (He et al., "Mask R-CNN", section 3). Regions are constants: the
/// gradient flows to the features alone. No regions give an empty result.
///
/// # Errors
/// When a shape, a dtype or an image's index does not fit, a coordinate is not finite, the output
/// size is zero, or `rois` is part of a graph: detach it.
pub fn roi_align(features: &Tensor, rois: &Tensor, options: &RoiAlignOptions) -> Result<Tensor> {
    const OP: &str = "roi_align";
    dispatch!(OP, features.dtype(), T => {
        let rois = read_rois::<T>(OP, rois, options.output_size)?;
        let places: Vec<usize> = (0..rois.len()).collect();
        let level = Level::new(OP, features, &rois, &places, options)?;
        align(OP, vec![level], &[features], rois.len(), options.output_size)
    })
}

/// The regions as rows, checked for what does not depend on the map.
pub(super) fn read_rois<T: Elem>(
    op: &str,
    rois: &Tensor,
    output_size: (usize, usize),
) -> Result<Vec<[T; 5]>> {
    if rois.track_op() {
        candle_core::bail!("{op}: regions get no gradient, expected detached rois")
    }
    if output_size.0 == 0 || output_size.1 == 0 {
        candle_core::bail!("{op}: output size {output_size:?}, expected at least 1 bin each way")
    }
    let rois = rows::<T, 5>(op, "rois", rois)?;
    for (k, roi) in rois.iter().enumerate() {
        if roi.iter().any(|v| !v.is_finite()) {
            let roi = roi.map(|v| v.to_f64());
            candle_core::bail!("{op}: rois[{k}] is {roi:?}, expected finite numbers")
        }
    }
    Ok(rois)
}

/// A region on a map.
struct Region<T> {
    /// Its row of the output.
    place: usize,
    rows: Bins<T>,
    cols: Bins<T>,
}

/// A feature map and the regions that are read from it.
pub(super) struct Level<T> {
    dims: (usize, usize, usize, usize),
    /// The regions of each image.
    images: Vec<Vec<Region<T>>>,
}

impl<T: Elem> Level<T> {
    /// `places` are the rows of `rois` on this map.
    pub(super) fn new(
        op: &str,
        features: &Tensor,
        rois: &[[T; 5]],
        places: &[usize],
        options: &RoiAlignOptions,
    ) -> Result<Self> {
        let &[batch, channels, h, w] = features.dims() else {
            candle_core::bail!(
                "{op}: features are {:?}, expected (B, C, H, W)",
                features.dims()
            )
        };
        if features.elem_count() == 0 || u32::try_from(h.max(w)).is_err() {
            candle_core::bail!(
                "{op}: features {:?}, expected at least one pixel and fewer than 2^32 in a row",
                features.dims()
            )
        }
        let regions = places
            .par_iter()
            .map(|&place| {
                let roi = &rois[place];
                let image = roi[0].to_f64();
                if !(image >= 0.0 && image < batch as f64 && image.fract() == 0.0) {
                    candle_core::bail!(
                        "{op}: rois[{place}] is of image {image}, features have {batch} images"
                    )
                }
                let region = Region::new(op, place, roi, (h, w), options)?;
                Ok((image as usize, region))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut images: Vec<Vec<_>> = (0..batch).map(|_| Vec::new()).collect();
        for (image, region) in regions {
            images[image].push(region);
        }
        Ok(Self {
            dims: (batch, channels, h, w),
            images,
        })
    }
}

impl<T: Elem> Region<T> {
    fn new(
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
        Ok(Self {
            place,
            rows: Bins::new(&rows, options.output_size.0, samples),
            cols: Bins::new(&cols, options.output_size.1, samples),
        })
    }
}

/// Reads the regions of all levels; `count` is their number, and `features` are the levels' maps.
pub(super) fn align<T: Elem>(
    op: &'static str,
    levels: Vec<Level<T>>,
    features: &[&Tensor],
    count: usize,
    output_size: (usize, usize),
) -> Result<Tensor> {
    let channels = levels.first().map_or(0, |level| level.dims.1);
    let bins = output_size.0 * output_size.1;
    let mut output = vec![T::zero(); count * channels * bins];
    for (level, map) in levels.iter().zip(features) {
        let map = map.contiguous()?;
        gather(level, &view::<T>(op, &map)?, bins, &mut output);
    }
    let shape = (count, channels, output_size.0, output_size.1);
    attach(op, features, storage(output), shape, move |grad| {
        let grad = view::<T>(op, grad)?;
        let gradient = |level: &Level<T>| Some(tensor(spread(level, &grad, bins), level.dims));
        Ok(levels.iter().map(gradient).collect::<Vec<_>>())
    })
}

/// Writes the bins of a level's regions to their rows of `output`. A task reads one plane, which
/// stays in the cache for all of its regions.
fn gather<T: Elem>(level: &Level<T>, map: &[T], bins: usize, output: &mut [T]) {
    let (_, channels, h, w) = level.dims;
    let output = Shared::new(output);
    map.par_chunks(h * w).enumerate().for_each(|(n, plane)| {
        let (image, channel) = (n / channels, n % channels);
        vectorized(
            #[inline(always)]
            || {
                let mut line = Vec::new();
                for region in &level.images[image] {
                    let start = (region.place * channels + channel) * bins;
                    // SAFETY: a region is in one level and image, so only this task writes
                    // these bins of it.
                    let out = unsafe { output.slice(start..start + bins) };
                    region.gather(plane, w, &mut line, out);
                }
            },
        );
    });
}

/// The gradient of a level's map. A task owns one plane and adds up the regions in their order.
fn spread<T: Elem>(level: &Level<T>, grad: &[T], bins: usize) -> Vec<T> {
    let (batch, channels, h, w) = level.dims;
    let mut dx = vec![T::zero(); batch * channels * h * w];
    dx.par_chunks_mut(h * w).enumerate().for_each(|(n, plane)| {
        let (image, channel) = (n / channels, n % channels);
        vectorized(
            #[inline(always)]
            || {
                let mut line = Vec::new();
                for region in &level.images[image] {
                    let start = (region.place * channels + channel) * bins;
                    region.spread(&grad[start..start + bins], w, &mut line, plane);
                }
            },
        );
    });
    dx
}

impl<T: Elem> Region<T> {
    /// Where the region's columns of row `row` (counted from the first row) lie in a plane.
    #[inline(always)]
    fn columns(&self, row: u32, w: usize) -> std::ops::Range<usize> {
        let start = (self.rows.extent.start + row as usize) * w;
        start + self.cols.extent.start..start + self.cols.extent.end
    }

    /// For each row of bins: the weighted sum of its rows, then that of each bin's columns.
    #[inline(always)]
    fn gather(&self, plane: &[T], w: usize, line: &mut Vec<T>, out: &mut [T]) {
        line.clear();
        line.resize(self.cols.extent.len(), T::zero());
        for (y, out) in out.chunks_exact_mut(self.cols.len()).enumerate() {
            let rows = self.rows.bin(y);
            let Some((&(first, weight), rest)) = rows.split_first() else {
                out.fill(T::zero());
                continue;
            };
            scale(line, weight, &plane[self.columns(first, w)]);
            for &(row, weight) in rest {
                add_scaled(line, weight, &plane[self.columns(row, w)]);
            }
            for (x, o) in out.iter_mut().enumerate() {
                let mut sum = T::zero();
                for &(col, weight) in self.cols.bin(x) {
                    sum = weight.mul_add(line[col as usize], sum);
                }
                *o = sum;
            }
        }
    }

    /// The transposed of [`gather`](Self::gather), added to `plane`.
    #[inline(always)]
    fn spread(&self, grad: &[T], w: usize, line: &mut Vec<T>, plane: &mut [T]) {
        for (y, grad) in grad.chunks_exact(self.cols.len()).enumerate() {
            line.clear();
            line.resize(self.cols.extent.len(), T::zero());
            for (x, &g) in grad.iter().enumerate() {
                for &(col, weight) in self.cols.bin(x) {
                    let d = &mut line[col as usize];
                    *d = weight.mul_add(g, *d);
                }
            }
            for &(row, weight) in self.rows.bin(y) {
                add_scaled(&mut plane[self.columns(row, w)], weight, line);
            }
        }
    }
}

/// `sum = weight * x`.
#[inline(always)]
fn scale<T: Elem>(sum: &mut [T], weight: T, x: &[T]) {
    for (s, &v) in sum.iter_mut().zip(x) {
        *s = weight * v;
    }
}

/// `sum += weight * x`, a vector of fixed length at a time: the slices are short, and usually hold
/// whole vectors.
#[inline(always)]
fn add_scaled<T: Elem>(sum: &mut [T], weight: T, x: &[T]) {
    let (sums, last) = sum.as_chunks_mut::<LANES>();
    let (xs, last_x) = x.as_chunks::<LANES>();
    for (sum, x) in sums.iter_mut().zip(xs) {
        for (s, &v) in sum.iter_mut().zip(x) {
            *s = weight.mul_add(v, *s);
        }
    }
    for (s, &v) in last.iter_mut().zip(last_x) {
        *s = weight.mul_add(v, *s);
    }
}

#[cfg(test)]
mod tests;
