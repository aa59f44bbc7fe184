//! RGB to HSV and back, branch-free, so that loops over pixels compile to vector instructions.

/// Keeps the saturation of black finite; part of the definition (see [`rgb_to_hsv`]).
pub(super) const EPSILON: f32 = 1e-6;

/// Hue in turns \[0, 1), saturation and value of an RGB colour in \[0, 1\].
///
/// With V the largest channel and D the distance to the smallest: S = D / (V + 1e-6), and the hue
/// counts from the first largest channel: (G - B) / D, 2 + (B - R) / D or 4 + (R - G) / D sixths of
/// a turn; 0 for grey.
#[inline(always)]
pub fn rgb_to_hsv([r, g, b]: [f32; 3]) -> [f32; 3] {
    let value = larger(larger(r, g), b);
    let delta = value - smaller(smaller(r, g), b);
    let scale = 1.0 / if delta == 0.0 { 1.0 } else { delta };
    let (numerator, start) = if r == value {
        (g - b, 0.0)
    } else if g == value {
        (b - r, 2.0)
    } else {
        (r - g, 4.0)
    };
    let hue = (start + numerator * scale) / 6.0;
    [
        if hue < 0.0 { hue + 1.0 } else { hue },
        delta / (value + EPSILON),
        value,
    ]
}

/// The RGB colour of a hue in turns (any within one turn of \[0, 1)), saturation and value.
#[inline(always)]
pub fn hsv_to_rgb([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    let hue = if hue < 0.0 { hue + 1.0 } else { hue };
    let sixths = 6.0 * if hue >= 1.0 { hue - 1.0 } else { hue };
    // How far each channel lies below the value, as a share of saturation * value: a trapezium over
    // the colour circle. This is the usual table of six sectors in one formula.
    let channel = |offset: f32| {
        let k = sixths + offset;
        let k = if k >= 6.0 { k - 6.0 } else { k };
        let below = larger(0.0, smaller(smaller(k, 4.0 - k), 1.0));
        value - value * saturation * below
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// `f32::max` without its care for NaN, which costs instructions.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
pub(super) fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: [f32; 3], b: [f32; 3], tolerance: f32) {
        assert!(
            a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance),
            "{a:?} is not {b:?}"
        );
    }

    #[test]
    fn known_colours() {
        let turn = std::f32::consts::TAU;
        close(
            rgb_to_hsv([0.2, 0.5, 0.3]),
            [2.443_461_2 / turn, 0.599_998_8, 0.5],
            1e-6,
        );
        close(
            rgb_to_hsv([0.9, 0.1, 0.15])[..1]
                .repeat(3)
                .try_into()
                .unwrap(),
            [6.217_735_3 / turn; 3],
            1e-6,
        );
        close(rgb_to_hsv([0.4; 3]), [0.0, 0.0, 0.4], 0.0);
        close(rgb_to_hsv([0.0; 3]), [0.0; 3], 0.0);
        close(
            hsv_to_rgb([2.443_461_2 / turn + 0.1, 0.599_998_8, 0.5]),
            [0.200_000_6, 0.5, 0.48],
            1e-6,
        );
        close(
            hsv_to_rgb([2.443_461_2 / turn - 0.2, 0.599_998_8, 0.5]),
            [0.46, 0.5, 0.200_000_6],
            1e-6,
        );
        let shifted = 6.217_735_3 / turn - 0.2;
        let saturation = rgb_to_hsv([0.9, 0.1, 0.15])[1];
        close(
            hsv_to_rgb([shifted, saturation, 0.9]),
            [0.69, 0.100_001, 0.9],
            1e-6,
        );
    }

    #[test]
    fn the_way_there_and_back_is_the_identity() {
        let steps = || (0..=12).map(|i| i as f32 / 12.0);
        for r in steps() {
            for g in steps() {
                for b in steps() {
                    close(hsv_to_rgb(rgb_to_hsv([r, g, b])), [r, g, b], 2e-6);
                }
            }
        }
    }
}
