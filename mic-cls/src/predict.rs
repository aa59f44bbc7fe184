//! Classes of image files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use mic_data::files::{read_image, scan};

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
/// [`Error::Config`] for an input that is missing and a folder without images.
pub fn files(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        if input.is_dir() {
            files.extend(files_below(input)?);
        } else if input.is_file() {
            files.push(input.clone());
        } else {
            return Err(Error::Config(format!(
                "input {} is neither a file nor a folder",
                input.display()
            )));
        }
    }
    let mut known = HashSet::new();
    files.retain(|file| known.insert(file.clone()));
    Ok(files)
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let found = match scan(folder, "") {
        Ok(found) => found,
        Err(mic_data::Error::Invalid(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let is_image = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let known = ["png", "jpg", "jpeg"];
        known.iter().any(|known| extension == *known)
    };
    let files: Vec<_> = found.into_iter().map(|f| f.path).filter(is_image).collect();
    if files.is_empty() {
        return Err(Error::Config(format!(
            "folder {} has no .png, .jpg or .jpeg file",
            folder.display()
        )));
    }
    Ok(files)
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
