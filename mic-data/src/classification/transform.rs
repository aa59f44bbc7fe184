//! From a decoded image to the square that the network sees.

use image::RgbImage;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::transform::{
    Crop, Flip, PilFilter, ResizedCropConfig, ValueTables, pil_resize, pil_resize_part,
};
use crate::{Error, Result};

/// How an image becomes a square. All but [`Resizing::Squash`] squash it to `resize` pixels first,
/// by Pillow's bicubic filter and whatever its shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resizing {
    /// Training: a part of random area and shape, stretched bilinearly. Evaluation: the middle.
    #[default]
    #[serde(rename = "default")]
    Default,
    /// The middle, in training too.
    #[serde(rename = "cen.crop")]
    CentreCrop,
    /// A part at a random place.
    #[serde(rename = "ran.crop")]
    RandomCrop,
    /// The whole image, squashed to `size` at once.
    #[serde(rename = "res.", alias = "res")]
    Squash,
}

/// The transforms of a classification run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageTransform {
    /// Training images. VisDA-2017 uses `"cen.crop"`, Office-Home `"default"`.
    pub train: Resizing,
    /// Evaluation images: `"default"` or `"res."`.
    pub evaluation: Resizing,
    /// Side of the squashed image, in pixels.
    pub resize: u32,
    /// Side of the network's input, in pixels.
    pub size: u32,
    /// Probability of mirroring a training image.
    pub flip: f64,
    /// Mean of R, G, B on the scale 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of R, G, B on the scale 0 to 1.
    pub std: [f32; 3],
}

impl Default for ImageTransform {
    /// 256 pixels, then 224 of them; half the images mirrored; the statistics of ImageNet.
    fn default() -> Self {
        Self {
            train: Resizing::Default,
            evaluation: Resizing::Default,
            resize: 256,
            size: 224,
            flip: 0.5,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }
}

/// What is drawn for one training image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainTransform {
    /// Part of the squashed image.
    pub crop: Crop,
    /// Whether to mirror.
    pub flip: bool,
}

impl ImageTransform {
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the key for a side of 0, a `size` above `resize` where it is cut
    /// out, a random transform for evaluation, a probability outside 0 to 1 and a standard deviation
    /// that is not positive.
    pub fn check(&self) -> Result<()> {
        let invalid = |reason: String| Err(Error::Invalid(reason));
        if self.size == 0 || self.resize == 0 || self.size > 8192 || self.resize > 8192 {
            return invalid(format!(
                "size = {} and resize = {} must be 1 to 8192 pixels",
                self.size, self.resize
            ));
        }
        let cut = |resizing| resizing != Resizing::Squash;
        if (cut(self.train) || cut(self.evaluation)) && self.size > self.resize {
            return invalid(format!(
                "size = {} cannot be cut out of resize = {}; make resize larger or use \"res.\"",
                self.size, self.resize
            ));
        }
        if matches!(self.evaluation, Resizing::CentreCrop | Resizing::RandomCrop) {
            return invalid(
                "evaluation must be \"default\", which takes the middle, or \"res.\"".to_owned(),
            );
        }
        if !(0.0..=1.0).contains(&self.flip) {
            return invalid(format!("flip = {} is no probability", self.flip));
        }
        let positive = |std: &f32| *std > 0.0 && std.is_finite();
        if !self.std.iter().all(positive) || !self.mean.iter().all(|mean| mean.is_finite()) {
            return invalid(format!(
                "mean = {:?} must be finite and std = {:?} positive",
                self.mean, self.std
            ));
        }
        Ok(())
    }

    /// Draws what is random.
    pub fn sample(&self, rng: &mut impl Rng) -> TrainTransform {
        let (squashed, size) = ((self.resize, self.resize), (self.size, self.size));
        let crop = match self.train {
            Resizing::Default => ResizedCropConfig::default().sample(rng, squashed),
            Resizing::CentreCrop => Crop::central(squashed, size),
            Resizing::RandomCrop => Crop::sample(rng, squashed, size),
            Resizing::Squash => Crop::central(size, size),
        };
        TrainTransform {
            crop,
            flip: Flip::sample(rng, self.flip).0,
        }
    }

    /// Side of the square that training images are squashed to first, in pixels.
    pub fn first_side(&self) -> u32 {
        match self.train {
            Resizing::Squash => self.size,
            _ => self.resize,
        }
    }

    /// A training image of `size` x `size` pixels, not mirrored yet: [`ValueTables::write`] mirrors.
    pub fn apply(&self, image: &RgbImage, drawn: &TrainTransform) -> RgbImage {
        let part = self.squash(image, self.train, &drawn.crop);
        match self.train {
            Resizing::Default => pil_resize(&part, self.size, self.size, PilFilter::Bilinear),
            _ => part,
        }
    }

    /// An evaluation image of `size` x `size` pixels.
    pub fn apply_evaluation(&self, image: &RgbImage) -> RgbImage {
        let size = (self.size, self.size);
        let wanted = match self.evaluation {
            Resizing::Squash => Crop::central(size, size),
            _ => Crop::central((self.resize, self.resize), size),
        };
        self.squash(image, self.evaluation, &wanted)
    }

    fn squash(&self, image: &RgbImage, resizing: Resizing, wanted: &Crop) -> RgbImage {
        let side = match resizing {
            Resizing::Squash => self.size,
            _ => self.resize,
        };
        let whole = Crop {
            x: 0,
            y: 0,
            width: image.width(),
            height: image.height(),
        };
        pil_resize_part(image, &whole, (side, side), wanted, PilFilter::Bicubic)
    }

    /// The network's inputs from 8-bit colours.
    pub fn tables(&self) -> ValueTables {
        ValueTables::rgb(self.mean, self.std)
    }
}
