//! Crops of random area and shape, stretched to one size, and the crop in the middle.

use image::RgbImage;
use rand::Rng;

use super::crop::Crop;
use super::pil_resize::{PilFilter, pil_resize_part};

/// Draws before the fallback is taken.
const TRIES: usize = 10;

/// Which crops are drawn: torchvision's `RandomResizedCrop`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResizedCropConfig {
    /// Least and greatest share of the image's area, drawn uniformly.
    pub area: (f64, f64),
    /// Least and greatest width over height; its logarithm is drawn uniformly.
    pub ratio: (f64, f64),
}

impl Default for ResizedCropConfig {
    /// Area 0.08 to 1, ratio 3/4 to 4/3.
    fn default() -> Self {
        Self {
            area: (0.08, 1.0),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
        }
    }
}

impl ResizedCropConfig {
    /// A crop of an image of size (w, h). If ten draws do not fit, the largest central crop whose
    /// ratio is allowed.
    pub fn sample(&self, rng: &mut impl Rng, (width, height): (u32, u32)) -> Crop {
        let area = f64::from(width) * f64::from(height);
        let logs = (self.ratio.0.ln(), self.ratio.1.ln());
        for _ in 0..TRIES {
            let target = area * uniform(rng, self.area);
            let ratio = uniform(rng, logs).exp();
            let w = (target * ratio).sqrt().round_ties_even() as u32;
            let h = (target / ratio).sqrt().round_ties_even() as u32;
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                return Crop {
                    y: rng.random_range(0..=height - h),
                    x: rng.random_range(0..=width - w),
                    width: w,
                    height: h,
                };
            }
        }
        self.central((width, height))
    }

    fn central(&self, (width, height): (u32, u32)) -> Crop {
        let (w, h) = (f64::from(width), f64::from(height));
        let (mut crop_width, mut crop_height) = (width, height);
        if w / h < self.ratio.0 {
            crop_height = (w / self.ratio.0).round_ties_even() as u32;
        } else if w / h > self.ratio.1 {
            crop_width = (h * self.ratio.1).round_ties_even() as u32;
        }
        Crop {
            x: (width - crop_width) / 2,
            y: (height - crop_height) / 2,
            width: crop_width,
            height: crop_height,
        }
    }
}

fn uniform(rng: &mut impl Rng, (low, high): (f64, f64)) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

impl Crop {
    /// The crop in the middle of an image of size `image` (w, h); odd margins are rounded as in
    /// torchvision, half to even. In a direction in which the image is smaller, it starts at 0.
    pub fn central(image: (u32, u32), crop: (u32, u32)) -> Self {
        let start = |image: u32, crop: u32| {
            (f64::from(image.saturating_sub(crop)) / 2.0).round_ties_even() as u32
        };
        Self {
            x: start(image.0, crop.0),
            y: start(image.1, crop.1),
            width: crop.0,
            height: crop.1,
        }
    }

    /// The crop of an image, stretched to `size` (w, h) by Pillow's bilinear filter.
    pub fn apply_resized(&self, image: &RgbImage, size: (u32, u32)) -> RgbImage {
        let whole = Self {
            x: 0,
            y: 0,
            width: size.0,
            height: size.1,
        };
        pil_resize_part(image, self, size, &whole, PilFilter::Bilinear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    #[test]
    fn crops_stay_inside_and_keep_area_and_shape() {
        let config = ResizedCropConfig::default();
        let mut mean = 0.0;
        for draw in 0..2000 {
            let crop = config.sample(&mut stream(1, "crop", draw), (256, 256));
            assert!(crop.x + crop.width <= 256 && crop.y + crop.height <= 256);
            let (w, h) = (f64::from(crop.width), f64::from(crop.height));
            let area = w * h / 65536.0;
            assert!((0.075..=1.0).contains(&area), "{crop:?}");
            assert!((0.73..1.36).contains(&(w / h)), "{crop:?}");
            mean += area / 2000.0;
        }
        // The mean of U(0.08, 1) is 0.54; draws that do not fit are the large ones.
        assert!((0.47..0.54).contains(&mean), "{mean}");
    }

    #[test]
    fn images_that_are_too_narrow_get_their_middle() {
        let config = ResizedCropConfig {
            area: (0.99, 1.0),
            ..ResizedCropConfig::default()
        };
        let crop = config.sample(&mut stream(1, "crop", 0), (400, 30));
        assert_eq!((crop.x, crop.y, crop.width, crop.height), (180, 0, 40, 30));
        let crop = config.sample(&mut stream(1, "crop", 0), (30, 401));
        assert_eq!((crop.x, crop.y, crop.width, crop.height), (0, 180, 30, 40));
    }

    #[test]
    fn margins_of_the_middle_round_half_to_even() {
        let start = |image| Crop::central((image, 256), (224, 224)).x;
        assert_eq!([256, 227, 229, 231].map(start), [16, 2, 2, 4]);
    }
}
