//! Noise fields made once and read at random offsets: textures and sensor noise without drawing
//! a random number for every pixel.

use std::sync::OnceLock;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::rng::stream;

/// Which noise field a surface's texture comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// Three octaves in equal parts: asphalt, plaster, paint.
    Grain,
    /// Strong at the middle octave: leaves and grass.
    Leaves,
    /// Long and flat: clouds.
    Clouds,
    /// Every pixel on its own: the sensor.
    White,
}

/// The four fields for one range of image heights. Tiles with power-of-two sides.
pub(super) struct Fields {
    side: usize,
    fields: [Vec<f32>; 4],
}

/// Finest level for heights up to 96, then up to 192, up to 384, and above.
static LEVELS: [OnceLock<Fields>; 4] = [const { OnceLock::new() }; 4];

/// The fields that fit an image of this height; texture grows with the image.
pub(super) fn fields(height: u32) -> &'static Fields {
    let level = match height {
        0..=96 => 0,
        97..=192 => 1,
        193..=384 => 2,
        _ => 3,
    };
    LEVELS[level].get_or_init(|| Fields::new(level))
}

impl Fields {
    fn new(level: usize) -> Self {
        let side = if level == 0 { 256 } else { 512 };
        let unit = 1 << level;
        let mut rng = stream(0, "scenes/noise", level as u64);
        let mut octaves = |parts: &[(usize, usize, f32)]| {
            let mut sum = vec![0.0; side * side];
            for &(long, high, weight) in parts {
                add_octave(&mut sum, side, [long * unit, high * unit], weight, &mut rng);
            }
            standardise(sum)
        };
        let grain = octaves(&[(2, 2, 1.0), (4, 4, 1.0), (8, 8, 1.0), (1, 1, 0.5)]);
        let leaves = octaves(&[(2, 2, 1.0), (4, 4, 1.6), (8, 8, 0.5), (1, 1, 0.5)]);
        let clouds = octaves(&[(16, 8, 1.0), (32, 8, 1.5)]);
        let white = standardise(
            (0..side * side)
                .map(|_| (0..4).map(|_| rng.random::<f32>()).sum())
                .collect(),
        );
        Self {
            side,
            fields: [grain, leaves, clouds, white],
        }
    }

    /// One row of a field from `offset`, as `(row, mask)`: the value at column `x` is
    /// `row[(x + offset[0]) & mask]`. Mean 0 and standard deviation 1 over the field.
    pub(super) fn row(&self, field: Field, offset: [u16; 2], y: usize) -> (&[f32], usize) {
        let mask = self.side - 1;
        let start = ((y + usize::from(offset[1])) & mask) * self.side;
        let values = &self.fields[field as usize];
        (&values[start..start + self.side], mask)
    }
}

/// Adds smoothly interpolated random values, `cell` pixels apart, that repeat with the tile.
fn add_octave(sum: &mut [f32], side: usize, cell: [usize; 2], weight: f32, rng: &mut impl Rng) {
    let (columns, rows) = (side / cell[0], side / cell[1]);
    let knots: Vec<f32> = (0..columns * rows)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    for y in 0..side {
        let (top, fy) = (y / cell[1], ease((y % cell[1]) as f32 / cell[1] as f32));
        let bottom = (top + 1) % rows;
        for x in 0..side {
            let (left, fx) = (x / cell[0], ease((x % cell[0]) as f32 / cell[0] as f32));
            let right = (left + 1) % columns;
            let across = |row: usize| {
                knots[row * columns + left] * (1.0 - fx) + knots[row * columns + right] * fx
            };
            sum[y * side + x] += weight * (across(top) * (1.0 - fy) + across(bottom) * fy);
        }
    }
}

fn standardise(mut values: Vec<f32>) -> Vec<f32> {
    let count = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let square = |&v: &f32| (f64::from(v) - mean) * (f64::from(v) - mean);
    let sd = (values.iter().map(square).sum::<f64>() / count).sqrt();
    for v in &mut values {
        *v = ((f64::from(*v) - mean) / sd) as f32;
    }
    values
}
