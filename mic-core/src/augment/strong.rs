//! Strong augmentation as MIC and DACS combine it: colour jitter if one gate opens, then blur if
//! another does (DAFormer, sec. 3.3; DACS).

use candle_core::Tensor;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{
    ColorJitter, ColorJitterConfig, GaussianBlur, Normalization, change_pixels, image_dims,
};
use crate::Result;
use crate::error::{config, input};

/// Strengths and gates of the strong augmentation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrongConfig {
    /// How far colours may change.
    pub jitter: ColorJitterConfig,
    /// Colours are jittered if a draw from \[0, 1) is greater than this: 0.2 means four times out of
    /// five. (The reference calls this value a probability.)
    pub jitter_threshold: f64,
    /// Whether to blur at all; if so, every other time.
    pub blur: bool,
}

impl Default for StrongConfig {
    fn default() -> Self {
        Self {
            jitter: ColorJitterConfig::with_strength(0.2),
            jitter_threshold: 0.2,
            blur: true,
        }
    }
}

/// Which parts of the augmentation are on.
///
/// For segmentation they are drawn at every step, once for the mixed and once for the masked
/// images; the reference's classification and detection draw them once for a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gates {
    /// Jitter the colours.
    pub jitter: bool,
    /// Blur.
    pub blur: bool,
}

/// Whether the images of a batch share the order of the colour operations and the blur's sigma.
/// Colour factors differ from image to image in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// One order and sigma for the batch: MIC's masked images.
    PerBatch,
    /// Each image its own: DACS's mixed images.
    PerImage,
}

impl StrongConfig {
    /// Checks the values against their ranges.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a threshold outside of \[0, 1\] or invalid jitter
    /// strengths.
    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.jitter_threshold) {
            return config(format!(
                "jitter threshold {} is not in [0, 1]",
                self.jitter_threshold
            ));
        }
        self.jitter.check()
    }

    /// The gates for two given draws from \[0, 1).
    pub fn gates(&self, jitter_draw: f64, blur_draw: f64) -> Gates {
        Gates {
            jitter: jitter_draw > self.jitter_threshold,
            blur: self.blur && blur_draw > 0.5,
        }
    }

    /// Draws the gates.
    pub fn sample_gates(&self, rng: &mut impl Rng) -> Gates {
        let (jitter_draw, blur_draw) = (rng.random(), rng.random());
        self.gates(jitter_draw, blur_draw)
    }

    /// Draws the parameters for a batch of `batch` images.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn sample(
        &self,
        rng: &mut impl Rng,
        batch: usize,
        gates: Gates,
        sharing: Sharing,
    ) -> Result<Strong> {
        self.check()?;
        let (groups, images) = match sharing {
            Sharing::PerBatch => (1, batch),
            Sharing::PerImage => (batch, 1),
        };
        let mut strong = Strong {
            jitter: Vec::new(),
            blur: Vec::new(),
        };
        for _ in 0..groups {
            let jitter = gates
                .jitter
                .then(|| self.jitter.sample(rng, images))
                .transpose()?;
            strong.jitter.extend(jitter);
            strong
                .blur
                .extend(gates.blur.then(|| GaussianBlur::sample(rng)));
        }
        Ok(strong)
    }
}

/// Drawn parameters of a batch. Each list is empty (off), has one entry for the whole batch, or one
/// per image.
#[derive(Clone, Debug, PartialEq)]
pub struct Strong {
    /// Colour jitter.
    pub jitter: Vec<ColorJitter>,
    /// Blur, applied after the jitter, on the normalised images.
    pub blur: Vec<GaussianBlur>,
}

impl Strong {
    /// The augmented images: `images` f32 (B, 3, H, W), RGB, normalised by `norm`; so is the result.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) for images of another shape or dtype, or parameters
    /// drawn for a batch of another size.
    pub fn apply(&self, images: &Tensor, norm: &Normalization) -> Result<Tensor> {
        let (batch, height, width) = image_dims(images)?;
        for (name, count) in [
            ("colour jitter", self.jitter.len()),
            ("blur", self.blur.len()),
        ] {
            if count > 1 && count != batch {
                return input(format!(
                    "{name} drawn for {count} images applied to {batch}"
                ));
            }
        }
        if self.jitter.is_empty() && self.blur.is_empty() {
            return Ok(images.detach());
        }
        change_pixels(images, |pixels| {
            for (jitter, part) in groups(&self.jitter, pixels) {
                jitter.apply_to_slice(part, part_batch(self.jitter.len(), batch), norm)?;
            }
            for (blur, part) in groups(&self.blur, pixels) {
                blur.apply_to_slice(part, height, width)?;
            }
            Ok(())
        })
    }
}

/// Each parameter with the equal part of the pixels it is for.
fn groups<'a, T>(
    parameters: &'a [T],
    pixels: &'a mut [f32],
) -> impl Iterator<Item = (&'a T, &'a mut [f32])> {
    let part = (pixels.len() / parameters.len().max(1)).max(1);
    parameters.iter().zip(pixels.chunks_exact_mut(part))
}

fn part_batch(groups: usize, batch: usize) -> usize {
    batch / groups.max(1)
}
