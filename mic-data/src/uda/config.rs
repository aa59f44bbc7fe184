//! Options of the pipeline.

use serde::{Deserialize, Serialize};

use crate::rare_class_sampling::RcsConfig;
use crate::transform::Normalise;
use crate::{Error, Result};

/// From samples to batches. Sizes are (width, height) in pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineConfig {
    /// Images a domain in a batch.
    pub batch: usize,
    /// Source images are scaled to the largest size inside this one that keeps their aspect
    /// ratio (an upright image: inside this one turned upright); `None` keeps their size.
    pub source_resize: Option<(u32, u32)>,
    /// The same for target images.
    pub target_resize: Option<(u32, u32)>,
    /// Random crop of both domains; smaller images are padded. `None` takes whole images, which
    /// must then have one size.
    pub crop: Option<(u32, u32)>,
    /// Source crops in which one class covers this share or more are drawn again, up to ten
    /// times. `None` takes every crop.
    pub cat_max_ratio: Option<f64>,
    /// Probability of mirroring an image.
    pub flip: f64,
    /// Photometric distortion of images, by domain, after mirroring.
    pub photometric_distortion: Photometric,
    /// Mean and standard deviation of the colours.
    pub normalise: Normalise,
    /// Rare class sampling; `None` draws pairs of images uniformly.
    pub rcs: Option<RcsConfig>,
}

/// Which domains' images get [photometric distortion](crate::transform::PhotometricDistortion).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Photometric {
    /// Source images.
    pub source: bool,
    /// Target images.
    pub target: bool,
}

impl Default for PipelineConfig {
    /// DAFormer's options that do not depend on the data set: two images, mirrored half of the
    /// time, ImageNet's colour statistics; whole images, no rare class sampling.
    fn default() -> Self {
        Self {
            batch: 2,
            source_resize: None,
            target_resize: None,
            crop: None,
            cat_max_ratio: None,
            flip: 0.5,
            photometric_distortion: Photometric::default(),
            normalise: Normalise::default(),
            rcs: None,
        }
    }
}

impl PipelineConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the first key with an unusable value.
    pub fn check(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::Invalid(text));
        if self.batch == 0 {
            return invalid("batch is 0; a batch needs at least one image".to_owned());
        }
        for (key, size) in [
            ("source_resize", self.source_resize),
            ("target_resize", self.target_resize),
            ("crop", self.crop),
        ] {
            if size.is_some_and(|(width, height)| width == 0 || height == 0) {
                return invalid(format!(
                    "{key} is {size:?}; width and height must be above 0"
                ));
            }
        }
        if let Some(ratio) = self.cat_max_ratio.filter(|r| !(*r > 0.0 && *r <= 1.0)) {
            return invalid(format!(
                "cat_max_ratio is {ratio}; it must be above 0 and at most 1"
            ));
        }
        if self.cat_max_ratio.is_some() && self.crop.is_none() {
            return invalid("cat_max_ratio chooses among crops; set crop as well".to_owned());
        }
        if !(0.0..=1.0).contains(&self.flip) {
            return invalid(format!("flip is {}; it must be from 0 to 1", self.flip));
        }
        let Normalise { mean, std } = &self.normalise;
        if mean.iter().any(|m| !m.is_finite()) || std.iter().any(|s| !s.is_finite() || *s <= 0.0) {
            return invalid(format!(
                "normalise has mean {mean:?} and std {std:?}; they must be finite, std above 0"
            ));
        }
        Ok(())
    }
}
