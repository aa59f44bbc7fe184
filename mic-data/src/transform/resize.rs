//! Resizing with the results of OpenCV's `resize`, on which the published numbers rest.

use image::{GrayImage, RgbImage};

use super::crop::Crop;

/// The size of an image `(w, h)` scaled to the largest that fits `scale` and keeps its aspect
/// ratio: the long side of `scale` bounds the long side, the short the short.
pub fn keep_ratio((w, h): (u32, u32), scale: (u32, u32)) -> (u32, u32) {
    let (long, short) = (f64::from(w.max(h)), f64::from(w.min(h)));
    let (scale_long, scale_short) = (scale.0.max(scale.1), scale.0.min(scale.1));
    let factor = (f64::from(scale_long) / long).min(f64::from(scale_short) / short);
    let side = |old: u32| ((f64::from(old) * factor + 0.5) as u32).max(1);
    (side(w), side(h))
}

/// Bilinear, half-pixel centres, no antialiasing: OpenCV's `INTER_LINEAR` on 8 bits, whose
/// weights have 11 fractional bits.
pub fn resize_image(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    if image.dimensions() == (width, height) {
        return image.clone();
    }
    resize_image_window(image, (width, height), &Crop::whole((width, height)))
}

/// The part `window` of [`resize_image`] to `size` (w, h), bit for bit, at the cost of that part.
pub fn resize_image_window(image: &RgbImage, size: (u32, u32), window: &Crop) -> RgbImage {
    if image.dimensions() == size {
        return window.apply_image(image);
    }
    let (width, height) = window.inside(size);
    let mut out = RgbImage::new(width, height);
    let (in_width, in_height) = (image.width() as usize, image.height() as usize);
    if width == 0 || height == 0 || in_width == 0 || in_height == 0 {
        return out;
    }
    let columns = taps(in_width, size.0, window.x, width);
    let columns: Vec<_> = columns.iter().map(|tap| tap.beside(in_width - 1)).collect();
    let lines = taps(in_height, size.1, window.y, height);
    let source = image.as_raw();
    // Two lines stretched horizontally; neighbouring output lines share them.
    let mut stretched = [vec![0; columns.len() * 3], vec![0; columns.len() * 3]];
    let mut held = [usize::MAX; 2];
    for (line, tap) in out.chunks_exact_mut(width as usize * 3).zip(&lines) {
        for y in [tap.first, tap.second] {
            if held[y % 2] != y {
                let from = &source[y * in_width * 3..][..in_width * 3];
                stretch(from, &columns, &mut stretched[y % 2]);
                held[y % 2] = y;
            }
        }
        let [upper, lower] = [tap.first, tap.second].map(|y| &stretched[y % 2]);
        blend(line, upper, lower, tap.weights);
    }
    out
}

/// Nearest neighbour, `floor(x * in / out)`: OpenCV's `INTER_NEAREST`. For labels and masks.
pub fn resize_nearest(image: &GrayImage, width: u32, height: u32) -> GrayImage {
    if image.dimensions() == (width, height) {
        return image.clone();
    }
    let (in_width, in_height) = (image.width() as usize, image.height() as usize);
    let columns = nearest(in_width, width as usize);
    let lines = nearest(in_height, height as usize);
    let source = image.as_raw();
    let mut out = GrayImage::new(width, height);
    for (line, y) in out.chunks_exact_mut(width as usize).zip(lines) {
        let from = &source[y * in_width..][..in_width];
        for (value, x) in line.iter_mut().zip(&columns) {
            *value = from[*x];
        }
    }
    out
}

/// The two source pixels of an output pixel and their weights, which add up to 2048. At the border
/// both are the border pixel.
struct Tap {
    first: usize,
    second: usize,
    weights: [i16; 2],
}

impl Tap {
    /// The same with a second pixel that always follows the first. Weights are added up exactly
    /// within a line, so at the border one pixel can have both.
    fn beside(&self, last: usize) -> Self {
        let (first, weights) = match self.first {
            first if first < self.second => (first, self.weights),
            first if first == last && last > 0 => (last - 1, [0, 2048]),
            first => (first, [2048, 0]),
        };
        Self {
            first,
            second: first + 1,
            weights,
        }
    }
}

/// The taps of `count` of `output` pixels, from number `start` on.
fn taps(input: usize, output: u32, start: u32, count: u32) -> Vec<Tap> {
    let step = 1.0 / (f64::from(output) / input as f64);
    let last = input as i64 - 1;
    (start..start + count)
        .map(|index| {
            let position = ((f64::from(index) + 0.5) * step - 0.5) as f32;
            let first = position.floor();
            let fraction = position - first;
            let first = first as i64;
            let fixed = |weight: f32| (weight * 2048.0).round_ties_even() as i16;
            Tap {
                first: first.clamp(0, last) as usize,
                second: (first + 1).clamp(0, last) as usize,
                weights: [fixed(1.0 - fraction), fixed(fraction)],
            }
        })
        .collect()
}

/// One line scaled horizontally by taps of neighbours ([`Tap::beside`]): values times 128.
fn stretch(from: &[u8], columns: &[Tap], to: &mut [i16]) {
    // A single pixel has no neighbour.
    let single: [u8; 6] = std::array::from_fn(|i| from[i % 3]);
    let from = if from.len() == 3 { &single } else { from };
    for (pixel, tap) in to.as_chunks_mut::<3>().0.iter_mut().zip(columns) {
        let near = &from[tap.first * 3..][..6];
        let [a, b] = tap.weights.map(i32::from);
        for channel in 0..3 {
            let sum = i32::from(near[channel]) * a + i32::from(near[channel + 3]) * b;
            pixel[channel] = (sum >> 4) as i16;
        }
    }
}

/// One output line of two stretched ones, in 16 bits: a product's upper half is one instruction.
fn blend(line: &mut [u8], upper: &[i16], lower: &[i16], weights: [i16; 2]) {
    let high = |weight: i16, value: i16| ((i32::from(weight) * i32::from(value)) >> 16) as i16;
    for ((value, a), b) in line.iter_mut().zip(upper).zip(lower) {
        *value = ((high(weights[0], *a) + high(weights[1], *b) + 2) >> 2) as u8;
    }
}

fn nearest(input: usize, output: usize) -> Vec<usize> {
    let step = 1.0 / (output as f64 / input as f64);
    (0..output)
        .map(|index| ((index as f64 * step) as usize).min(input - 1))
        .collect()
}
