//! Measuring a network on labelled images.

use image::{GrayImage, RgbImage};
use mic_data::{Classes, LabelledSet};

use crate::inference::Predictor;
use crate::metrics::{Confusion, Metrics};
use crate::{Error, Result};

/// The metrics of `predictor` on all images of `set`, each at its own size.
///
/// # Errors
///
/// An image that cannot be read or predicted; a set without images.
pub fn evaluate(
    predictor: &Predictor,
    set: &dyn LabelledSet,
    classes: &Classes,
) -> Result<Metrics> {
    evaluate_each(set, classes, |image| predictor.predict(image), |_| {})
}

/// As [`evaluate`], with any predictor of label maps; `done` is told the number of images after
/// each.
///
/// # Errors
///
/// Those of [`evaluate`], and a prediction of another size than its image.
pub fn evaluate_each(
    set: &dyn LabelledSet,
    classes: &Classes,
    mut predict: impl FnMut(&RgbImage) -> Result<GrayImage>,
    mut done: impl FnMut(usize),
) -> Result<Metrics> {
    if set.is_empty() {
        return Err(Error::Run("there is no image to evaluate on".into()));
    }
    let mut confusion = Confusion::new(classes.len());
    for index in 0..set.len() {
        let sample = set.get(index)?;
        let prediction = predict(&sample.image)?;
        if prediction.dimensions() != sample.label.dimensions() {
            return Err(Error::Run(format!(
                "{}: the prediction is {:?}, the label {:?} (width, height)",
                sample.name,
                prediction.dimensions(),
                sample.label.dimensions()
            )));
        }
        confusion.add(prediction.as_raw(), sample.label.as_raw());
        done(index + 1);
    }
    Ok(confusion.metrics())
}

#[cfg(test)]
mod tests {
    use image::{Luma, Rgb};
    use mic_data::Labelled;
    use mic_data::datasets::InMemory;

    use super::*;

    fn set() -> InMemory<Labelled> {
        let sample = |name: &str, label: [u8; 4]| Labelled {
            name: name.into(),
            image: RgbImage::from_pixel(2, 2, Rgb([label[0], 0, 0])),
            label: GrayImage::from_raw(2, 2, label.to_vec()).unwrap(),
        };
        InMemory::new(vec![sample("a", [0, 0, 0, 255]), sample("b", [1, 1, 1, 0])])
    }

    #[test]
    fn every_image_counts_once() {
        let mut seen = Vec::new();
        let from_red = |image: &RgbImage| {
            let red = image.get_pixel(0, 0).0[0];
            Ok(GrayImage::from_pixel(2, 2, Luma([red])))
        };
        let classes = Classes::camvid();
        let metrics = evaluate_each(&set(), &classes, from_red, |n| seen.push(n)).unwrap();
        assert_eq!(seen, [1, 2]);
        assert_eq!(metrics.iou[..3], [Some(0.75), Some(0.75), None]);
        assert_eq!(metrics.aacc, Some(6.0 / 7.0));
    }

    #[test]
    fn wrong_sizes_and_empty_sets_are_refused() {
        let classes = Classes::camvid();
        let small = |_: &RgbImage| Ok(GrayImage::new(1, 2));
        let error = evaluate_each(&set(), &classes, small, |_| {}).unwrap_err();
        assert!(error.to_string().contains("(1, 2)"), "{error}");
        let empty = InMemory::<Labelled>::new(Vec::new());
        assert!(evaluate_each(&empty, &classes, small, |_| {}).is_err());
    }
}
