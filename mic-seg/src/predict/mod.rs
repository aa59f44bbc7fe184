//! Predictions for image files: what a network says about them, as pictures and in numbers.

mod output;
mod plan;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::RgbImage;
use mic_data::Classes;
use mic_data::files::read_image;
use serde::Serialize;

pub use output::{Ids, Output};
pub use plan::{Job, Plan, plan};

use crate::inference::Segmented;
use crate::{Error, Result};

/// What is told of a prediction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The image.
    pub image: PathBuf,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The files written, by what they show.
    pub files: BTreeMap<&'static str, PathBuf>,
    /// Share of the image's pixels by class name, 0 to 1; they add up to 1.
    pub shares: BTreeMap<String, f64>,
    /// Mean over the pixels of the probability of their class, 0 to 1.
    pub confidence: f64,
}

/// What is told of all predictions together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary<'a> {
    /// The network's file.
    pub checkpoint: &'a Path,
    /// Its classes, by train id.
    pub classes: &'a [String],
    /// The images in the order in which they were predicted.
    pub images: &'a [Prediction],
    /// Share of all pixels by class name, 0 to 1.
    pub shares: BTreeMap<String, f64>,
    /// Seconds from the first image's reading to the last one's files.
    pub seconds: f64,
    /// Images a second.
    pub images_per_second: f64,
}

impl<'a> Summary<'a> {
    /// The summary of predictions that took `seconds`.
    pub fn of(
        checkpoint: &'a Path,
        classes: &'a Classes,
        images: &'a [Prediction],
        seconds: f64,
    ) -> Self {
        let pixels = |image: &Prediction| f64::from(image.width) * f64::from(image.height);
        let total: f64 = images.iter().map(pixels).sum();
        let share = |name: &String| {
            let own = images
                .iter()
                .map(|image| image.shares[name] * pixels(image));
            own.sum::<f64>() / total.max(1.0)
        };
        let names = classes.names();
        Self {
            checkpoint,
            classes: names,
            images,
            shares: names
                .iter()
                .map(|name| (name.clone(), share(name)))
                .collect(),
            seconds,
            images_per_second: images.len() as f64 / seconds.max(f64::MIN_POSITIVE),
        }
    }
}

/// Reads the image of `job`, predicts it, and writes its files. `opacity` of the overlay is from 0
/// (image alone) to 1 (colours alone).
///
/// # Errors
///
/// An image that cannot be read or predicted, or a file that cannot be written.
pub fn predict_file(
    job: &Job,
    classes: &Classes,
    opacity: f32,
    predict: impl FnOnce(&RgbImage) -> Result<Segmented>,
) -> Result<Prediction> {
    let image = read_image(&job.image)?;
    let segmented = predict(&image).map_err(|error| match error {
        Error::Run(reason) => Error::Run(format!("{}: {reason}", job.image.display())),
        other => other,
    })?;
    for (output, path) in &job.files {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| mic_data::Error::Io {
                path: folder.to_owned(),
                source,
            })?;
        }
        output.write(path, &image, &segmented, classes, opacity)?;
    }
    let files = job.files.iter();
    let confidence = segmented.confidence.iter().map(|c| f64::from(*c));
    Ok(Prediction {
        image: job.image.clone(),
        width: image.width(),
        height: image.height(),
        files: files
            .map(|(output, path)| (output.name(), path.clone()))
            .collect(),
        shares: shares(segmented.ids.as_raw(), classes),
        confidence: confidence.sum::<f64>() / segmented.confidence.len().max(1) as f64,
    })
}

fn shares(ids: &[u8], classes: &Classes) -> BTreeMap<String, f64> {
    let mut pixels = vec![0u64; 256];
    for id in ids {
        pixels[usize::from(*id)] += 1;
    }
    let total = ids.len().max(1) as f64;
    let named = classes.names().iter().cloned().zip(pixels);
    named.map(|(name, n)| (name, n as f64 / total)).collect()
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgb};
    use mic_data::files::write_rgb;

    use super::*;

    fn halves(image: &RgbImage) -> Result<Segmented> {
        let (width, height) = image.dimensions();
        Ok(Segmented {
            ids: GrayImage::from_fn(width, height, |x, _| Luma([(x / 2) as u8])),
            confidence: (0..width * height)
                .map(|i| [0.2, 1.0][i as usize % 2])
                .collect(),
        })
    }

    #[test]
    fn a_prediction_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("x.png");
        write_rgb(&image, &RgbImage::from_pixel(4, 2, Rgb([8, 9, 10]))).unwrap();
        let out = folder.path().join("out");
        let outputs = [
            Output::Overlay,
            Output::Id,
            Output::Color,
            Output::Confidence,
        ];
        let jobs = plan(&[image], &out, &outputs).unwrap().jobs;
        let classes = Classes::camvid();
        let told = predict_file(&jobs[0], &classes, 0.0, halves).unwrap();
        assert_eq!((told.width, told.height), (4, 2));
        assert_eq!((told.shares["sky"], told.shares["building"]), (0.5, 0.5));
        assert_eq!(told.shares.values().sum::<f64>(), 1.0);
        assert!((told.confidence - 0.6).abs() < 1e-7);
        let read = |kind: &str| read_image(&told.files[kind]).unwrap().get_pixel(3, 1).0;
        assert_eq!(read("overlay"), [8, 9, 10]);
        assert_eq!(read("color"), classes.palette()[1]);
        assert_eq!(read("id"), [1; 3]);
        assert_eq!(read("confidence"), [255; 3]);
        let confidence = read_image(&out.join("x_confidence.png")).unwrap();
        assert_eq!(confidence.get_pixel(0, 0).0, [51; 3]);

        let summary = Summary::of(Path::new("run"), &classes, std::slice::from_ref(&told), 0.5);
        assert_eq!(summary.images_per_second, 2.0);
        assert_eq!(summary.shares, told.shares);
    }
}
