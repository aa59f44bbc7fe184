//! From transformed samples to tensors.

use candle_core::{Device, Tensor};
use image::{GrayImage, RgbImage};

use crate::batch::{SourceBatch, TargetBatch};
use crate::sample::{IGNORE, Labelled, Unlabelled};
use crate::transform::{Flip, Normalise, pad_flipped_into, pad_into};
use crate::{Error, Result};

/// A sample that is yet to be mirrored: that happens on its way into the batch.
pub(super) struct Drawn<T> {
    pub(super) sample: T,
    pub(super) flip: Flip,
}

/// Stacks source samples of one size, or padded to `size` (w, h).
pub(super) fn source_batch(
    samples: &[Drawn<Labelled>],
    size: Option<(u32, u32)>,
    normalise: &Normalise,
) -> Result<SourceBatch> {
    let names: Vec<_> = samples.iter().map(|s| s.sample.name.clone()).collect();
    let images: Vec<_> = samples.iter().map(|s| (&s.sample.image, s.flip)).collect();
    let size = common_size(&names, &images, size, "source_resize")?;
    let mut labels = vec![0; samples.len() * pixels(size)];
    for (drawn, out) in samples.iter().zip(labels.chunks_exact_mut(pixels(size))) {
        pad_flipped_into(&drawn.sample.label, drawn.flip, size, IGNORE, out);
    }
    Ok(SourceBatch {
        image: stack_images(&images, size, normalise)?,
        label: grey_tensor(labels, samples.len(), size)?,
        names,
    })
}

/// Stacks target samples of one size, or padded to `size` (w, h). Padded pixels are not valid.
pub(super) fn target_batch(
    samples: &[Drawn<Unlabelled>],
    size: Option<(u32, u32)>,
    normalise: &Normalise,
) -> Result<TargetBatch> {
    let names: Vec<_> = samples.iter().map(|s| s.sample.name.clone()).collect();
    let images: Vec<_> = samples.iter().map(|s| (&s.sample.image, s.flip)).collect();
    let size = common_size(&names, &images, size, "target_resize")?;
    let padded = images.iter().any(|(image, _)| image.dimensions() != size);
    let valid = if padded || samples.iter().any(|s| s.sample.valid.is_some()) {
        let mut valid = vec![0; samples.len() * pixels(size)];
        for (drawn, out) in samples.iter().zip(valid.chunks_exact_mut(pixels(size))) {
            match &drawn.sample.valid {
                Some(mask) => pad_flipped_into(mask, drawn.flip, size, 0, out),
                None => {
                    let (width, height) = drawn.sample.image.dimensions();
                    let everywhere = GrayImage::from_pixel(width, height, image::Luma([1]));
                    pad_into(&everywhere, size, 0, out);
                }
            }
        }
        Some(grey_tensor(valid, samples.len(), size)?)
    } else {
        None
    };
    Ok(TargetBatch {
        image: stack_images(&images, size, normalise)?,
        valid,
        names,
    })
}

/// The size of the batch: the given one, or that which all images share.
fn common_size(
    names: &[String],
    images: &[(&RgbImage, Flip)],
    size: Option<(u32, u32)>,
    resize_key: &str,
) -> Result<(u32, u32)> {
    if let Some(size) = size {
        return Ok(size);
    }
    let first = images[0].0.dimensions();
    let other = (names.iter().zip(images)).find(|(_, image)| image.0.dimensions() != first);
    if let Some((name, (image, _))) = other {
        return Err(Error::Invalid(format!(
            "images of one batch differ in size: {:?} is {} x {}, {name:?} is {} x {}; set crop \
             to cut (and pad) all to one size, or {resize_key} if they share an aspect ratio",
            names[0],
            first.0,
            first.1,
            image.width(),
            image.height()
        )));
    }
    Ok(first)
}

fn stack_images(
    images: &[(&RgbImage, Flip)],
    size: (u32, u32),
    normalise: &Normalise,
) -> Result<Tensor> {
    let mut planes = vec![0f32; images.len() * 3 * pixels(size)];
    for ((image, flip), out) in images.iter().zip(planes.chunks_exact_mut(3 * pixels(size))) {
        normalise.apply_flipped_into(image, *flip, size, out);
    }
    let shape = (images.len(), 3, size.1 as usize, size.0 as usize);
    Ok(Tensor::from_vec(planes, shape, &Device::Cpu)?)
}

fn grey_tensor(values: Vec<u8>, batch: usize, size: (u32, u32)) -> Result<Tensor> {
    let shape = (batch, size.1 as usize, size.0 as usize);
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

fn pixels((width, height): (u32, u32)) -> usize {
    width as usize * height as usize
}
