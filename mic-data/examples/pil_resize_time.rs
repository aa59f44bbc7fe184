//! Times [`pil_resize`] at the sizes of the paper's data sets, best of many.

use std::time::Instant;

use image::{Rgb, RgbImage};
use mic_data::transform::{PilFilter, pil_resize};

#[allow(clippy::print_stdout)]
fn main() {
    let cases = [
        (500, 375, 256, 256),
        (384, 216, 256, 256),
        (256, 256, 224, 224),
        (2048, 1024, 1600, 800),
        (150, 100, 224, 224),
    ];
    for (width, height, to_width, to_height) in cases {
        let image = RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 7 + y * 3) as u8, (x * y) as u8, (x ^ y) as u8])
        });
        for filter in [PilFilter::Bicubic, PilFilter::Bilinear] {
            let mut best = f64::INFINITY;
            for _ in 0..60 {
                let start = Instant::now();
                std::hint::black_box(pil_resize(&image, to_width, to_height, filter));
                best = best.min(start.elapsed().as_secs_f64());
            }
            println!(
                "{width} x {height} to {to_width} x {to_height} {filter:?}: {:.3} ms",
                best * 1e3
            );
        }
    }
}
