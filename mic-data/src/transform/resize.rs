//! Resizing with the results of OpenCV's `resize`, on which the published numbers rest.

use image::{GrayImage, RgbImage};

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
    let (in_width, in_height) = (image.width() as usize, image.height() as usize);
    let columns = taps(in_width, width as usize);
    let lines = taps(in_height, height as usize);
    let source = image.as_raw();
    let mut out = RgbImage::new(width, height);
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
        let upper = &stretched[tap.first % 2];
        let lower = &stretched[tap.second % 2];
        for ((value, a), b) in line.iter_mut().zip(upper).zip(lower) {
            let a = (tap.weights[0] * (a >> 4)) >> 16;
            let b = (tap.weights[1] * (b >> 4)) >> 16;
            *value = ((a + b + 2) >> 2) as u8;
        }
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
    weights: [i32; 2],
}

fn taps(input: usize, output: usize) -> Vec<Tap> {
    let step = 1.0 / (output as f64 / input as f64);
    let last = input as i64 - 1;
    (0..output)
        .map(|index| {
            let position = ((index as f64 + 0.5) * step - 0.5) as f32;
            let first = position.floor();
            let fraction = position - first;
            let first = first as i64;
            let fixed = |weight: f32| (weight * 2048.0).round_ties_even() as i32;
            Tap {
                first: first.clamp(0, last) as usize,
                second: (first + 1).clamp(0, last) as usize,
                weights: [fixed(1.0 - fraction), fixed(fraction)],
            }
        })
        .collect()
}

fn stretch(from: &[u8], columns: &[Tap], to: &mut [i32]) {
    for (pixel, tap) in to.chunks_exact_mut(3).zip(columns) {
        let a = &from[tap.first * 3..][..3];
        let b = &from[tap.second * 3..][..3];
        for channel in 0..3 {
            pixel[channel] =
                i32::from(a[channel]) * tap.weights[0] + i32::from(b[channel]) * tap.weights[1];
        }
    }
}

fn nearest(input: usize, output: usize) -> Vec<usize> {
    let step = 1.0 / (output as f64 / input as f64);
    (0..output)
        .map(|index| ((index as f64 * step) as usize).min(input - 1))
        .collect()
}
