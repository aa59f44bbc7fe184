//! Classes of image files.

use std::path::PathBuf;

use mic_data::files::{input_files, read_image};

use crate::inference::Predictor;
use crate::metrics::argmax;
use crate::{Error, Result};

/// What is told of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The image.
    pub image: PathBuf,
    /// The most probable class.
    pub class: String,
    /// Its probability.
    pub probability: f32,
    /// The probability of every class, in the order of their ids; they add up to 1.
    pub probabilities: Vec<f32>,
}

/// The image files among `inputs` and below the folders among them, PNG and JPEG, each once.
///
/// # Errors
/// [`Error::Config`] for an input that is missing or a video, and a folder without images.
pub fn files(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let found = input_files(inputs).map_err(|error| match error {
        mic_data::Error::Invalid(message) => Error::Config(message),
        other => other.into(),
    })?;
    Ok(found.images.into_iter().map(|file| file.path).collect())
}

/// Classifies image files that are one batch.
///
/// # Errors
/// A file that is no image: names it.
pub fn predict(predictor: &Predictor, files: &[PathBuf]) -> Result<Vec<Prediction>> {
    let images = files.iter().map(|file| read_image(file));
    let images = images.collect::<mic_data::Result<Vec<_>>>()?;
    let probabilities = predictor.probabilities(&images)?;
    let predictions = files
        .iter()
        .zip(probabilities)
        .map(|(file, probabilities)| {
            let class = argmax(&probabilities) as usize;
            Prediction {
                image: file.clone(),
                class: predictor.classes()[class].clone(),
                probability: probabilities[class],
                probabilities,
            }
        });
    Ok(predictions.collect())
}
