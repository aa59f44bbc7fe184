//! Block masks: which parts of a target image the student may see (MIC, sec. 3.2).
//!
//! Each block of b x b pixels is visible iff `v > r`, with `v` drawn from U(0, 1) and mask ratio r; the
//! masked image is the product of mask and image.

use candle_core::{Device, Tensor};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::error::{config, input};
use crate::slices::{is_plain_f32, with_slice};

/// Size of the mask's blocks and share of blocks to hide.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockMaskConfig {
    /// Side of a block in pixels, at least 1. The paper uses 64 for inputs of 1024 x 1024 pixels
    /// and 32 for 512 x 512.
    pub block: usize,
    /// Expected share of hidden blocks, in \[0, 1\]. The paper uses 0.7; 0.5 for detection.
    pub ratio: f64,
}

impl BlockMaskConfig {
    /// Checks the values against their ranges.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if `block` is 0 or `ratio` lies outside of \[0, 1\].
    pub fn check(&self) -> Result<()> {
        if self.block == 0 {
            return config(
                "mask block is 0; it is the side of a block in pixels, such as 64".into(),
            );
        }
        check_ratio(self.ratio)
    }

    /// Rows and columns of the block grid for an image of `height` x `width` pixels: each side
    /// divided by the block, rounded to the nearest integer, halves to even. Blocks are then
    /// stretched to fill the image, so a side that is no multiple of the block gets blocks of a
    /// slightly different size.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if the configuration is invalid or the block is too large for the image.
    pub fn grid(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        self.check()?;
        let grid = (
            divide_half_even(height, self.block),
            divide_half_even(width, self.block),
        );
        if grid.0 == 0 || grid.1 == 0 {
            let side = height.min(width);
            if side == 0 {
                return input(format!(
                    "cannot mask an empty image of {height} x {width} pixels"
                ));
            }
            return config(format!(
                "mask block {} is too large for an image of {height} x {width} pixels: \
                 not one block fits; the largest that works is {}",
                self.block,
                2 * side - 1
            ));
        }
        Ok(grid)
    }

    /// Draws one mask for each of `batch` images of `height` x `width` pixels.
    ///
    /// # Errors
    /// As [`grid`](Self::grid).
    pub fn sample(
        &self,
        rng: &mut impl Rng,
        batch: usize,
        height: usize,
        width: usize,
    ) -> Result<BlockMask> {
        let (rows, columns) = self.grid(height, width)?;
        Ok(BlockMask {
            uniforms: (0..batch * rows * columns).map(|_| rng.random()).collect(),
            batch,
            grid: (rows, columns),
            size: (height, width),
            ratio: self.ratio,
        })
    }
}

fn check_ratio(ratio: f64) -> Result<()> {
    if !(0.0..=1.0).contains(&ratio) {
        return config(format!(
            "mask ratio {ratio} is not in [0, 1]; it is the hidden share"
        ));
    }
    Ok(())
}

/// `a / b` rounded to the nearest integer, halves to even.
fn divide_half_even(a: usize, b: usize) -> usize {
    let (quotient, rest) = (a / b, a % b);
    match (2 * rest).cmp(&b) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Equal => quotient + quotient % 2,
        std::cmp::Ordering::Greater => quotient + 1,
    }
}

/// The block of each pixel along one side. The scale is a float32, as in the reference: for some
/// sizes an exact division would put a pixel on the other side of a block border.
fn block_of_pixel(pixels: usize, blocks: usize) -> Vec<usize> {
    let scale = blocks as f32 / pixels as f32;
    (0..pixels)
        .map(|pixel| ((pixel as f32 * scale).floor() as usize).min(blocks - 1))
        .collect()
}

/// The masks of one batch: one draw per block and image. A block is visible iff its draw is
/// strictly greater than the ratio.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockMask {
    uniforms: Vec<f32>,
    batch: usize,
    grid: (usize, usize),
    size: (usize, usize),
    ratio: f64,
}

impl BlockMask {
    /// Masks from given draws: `uniforms` is f32 (B, 1, rows, columns) with values in \[0, 1), for
    /// images of `height` x `width` pixels.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if `uniforms` has another shape, or more blocks than the image has pixels
    /// along a side; [`Error::Config`](crate::Error::Config) if `ratio` lies outside of \[0, 1\].
    pub fn from_uniforms(
        uniforms: &Tensor,
        ratio: f64,
        height: usize,
        width: usize,
    ) -> Result<Self> {
        check_ratio(ratio)?;
        let &[batch, 1, rows, columns] = uniforms.dims() else {
            return input(format!(
                "mask draws must have shape (B, 1, rows, columns), got {:?}",
                uniforms.dims()
            ));
        };
        if rows == 0 || columns == 0 || rows > height || columns > width {
            return input(format!(
                "a grid of {rows} x {columns} blocks does not fit an image of {height} x {width} pixels"
            ));
        }
        Ok(Self {
            uniforms: uniforms.flatten_all()?.to_vec1()?,
            batch,
            grid: (rows, columns),
            size: (height, width),
            ratio,
        })
    }

