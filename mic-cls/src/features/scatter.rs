//! Points as a picture.

use image::{Rgb, RgbImage};

const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
/// Empty border in pixels.
const MARGIN: f64 = 16.0;

/// A point with its colour.
#[derive(Clone, Copy, Debug)]
pub struct Dot {
    /// Where it is.
    pub at: [f64; 2],
    /// Its colour.
    pub colour: [u8; 3],
    /// Whether it is drawn as a square; otherwise as a disc.
    pub square: bool,
}

/// A colour for class `class` of `classes`.
pub fn class_colour(class: u32, classes: usize) -> [u8; 3] {
    // Around the circle of hues, with every other class darker.
    let hue = 6.0 * f64::from(class) / classes.max(1) as f64;
    let light = if class.is_multiple_of(2) {
        230.0
    } else {
        160.0
    };
    let channel = |shift: f64| {
        let distance = ((hue + shift).rem_euclid(6.0) - 3.0).abs();
        (light * (distance - 1.0).clamp(0.0, 1.0)).round() as u8
    };
    [channel(0.0), channel(4.0), channel(2.0)]
}

/// Draws dots on a white square of `side` pixels, the first ones below the later ones; both axes have
/// the same scale.
pub fn scatter(dots: &[Dot], side: u32, radius: f64) -> RgbImage {
    let mut picture = RgbImage::from_pixel(side, side, PAPER);
    let finite = dots
        .iter()
        .filter(|dot| dot.at.iter().all(|v| v.is_finite()));
    let bound = |axis: usize, pick: fn(f64, f64) -> f64, start: f64| {
        finite.clone().map(|dot| dot.at[axis]).fold(start, pick)
    };
    let low = [0, 1].map(|axis| bound(axis, f64::min, f64::INFINITY));
    let high = [0, 1].map(|axis| bound(axis, f64::max, f64::NEG_INFINITY));
    let extent = (high[0] - low[0])
        .max(high[1] - low[1])
        .max(f64::MIN_POSITIVE);
    let scale = (f64::from(side) - 2.0 * MARGIN) / extent;
    for dot in finite.clone() {
        let place = [0, 1].map(|axis| {
            let centre = (low[axis] + high[axis]) / 2.0;
            f64::from(side) / 2.0 + (dot.at[axis] - centre) * scale
        });
        // Up is up.
        draw(
            &mut picture,
            dot,
            [place[0], f64::from(side) - place[1]],
            radius,
        );
    }
    picture
}

fn draw(picture: &mut RgbImage, dot: &Dot, [x, y]: [f64; 2], radius: f64) {
    let side = i64::from(picture.width());
    let range =
        |v: f64| ((v - radius).floor() as i64).max(0)..=((v + radius).ceil() as i64).min(side - 1);
    for row in range(y) {
        for column in range(x) {
            let (dx, dy) = (column as f64 - x, row as f64 - y);
            let inside = match dot.square {
                true => dx.abs().max(dy.abs()) <= 0.85 * radius,
                false => dx.hypot(dy) <= radius,
            };
            if inside {
                picture.put_pixel(column as u32, row as u32, Rgb(dot.colour));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(x: f64, y: f64, colour: [u8; 3]) -> Dot {
        Dot {
            at: [x, y],
            colour,
            square: false,
        }
    }

    #[test]
    fn corners_are_where_they_belong() {
        let dots = [
            dot(0.0, 0.0, [200, 0, 0]),
            dot(2.0, 2.0, [0, 0, 200]),
            dot(f64::NAN, 1.0, [0, 200, 0]),
        ];
        let picture = scatter(&dots, 100, 3.0);
        assert_eq!(picture.get_pixel(16, 84).0, [200, 0, 0]);
        assert_eq!(picture.get_pixel(84, 16).0, [0, 0, 200]);
        assert_eq!(picture.get_pixel(50, 50).0, [255; 3]);
        assert!(picture.pixels().all(|p| p.0 != [0, 200, 0]));
        assert_eq!(scatter(&[], 20, 2.0).get_pixel(10, 10).0, [255; 3]);
    }

    #[test]
    fn classes_have_colours_of_their_own() {
        let colours: std::collections::HashSet<_> =
            (0..12).map(|class| class_colour(class, 12)).collect();
        assert_eq!(colours.len(), 12);
        assert_eq!(class_colour(0, 12), [230, 0, 0]);
    }
}
