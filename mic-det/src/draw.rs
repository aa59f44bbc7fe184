//! Boxes drawn on images, with names in a small built-in font.

mod font;

use image::{Rgb, RgbImage};

use crate::boxes::Corners;
use crate::roi::Detections;

/// A box to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawnBox {
    /// Where, in pixels of the image; cut at its border.
    pub corners: Corners,
    /// Its colour, RGB.
    pub colour: [u8; 3],
    /// What stands on it; may be empty.
    pub text: String,
}

/// Colours of the classes, in turn.
const COLOURS: [[u8; 3]; 12] = [
    [230, 57, 70],
    [255, 183, 3],
    [33, 158, 188],
    [106, 190, 48],
    [244, 114, 182],
    [131, 56, 236],
    [251, 133, 0],
    [72, 202, 228],
    [0, 128, 96],
    [164, 113, 72],
    [58, 90, 220],
    [190, 190, 190],
];

/// The colour of a class, from 1.
pub fn class_colour(label: u32) -> [u8; 3] {
    COLOURS[label.saturating_sub(1) as usize % COLOURS.len()]
}

/// The detections with at least `least` score, to be drawn: class and score in per cent.
pub fn drawn(found: &Detections, classes: &[String], least: f32) -> Vec<DrawnBox> {
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.retain(|&i| found.scores[i] >= least);
    // The surest last, on top.
    order.sort_by(|&a, &b| found.scores[a].total_cmp(&found.scores[b]));
    let name = |label: u32| classes.get((label as usize).wrapping_sub(1));
    let of = |i: usize| {
        let (label, score) = (found.labels[i], found.scores[i]);
        let name = name(label).map_or_else(|| label.to_string(), Clone::clone);
        DrawnBox {
            corners: found.boxes[i],
            colour: class_colour(label),
            text: format!("{name} {:.0}", 100.0 * score),
        }
    };
    order.into_iter().map(of).collect()
}

/// Draws boxes, later ones over earlier ones. Lines and letters grow with the image.
pub fn draw(image: &mut RgbImage, boxes: &[DrawnBox]) {
    if image.width() == 0 || image.height() == 0 {
        return;
    }
    let scale = (image.width().min(image.height()) / 400).max(1) as i64;
    for one in boxes {
        if one.corners.iter().all(|v| v.is_finite()) {
            frame(image, one, scale);
        }
    }
    for one in boxes {
        if one.corners.iter().all(|v| v.is_finite()) && !one.text.is_empty() {
            label(image, one, scale);
        }
    }
}

/// The first and last pixel column and row of a box, inside the image.
fn sides(image: &RgbImage, corners: Corners) -> [i64; 4] {
    let (right, bottom) = (i64::from(image.width()) - 1, i64::from(image.height()) - 1);
    let [x1, y1, x2, y2] = corners.map(|v| v.round() as i64);
    [
        x1.clamp(0, right),
        y1.clamp(0, bottom),
        x2.clamp(0, right),
        y2.clamp(0, bottom),
    ]
}

fn frame(image: &mut RgbImage, one: &DrawnBox, width: i64) {
    let [x1, y1, x2, y2] = sides(image, one.corners);
    fill(image, [x1, y1, x2, y1 + width - 1], one.colour);
    fill(image, [x1, y2 - width + 1, x2, y2], one.colour);
    fill(image, [x1, y1, x1 + width - 1, y2], one.colour);
    fill(image, [x2 - width + 1, y1, x2, y2], one.colour);
}

