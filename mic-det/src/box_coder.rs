//! Boxes as offsets from other boxes (Girshick, "Fast R-CNN", sec. 2.3).

use crate::boxes::Corners;
use crate::conventions::Conventions;

/// The largest logarithm of a ratio of sides that is decoded: ln(1000 / 16).
const LARGEST: f32 = 4.135_166_5;

/// Offsets of a box with centre (x, y) and sides (w, h) from one with centre (x', y') and sides
/// (w', h'), each times its weight:
/// `(x - x') / w'`, `(y - y') / h'`, `ln(w / w')`, `ln(h / h')`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxCoder {
    /// Factors of the four offsets.
    pub weights: [f32; 4],
    /// What a side is.
    pub conventions: Conventions,
}

impl BoxCoder {
    /// That of proposals: weights 1.
    pub fn proposals(conventions: Conventions) -> Self {
        Self {
            weights: [1.0; 4],
            conventions,
        }
    }

    /// That of detections: weights 10, 10, 5, 5.
    pub fn detections(conventions: Conventions) -> Self {
        Self {
            weights: [10.0, 10.0, 5.0, 5.0],
            conventions,
        }
    }

    fn centre(&self, corners: Corners) -> [f32; 4] {
        let [width, height] = self.conventions.sides(corners);
        [
            corners[0] + 0.5 * width,
            corners[1] + 0.5 * height,
            width,
            height,
        ]
    }

    /// The offsets of `wanted` from `from`. Not finite where a side is 0 or negative.
    pub fn encode(&self, wanted: Corners, from: Corners) -> [f32; 4] {
        let [x, y, width, height] = self.centre(from);
        let [to_x, to_y, to_width, to_height] = self.centre(wanted);
        let [wx, wy, ww, wh] = self.weights;
        [
            wx * (to_x - x) / width,
            wy * (to_y - y) / height,
            ww * (to_width / width).ln(),
            wh * (to_height / height).ln(),
        ]
    }

    /// The box at `offsets` from `from`. Sides grow by at most 1000 / 16.
    pub fn decode(&self, offsets: [f32; 4], from: Corners) -> Corners {
        let [x, y, width, height] = self.centre(from);
        let [wx, wy, ww, wh] = self.weights;
        let [dx, dy, dw, dh] = offsets;
        // A NaN stays one.
        let grow = |d: f32| if d > LARGEST { LARGEST } else { d }.exp();
        let (to_x, to_y) = (dx / wx * width + x, dy / wy * height + y);
        let (to_width, to_height) = (grow(dw / ww) * width, grow(dh / wh) * height);
        let extra = self.conventions.extra();
        [
            to_x - 0.5 * to_width,
            to_y - 0.5 * to_height,
            to_x + 0.5 * to_width - extra,
            to_y + 0.5 * to_height - extra,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_offsets() {
        let coder = BoxCoder::detections(Conventions::Legacy);
        let (from, wanted) = ([10.0, 20.0, 109.0, 69.0], [14.0, 18.0, 133.0, 77.0]);
        let offsets = coder.encode(wanted, from);
        let expected = [1.4, 0.6, 0.911_608, 0.911_608];
        for (ours, expected) in offsets.iter().zip(expected) {
            assert!((ours - expected).abs() < 1e-6, "{offsets:?}");
        }
        for (ours, expected) in coder.decode(offsets, from).iter().zip(wanted) {
            assert!((ours - expected).abs() < 1e-5);
        }
        let [x1, y1, x2, y2] = coder.decode([0.0, 0.0, 100.0, 0.0], from);
        assert!((x1 + 3065.0002).abs() < 1e-2 && (x2 - 3184.0002).abs() < 1e-2);
        assert_eq!((y1, y2), (20.0, 69.0));
    }
}
