//! RoIAlign over the maps of a feature pyramid.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::roi_align::{Level, RoiAlignOptions, align, read_rois};
use super::{BoxSize, rows};
use crate::ops::cast::{cast, is_half, single};
use crate::ops::cpu::{Elem, dispatch};

/// Which map of a pyramid a box is read from: the map with the index
/// `floor(level + log2(sqrt(area) / size + epsilon)) - first`, kept within the maps there are.
///
/// A box of `size` x `size` pixels belongs to pyramid level `level`, one of twice the side to the
/// next coarser one (Lin et al., "Feature Pyramid Networks", eq. 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelMapping {
    /// The side of a box of level `level`, in pixels of the image.
    pub size: f64,
    /// The level of such a box.
    pub level: f64,
    /// The level of the first, finest map: 2 for a stride of 4.
    pub first: usize,
    /// Added to the ratio, so that sides at exactly a power of two go to the coarser level.
    pub epsilon: f64,
    /// How the area is measured.
    pub box_size: BoxSize,
}

impl LevelMapping {
    /// That of maskrcnn-benchmark for maps from stride 4 on: sides of 112, 224 and 448 pixels are
    /// where levels change, areas include both corners.
    pub fn legacy() -> Self {
        Self {
            size: 224.0,
            level: 4.0,
            first: 2,
            epsilon: 1e-6,
            box_size: BoxSize::Inclusive,
        }
    }

    /// That of detectron2 for maps from stride 4 on.
    pub fn modern() -> Self {
        Self {
            epsilon: 1e-8,
            box_size: BoxSize::Continuous,
            ..Self::legacy()
        }
    }

    /// The index of the map of each box (K, 4), F32 or F64, among `count` maps.
    ///
    /// Degenerate boxes belong to the finest map, as do those of a negative area.
    ///
    /// # Errors
    /// When the shape or dtype of `boxes` does not fit, or there are no maps.
    pub fn levels(&self, boxes: &Tensor, count: usize) -> Result<Vec<usize>> {
        const OP: &str = "LevelMapping";
        dispatch!(OP, boxes.dtype(), T => {
            let boxes = rows::<T, 4>(OP, "boxes", boxes)?;
            boxes.iter().map(|&b| self.level_of(OP, b, count)).collect()
        })
    }

    fn level_of<T: Elem>(&self, op: &str, [x1, y1, x2, y2]: [T; 4], count: usize) -> Result<usize> {
        if count == 0 {
            candle_core::bail!("{op}: no feature maps, expected at least one")
        }
        let extra = self.box_size.extra::<T>();
        let side = ((x2 - x1 + extra) * (y2 - y1 + extra)).sqrt();
        let ratio = (side / T::of(self.size) + T::of(self.epsilon)).log2();
        let level = (T::of(self.level) + ratio).floor() - T::of(self.first as f64);
        // A NaN, from a negative area, becomes 0.
        let level = level.to_f64().max(0.0) as usize;
        Ok(level.min(count - 1))
    }
}

/// How [`multi_level_roi_align`] chooses maps and samples them.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiLevelRoiAlign {
    /// Bins of a region, (rows, columns).
    pub output_size: (usize, usize),
    /// Pixels of each map for a pixel of the image, finest first.
    pub spatial_scales: Vec<f64>,
    /// Samples of a bin in each direction; 0 takes as many as the bin has pixels of the map.
    pub sampling_ratio: usize,
    /// See [`RoiAlignOptions::aligned`].
    pub aligned: bool,
    /// Which map a region is read from.
    pub mapping: LevelMapping,
}

/// [`roi_align`](super::roi_align) where each region is read from the map of a pyramid that suits
/// its size.
///
/// `features` are the maps (B, C, H, W), finest first, with the same B and C; `rois` (K, 5) as in
/// `roi_align`. The result (K, C, rows, columns) is in the order of the regions. Every map gets a
/// gradient, which is zero where no region was read from it.
///
/// # Errors
/// As `roi_align`, and when the numbers of maps and scales differ or their B or C do.
pub fn multi_level_roi_align(
    features: &[Tensor],
    rois: &Tensor,
    options: &MultiLevelRoiAlign,
) -> Result<Tensor> {
    const OP: &str = "multi_level_roi_align";
    let Some(first) = features.first() else {
        candle_core::bail!("{OP}: no feature maps, expected at least one")
    };
    if is_half(first) {
        let features = features.iter().map(single).collect::<Result<Vec<_>>>()?;
        let result = multi_level_roi_align(&features, &single(rois)?, options)?;
        return cast(&result, first.dtype());
    }
    if features.len() != options.spatial_scales.len() {
        candle_core::bail!(
            "{OP}: {} feature maps and {} scales, expected as many",
            features.len(),
            options.spatial_scales.len()
        )
    }
    for (level, map) in features.iter().enumerate() {
        let same = map.rank() == 4 && first.rank() == 4 && map.dims()[..2] == first.dims()[..2];
        if !same || map.dtype() != first.dtype() {
            candle_core::bail!(
                "{OP}: features[{level}] is {:?} {:?}, expected (B, C, H, W) with the B, C and \
                 dtype of features[0], {:?} {:?}",
                map.dims(),
                map.dtype(),
                first.dims(),
                first.dtype()
            )
        }
    }
    dispatch!(OP, first.dtype(), T => pooled::<T>(OP, features, rois, options))
}

fn pooled<T: Elem>(
    op: &'static str,
    features: &[Tensor],
    rois: &Tensor,
    options: &MultiLevelRoiAlign,
) -> Result<Tensor> {
    let rois = read_rois::<T>(op, rois, options.output_size)?;
    let mut places = vec![Vec::new(); features.len()];
    for (place, &[_, x1, y1, x2, y2]) in rois.iter().enumerate() {
        let level = options
            .mapping
            .level_of(op, [x1, y1, x2, y2], features.len())?;
        places[level].push(place);
    }
    let levels = (0..features.len())
        .into_par_iter()
        .map(|n| {
            let single = RoiAlignOptions {
                output_size: options.output_size,
                spatial_scale: options.spatial_scales[n],
                sampling_ratio: options.sampling_ratio,
                aligned: options.aligned,
            };
            Level::new(op, &features[n], &rois, &places[n], &single)
        })
        .collect::<Result<Vec<_>>>()?;
    let maps: Vec<&Tensor> = features.iter().collect();
    align(op, levels, &maps, rois.len(), options.output_size)
}
