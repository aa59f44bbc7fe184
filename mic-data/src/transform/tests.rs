//! Checks of the transforms against recorded results of OpenCV 4.10 and against each other.

use image::{GrayImage, Rgb, RgbImage};

use super::*;
use crate::rng::stream;

/// A line of grey pixels as an RGB image.
fn line(values: &[u8]) -> RgbImage {
    RgbImage::from_fn(values.len() as u32, 1, |x, _| Rgb([values[x as usize]; 3]))
}

fn resized(values: &[u8], width: u32) -> Vec<u8> {
    let out = resize_image(&line(values), width, 1);
    out.pixels().map(|pixel| pixel.0[1]).collect()
}

#[test]
fn bilinear_lines_are_those_of_opencv() {
    let five = [0, 100, 200, 50, 30];
    let six = [0, 100, 200, 50, 30, 7];
    assert_eq!(resized(&five, 8), [0, 44, 106, 169, 153, 59, 39, 30]);
    assert_eq!(resized(&six, 3), [50, 125, 19]);
    assert_eq!(resized(&six, 4), [25, 175, 45, 13]);
}

#[test]
fn nearest_lines_are_those_of_opencv() {
    let grey = GrayImage::from_raw(5, 1, vec![0, 1, 2, 3, 4]).unwrap();
    let out = resize_nearest(&grey, 8, 1);
    assert_eq!(out.as_raw(), &[0, 0, 1, 1, 2, 3, 3, 4]);
}

/// The bytes from which the recorded images were made.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 12345u32;
    let mut next = || {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345) & 0x7fff_ffff;
        (state >> 16) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn whole_images_have_the_checksums_of_opencv() {
    // From (w, h) to (w, h), with the FNV-1a checksums of cv2.resize on `noise`: INTER_LINEAR on
    // three channels, INTER_NEAREST on one.
    let recorded: &[(u32, u32, u32, u32, u64, u64)] = &[
        (13, 7, 29, 17, 0x369a_4a02_f4c8_c178, 0x3804_6bf2_6761_97ae),
        (29, 17, 13, 7, 0x24d6_ec70_a7e8_b948, 0x31ee_89ff_7578_858e),
        (16, 8, 32, 16, 0xd5d6_efd9_cb9b_09d4, 0xaa3e_11a1_4714_2add),
        (32, 16, 16, 8, 0x6a77_b4b6_60e9_afce, 0xa1ef_84d7_6bf4_5ce5),
        (37, 23, 64, 10, 0xf873_c79f_e697_4099, 0x0234_e315_b5ad_93ac),
        (64, 10, 37, 23, 0x9805_a806_0271_c445, 0x64c0_135f_2ca2_6275),
        (5, 5, 5, 11, 0x8669_3d3b_f331_4063, 0xb55a_918f_639f_89b7),
        (
            101,
            67,
            90,
            60,
            0x3ff4_7aa2_1498_93d7,
            0xb66a_b778_6142_1fb3,
        ),
        (
            240,
            180,
            320,
            240,
            0x1f34_6c2b_e7d6_c297,
            0xcde8_654c_e1ee_751d,
        ),
        (1, 1, 3, 4, 0xd3f1_193a_277f_9ac1, 0x5e78_e434_2788_a525),
        (
            191,
            105,
            256,
            141,
            0xb56a_eb7b_46b9_a189,
            0x0c21_1bdd_0fd8_925c,
        ),
    ];
    for &(w, h, to_w, to_h, linear, nearest) in recorded {
        let image = RgbImage::from_raw(w, h, noise((w * h * 3) as usize)).unwrap();
        let grey = GrayImage::from_raw(w, h, noise((w * h) as usize)).unwrap();
        let case = format!("{w} x {h} to {to_w} x {to_h}");
        assert_eq!(
            fnv(&resize_nearest(&grey, to_w, to_h)),
            nearest,
            "nearest {case}"
        );
        assert_eq!(
            fnv(&resize_image(&image, to_w, to_h)),
            linear,
            "linear {case}"
        );
    }
}

#[test]
fn keep_ratio_gives_the_sizes_of_the_reference() {
    assert_eq!(keep_ratio((1914, 1052), (2560, 1440)), (2560, 1407));
    assert_eq!(keep_ratio((1914, 1052), (1280, 720)), (1280, 704));
    assert_eq!(keep_ratio((1914, 1046), (2560, 1440)), (2560, 1399));
    assert_eq!(keep_ratio((1280, 760), (2560, 1520)), (2560, 1520));
    assert_eq!(keep_ratio((1000, 1), (10, 10)), (10, 1));
}

#[test]
fn crops_cover_every_place_and_stay_inside() {
    let mut rng = stream(1, "crop", 0);
    let mut seen = [[false; 4]; 3];
    for _ in 0..500 {
        let crop = Crop::sample(&mut rng, (10, 6), (7, 4));
        seen[crop.y as usize][crop.x as usize] = true;
        assert_eq!((crop.width, crop.height), (7, 4));
    }
    assert!(seen.iter().flatten().all(|seen| *seen), "{seen:?}");
}

