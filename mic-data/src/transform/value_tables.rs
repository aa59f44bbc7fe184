//! From 8-bit colours to network inputs, with the arithmetic of torchvision and of detectron.

use image::RgbImage;

/// A table of 256 results for each plane of the output, and which of R, G, B the plane shows.
#[derive(Clone, Debug)]
pub struct ValueTables {
    tables: [[f32; 256]; 3],
    channels: [usize; 3],
}

impl ValueTables {
    /// `(value / 255 - mean) / std` for R, G, B, rounded to f32 after each step: torchvision's
    /// `ToTensor` and `Normalize`. `mean` and `std` are on the scale 0 to 1.
    pub fn rgb(mean: [f32; 3], std: [f32; 3]) -> Self {
        let tables = [0, 1, 2].map(|plane| {
            std::array::from_fn(|value| (value as f32 / 255.0 - mean[plane]) / std[plane])
        });
        Self {
            tables,
            channels: [0, 1, 2],
        }
    }

    /// `(value / 255 * 255 - mean) / std` for B, G, R: the inputs of the Caffe2 weights that
    /// detectors start from. `mean` and `std` are in the order B, G, R on the scale 0 to 255.
    pub fn bgr(mean: [f32; 3], std: [f32; 3]) -> Self {
        let tables = [0, 1, 2].map(|plane| {
            std::array::from_fn(|value| (value as f32 / 255.0 * 255.0 - mean[plane]) / std[plane])
        });
        Self {
            tables,
            channels: [2, 1, 0],
        }
    }

    /// Writes `image`, mirrored if `flip`, as three planes (C, H, W) of size (w, h) = `size` into
    /// `out`; to the right of and below the image the planes are 0, the mean colour.
    ///
    /// # Panics
    ///
    /// If the image exceeds `size` or `out` does not have 3 * w * h values.
    pub fn write(&self, image: &RgbImage, flip: bool, size: (u32, u32), out: &mut [f32]) {
        let (width, height) = (size.0 as usize, size.1 as usize);
        let (image_width, image_height) = (image.width() as usize, image.height() as usize);
        assert!(image_width <= width && image_height <= height);
        assert_eq!(out.len(), 3 * width * height);
        if width * height == 0 || image_width == 0 {
            return out.fill(0.0);
        }
        for (plane, out) in out.chunks_exact_mut(width * height).enumerate() {
            let (table, channel) = (&self.tables[plane], self.channels[plane]);
            let (inside, below) = out.split_at_mut(image_height * width);
            let lines = image.chunks_exact(image_width * 3);
            for (to, from) in inside.chunks_exact_mut(width).zip(lines) {
                let (to, right) = to.split_at_mut(image_width);
                let pixels = from.as_chunks::<3>().0;
                if flip {
                    for (value, pixel) in to.iter_mut().zip(pixels.iter().rev()) {
                        *value = table[usize::from(pixel[channel])];
                    }
                } else {
                    for (value, pixel) in to.iter_mut().zip(pixels) {
                        *value = table[usize::from(pixel[channel])];
                    }
                }
                right.fill(0.0);
            }
            below.fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn planes_are_ordered_mirrored_and_padded() {
        let image = RgbImage::from_fn(2, 1, |x, _| Rgb([x as u8 * 255, 51, 102]));
        let mut out = [f32::NAN; 18];
        let tables = ValueTables::rgb([0.5, 0.0, 0.0], [0.5, 0.2, 1.0]);
        tables.write(&image, false, (3, 2), &mut out);
        assert_eq!(out[..6], [-1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(out[6..9], [1.0, 1.0, 0.0]);
        assert_eq!(out[12..14], [0.4, 0.4]);
        tables.write(&image, true, (3, 2), &mut out);
        assert_eq!(out[..3], [1.0, -1.0, 0.0]);
        let mut out = [f32::NAN; 6];
        ValueTables::bgr([1.0, 2.0, 3.0], [1.0; 3]).write(&image, false, (2, 1), &mut out);
        assert_eq!(out, [101.0, 101.0, 49.0, 49.0, -3.0, 252.0]);
    }
}
