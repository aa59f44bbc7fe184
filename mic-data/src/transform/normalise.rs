//! From 8-bit colours to the values a network sees.

use image::RgbImage;
use serde::{Deserialize, Serialize};

/// `(value - mean) / std` for each of R, G, B, on the scale 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalise {
    /// Mean of R, G, B.
    pub mean: [f64; 3],
    /// Standard deviation of R, G, B; positive.
    pub std: [f64; 3],
}

impl Default for Normalise {
    /// The statistics of ImageNet.
    fn default() -> Self {
        Self {
            mean: [123.675, 116.28, 103.53],
            std: [58.395, 57.12, 57.375],
        }
    }
}

impl Normalise {
    /// Writes `image` as f32 planes R, G, B (C, H, W) of size (w, h) = `size` into `out`; to the
    /// right of and below the image the planes are 0, the mean colour.
    ///
    /// # Panics
    ///
    /// If the image exceeds `size` or `out` does not have 3 * w * h values.
    pub fn apply_into(&self, image: &RgbImage, size: (u32, u32), out: &mut [f32]) {
        let (width, height) = (size.0 as usize, size.1 as usize);
        let (image_width, image_height) = (image.width() as usize, image.height() as usize);
        assert!(image_width <= width && image_height <= height);
        assert_eq!(out.len(), 3 * width * height);
        if width * height == 0 || image_width == 0 {
            return out.fill(0.0);
        }
        for (channel, plane) in out.chunks_exact_mut(width * height).enumerate() {
            let table = self.table(channel);
            let (inside, below) = plane.split_at_mut(image_height * width);
            let lines = image.chunks_exact(image_width * 3);
            for (to, from) in inside.chunks_exact_mut(width).zip(lines) {
                let (to, right) = to.split_at_mut(image_width);
                for (value, pixel) in to.iter_mut().zip(from.as_chunks::<3>().0) {
                    *value = table[usize::from(pixel[channel])];
                }
                right.fill(0.0);
            }
            below.fill(0.0);
        }
    }

    /// The 256 results of a channel, rounded to f32 after each step as OpenCV does.
    fn table(&self, channel: usize) -> [f32; 256] {
        let factor = 1.0 / self.std[channel];
        std::array::from_fn(|value| {
            let centred = (value as f64 - self.mean[channel]) as f32;
            (f64::from(centred) * factor) as f32
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn the_recorded_pixel_comes_out_and_padding_is_zero() {
        let image = RgbImage::from_pixel(1, 1, Rgb([200, 100, 10]));
        let mut out = [f32::NAN; 12];
        Normalise::default().apply_into(&image, (2, 2), &mut out);
        let expected = [1.307_046_8, -0.285_014, -1.630_152_5];
        for (channel, value) in expected.iter().enumerate() {
            assert!((out[channel * 4] - value).abs() < 1e-6, "{out:?}");
            assert_eq!(out[channel * 4 + 1..channel * 4 + 4], [0.0; 3]);
        }
    }
}