#[test]
fn a_crop_cuts_image_and_label_alike_and_ends_at_the_border() {
    let image = RgbImage::from_fn(5, 4, |x, y| Rgb([x as u8, y as u8, 0]));
    let label = GrayImage::from_fn(5, 4, |x, y| image::Luma([(10 * y + x) as u8]));
    let crop = Crop {
        x: 2,
        y: 1,
        width: 2,
        height: 9,
    };
    let (cut, ids) = (crop.apply_image(&image), crop.apply_grey(&label));
    assert_eq!(cut.dimensions(), (2, 3));
    assert_eq!(ids.as_raw(), &[12, 13, 22, 23, 32, 33]);
    for (x, y, pixel) in cut.enumerate_pixels() {
        assert_eq!(pixel.0, [x as u8 + 2, y as u8 + 1, 0]);
    }
}

#[test]
fn varied_crops_avoid_one_class_unless_there_is_no_other() {
    // One column of class 1 among class 0: only crops that hold it are varied enough.
    let label = GrayImage::from_fn(40, 8, |x, _| image::Luma([u8::from(x == 20)]));
    let mut hits = 0;
    for draw in 0..400 {
        let mut rng = stream(3, "crop", draw);
        let crop = Crop::sample_varied(&mut rng, &label, (8, 8), 0.9);
        hits += u32::from(crop.apply_grey(&label).as_raw().contains(&1));
    }
    // A crop holds the column with p = 8/33, one of eleven draws with 1 - (1 - p)^11 = 0.953.
    assert!((365..=396).contains(&hits), "{hits}");
    let mut rng = stream(3, "crop", 0);
    let strict = Crop::sample_varied(&mut rng, &label, (8, 8), 0.5);
    assert_eq!((strict.width, strict.height), (8, 8));
    // Ignored pixels are no class of their own.
    let ignored = GrayImage::from_fn(40, 8, |x, _| image::Luma([if x == 20 { 255 } else { 0 }]));
    let mut first = stream(3, "crop", 1);
    Crop::sample_varied(&mut first, &ignored, (8, 8), 0.99);
    let mut second = stream(3, "crop", 1);
    for _ in 0..=CROP_TRIES {
        Crop::sample(&mut second, (40, 8), (8, 8));
    }
    assert_eq!(first, second, "eleven draws, the last unchecked");
}

#[test]
fn flipping_mirrors_pixels_and_twice_is_nothing() {
    let image = RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8, y as u8, 7]));
    let label = GrayImage::from_raw(3, 2, vec![0, 1, 2, 3, 4, 5]).unwrap();
    let (mut flipped, mut ids) = (image.clone(), label.clone());
    Flip(false).apply_image(&mut flipped);
    assert_eq!(flipped, image);
    Flip(true).apply_image(&mut flipped);
    Flip(true).apply_grey(&mut ids);
    assert_eq!(flipped.get_pixel(0, 1).0, [2, 1, 7]);
    assert_eq!(ids.as_raw(), &[2, 1, 0, 5, 4, 3]);
    Flip(true).apply_image(&mut flipped);
    assert_eq!(flipped, image);
}

#[test]
fn flips_come_with_their_probability() {
    let count = |probability| {
        (0..1000)
            .filter(|draw| Flip::sample(&mut stream(2, "flip", *draw), probability).0)
            .count()
    };
    assert_eq!((count(0.0), count(1.0)), (0, 1000));
    assert!((450..550).contains(&count(0.5)));
}

#[test]
fn a_window_of_the_scaled_image_is_that_part_of_it() {
    let mut rng = stream(5, "window", 0);
    let sizes = [(37, 23), (16, 16), (64, 48), (1, 5), (200, 90), (2, 2)];
    for (w, h) in sizes {
        let image = RgbImage::from_raw(w, h, noise((w * h * 3) as usize)).unwrap();
        for (to_w, to_h) in sizes {
            let whole = resize_image(&image, to_w, to_h);
            for crop in [(to_w, to_h), (5, 7), (16, 16), (33, 1)] {
                let window = Crop::sample(&mut rng, (to_w, to_h), crop);
                let part = resize_image_window(&image, (to_w, to_h), &window);
                assert_eq!(part, window.apply_image(&whole), "{w} x {h}, {window:?}");
            }
        }
    }
}

#[test]
fn mirroring_on_the_way_is_mirroring_before() {
    let image = RgbImage::from_raw(7, 3, noise(63)).unwrap();
    let label = GrayImage::from_raw(7, 3, noise(21)).unwrap();
    let normalise = Normalise::default();
    for flip in [Flip(false), Flip(true)] {
        let (mut mirrored, mut ids) = (image.clone(), label.clone());
        flip.apply_image(&mut mirrored);
        flip.apply_grey(&mut ids);
        let size = (9, 4);
        let (mut before, mut after) = (vec![1.0; 108], vec![2.0; 108]);
        normalise.apply_into(&mirrored, size, &mut before);
        normalise.apply_flipped_into(&image, flip, size, &mut after);
        assert_eq!(before, after);
        let (mut before, mut after) = (vec![1; 36], vec![2; 36]);
        pad_into(&ids, size, 255, &mut before);
        pad_flipped_into(&label, flip, size, 255, &mut after);
        assert_eq!(before, after);
    }
}
