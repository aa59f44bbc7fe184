//! From 8-bit colours to the values a network sees.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::flip::Flip;

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
        self.apply_flipped_into(image, Flip(false), size, out);
    }

    /// As [`Normalise::apply_into`] of the image after `flip`, in one pass.
    ///
    /// # Panics
    ///
    /// As [`Normalise::apply_into`].
    pub fn apply_flipped_into(
        &self,
        image: &RgbImage,
        flip: Flip,
        size: (u32, u32),
        out: &mut [f32],
    ) {
        let (width, height) = (size.0 as usize, size.1 as usize);
        let (image_width, image_height) = (image.width() as usize, image.height() as usize);
        assert!(image_width <= width && image_height <= height);
        assert_eq!(out.len(), 3 * width * height);
        if width * height == 0 || image_width == 0 {
            return out.fill(0.0);
        }
        let tables = [0, 1, 2].map(|channel| self.table(channel));
        let (red, others) = out.split_at_mut(width * height);
        let (green, blue) = others.split_at_mut(width * height);
        let mut planes = [red, green, blue];
        for (y, line) in image.chunks_exact(image_width * 3).enumerate() {
            let planes = planes.each_mut().map(|plane| {
                let (inside, right) = plane[y * width..][..width].split_at_mut(image_width);
                right.fill(0.0);
                inside
            });
            let pixels = line.as_chunks::<3>().0.iter();
            if flip.0 {
                look_up(pixels.rev(), &tables, planes);
            } else {
                look_up(pixels, &tables, planes);
            }
        }
        for plane in planes {
            plane[image_height * width..].fill(0.0);
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

fn look_up<'a>(
    pixels: impl Iterator<Item = &'a [u8; 3]>,
    tables: &[[f32; 256]; 3],
    [red, green, blue]: [&mut [f32]; 3],
) {
    let values = red.iter_mut().zip(green).zip(blue);
    for (((red, green), blue), pixel) in values.zip(pixels) {
        *red = tables[0][usize::from(pixel[0])];
        *green = tables[1][usize::from(pixel[1])];
        *blue = tables[2][usize::from(pixel[2])];
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
