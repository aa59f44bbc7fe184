//! What a run shows: the confusion matrix, and test images with the network's answers.

use image::{Rgb, RgbImage};
use mic_run::record::Picture;

use crate::metrics::Confusion;

/// Longest side of a confusion matrix in pixels; a class has at least one and at most [`CELL`].
const MATRIX: usize = 512;
const CELL: usize = 24;
/// Images in a row of answers.
const COLUMNS: usize = 6;
/// Width of the frame around each.
const FRAME: u32 = 4;

const RIGHT: Rgb<u8> = Rgb([40, 160, 70]);
const WRONG: Rgb<u8> = Rgb([200, 50, 40]);
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
const NO_IMAGES: Rgb<u8> = Rgb([200, 200, 200]);

/// True classes from top to bottom, predicted ones from left to right: white for none of a class's
/// images, dark blue for all of them, grey for a class without images.
pub fn confusion_matrix(confusion: &Confusion) -> Picture {
    let classes = confusion.classes();
    let cell = (MATRIX / classes.max(1)).clamp(1, CELL) as u32;
    let side = classes as u32 * cell;
    let rows: Vec<Vec<Rgb<u8>>> = (0..classes).map(|row| shades(confusion.row(row))).collect();
    let image = RgbImage::from_fn(side, side, |x, y| {
        rows[(y / cell) as usize][(x / cell) as usize]
    });
    picture("test/confusion", image)
}

fn shades(row: &[u64]) -> Vec<Rgb<u8>> {
    let sum: u64 = row.iter().sum();
    let shade = |count: &u64| match sum {
        0 => NO_IMAGES,
        _ => {
            let share = *count as f64 / sum as f64;
            let mix = |full: f64| (255.0 + share * (full - 255.0)).round() as u8;
            Rgb([mix(10.0), mix(40.0), mix(120.0)])
        }
    };
    row.iter().map(shade).collect()
}

/// Images of one size in rows, each in a green frame where its class was found and in a red one
/// where it was not.
pub(crate) fn answers(images: &[(RgbImage, bool)]) -> Option<Picture> {
    let (width, height) = images.first()?.0.dimensions();
    let (width, height) = (width + 2 * FRAME, height + 2 * FRAME);
    let columns = COLUMNS.min(images.len());
    let rows = images.len().div_ceil(columns) as u32;
    let mut whole = RgbImage::from_pixel(columns as u32 * width, rows * height, PAPER);
    for (index, (image, right)) in images.iter().enumerate() {
        let frame = if *right { RIGHT } else { WRONG };
        let mut framed = RgbImage::from_pixel(width, height, frame);
        image::imageops::replace(&mut framed, image, FRAME.into(), FRAME.into());
        let x = (index % columns) as i64 * i64::from(width);
        let y = (index / columns) as i64 * i64::from(height);
        image::imageops::replace(&mut whole, &framed, x, y);
    }
    Some(picture("test/answers", whole))
}

fn picture(name: &str, image: RgbImage) -> Picture {
    Picture {
        name: name.to_owned(),
        width: image.width(),
        height: image.height(),
        rgb: image.into_raw(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixel(picture: &Picture, x: u32, y: u32) -> [u8; 3] {
        let at = 3 * (y * picture.width + x) as usize;
        picture.rgb[at..at + 3].try_into().unwrap()
    }

    #[test]
    fn rows_of_the_matrix_are_true_classes() {
        let mut confusion = Confusion::new(3);
        confusion.add(&[0, 2, 2], &[0, 0, 1]);
        let picture = confusion_matrix(&confusion);
        let cell = CELL as u32;
        assert_eq!((picture.width, picture.height), (3 * cell, 3 * cell));
        let at = |row: u32, column: u32| pixel(&picture, column * cell + 3, row * cell + 3);
        assert_eq!(at(1, 2), [10, 40, 120]);
        assert_eq!(at(0, 1), [255, 255, 255]);
        assert_eq!(at(0, 0), at(0, 2));
        assert_eq!(at(0, 0), [133, 148, 188]);
        assert_eq!(at(2, 0), NO_IMAGES.0);
    }

    #[test]
    fn frames_tell_right_from_wrong() {
        let image = |shade| RgbImage::from_pixel(10, 8, Rgb([shade; 3]));
        let images: Vec<_> = (0..7).map(|i| (image(i), i % 2 == 0)).collect();
        let picture = answers(&images).unwrap();
        assert_eq!((picture.width, picture.height), (6 * 18, 2 * 16));
        assert_eq!(pixel(&picture, 0, 0), RIGHT.0);
        assert_eq!(pixel(&picture, 18, 0), WRONG.0);
        assert_eq!(pixel(&picture, 18 + FRAME, FRAME), [1; 3]);
        assert_eq!(pixel(&picture, FRAME, 16 + FRAME), [6; 3]);
        assert_eq!(pixel(&picture, 18, 16), PAPER.0);
        assert_eq!(answers(&[]), None);
    }
}
