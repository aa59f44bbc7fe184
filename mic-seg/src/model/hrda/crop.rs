//! The detail crop: where it may lie, and where it does.

use candle_core::{Result, Tensor};
use rand::Rng;

/// Size of the detail crop and the grid of its corners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetailCrop {
    /// Height and width in pixels, multiples of `divisible`.
    pub size: (usize, usize),
    /// Corners lie at multiples of this many pixels.
    pub divisible: usize,
}

/// A part of an image, in pixels: rows `y1..y2`, columns `x1..x2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropBox {
    /// First row.
    pub y1: usize,
    /// Row behind the last.
    pub y2: usize,
    /// First column.
    pub x1: usize,
    /// Column behind the last.
    pub x2: usize,
}

impl DetailCrop {
    /// Draws a crop of an image, one for the whole batch. As in the reference an offset equal to
    /// the margin is never drawn; without margin the offset is 0.
    ///
    /// # Errors
    /// An image smaller than the crop.
    pub fn sample(&self, rng: &mut impl Rng, height: usize, width: usize) -> Result<CropBox> {
        let (h, w) = self.size;
        if h > height || w > width {
            candle_core::bail!(
                "the detail crop is {w} x {h}, the image only {width} x {height} (width, height); \
                 train on larger crops or set a smaller model.hrda.crop"
            )
        }
        let mut offset = |margin: usize| {
            let places = (margin + 1) / self.divisible.max(1);
            self.divisible * rng.random_range(0..places.max(1))
        };
        let y1 = offset(height - h);
        let x1 = offset(width - w);
        Ok(CropBox {
            y1,
            y2: y1 + h,
            x1,
            x2: x1 + w,
        })
    }
}

impl CropBox {
    /// This part of (..., H, W).
    ///
    /// # Errors
    /// When it reaches beyond the edge.
    pub fn of(&self, x: &Tensor) -> Result<Tensor> {
        let rows = x.rank().saturating_sub(2);
        x.narrow(rows, self.y1, self.y2 - self.y1)?
            .narrow(rows + 1, self.x1, self.x2 - self.x1)?
            .contiguous()
    }

    /// The box in coordinates `stride` times as coarse, rounded down.
    pub(super) fn coarse(&self, stride: f64) -> Self {
        let down = |n: usize| (n as f64 / stride) as usize;
        Self {
            y1: down(self.y1),
            y2: down(self.y2),
            x1: down(self.x1),
            x2: down(self.x2),
        }
    }

    /// `[y1, y2, x1, x2]`.
    pub fn bounds(&self) -> [usize; 4] {
        [self.y1, self.y2, self.x1, self.x2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn corners_lie_on_the_grid_and_never_at_the_far_edge() -> Result<()> {
        let crop = DetailCrop {
            size: (512, 512),
            divisible: 8,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..2000 {
            let drawn = crop.sample(&mut rng, 1024, 1024)?;
            assert_eq!((drawn.y2 - drawn.y1, drawn.x2 - drawn.x1), crop.size);
            seen.extend([drawn.y1, drawn.x1]);
        }
        assert_eq!(seen, (0..512).step_by(8).collect());
        // No margin in one direction, or in both.
        let flat = crop.sample(&mut rng, 512, 1024)?;
        assert_eq!((flat.y1, flat.y2), (0, 512));
        let whole = crop.sample(&mut rng, 512, 512)?;
        assert_eq!(whole.bounds(), [0, 512, 0, 512]);
        let error = crop.sample(&mut rng, 511, 1024).unwrap_err().to_string();
        assert!(error.contains("1024 x 511"), "{error}");
        Ok(())
    }

    #[test]
    fn a_box_cuts_images_and_labels() -> Result<()> {
        let x = Tensor::arange(0f32, 24f32, &Device::Cpu)?.reshape((1, 1, 4, 6))?;
        let part = CropBox {
            y1: 1,
            y2: 3,
            x1: 2,
            x2: 4,
        };
        let cut = part.of(&x)?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(cut, [8.0, 9.0, 14.0, 15.0]);
        let label = x.squeeze(1)?.to_dtype(DType::U8)?;
        assert_eq!(part.of(&label)?.dims(), [1, 2, 2]);
        assert_eq!(part.coarse(2.0).bounds(), [0, 1, 1, 2]);
        Ok(())
    }
}
