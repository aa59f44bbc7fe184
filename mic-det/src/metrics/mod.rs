//! How good detections are: average precision as COCO and as Pascal VOC define it.
//!
//! [`measure`] gives everything at once; [`coco`] and [`voc`] are the two measures. Both take the
//! objects and detections of all images as [`ImageBoxes`], in pixels of the annotated image.

mod boxes;
mod coco;
mod curve;
mod matching;
mod summary;
mod voc;

pub use boxes::{FoundBox, ImageBoxes, TrueBox};
pub use coco::{Coco, CocoOptions, CocoScores, coco};
pub use summary::{Metrics, measure};
pub use voc::{Interpolation, Voc, VocOptions, VocRule, voc};
