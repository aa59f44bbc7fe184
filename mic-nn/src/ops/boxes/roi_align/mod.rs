//! RoIAlign: regions of a feature map, resampled to one size.

mod region;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::rows;
use crate::ops::attach::attach;
use crate::ops::cast::in_single;
use crate::ops::cpu::{Elem, Shared, dispatch, fresh, storage, tensor, view};
use crate::ops::simd::vectorized;
use region::Region;

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
    in_single!([features, rois] => roi_align(features, rois, options));
    #[cfg(feature = "cuda")]
    if features.device().is_cuda() {
        return on_gpu(OP, features, rois, options);
    }
    dispatch!(OP, features.dtype(), T => {
        let rois = read_rois::<T>(OP, rois, options.output_size)?;
        let places: Vec<usize> = (0..rois.len()).collect();
        let level = Level::new(OP, features, &rois, &places, options)?;
        align(OP, vec![level], &[features], rois.len(), options.output_size)
    })
}

/// Regions are copied to the host to be checked.
#[cfg(feature = "cuda")]
fn on_gpu(op: &str, features: &Tensor, rois: &Tensor, options: &RoiAlignOptions) -> Result<Tensor> {
    let rows = read_rois::<f32>(op, rois, options.output_size)?;
    let places: Vec<usize> = (0..rows.len()).collect();
    Level::new(op, features, &rows, &places, options)?;
    crate::cuda::roi_align(&features.contiguous()?, &rois.contiguous()?, *options)
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
    let mut output = fresh::<T>(count * channels * bins);
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

/// Planes of one image that a task handles, so that it reads a region's tables once for several.
fn planes_per_task(pixels: usize) -> usize {
    const PIXELS: usize = 1 << 18;
    (PIXELS / pixels).clamp(1, 4)
}

/// Writes the bins of a level's regions to their rows of `output`. A task reads a few planes, which
/// stay in the cache for all regions of their image.
fn gather<T: Elem>(level: &Level<T>, map: &[T], bins: usize, output: &mut [T]) {
    let (_, channels, h, w) = level.dims;
    let (pixels, planes) = (h * w, planes_per_task(h * w));
    let output = Shared::new(output);
    let images = map.par_chunks(channels * pixels).zip(&level.images);
    images.for_each(|(map, regions)| {
        let tasks = map.par_chunks(planes * pixels).enumerate();
        tasks.for_each(|(task, map)| {
            vectorized(
                #[inline(always)]
                || {
                    let mut lines = Vec::new();
                    for region in regions {
                        for (n, plane) in map.chunks_exact(pixels).enumerate() {
                            let row = region.place * channels + task * planes + n;
                            // SAFETY: a region is in one level and image, so only this task
                            // writes these channels of it.
                            let out = unsafe { output.slice(row * bins..(row + 1) * bins) };
                            region.gather(plane, w, &mut lines, out);
                        }
                    }
                },
            );
        });
    });
}

/// The gradient of a level's map. A task owns its planes and adds up the regions in their order.
fn spread<T: Elem>(level: &Level<T>, grad: &[T], bins: usize) -> Vec<T> {
    let (batch, channels, h, w) = level.dims;
    let (pixels, planes) = (h * w, planes_per_task(h * w));
    let mut dx = fresh::<T>(batch * channels * pixels);
    let images = dx.par_chunks_mut(channels * pixels).zip(&level.images);
    images.for_each(|(dx, regions)| {
        let tasks = dx.par_chunks_mut(planes * pixels).enumerate();
        tasks.for_each(|(task, dx)| {
            vectorized(
                #[inline(always)]
                || {
                    dx.fill(T::zero());
                    let mut lines = Vec::new();
                    for region in regions {
                        for (n, plane) in dx.chunks_exact_mut(pixels).enumerate() {
                            let row = region.place * channels + task * planes + n;
                            let grad = &grad[row * bins..(row + 1) * bins];
                            region.spread(grad, w, &mut lines, plane);
                        }
                    }
                },
            );
        });
    });
    dx
}

#[cfg(test)]
mod tests;
