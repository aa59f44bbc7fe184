//! Batches as tensors on the CPU.

use candle_core::{Device, Tensor};
use image::RgbImage;

use super::boxes::Objects;
use crate::transform::ValueTables;
use crate::{Error, Result};

/// Images with their objects.
#[derive(Clone, Debug)]
pub struct BoxedBatch {
    /// f32 (B, 3, H, W), BGR less the mean, 0 to the right of and below each image.
    pub image: Tensor,
    /// Width and height of each image in the tensor.
    pub sizes: Vec<(u32, u32)>,
    /// The objects that training sees, in pixels of the tensor.
    pub objects: Vec<Objects>,
    /// Names of the B images.
    pub names: Vec<String>,
}

/// Images alone. There is no field for objects, so none can reach training.
#[derive(Clone, Debug)]
pub struct ImageBatch {
    /// f32 (B, 3, H, W), BGR less the mean, 0 to the right of and below each image.
    pub image: Tensor,
    /// Width and height of each image in the tensor.
    pub sizes: Vec<(u32, u32)>,
    /// Width and height of each image in its file, before it was scaled.
    pub original: Vec<(u32, u32)>,
    /// Names of the B images.
    pub names: Vec<String>,
}

/// What one training step sees. The domains are padded apart; [`join_padded`] joins them.
#[derive(Clone, Debug)]
pub struct DetectionBatch {
    /// The source images.
    pub source: BoxedBatch,
    /// The target images; `None` when training on the source alone.
    pub target: Option<ImageBatch>,
}

/// The largest width and height, each rounded up to a multiple of `divisor`.
pub fn padded_size(sizes: &[(u32, u32)], divisor: u32) -> (u32, u32) {
    let width = sizes.iter().map(|size| size.0).max().unwrap_or(0);
    let height = sizes.iter().map(|size| size.1).max().unwrap_or(0);
    let divisor = divisor.max(1);
    let up = |side: u32| side.div_ceil(divisor).saturating_mul(divisor);
    (up(width), up(height))
}

/// f32 (B, 3, H, W) of images of different sizes, each mirrored or not; 0 to the right of and below
/// each image. H and W are multiples of `divisor`.
///
/// # Errors
///
/// [`Error::Tensor`] if the tensor cannot be made.
pub fn pad_images(
    images: &[(RgbImage, bool)],
    tables: &ValueTables,
    divisor: u32,
) -> Result<Tensor> {
    let sizes: Vec<_> = images.iter().map(|(image, _)| image.dimensions()).collect();
    let (width, height) = padded_size(&sizes, divisor);
    let plane = width as usize * height as usize;
    let mut data = vec![0f32; images.len() * 3 * plane];
    for ((image, flip), out) in images.iter().zip(data.chunks_exact_mut((3 * plane).max(1))) {
        tables.write(image, *flip, (width, height), out);
    }
    let shape = (images.len(), 3, height as usize, width as usize);
    Ok(Tensor::from_vec(data, shape, &Device::Cpu)?)
}

/// One batch of two: (A, C, H, W) and (B, C, h, w) become (A + B, C, max(H, h), max(W, w)), with 0
/// to the right and below.
///
/// # Errors
///
/// [`Error::Invalid`] for different numbers of channels, [`Error::Tensor`] for other shapes.
pub fn join_padded(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    let (_, channels, height, width) = first.dims4()?;
    let (_, other_channels, other_height, other_width) = second.dims4()?;
    if channels != other_channels {
        return Err(Error::Invalid(format!(
            "batches of {channels} and {other_channels} channels cannot be joined"
        )));
    }
    let (height, width) = (height.max(other_height), width.max(other_width));
    let pad = |batch: &Tensor| -> candle_core::Result<Tensor> {
        let (_, _, h, w) = batch.dims4()?;
        batch
            .pad_with_zeros(2, 0, height - h)?
            .pad_with_zeros(3, 0, width - w)
    };
    Ok(Tensor::cat(&[pad(first)?, pad(second)?], 0)?)
}
