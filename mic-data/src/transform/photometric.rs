//! Photometric distortion: brightness, contrast, saturation and hue on 8 bits.

use image::RgbImage;
use rand::Rng;

/// Drawn changes, each present half of the time (mmsegmentation's `PhotoMetricDistortion`, with the
/// arithmetic of OpenCV's 8-bit HSV). Applied in the order brightness, (contrast,) saturation,
/// hue, (contrast); every step clips to 0 to 255 and rounds down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PhotometricDistortion {
    /// Added to every channel, -32 to 32.
    pub brightness: Option<f32>,
    /// Factor of every channel, 0.5 to 1.5.
    pub contrast: Option<f32>,
    /// The contrast changes before saturation and hue rather than after them.
    pub contrast_first: bool,
    /// Factor of the saturation, 0.5 to 1.5.
    pub saturation: Option<f32>,
    /// Added to the hue in steps of 2 degrees, -18 to 17.
    pub hue: Option<i32>,
}

impl PhotometricDistortion {
    /// Draws the changes.
    pub fn sample(rng: &mut impl Rng) -> Self {
        let half = |rng: &mut _| Rng::random::<bool>(rng);
        let brightness = half(rng).then(|| rng.random_range(-32.0..32.0));
        let contrast_first = half(rng);
        let contrast = half(rng).then(|| rng.random_range(0.5..1.5));
        let saturation = half(rng).then(|| rng.random_range(0.5..1.5));
        let hue = half(rng).then(|| rng.random_range(-18..18));
        Self {
            brightness,
            contrast,
            contrast_first,
            saturation,
            hue,
        }
    }

    /// Changes the colours in place.
    pub fn apply(&self, image: &mut RgbImage) {
        if let Some(beta) = self.brightness {
            convert(image, 1.0, beta);
        }
        if let (true, Some(alpha)) = (self.contrast_first, self.contrast) {
            convert(image, alpha, 0.0);
        }
        if let Some(alpha) = self.saturation {
            let table = table(alpha, 0.0);
            in_hsv(image, |[h, s, v]| [h, table[usize::from(s)], v]);
        }
        if let Some(shift) = self.hue {
            let turn = |h: u8| (i32::from(h) + shift).rem_euclid(180) as u8;
            in_hsv(image, |[h, s, v]| [turn(h), s, v]);
        }
        if let (false, Some(alpha)) = (self.contrast_first, self.contrast) {
            convert(image, alpha, 0.0);
        }
    }
}

fn convert(image: &mut RgbImage, alpha: f32, beta: f32) {
    let table = table(alpha, beta);
    for value in image.iter_mut() {
        *value = table[usize::from(*value)];
    }
}

/// `value * alpha + beta` in f32 for every value, clipped, rounded down.
fn table(alpha: f32, beta: f32) -> [u8; 256] {
    std::array::from_fn(|value| (value as f32 * alpha + beta).clamp(0.0, 255.0) as u8)
}

fn in_hsv(image: &mut RgbImage, change: impl Fn([u8; 3]) -> [u8; 3]) {
    let hsv = HsvTables::new();
    for pixel in image.pixels_mut() {
        pixel.0 = to_rgb(change(hsv.of_rgb(pixel.0)));
    }
}

/// Reciprocals with 12 fractional bits.
struct HsvTables {
    /// 255 / v.
    saturation: [i32; 256],
    /// 180 / (6 * d).
    hue: [i32; 256],
}

const BITS: u32 = 12;

impl HsvTables {
    fn new() -> Self {
        let reciprocals = |numerator: i32, factor: f64| {
            std::array::from_fn(|value| match value {
                0 => 0,
                value => {
                    let exact = f64::from(numerator << BITS) / (factor * value as f64);
                    exact.round_ties_even() as i32
                }
            })
        };
        Self {
            saturation: reciprocals(255, 1.0),
            hue: reciprocals(180, 6.0),
        }
    }

