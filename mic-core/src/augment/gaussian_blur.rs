//! Gaussian blur with reflected borders, as two passes over rows and columns.

use candle_core::Tensor;
use rand::Rng;

use super::{change_pixels, image_dims, uniform};
use crate::Result;
use crate::error::input;

/// The range of the standard deviations that MIC draws, in pixels.
pub const SIGMA_RANGE: (f64, f64) = (0.15, 1.15);

/// Length of the kernel for an image side of `side` pixels: the largest odd number up to a tenth of
/// the side, rounded up. 512 gives 51.
pub fn kernel_size(side: usize) -> usize {
    let tenth = (0.1 * side as f64).ceil();
    (tenth - 0.5 + tenth % 2.0).floor() as usize
}

/// Taps of a kernel of odd length `size`, from the centre outwards: `exp(-d^2 / (2 sigma^2))` for
/// d = 0 .. size / 2, scaled so that the whole kernel, both sides, sums to 1.
pub fn gaussian_taps(size: usize, sigma: f64) -> Vec<f32> {
    let tap = |d: usize| (-((d * d) as f64) / (2.0 * sigma * sigma)).exp();
    let sum: f64 = 1.0 + (1..=size / 2).map(|d| 2.0 * tap(d)).sum::<f64>();
    (0..=size / 2).map(|d| (tap(d) / sum) as f32).collect()
}

/// A drawn blur.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaussianBlur {
    /// Standard deviation in pixels, greater than 0.
    pub sigma: f64,
}

impl GaussianBlur {
    /// Draws a standard deviation from [`SIGMA_RANGE`].
    pub fn sample(rng: &mut impl Rng) -> Self {
        Self {
            sigma: uniform(rng, SIGMA_RANGE.0, SIGMA_RANGE.1),
        }
    }

    /// The blurred images: f32 (B, 3, H, W), all with the same kernel. Each side's kernel has the
    /// [`kernel_size`] of that side; borders are reflected without repeating the edge.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) for images of another shape or dtype, or a standard
    /// deviation that is not greater than 0.
    pub fn apply(&self, images: &Tensor) -> Result<Tensor> {
        let (_, height, width) = image_dims(images)?;
        change_pixels(images, |pixels| self.apply_to_slice(pixels, height, width))
    }

    /// As [`apply`](Self::apply), in place on planes of `height` x `width` pixels.
    pub(super) fn apply_to_slice(
        &self,
        pixels: &mut [f32],
        height: usize,
        width: usize,
    ) -> Result<()> {
        if !(self.sigma > 0.0 && self.sigma.is_finite()) {
            return input(format!(
                "blur sigma is {}; it must be greater than 0",
                self.sigma
            ));
        }
        if pixels.is_empty() {
            return Ok(());
        }
        let across = significant(gaussian_taps(kernel_size(width), self.sigma));
        let down = significant(gaussian_taps(kernel_size(height), self.sigma));
        let mut rows_done = vec![0f32; height * width];
        let mut padded = vec![0f32; width + 2 * (across.len() - 1)];
        for plane in pixels.chunks_exact_mut(height * width) {
            for (row, out) in plane
                .chunks_exact(width)
                .zip(rows_done.chunks_exact_mut(width))
            {
                blur_row(row, &across, &mut padded, out);
            }
            blur_columns(&rows_done, &down, plane, height, width);
        }
        Ok(())
    }
}

/// Drops outer taps that cannot change an f32 sum: those below 2^-24 of the centre's.
fn significant(mut taps: Vec<f32>) -> Vec<f32> {
    let least = taps[0] / (1u32 << 24) as f32;
    taps.truncate(taps.partition_point(|&tap| tap >= least));
    taps
}

/// Index of a pixel beyond the border, mirrored at the edge pixel.
fn reflect(index: isize, len: usize) -> usize {
    let last = len as isize - 1;
    let index = index.abs();
    (if index > last {
        2 * last - index
    } else {
        index
    }) as usize
}

fn blur_row(row: &[f32], taps: &[f32], padded: &mut [f32], out: &mut [f32]) {
    let (radius, width) = (taps.len() - 1, row.len());
    padded[radius..radius + width].copy_from_slice(row);
    for d in 1..=radius {
        padded[radius - d] = row[reflect(-(d as isize), width)];
        padded[radius + width - 1 + d] = row[reflect((width - 1 + d) as isize, width)];
    }
    for (out, x) in out.iter_mut().zip(row) {
        *out = taps[0] * x;
    }
    for (d, tap) in taps.iter().enumerate().skip(1) {
        let (left, right) = (&padded[radius - d..], &padded[radius + d..]);
        for ((out, left), right) in out.iter_mut().zip(left).zip(right) {
            *out += tap * (left + right);
        }
    }
}

fn blur_columns(from: &[f32], taps: &[f32], to: &mut [f32], height: usize, width: usize) {
    for (y, out) in to.chunks_exact_mut(width).enumerate() {
        let row = |y: isize| &from[reflect(y, height) * width..][..width];
        let y = y as isize;
        for (out, x) in out.iter_mut().zip(row(y)) {
            *out = taps[0] * x;
        }
        for (d, tap) in taps.iter().enumerate().skip(1) {
            let (above, below) = (row(y - d as isize), row(y + d as isize));
            for ((out, above), below) in out.iter_mut().zip(above).zip(below) {
                *out += tap * (above + below);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_sizes() {
        let table = [
            (64, 7),
            (128, 13),
            (256, 25),
            (384, 39),
            (512, 51),
            (640, 63),
            (768, 77),
            (1024, 103),
            (224, 23),
            (800, 79),
            (1600, 159),
            (1, 1),
        ];
        for (side, size) in table {
            assert_eq!(kernel_size(side), size, "side {side}");
        }
    }

    #[test]
    fn taps_of_known_kernels() {
        let cases: [(f64, &[f32]); 4] = [
            (0.5, &[0.786_570_67, 0.106_450_77, 0.000_263_87]),
            (
                1.0,
                &[0.398_942_32, 0.241_970_75, 0.053_990_97, 0.004_431_85],
            ),
            (
                1.15,
                &[0.346_906_33, 0.237_693_73, 0.076_459_98, 0.011_546_8],
            ),
            (0.15, &[1.0, 0.0]),
        ];
        for (sigma, expected) in cases {
            let taps = gaussian_taps(51, sigma);
            for (tap, expected) in taps.iter().zip(expected) {
                assert!(
                    (tap - expected).abs() < 1e-7,
                    "sigma {sigma}: {tap} is not {expected}"
                );
            }
            let sum: f32 = taps[0] + 2.0 * taps[1..].iter().sum::<f32>();
            assert!((sum - 1.0).abs() < 1e-6);
        }
        assert_eq!(significant(gaussian_taps(51, 1.15)).len(), 7);
    }

    #[test]
    fn a_kernel_reaches_over_small_images() {
        for (height, width) in [(1, 1), (2, 25), (23, 3), (21, 21)] {
            let mut plane = vec![2.5f32; height * width];
            GaussianBlur { sigma: 1.1 }
                .apply_to_slice(&mut plane, height, width)
                .unwrap();
            assert!(
                plane.iter().all(|x| (x - 2.5).abs() < 1e-6),
                "{height} x {width}"
            );
        }
    }
}
