//! Strong augmentation of what the student sees: colour jitter, then Gaussian blur.
//!
//! Sampled parameters ([`ColorJitter`], [`GaussianBlur`], [`Strong`]) are apart from their
//! application. The formulas are those the published results were trained with (kornia 0.5.8),
//! which later versions of that library, and other libraries, do not share: brightness is additive
//! and contrast a plain multiplication.
//!
//! Images are f32 (B, 3, H, W), RGB, normalised by a [`Normalization`]. The loops run on the CPU;
//! images on another device are moved there and back. No gradient is recorded.
//!
//! ```
//! # use candle_core::{DType, Device, Tensor};
//! # use rand::SeedableRng;
//! use mic_core::augment::{Normalization, Sharing, StrongConfig};
//!
//! # let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
//! # let target = Tensor::zeros((2, 3, 64, 64), DType::F32, &Device::Cpu)?;
//! let config = StrongConfig::default();
//! let gates = config.sample_gates(&mut rng);
//! let strong = config.sample(&mut rng, 2, gates, Sharing::PerBatch)?;
//! let augmented = strong.apply(&target, &Normalization::IMAGENET)?;
//! # assert_eq!(augmented.dims(), target.dims());
//! # Ok::<(), mic_core::Error>(())
//! ```

mod color_jitter;
mod gaussian_blur;
mod hsv;
mod normalization;
mod strong;

pub use color_jitter::{ColorJitter, ColorJitterConfig, JitterOp};
pub use gaussian_blur::{GaussianBlur, SIGMA_RANGE, gaussian_taps, kernel_size};
pub use hsv::{hsv_to_rgb, rgb_to_hsv};
pub use normalization::Normalization;
pub use strong::{Gates, Sharing, Strong, StrongConfig};

use candle_core::{DType, Device, Tensor};
use rand::Rng;

use crate::Result;
use crate::error::input;
use crate::slices::with_slice;

/// A number from \[low, high).
fn uniform(rng: &mut impl Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

/// Batch, height and width of f32 images (B, 3, H, W).
fn image_dims(images: &Tensor) -> Result<(usize, usize, usize)> {
    match *images.dims() {
        [batch, 3, height, width] if images.dtype() == DType::F32 => Ok((batch, height, width)),
        ref other => input(format!(
            "images must be f32 (B, 3, H, W), got {:?} {other:?}",
            images.dtype()
        )),
    }
}

/// Runs `change` on a copy of the images' pixels and returns the result on the images' device.
fn change_pixels(images: &Tensor, change: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<Tensor> {
    let mut pixels = with_slice(&images.to_device(&Device::Cpu)?, <[f32]>::to_vec)?;
    change(&mut pixels)?;
    Ok(Tensor::from_vec(pixels, images.dims(), images.device())?)
}
