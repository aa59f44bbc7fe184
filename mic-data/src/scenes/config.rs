//! What a scene should be: size, style, and which instances get a box.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The domain a scene is drawn in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// Clean and flat-shaded, one near-constant colour a class.
    Source,
    /// Textured, hazy, blurred and noisy, with classes that share their colours.
    Target,
}

impl Style {
    /// `"source"` or `"target"`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

/// Configuration of the scene generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SceneConfig {
    /// Image width in pixels, 32 to 4096 (default 128).
    pub width: u32,
    /// Image height in pixels, 16 to 4096 (default 64).
    pub height: u32,
    /// The domain (default source).
    pub style: Style,
    /// An instance gets a box if at least this fraction of its pixels inside the image is not
    /// hidden by what stands before it, in `[0, 1]` (default 0.25).
    pub min_visible: f32,
    /// An instance gets a box if both sides of it are at least this many pixels (default 3).
    pub min_box: u32,
}

impl Default for SceneConfig {
    fn default() -> Self {
        Self {
            width: 128,
            height: 64,
            style: Style::Source,
            min_visible: 0.25,
            min_box: 3,
        }
    }
}

impl SceneConfig {
    /// The default configuration at another size and style.
    pub fn new(width: u32, height: u32, style: Style) -> Self {
        Self {
            width,
            height,
            style,
            ..Self::default()
        }
    }

    /// Checks the ranges given at the fields.
    ///
    /// # Errors
    /// Names the field, its range, and for the shape of the image what would fit.
    pub fn check(&self) -> Result<()> {
        let Self { width, height, .. } = *self;
        if !(32..=4096).contains(&width) || !(16..=4096).contains(&height) {
            return Err(Error::Invalid(format!(
                "scene size {width}x{height} (width x height): expected 32x16 to 4096x4096"
            )));
        }
        if width < height || width > 4 * height {
            return Err(Error::Invalid(format!(
                "scene size {width}x{height} (width x height): expected a width of 1 to 4 heights, \
                 such as {}x{height}",
                2 * height
            )));
        }
        if !(0.0..=1.0).contains(&self.min_visible) {
            return Err(Error::Invalid(format!(
                "min_visible = {}: expected a fraction in [0, 1]",
                self.min_visible
            )));
        }
        Ok(())
    }

    /// Width over height: the right border in image heights.
    pub(super) fn aspect(&self) -> f32 {
        self.width as f32 / self.height as f32
    }
}