/// Above the box, or in it at the image's upper border.
fn label(image: &mut RgbImage, one: &DrawnBox, scale: i64) {
    let [x1, y1, ..] = sides(image, one.corners);
    let letters = one.text.chars().count() as i64;
    let (width, height) = (
        (letters * (font::WIDTH + 1) + 1) * scale,
        (font::HEIGHT + 2) * scale,
    );
    let left = x1.min(i64::from(image.width()) - width).max(0);
    let top = if y1 >= height { y1 - height } else { y1 };
    let bottom = top + height - 1;
    fill(image, [left, top, left + width - 1, bottom], one.colour);
    let [r, g, b] = one.colour.map(u32::from);
    let ink = if 3 * r + 6 * g + b > 1400 {
        [0; 3]
    } else {
        [255; 3]
    };
    for (place, letter) in one.text.chars().enumerate() {
        let at = left + (place as i64 * (font::WIDTH + 1) + 1) * scale;
        for (x, y) in font::pixels(letter) {
            let (x, y) = (at + x * scale, top + (y + 1) * scale);
            fill(image, [x, y, x + scale - 1, y + scale - 1], ink);
        }
    }
}

/// Fills the pixels from the first to the last column and row, as far as they are in the image.
fn fill(image: &mut RgbImage, [x1, y1, x2, y2]: [i64; 4], colour: [u8; 3]) {
    let (width, height) = (i64::from(image.width()), i64::from(image.height()));
    for y in y1.max(0)..(y2 + 1).min(height) {
        for x in x1.max(0)..(x2 + 1).min(width) {
            image.put_pixel(x as u32, y as u32, Rgb(colour));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paint(boxes: &[(Corners, &str)]) -> RgbImage {
        let mut image = RgbImage::new(60, 40);
        let boxes: Vec<DrawnBox> = boxes
            .iter()
            .map(|&(corners, text)| DrawnBox {
                corners,
                colour: [255, 0, 0],
                text: text.into(),
            })
            .collect();
        draw(&mut image, &boxes);
        image
    }

    fn red(image: &RgbImage) -> usize {
        image.pixels().filter(|p| p.0 == [255, 0, 0]).count()
    }

    #[test]
    fn frames_lie_on_the_outermost_pixels() {
        let image = paint(&[([10.0, 20.0, 29.0, 34.0], "")]);
        assert_eq!(red(&image), 2 * (20 + 15) - 4);
        for (x, y) in [(10, 20), (29, 20), (10, 34), (29, 34)] {
            assert_eq!(image.get_pixel(x, y).0, [255, 0, 0]);
        }
        assert_eq!(image.get_pixel(11, 21).0, [0; 3]);
    }

    #[test]
    fn boxes_outside_and_of_no_number_do_no_harm() {
        let odd = [
            ([-50.0, -50.0, 500.0, 500.0], "A"),
            ([f32::NAN, 0.0, 1.0, 1.0], "B"),
            ([100.0, 100.0, 120.0, 120.0], "C"),
            ([30.0, 20.0, 10.0, 5.0], "D"),
        ];
        assert!(red(&paint(&odd)) > 0);
        let box_of = |text: &str| DrawnBox {
            corners: [0.0, 0.0, 3.0, 3.0],
            colour: [9; 3],
            text: text.into(),
        };
        draw(&mut RgbImage::new(0, 0), &[box_of("A")]);
        draw(&mut RgbImage::new(1, 1), &[box_of("A")]);
    }

    #[test]
    fn texts_stand_above_the_box() {
        let image = paint(&[([10.0, 20.0, 29.0, 34.0], "I1")]);
        let white: Vec<(u32, u32)> = image
            .enumerate_pixels()
            .filter(|(_, _, p)| p.0 == [255; 3])
            .map(|(x, y, _)| (x, y))
            .collect();
        assert!(white.len() > 10);
        assert!(
            white
                .iter()
                .all(|&(x, y)| (11..22).contains(&x) && (12..19).contains(&y))
        );
    }

    #[test]
    fn the_surest_is_drawn_last() {
        let found = Detections {
            boxes: vec![[0.0; 4]; 3],
            scores: vec![0.9, 0.1, 0.456],
            labels: vec![1, 2, 7],
        };
        let names = ["car".to_owned(), "bus".to_owned()];
        let texts: Vec<String> = drawn(&found, &names, 0.3)
            .into_iter()
            .map(|d| d.text)
            .collect();
        assert_eq!(texts, ["7 46", "car 90"]);
    }
}
