//! Measuring a detector on annotated images.

use std::sync::Arc;

use mic_data::detection::{DetectionSet, DetectionTransform};

use crate::detector::Model;
use crate::inference::detect_all;
use crate::metrics::{ImageBoxes, Metrics, measure};
use crate::{Error, Result};

/// Detects in every image of a set and compares with its annotations. Images are read ahead by
/// `threads` threads; `done` hears the number of images after each.
///
/// # Errors
/// An image that cannot be read; no image at all; another number of classes than the network's.
pub fn evaluate(
    model: &Model,
    transform: &DetectionTransform,
    set: &Arc<dyn DetectionSet>,
    threads: usize,
    done: &dyn Fn(usize),
) -> Result<Metrics> {
    let config = model.net.config();
    let classes = set.class_names();
    if classes.len() + 1 != config.roi.classes {
        return Err(Error::Run(format!(
            "the images have {} classes, the network {}",
            classes.len(),
            config.roi.classes - 1
        )));
    }
    if set.is_empty() {
        return Err(Error::Run("there is no image to evaluate on".into()));
    }
    let found = detect_all(model, transform, set, threads, done)?;
    let images: Vec<ImageBoxes> = found
        .iter()
        .enumerate()
        .map(|(index, found)| ImageBoxes::new(&set.objects(index), found, config.conventions))
        .collect();
    Ok(measure(&images, classes))
}
