//! Features of images.

use image::RgbImage;

use crate::Result;
use crate::inference::Predictor;
use crate::metrics::argmax;

/// Images that go through the network at a time.
const BATCH: usize = 32;

/// Features of some images.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// Names of the images.
    pub names: Vec<String>,
    /// What the head sees of each, all of one length.
    pub values: Vec<Vec<f32>>,
    /// The class that the head finds.
    pub predicted: Vec<u32>,
}

/// Name and pixels of the image with an index.
pub(crate) type Named<'a> = dyn Fn(usize) -> Result<(String, RgbImage)> + 'a;

/// The features of `count` images of a set of `len`, spread evenly over it, as evaluation sees them:
/// with running statistics and without augmentation. (The published code takes images as training
/// sees them.)
///
/// # Errors
/// Images that cannot be read.
pub fn collect(
    predictor: &Predictor,
    (len, image): (usize, &Named<'_>),
    count: usize,
) -> Result<Features> {
    let count = count.min(len);
    let places: Vec<usize> = (0..count).map(|place| place * len / count).collect();
    let mut features = Features::default();
    for places in places.chunks(BATCH) {
        let samples = places.iter().map(|place| image(*place));
        let (names, images): (Vec<_>, Vec<_>) =
            samples.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let output = predictor.features(&images)?;
        features.names.extend(names);
        features.values.extend(output.features.to_vec2::<f32>()?);
        let logits = output.logits.to_vec2::<f32>()?;
        features.predicted.extend(logits.iter().map(|l| argmax(l)));
    }
    Ok(features)
}
