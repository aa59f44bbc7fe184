//! Cutting a rectangle out of an image and its label.

use image::{GrayImage, RgbImage};
use rand::Rng;

use crate::sample::IGNORE;

/// How often a crop is checked and drawn again before one is taken unchecked (DAFormer).
pub const CROP_TRIES: usize = 10;

/// A rectangle of an image, in pixels; parts outside the image are left out when applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Crop {
    /// All of an image of size (w, h).
    pub fn whole((width, height): (u32, u32)) -> Self {
        Self {
            x: 0,
            y: 0,
            width,
            height,
        }
    }

    /// A uniformly placed rectangle of size `crop` (w, h) in an image of size `image` (w, h). In
    /// a direction in which the image is smaller, the rectangle starts at 0.
    pub fn sample(rng: &mut impl Rng, image: (u32, u32), crop: (u32, u32)) -> Self {
        let y = rng.random_range(0..=image.1.saturating_sub(crop.1));
        let x = rng.random_range(0..=image.0.saturating_sub(crop.0));
        Self {
            x,
            y,
            width: crop.0,
            height: crop.1,
        }
    }

    /// As [`Crop::sample`], drawn again up to [`CROP_TRIES`] times while the crop of `label`
    /// holds fewer than two classes or one class covers `max_ratio` or more of its pixels
    /// (ignored pixels not counted). The last draw is taken unchecked.
    pub fn sample_varied(
        rng: &mut impl Rng,
        label: &GrayImage,
        crop: (u32, u32),
        max_ratio: f64,
    ) -> Self {
        let mut drawn = Self::sample(rng, label.dimensions(), crop);
        for _ in 0..CROP_TRIES {
            if drawn.is_varied(label, max_ratio) {
                break;
            }
            drawn = Self::sample(rng, label.dimensions(), crop);
        }
        drawn
    }

    fn is_varied(&self, label: &GrayImage, max_ratio: f64) -> bool {
        // Four tables, as neighbours mostly have one class and would wait for each other.
        let mut tables = [[0u32; 256]; 4];
        for line in self.lines(label, label.dimensions(), 1) {
            let (fours, rest) = line.as_chunks::<4>();
            for four in fours {
                for (table, id) in tables.iter_mut().zip(four) {
                    table[usize::from(*id)] += 1;
                }
            }
            for id in rest {
                tables[0][usize::from(*id)] += 1;
            }
        }
        let counts: [u64; 256] =
            std::array::from_fn(|id| tables.iter().map(|table| u64::from(table[id])).sum());
        let counts = &counts[..usize::from(IGNORE)];
        let largest = counts.iter().copied().max().unwrap_or(0) as f64;
        let total = counts.iter().sum::<u64>() as f64;
        counts.iter().filter(|n| **n > 0).count() > 1 && largest / total < max_ratio
    }

    /// The crop of an image; smaller than the rectangle where that leaves the image.
    pub fn apply_image(&self, image: &RgbImage) -> RgbImage {
        let (width, height) = self.inside(image.dimensions());
        let mut out = RgbImage::new(width, height);
        let lines = self.lines(image, image.dimensions(), 3);
        for (to, from) in out.chunks_exact_mut(width.max(1) as usize * 3).zip(lines) {
            to.copy_from_slice(from);
        }
        out
    }

    /// The crop of a label or mask.
    pub fn apply_grey(&self, grey: &GrayImage) -> GrayImage {
        let (width, height) = self.inside(grey.dimensions());
        let mut out = GrayImage::new(width, height);
        let lines = self.lines(grey, grey.dimensions(), 1);
        for (to, from) in out.chunks_exact_mut(width.max(1) as usize).zip(lines) {
            to.copy_from_slice(from);
        }
        out
    }

    /// Size of the part inside an image of size (w, h).
    pub(super) fn inside(&self, (width, height): (u32, u32)) -> (u32, u32) {
        (
            self.width.min(width.saturating_sub(self.x)),
            self.height.min(height.saturating_sub(self.y)),
        )
    }

    /// The lines of the part inside `data` of size (w, h) with `channels` bytes a pixel.
    fn lines<'a>(
        &self,
        data: &'a [u8],
        size: (u32, u32),
        channels: usize,
    ) -> impl Iterator<Item = &'a [u8]> {
        let (width, height) = self.inside(size);
        let (x, y) = (self.x as usize * channels, self.y as usize);
        let line = size.0 as usize * channels;
        let width = width as usize * channels;
        (y..y + height as usize).map(move |y| &data[y * line + x..][..width])
    }
}
