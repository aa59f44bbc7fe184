//! Checks against numbers recorded from Pillow, and of the passes against each other.

use image::{Rgb, RgbImage};
use rand::Rng;

use super::passes::{stretch_horizontally_portable, stretch_vertically_portable};
use super::*;
use crate::rng::stream;

fn pattern(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([
            (37 * x + 91 * y) as u8,
            (53 * x + 17 * y + 40) as u8,
            (3 * x * x + 29 * y) as u8,
        ])
    })
}

fn sums(image: &RgbImage) -> [u64; 3] {
    let mut sums = [0; 3];
    for pixel in image.pixels() {
        for (sum, value) in sums.iter_mut().zip(pixel.0) {
            *sum += u64::from(value);
        }
    }
    sums
}

fn line(image: &RgbImage, y: u32, channel: usize) -> Vec<u8> {
    let columns = 0..image.width();
    columns.map(|x| image.get_pixel(x, y).0[channel]).collect()
}

#[test]
fn small_images_are_those_of_pillow() {
    let image = pattern(9, 7);
    let out = pil_resize(&image, 4, 4, PilFilter::Bicubic);
    assert_eq!(line(&out, 0, 0), [70, 147, 136, 78]);
    assert_eq!(line(&out, 0, 1), [86, 174, 94, 178]);
    assert_eq!(line(&out, 3, 0), [120, 106, 131, 120]);
    assert_eq!(sums(&out), [1880, 2162, 1967]);
    let out = pil_resize(&image, 12, 12, PilFilter::Bicubic);
    let expected = [0, 14, 44, 72, 99, 125, 162, 205, 244, 78, 0, 35];
    assert_eq!(line(&out, 0, 0), expected);
    assert_eq!(sums(&out), [16772, 19034, 17636]);
    let out = pil_resize(&image, 5, 5, PilFilter::Bilinear);
    assert_eq!(line(&out, 0, 0), [51, 109, 158, 130, 61]);
    assert_eq!(sums(&out), [2930, 3353, 3062]);
}

#[test]
fn a_cut_out_part_is_that_of_pillow() {
    let part = Crop {
        x: 20,
        y: 10,
        width: 150,
        height: 100,
    };
    let whole = Crop {
        x: 0,
        y: 0,
        width: 224,
        height: 224,
    };
    let image = pattern(256, 256);
    let out = pil_resize_part(&image, &part, (224, 224), &whole, PilFilter::Bilinear);
    let head = [0, 1, 2, 3].map(|x| out.get_pixel(x, 0).0);
    let expected = [
        [114, 246, 210],
        [133, 144, 143],
        [157, 52, 99],
        [182, 88, 186],
    ];
    assert_eq!(head, expected);
    let tail = [220, 221, 222, 223].map(|x| out.get_pixel(x, 223).0);
    let expected = [[192, 216, 41], [45, 80, 28], [25, 71, 19], [44, 98, 12]];
    assert_eq!(tail, expected);
    assert_eq!(sums(&out), [6_396_711, 6_398_572, 6_387_290]);
}

#[test]
fn both_orders_of_the_passes_have_the_checksums_of_pillow() {
    // From (w, h) to (w, h), with the FNV-1a checksums of Pillow 13: bilinear and bicubic.
    let recorded: &[(u32, u32, u32, u32, u64, u64)] = &[
        (60, 50, 58, 45, 0x0f54b2d188a594a4, 0xc4571f6754dec7bf),
        (60, 50, 58, 46, 0x265bcb4b4e5da185, 0x045325ebb5779ab4),
        (35, 64, 40, 63, 0xfc2113100180abd8, 0x6b66d2bc455eba68),
        (35, 64, 30, 50, 0xdc78891e5c0da3ce, 0x49a91f828993f009),
        (41, 17, 23, 5, 0x0dd8ca8472775814, 0x6f49180b1ac383c4),
        (7, 91, 64, 10, 0x3d2934ce108465b1, 0x1fb29aa55745fc68),
        (101, 67, 33, 29, 0x1ba18a202b590e85, 0x048fbd4e027a80f9),
        (5, 5, 9, 3, 0xce64ade6d195d33d, 0x7402665d2af496e6),
        (240, 180, 256, 256, 0x9850b098ce55791b, 0x468d4e7dc2020fb4),
    ];
    let fnv = |image: RgbImage| {
        image.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    };
    for &(w, h, to_w, to_h, bilinear, bicubic) in recorded {
        let image = pattern(w, h);
        let case = format!("{w} x {h} to {to_w} x {to_h}");
        let out = pil_resize(&image, to_w, to_h, PilFilter::Bilinear);
        assert_eq!(fnv(out), bilinear, "bilinear {case}");
        let out = pil_resize(&image, to_w, to_h, PilFilter::Bicubic);
        assert_eq!(fnv(out), bicubic, "bicubic {case}");
    }
}

