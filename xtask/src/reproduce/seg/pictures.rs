//! What the networks see and predict on a few test images.

use anyhow::{Context, Result};
use image::RgbImage;
use mic_data::{Labelled, LabelledSet};
use mic_seg::train::Trained;

use crate::report::{Gallery, GalleryRow, paint};
use crate::reproduce::results::ClassEntry;
use crate::reproduce::task;

/// Test images in the report.
const COUNT: usize = 6;

/// Collects pictures of a few test images, method by method.
pub(super) struct Pictures {
    samples: Vec<Labelled>,
    classes: Vec<ClassEntry>,
    batch: usize,
    /// Teacher's labels and masked images, with the method they are from.
    inputs: Option<Inputs>,
    /// Method and its prediction of every sample.
    predictions: Vec<(String, Vec<RgbImage>)>,
}

struct Inputs {
    method: String,
    pseudo: Vec<RgbImage>,
    masked: Option<Vec<RgbImage>>,
}

impl Pictures {
    /// Chooses images at equal distances over `test`.
    ///
    /// # Errors
    ///
    /// Images that cannot be read.
    pub(super) fn new(
        test: &dyn LabelledSet,
        classes: Vec<ClassEntry>,
        batch: usize,
    ) -> Result<Self> {
        let count = COUNT.min(test.len());
        let samples = (0..count).map(|i| test.get(i * test.len() / count));
        Ok(Self {
            samples: samples.collect::<mic_data::Result<_>>()?,
            classes,
            batch: batch.max(1),
            inputs: None,
            predictions: Vec::new(),
        })
    }

    fn inputs_of(&self, label: &str, trained: &Trained, masks: bool) -> Result<Option<Inputs>> {
        let mut pseudo = Vec::new();
        for batch in self.samples.chunks(self.batch) {
            let images: Vec<&RgbImage> = batch.iter().map(|sample| &sample.image).collect();
            let Some(labels) = trained.teacher_labels(&images)? else {
                return Ok(None);
            };
            pseudo.extend(labels.iter().map(|ids| paint(ids, &self.classes)));
        }
        let mask = |(step, sample): (usize, &Labelled)| -> Result<RgbImage> {
            let masked = trained.masked_example(&sample.image, step as u64)?;
            masked.context("a method with a mask has no masked image")
        };
        let masked = masks
            .then(|| self.samples.iter().enumerate().map(mask).collect())
            .transpose()?;
        Ok(Some(Inputs {
            method: label.to_owned(),
            pseudo,
            masked,
        }))
    }
}

impl task::Pictures<Trained> for Pictures {
    /// Pseudo-labels and masks are those of the first method that masks, or else of the first with
    /// a teacher.
    fn add(&mut self, label: &str, trained: &Trained) -> Result<()> {
        let predictor = trained.predictor()?;
        let predict = |sample: &Labelled| -> Result<RgbImage> {
            Ok(paint(&predictor.predict(&sample.image)?, &self.classes))
        };
        let predictions = self.samples.iter().map(predict).collect::<Result<_>>()?;
        self.predictions.push((label.to_owned(), predictions));
        let masks = trained
            .config()
            .mask
            .as_ref()
            .is_some_and(|mask| mask.ratio > 0.0);
        match &self.inputs {
            Some(inputs) if inputs.masked.is_some() || !masks => Ok(()),
            _ => {
                self.inputs = self.inputs_of(label, trained, masks)?;
                Ok(())
            }
        }
    }

    fn gallery(&self, seed: u64) -> Gallery {
        let mut columns: Vec<(String, Vec<RgbImage>)> = vec![
            (
                "image".into(),
                self.samples.iter().map(|s| s.image.clone()).collect(),
            ),
            (
                "ground truth".into(),
                self.samples
                    .iter()
                    .map(|s| paint(&s.label, &self.classes))
                    .collect(),
            ),
        ];
        let mut note = format!("Predictions of the students of seed {seed}; black is no class.");
        if let Some(inputs) = &self.inputs {
            columns.push(("pseudo-label (teacher)".into(), inputs.pseudo.clone()));
            columns.extend(
                inputs
                    .masked
                    .clone()
                    .map(|masked| ("masked input".into(), masked)),
            );
            note += &format!(
                " Pseudo-labels and masks are those of {}, here on test images that training never \
                 sees.",
                inputs.method
            );
        }
        columns.extend(self.predictions.iter().cloned());
        let row = |(index, sample): (usize, &Labelled)| GalleryRow {
            name: sample.name.clone(),
            pictures: columns
                .iter()
                .map(|(_, pictures)| pictures[index].clone())
                .collect(),
        };
        Gallery {
            rows: self.samples.iter().enumerate().map(row).collect(),
            captions: columns.iter().map(|(caption, _)| caption.clone()).collect(),
            note,
            coloured: true,
        }
    }
}
