//! RoIAlign.

use candle_core::{Result, Tensor};

use super::gpu::{Gpu, THREADS};
use super::source::ROI_ALIGN;
use super::value::Value;
use crate::ops::RoiAlignOptions;
use crate::ops::attach::attach;

/// Channels of a thread of the backward kernel.
const CHANNELS: usize = 8;

/// Bins of contiguous `rois` (K, 5) of contiguous `features` (B, C, H, W).
pub(crate) fn roi_align(features: &Tensor, rois: &Tensor, o: RoiAlignOptions) -> Result<Tensor> {
    const OP: &str = "roi_align";
    let gpu = Gpu::of(OP, features)?;
    let (batch, channels, h, w) = features.dims4()?;
    let (count, (bins_y, bins_x)) = (rois.dim(0)?, o.output_size);
    let results = count * channels * bins_y * bins_x;
    let align = move || {
        Value::ints(&[channels, h, w, bins_y, bins_x])
            .float(o.spatial_scale as f32)
            .int(o.sampling_ratio as i32)
            .int(i32::from(o.aligned))
    };
    let y = gpu.floats(results)?;
    let arguments = [
        gpu.at(features)?,
        gpu.at(rois)?,
        Value::long(results),
        align(),
        y.at(),
    ];
    gpu.over(ROI_ALIGN, "roi_align_forward", results, &arguments)?;
    let rois = rois.detach();
    let shape = (count, channels, bins_y, bins_x);
    attach(OP, [features], y.storage(), shape, move |g| {
        let dx = gpu.floats(batch * channels * h * w)?;
        let arguments = [
            gpu.at(g)?,
            gpu.at(&rois)?,
            Value::count(count),
            align(),
            dx.at(),
        ];
        let grid = [
            (h * w).div_ceil(THREADS),
            channels.div_ceil(CHANNELS),
            batch,
        ];
        gpu.launch(
            ROI_ALIGN,
            "roi_align_backward",
            grid,
            [THREADS, 1],
            &arguments,
        )?;
        Ok([Some(dx.tensor((batch, channels, h, w)))])
    })
}
