//! Images with boxes: data sets, the COCO conversion of Cityscapes, and the batches of a training
//! run.
//!
//! - [`CocoSet`] and [`VocSet`] read the usual layouts, [`catalogue`] holds the paths of the
//!   reference's data sets; [`DetectionConfig`] is any of these in TOML, and
//!   [`DetectionDomainsConfig`] a source with its target.
//! - [`convert_cityscapes`] makes COCO files of Cityscapes and Foggy Cityscapes.
//! - [`DetectionPipeline`] makes the batch of a training step.
//! - [`check_detection`] reads a whole set and lists what is wrong with it.
//!
//! Boxes follow the reference: corners are inclusive pixel coordinates, so that a box of one pixel
//! has equal corners, and width is `x2 - x1 + 1`.

mod batch;
mod boxes;
mod catalogue;
mod check;
mod cityscapes;
mod coco;
mod coco_write;
mod config;
mod contour;
mod pipeline;
mod sample;
mod select;
mod voc;
mod voc_xml;

pub use batch::{BoxedBatch, DetectionBatch, ImageBatch, join_padded, pad_images, padded_size};
pub use boxes::{Boxes, Objects};
pub use catalogue::{CATALOGUE, CatalogueEntry, catalogue};
pub use check::{check_detection, check_detection_domains};
pub use cityscapes::{CITYSCAPES_CATEGORIES, Conversion, convert_cityscapes};
pub use coco::CocoSet;
pub use coco_write::{CocoAnnotation, CocoCategory, CocoDocument, CocoImage};
pub use config::{
    DetectionConfig, DetectionDomains, DetectionDomainsConfig, open_detection_images,
};
pub use pipeline::{Channels, DetectionPipeline, DetectionPipelineConfig, DetectionTransform};
pub use sample::{Annotated, DetectionImages, DetectionSet, FolderImages, WithoutObjects};
pub use select::{DetectionConcat, ImagesConcat, Selected, usable_images};
pub use voc::{VocConfig, VocSet};
pub use voc_xml::{Difficult, VocObject, VocRecord, parse_voc};