    /// Number of images.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The draws, f32 (B, 1, rows, columns).
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if candle cannot place them on `device`.
    pub fn uniforms(&self, device: &Device) -> Result<Tensor> {
        let shape = (self.batch, 1, self.grid.0, self.grid.1);
        Ok(Tensor::from_slice(&self.uniforms, shape, device)?)
    }

    /// The masks as a f32 tensor (B, 1, H, W): 1 visible, 0 hidden.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if candle cannot place it on `device`.
    pub fn mask(&self, device: &Device) -> Result<Tensor> {
        let (height, width) = self.size;
        let mut pixels = vec![1f32; self.batch * height * width];
        self.hide(&mut pixels, 1);
        Ok(Tensor::from_vec(
            pixels,
            (self.batch, 1, height, width),
            device,
        )?)
    }

    /// The images with hidden pixels set to 0 in all channels. For images normalised
    /// by mean and standard deviation, 0 is the mean colour.
    ///
    /// `images` is (B, C, H, W), any float type. If it is part of a gradient graph, so is the result.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if batch, height or width differ from the mask's.
    pub fn apply(&self, images: &Tensor) -> Result<Tensor> {
        let (height, width) = self.size;
        let channels = match *images.dims() {
            [b, c, h, w] if (b, h, w) == (self.batch, height, width) => c,
            ref other => {
                return input(format!(
                    "the mask is for images of shape ({}, C, {height}, {width}), got {other:?}",
                    self.batch
                ));
            }
        };
        if !is_plain_f32(images) {
            let mask = self.mask(images.device())?.to_dtype(images.dtype())?;
            return Ok(images.broadcast_mul(&mask)?);
        }
        let mut pixels = with_slice(images, <[f32]>::to_vec)?;
        self.hide(&mut pixels, channels);
        Ok(Tensor::from_vec(pixels, images.dims(), images.device())?)
    }

    /// Writes 0 over the hidden pixels of (B, channels, H, W).
    fn hide(&self, pixels: &mut [f32], channels: usize) {
        let (rows, columns) = self.grid;
        let (height, width) = self.size;
        if pixels.is_empty() {
            return;
        }
        let ratio = self.ratio as f32;
        let block_of_row = block_of_pixel(height, rows);
        let block_of_column = block_of_pixel(width, columns);
        // First pixel of every block column, and one past the last pixel of all.
        let starts: Vec<usize> = (0..=columns)
            .map(|block| block_of_column.partition_point(|&b| b < block))
            .collect();
        for (image, draws) in pixels
            .chunks_exact_mut(channels * height * width)
            .zip(self.uniforms.chunks_exact(rows * columns))
        {
            for (line, row) in image.chunks_exact_mut(width).enumerate() {
                let block_row = block_of_row[line % height];
                let draws = &draws[block_row * columns..][..columns];
                for (draw, span) in draws.iter().zip(starts.windows(2)) {
                    if *draw <= ratio {
                        row[span[0]..span[1]].fill(0.0);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn grid_rounds_halves_to_even() {
        let cases = [
            (1024, 64, 16),
            (512, 32, 16),
            (512, 16, 32),
            (512, 128, 4),
            (540, 64, 8),
            (1080, 64, 17),
            (96, 64, 2),
            (160, 64, 2),
            (224, 64, 4),
        ];
        for (side, block, blocks) in cases {
            let grid = BlockMaskConfig { block, ratio: 0.7 }.grid(side, 1024);
            assert_eq!(grid.unwrap().0, blocks, "{side} / {block}");
        }
    }

    #[test]
    fn pixels_map_to_the_nearest_block_to_the_left() {
        assert_eq!(block_of_pixel(5, 2), [0, 0, 0, 1, 1]);
        assert_eq!(block_of_pixel(8, 3), [0, 0, 0, 1, 1, 1, 2, 2]);
    }

    #[test]
    fn a_block_too_large_names_the_largest_that_works() {
        let large = BlockMaskConfig {
            block: 64,
            ratio: 0.7,
        };
        let message = large
            .sample(&mut rand::rng(), 1, 32, 224)
            .unwrap_err()
            .to_string();
        for part in ["block 64", "32 x 224", "is 63"] {
            assert!(message.contains(part), "{message}");
        }
        let largest = BlockMaskConfig {
            block: 63,
            ratio: 0.7,
        };
        assert_eq!(largest.grid(32, 224).unwrap(), (1, 4));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (block, ratio) in [(0, 0.5), (8, -0.1), (8, 1.1), (8, f64::NAN)] {
            let error = BlockMaskConfig { block, ratio }.check().unwrap_err();
            assert!(matches!(error, Error::Config(_)), "{error}");
        }
    }
}