    /// Hue in steps of 2 degrees (0 to 179), saturation and value (0 to 255).
    fn of_rgb(&self, [r, g, b]: [u8; 3]) -> [u8; 3] {
        let [r, g, b] = [r, g, b].map(i32::from);
        let value = r.max(g).max(b);
        let spread = value - r.min(g).min(b);
        let round = 1 << (BITS - 1);
        let saturation = (spread * self.saturation[value as usize] + round) >> BITS;
        // Sixths of a turn, times the spread.
        let sector = if value == r {
            g - b
        } else if value == g {
            b - r + 2 * spread
        } else {
            r - g + 4 * spread
        };
        let hue = (sector * self.hue[spread as usize] + round) >> BITS;
        let hue = if hue < 0 { hue + 180 } else { hue };
        [hue, saturation, value].map(|v| v.clamp(0, 255) as u8)
    }
}

/// The inverse in f32, rounded to the nearest.
fn to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    let (s, v) = (f32::from(s) * (1.0 / 255.0), f32::from(v) * (1.0 / 255.0));
    let hue = f32::from(h) * (6.0 / 180.0);
    let sector = hue.floor();
    let inside = hue - sector;
    let low = v * (1.0 - s);
    let falling = v * (1.0 - s * inside);
    let rising = v * (1.0 - s * (1.0 - inside));
    let rgb = match sector as i32 {
        0 => [v, rising, low],
        1 => [falling, v, low],
        2 => [low, v, rising],
        3 => [low, falling, v],
        4 => [rising, low, v],
        _ => [v, low, falling],
    };
    rgb.map(|value| (value * 255.0).round_ties_even().clamp(0.0, 255.0) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    /// Draws with the result of OpenCV's conversions, one after the other.
    fn recorded() -> serde_json::Value {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../testdata/recorded/photometric.json"
        );
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn colours_are_those_of_opencv() {
        let recorded = recorded();
        let cases = recorded["cases"].as_array().unwrap();
        assert!(cases.len() > 8);
        for case in cases {
            let number = |key: &str| case[key].as_f64().map(|value| value as f32);
            let drawn = PhotometricDistortion {
                brightness: number("brightness"),
                contrast: number("contrast"),
                contrast_first: case["contrast_first"].as_bool().unwrap(),
                saturation: number("saturation"),
                hue: case["hue"].as_i64().map(|value| value as i32),
            };
            let bytes =
                |key: &str| -> Vec<u8> { serde_json::from_value(case[key].clone()).unwrap() };
            let size = ["width", "height"].map(|key| case[key].as_u64().unwrap() as u32);
            let mut image = RgbImage::from_raw(size[0], size[1], bytes("rgb")).unwrap();
            drawn.apply(&mut image);
            assert_eq!(image.into_raw(), bytes("out"), "{drawn:?}");
        }
    }

    #[test]
    fn each_change_is_there_half_of_the_time_and_in_range() {
        let mut counts = [0u32; 5];
        for draw in 0..2000 {
            let drawn = PhotometricDistortion::sample(&mut stream(2, "distortion", draw));
            let there = [
                drawn.brightness.is_some(),
                drawn.contrast.is_some(),
                drawn.contrast_first,
                drawn.saturation.is_some(),
                drawn.hue.is_some(),
            ];
            for (count, there) in counts.iter_mut().zip(there) {
                *count += u32::from(there);
            }
            assert!(drawn.brightness.is_none_or(|b| (-32.0..32.0).contains(&b)));
            assert!(drawn.contrast.is_none_or(|c| (0.5..1.5).contains(&c)));
            assert!(drawn.saturation.is_none_or(|s| (0.5..1.5).contains(&s)));
            assert!(drawn.hue.is_none_or(|h| (-18..18).contains(&h)));
        }
        assert!(
            counts.iter().all(|count| (900..1100).contains(count)),
            "{counts:?}"
        );
    }
}
