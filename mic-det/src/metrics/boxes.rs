//! What the measures compare.

use mic_data::detection::Objects;

use crate::conventions::Conventions;
use crate::roi::Detections;

/// An annotated object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrueBox {
    /// Class, from 1.
    pub label: u32,
    /// x, y, width and height in pixels.
    pub xywh: [f64; 4],
    /// Area in pixels as annotated, which may be that of a mask.
    pub area: f64,
    /// A crowd (COCO) or a difficult object (VOC): whoever finds it is neither right nor wrong.
    pub ignored: bool,
    /// Id of the annotation.
    pub id: u64,
}

/// A detection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundBox {
    /// Class, from 1.
    pub label: u32,
    /// x, y, width and height in pixels.
    pub xywh: [f64; 4],
    /// Larger is surer.
    pub score: f64,
}

/// The objects of an image and what was found in it. Both are in pixels of the annotated image, and
/// their widths are numbers of pixels: a box from pixel 3 to pixel 5 is 3 wide.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageBoxes {
    /// Annotated objects.
    pub truth: Vec<TrueBox>,
    /// Detections in any order.
    pub found: Vec<FoundBox>,
}

impl ImageBoxes {
    /// From a set's objects and a network's detections in pixels of the same image.
    pub fn new(objects: &Objects, found: &Detections, conventions: Conventions) -> Self {
        let boxes = objects.boxes.to_xywh().into_iter().enumerate();
        let truth = boxes.map(|(i, xywh)| TrueBox {
            label: objects.labels[i],
            xywh: xywh.map(f64::from),
            area: objects.areas[i],
            ignored: objects.ignored[i],
            id: objects.ids[i],
        });
        let boxes = found.boxes.iter().enumerate();
        let found = boxes.map(|(i, &corners)| FoundBox {
            label: found.labels[i],
            xywh: conventions.to_xywh(corners).map(f64::from),
            score: f64::from(found.scores[i]),
        });
        Self {
            truth: truth.collect(),
            found: found.collect(),
        }
    }
}

/// The area that two boxes share; none with NaN.
pub(super) fn shared(a: [f64; 4], b: [f64; 4]) -> f64 {
    // Minimum and maximum would turn a NaN into a number.
    if a.iter().chain(&b).any(|v| v.is_nan()) {
        return 0.0;
    }
    let side = |n: usize| (a[n] + a[n + 2]).min(b[n] + b[n + 2]) - a[n].max(b[n]);
    let (width, height) = (side(0), side(1));
    match width > 0.0 && height > 0.0 {
        true => width * height,
        false => 0.0,
    }
}

/// Area of a box.
pub(super) fn area([_, _, width, height]: [f64; 4]) -> f64 {
    width * height
}

/// Places by descending score; of equal scores the first comes first, and NaN comes last.
pub(super) fn by_score(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let key = |i: usize| match scores[i].is_nan() {
        true => f64::NEG_INFINITY,
        false => scores[i],
    };
    order.sort_by(|&a, &b| {
        key(b)
            .partial_cmp(&key(a))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    order
}