/// Sizes of input, output and wanted part, drawn from small ones to large ones.
fn drawn_case(rng: &mut impl Rng) -> (RgbImage, (u32, u32), Crop) {
    let mut side = || {
        let most = 1u32 << rng.random_range(0..8);
        rng.random_range(1..=most)
    };
    let (width, height, size) = (side(), side(), (side(), side()));
    let mut wanted = Crop::sample(rng, size, (1 + size.0 / 2, 1 + size.1 / 2));
    if rng.random() {
        (wanted.x, wanted.y, wanted.width, wanted.height) = (0, 0, size.0, size.1);
    }
    let pixels = (0..width * height * 3).map(|_| rng.random()).collect();
    let image = RgbImage::from_raw(width, height, pixels).unwrap();
    (image, size, wanted)
}

#[test]
fn a_part_of_the_result_is_cut_from_the_whole_result() {
    for draw in 0..200 {
        let mut rng = stream(3, "resize", draw);
        let (image, size, wanted) = drawn_case(&mut rng);
        for filter in [PilFilter::Bilinear, PilFilter::Bicubic] {
            let (width, height) = image.dimensions();
            let part = Crop::sample(&mut rng, (width, height), (1 + width / 2, 1 + height / 2));
            let out = pil_resize_part(&image, &part, size, &wanted, filter);
            let whole = pil_resize(&part.apply_image(&image), size.0, size.1, filter);
            assert_eq!(
                out,
                wanted.apply_image(&whole),
                "{part:?} {size:?} {wanted:?}"
            );
        }
    }
}

#[test]
fn every_kind_of_processor_gives_the_same_pixels() {
    for draw in 0..200 {
        let mut rng = stream(4, "resize", draw);
        let (image, size, _) = drawn_case(&mut rng);
        for filter in [PilFilter::Bilinear, PilFilter::Bicubic] {
            let (width, height) = image.dimensions();
            let columns = Taps::new(width, size.0, 0, size.0, filter);
            let rows = Taps::new(height, size.1, 0, size.1, filter);
            let from = Lines::of_image(&image, 0, 0, height as usize);
            let line = size.0 as usize * 3;
            let mut out = [0, 1].map(|_| vec![0; line * height as usize]);
            stretch_horizontally(from, &columns, Out::new(&mut out[0], line));
            stretch_horizontally_portable(from, &columns, Out::new(&mut out[1], line));
            assert_eq!(out[0], out[1], "{:?} to {size:?}", image.dimensions());
            let from = Lines::new(&out[0], line);
            let mut mixed = [0, 1].map(|_| vec![0; line * size.1 as usize]);
            stretch_vertically(from, &rows, Out::new(&mut mixed[0], line));
            stretch_vertically_portable(from, &rows, Out::new(&mut mixed[1], line));
            assert_eq!(mixed[0], mixed[1], "{:?} to {size:?}", image.dimensions());
        }
    }
}

#[test]
fn plain_images_stay_plain() {
    for value in [0, 1, 127, 254, 255] {
        let image = RgbImage::from_pixel(31, 17, Rgb([value; 3]));
        for (width, height) in [(8, 8), (31, 40), (60, 17), (1, 1)] {
            let out = pil_resize(&image, width, height, PilFilter::Bicubic);
            assert_eq!(out, RgbImage::from_pixel(width, height, Rgb([value; 3])));
        }
    }
}
