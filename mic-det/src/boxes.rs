//! Boxes as plain numbers: sizes, overlap, clipping. No gradient ever flows through a box.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::conventions::Conventions;
use crate::{Error, Result};

/// Corners x1, y1, x2, y2 in pixels. Whether x2 and y2 belong to the box is a matter of
/// [`Conventions`].
pub type Corners = [f32; 4];

/// Height and width of an image in pixels.
pub type Size = (usize, usize);

impl Conventions {
    /// Width and height of a box.
    pub fn sides(self, [x1, y1, x2, y2]: Corners) -> [f32; 2] {
        let extra = self.extra();
        [x2 - x1 + extra, y2 - y1 + extra]
    }

    /// Area of a box.
    pub fn area(self, corners: Corners) -> f32 {
        let [width, height] = self.sides(corners);
        width * height
    }

    /// Intersection over union.
    pub fn iou(self, a: Corners, b: Corners) -> f32 {
        overlap(self.extra(), a, self.area(a), b, self.area(b))
    }

    /// The overlap of every box of `rows` with every box of `columns`, row by row.
    pub fn iou_matrix(self, rows: &[Corners], columns: &[Corners]) -> Vec<f32> {
        let areas: Vec<f32> = columns.iter().map(|&c| self.area(c)).collect();
        let mut matrix = vec![0f32; rows.len() * columns.len()];
        if columns.is_empty() {
            return matrix;
        }
        let lines = matrix.par_chunks_mut(columns.len()).zip(rows);
        lines.for_each(|(line, &row)| {
            let area = self.area(row);
            for ((iou, &column), &other) in line.iter_mut().zip(columns).zip(&areas) {
                *iou = overlap(self.extra(), row, area, column, other);
            }
        });
        matrix
    }

    /// The part of a box inside an image. Boxes outside become empty ones at the border.
    pub fn clip(self, [x1, y1, x2, y2]: Corners, (height, width): Size) -> Corners {
        let right = width as f32 - self.extra();
        let bottom = height as f32 - self.extra();
        // Minimum and maximum would turn a NaN into a number.
        let keep = |v: f32, last: f32| match () {
            () if v < 0.0 => 0.0,
            () if v > last => last,
            () => v,
        };
        [
            keep(x1, right),
            keep(y1, bottom),
            keep(x2, right),
            keep(y2, bottom),
        ]
    }

    /// x, y, width and height.
    pub fn to_xywh(self, corners: Corners) -> [f32; 4] {
        let [width, height] = self.sides(corners);
        [corners[0], corners[1], width, height]
    }

    /// Corners from x, y, width and height; sizes below one pixel (`Legacy`) or zero (`Modern`)
    /// are raised to that.
    pub fn from_xywh(self, [x, y, width, height]: [f32; 4]) -> Corners {
        let extra = self.extra();
        [
            x,
            y,
            x + (width - extra).max(0.0),
            y + (height - extra).max(0.0),
        ]
    }

    /// The box in the mirrored image.
    pub fn flip(self, [x1, y1, x2, y2]: Corners, (_, width): Size) -> Corners {
        let last = width as f32 - self.extra();
        [last - x2, y1, last - x1, y2]
    }

    /// Whether both sides are at least `least`; not so with NaN.
    pub fn at_least(self, corners: Corners, least: f32) -> bool {
        self.sides(corners).iter().all(|&side| side >= least)
    }
}

/// Intersection over union in the reference's order of operations.
#[inline(always)]
fn overlap(extra: f32, a: Corners, area_a: f32, b: Corners, area_b: f32) -> f32 {
    let width = (a[2].min(b[2]) - a[0].max(b[0]) + extra).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1]) + extra).max(0.0);
    let shared = width * height;
    shared / (area_a + area_b - shared)
}

/// A box in an image that was scaled from one size to another: coordinates are multiplied, without
/// a correction for corners that belong to the box (as in the reference).
pub fn resize(corners: Corners, from: Size, to: Size) -> Corners {
    let x = (to.1 as f64 / from.1 as f64) as f32;
    let y = (to.0 as f64 / from.0 as f64) as f32;
    [
        corners[0] * x,
        corners[1] * y,
        corners[2] * x,
        corners[3] * y,
    ]
}

/// Whether x2 > x1 and y2 > y1.
pub fn is_proper([x1, y1, x2, y2]: Corners) -> bool {
    x2 > x1 && y2 > y1
}

/// A tensor (K, 4).
///
/// # Errors
/// When it cannot be made.
pub fn to_tensor(boxes: &[Corners]) -> Result<Tensor> {
    let flat = boxes.as_flattened().to_vec();
    Ok(Tensor::from_vec(flat, (boxes.len(), 4), &Device::Cpu)?)
}

/// The rows of a tensor f32 (K, 4).
///
/// # Errors
/// Another shape or dtype.
pub fn from_tensor(tensor: &Tensor) -> Result<Vec<Corners>> {
    match *tensor.dims() {
        [_, 4] => {
            let flat = tensor.flatten_all()?.to_vec1::<f32>()?;
            Ok(flat.as_chunks::<4>().0.to_vec())
        }
        ref other => Err(Error::Run(format!(
            "boxes have shape {other:?}, expected (K, 4): x1, y1, x2, y2"
        ))),
    }
}

/// The boxes of all images with the image's number in front: (K, 5).
///
/// # Errors
/// When it cannot be made.
pub fn to_rois<'a>(images: impl IntoIterator<Item = &'a [Corners]>) -> Result<Tensor> {
    let mut flat = Vec::new();
    for (image, boxes) in images.into_iter().enumerate() {
        for &[x1, y1, x2, y2] in boxes {
            flat.extend([image as f32, x1, y1, x2, y2]);
        }
    }
    let rows = flat.len() / 5;
    Ok(Tensor::from_vec(flat, (rows, 5), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_include_the_last_pixel_by_default() {
        let square = [0.0, 0.0, 9.0, 9.0];
        for (other, expected) in [
            ([5.0, 5.0, 14.0, 14.0], 0.142_857_1),
            ([10.0, 0.0, 19.0, 9.0], 0.0),
            ([9.0, 9.0, 18.0, 18.0], 0.005_025_13),
        ] {
            let iou = Conventions::Legacy.iou(square, other);
            assert!((iou - expected).abs() < 1e-7, "{iou}");
        }
        let touching = Conventions::Modern.iou(square, [9.0, 9.0, 18.0, 18.0]);
        assert_eq!(touching, 0.0);
    }

    #[test]
    fn clipping_keeps_nan_and_knows_the_last_pixel() {
        let clip = |c: Conventions| c.clip([-3.0, 2.0, 50.0, f32::NAN], (20, 30));
        let clipped = clip(Conventions::Legacy);
        assert_eq!(clipped[..3], [0.0, 2.0, 29.0]);
        assert!(clipped[3].is_nan());
        assert_eq!(clip(Conventions::Modern)[2], 30.0);
        assert!(!Conventions::Legacy.at_least(clipped, 0.0));
    }
}
