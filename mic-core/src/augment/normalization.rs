//! How images were normalised, so that colours can be changed in \[0, 1\].

use serde::{Deserialize, Serialize};

/// Mean and standard deviation per channel, on the 0 to 255 scale: `x = (colour - mean) / std`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Mean colour, R, G, B.
    pub mean: [f32; 3],
    /// Standard deviation, R, G, B; none may be 0.
    pub std: [f32; 3],
}

impl Normalization {
    /// ImageNet's, which pretrained backbones expect.
    pub const IMAGENET: Self = Self {
        mean: [123.675, 116.28, 103.53],
        std: [58.395, 57.12, 57.375],
    };

    /// Images in \[0, 1\].
    pub const UNIT: Self = Self {
        mean: [0.0; 3],
        std: [255.0; 3],
    };

    /// Factor and offset from a normalised channel to \[0, 1\].
    pub(super) fn to_unit(self, channel: usize) -> (f32, f32) {
        (self.std[channel] / 255.0, self.mean[channel] / 255.0)
    }

    /// Factor and offset back.
    pub(super) fn back_from_unit(self, channel: usize) -> (f32, f32) {
        (
            255.0 / self.std[channel],
            -self.mean[channel] / self.std[channel],
        )
    }
}

impl Default for Normalization {
    fn default() -> Self {
        Self::IMAGENET
    }
}
