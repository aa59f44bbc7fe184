//! The two passes over lines of interleaved RGB.

use image::RgbImage;

use super::Out;
use super::taps::{PRECISION, Taps};

/// Lines of interleaved RGB inside a larger buffer.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    data: &'a [u8],
    stride: usize,
}

impl<'a> Lines<'a> {
    /// Lines that follow each other, each of `stride` bytes.
    pub(super) fn new(data: &'a [u8], stride: usize) -> Self {
        Self { data, stride }
    }

    /// `count` lines of an image from line `y` and column `x` on.
    pub(super) fn of_image(image: &'a RgbImage, x: u32, y: u32, count: usize) -> Self {
        let stride = image.width() as usize * 3;
        let lines = &image.as_raw()[y as usize * stride..][..count * stride];
        Self::new(lines, stride).skip_columns(x)
    }

    /// The same lines from pixel `columns` on.
    pub(super) fn skip_columns(self, columns: u32) -> Self {
        Self {
            data: &self.data[columns as usize * 3..],
            ..self
        }
    }

    /// Line `y` from its first column to the end of the buffer.
    pub(super) fn rest_from(&self, y: usize) -> &'a [u8] {
        &self.data[y * self.stride..]
    }
}

/// Resizes every line; `out` has as many lines as `from`.
pub(super) fn stretch_horizontally(from: Lines, columns: &Taps, out: Out) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { super::avx2::stretch_horizontally(from, columns, out) };
    }
    stretch_horizontally_portable(from, columns, out);
}

/// Mixes lines; `out` has one line for each of the taps.
pub(super) fn stretch_vertically(from: Lines, rows: &Taps, out: Out) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { super::avx2::stretch_vertically(from, rows, out) };
    }
    stretch_vertically_portable(from, rows, out);
}

pub(super) fn stretch_horizontally_portable(from: Lines, columns: &Taps, out: Out) {
    for (y, to) in out.data.chunks_exact_mut(out.line).enumerate() {
        let line = from.rest_from(y);
        for (pixel, (first, weights)) in to.as_chunks_mut::<3>().0.iter_mut().zip(columns.iter()) {
            let mut sums = [HALF; 3];
            let pixels = line[first * 3..].as_chunks::<3>().0;
            for (source, weight) in pixels.iter().zip(weights) {
                for (sum, value) in sums.iter_mut().zip(source) {
                    *sum += i32::from(*value) * weight;
                }
            }
            *pixel = sums.map(clamp);
        }
    }
}

pub(super) fn stretch_vertically_portable(from: Lines, rows: &Taps, out: Out) {
    let mut sums = vec![HALF; out.line];
    for (to, (first, weights)) in out.data.chunks_exact_mut(out.line).zip(rows.iter()) {
        sums.fill(HALF);
        for (k, weight) in weights.iter().enumerate() {
            for (sum, value) in sums.iter_mut().zip(from.rest_from(first + k)) {
                *sum += i32::from(*value) * weight;
            }
        }
        for (value, sum) in to.iter_mut().zip(&sums) {
            *value = clamp(*sum);
        }
    }
}

/// Rounds to nearest when the fractional bits are cut off.
pub(super) const HALF: i32 = 1 << (PRECISION - 1);

/// From fixed point to 8 bits.
pub(super) fn clamp(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
