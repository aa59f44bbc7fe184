//! Mirroring left to right.

use image::{GrayImage, RgbImage};
use rand::Rng;

/// Whether to mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip(
    /// True mirrors, false leaves the image as it is.
    pub bool,
);

impl Flip {
    /// Mirror with the given probability.
    pub fn sample(rng: &mut impl Rng, probability: f64) -> Self {
        Self(rng.random::<f64>() < probability)
    }

    /// Mirrors the image in place, if so drawn.
    pub fn apply_image(self, image: &mut RgbImage) {
        let width = image.width() as usize;
        if self.0 && width > 0 {
            for line in image.chunks_exact_mut(width * 3) {
                line.as_chunks_mut::<3>().0.reverse();
            }
        }
    }

    /// Mirrors the label or mask in place, if so drawn.
    pub fn apply_grey(self, grey: &mut GrayImage) {
        let width = grey.width() as usize;
        if self.0 && width > 0 {
            grey.chunks_exact_mut(width).for_each(<[u8]>::reverse);
        }
    }
}
