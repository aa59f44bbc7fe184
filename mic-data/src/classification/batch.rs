//! Batches as tensors on the CPU.

use candle_core::{Device, Tensor};
use image::RgbImage;

use crate::Result;
use crate::transform::ValueTables;

/// Source images with their classes.
#[derive(Clone, Debug)]
pub struct ClassificationSource {
    /// f32 (B, 3, H, W), RGB, normalised.
    pub image: Tensor,
    /// U32 (B), class ids.
    pub class: Tensor,
    /// Names of the B images.
    pub names: Vec<String>,
}

/// Target images. There is no field for classes, so none can reach training.
#[derive(Clone, Debug)]
pub struct ClassificationTarget {
    /// f32 (B, 3, H, W), RGB, normalised.
    pub image: Tensor,
    /// Names of the B images.
    pub names: Vec<String>,
}

/// What one training step sees.
#[derive(Clone, Debug)]
pub struct ClassificationBatch {
    /// The source images.
    pub source: ClassificationSource,
    /// The target images; `None` when training on the source alone.
    pub target: Option<ClassificationTarget>,
}

/// f32 (B, 3, size, size) of images of `size` x `size` pixels, each mirrored or not.
pub(super) fn images_to_tensor(
    images: &[(RgbImage, bool)],
    size: u32,
    tables: &ValueTables,
) -> Result<Tensor> {
    let side = size as usize;
    let mut data = vec![0f32; images.len() * 3 * side * side];
    for ((image, flip), out) in images.iter().zip(data.chunks_exact_mut(3 * side * side)) {
        tables.write(image, *flip, (size, size), out);
    }
    Ok(Tensor::from_vec(
        data,
        (images.len(), 3, side, side),
        &Device::Cpu,
    )?)
}

/// U32 (B).
pub(super) fn classes_to_tensor(classes: Vec<u32>) -> Result<Tensor> {
    let count = classes.len();
    Ok(Tensor::from_vec(classes, count, &Device::Cpu)?)
}
