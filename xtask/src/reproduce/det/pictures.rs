//! Test images with what is there, and with what each method finds.

use std::sync::Arc;

use anyhow::Result;
use image::RgbImage;
use mic_data::detection::{DetectionSet, DetectionTransform, Objects};
use mic_det::draw::{DrawnBox, class_colour, draw, drawn};
use mic_det::inference::detect_image;
use mic_det::train::Trained;

use crate::report::{Gallery, GalleryRow};
use crate::reproduce::task;

/// Test images in the report.
const COUNT: usize = 6;

/// Detections of a lower score are not drawn.
const LEAST: f32 = 0.5;

/// Collects pictures of a few test images, method by method.
pub(super) struct Pictures {
    names: Vec<String>,
    classes: Vec<String>,
    transform: DetectionTransform,
    images: Vec<RgbImage>,
    /// Caption and one picture an image.
    columns: Vec<(String, Vec<RgbImage>)>,
}

impl Pictures {
    /// Chooses images at equal distances over `test`.
    ///
    /// # Errors
    ///
    /// Images that cannot be read.
    pub(super) fn new(test: &Arc<dyn DetectionSet>, transform: DetectionTransform) -> Result<Self> {
        let count = COUNT.min(test.len());
        let chosen: Vec<usize> = (0..count).map(|i| i * test.len() / count).collect();
        let images = chosen.iter().map(|&i| test.pixels(i));
        let images = images.collect::<mic_data::Result<Vec<_>>>()?;
        let truth = chosen.iter().zip(&images);
        let truth = truth.map(|(&i, image)| annotated(image, &test.objects(i)));
        Ok(Self {
            names: chosen.iter().map(|&i| test.name(i)).collect(),
            classes: test.class_names().to_vec(),
            transform,
            columns: vec![("annotated".into(), truth.collect())],
            images,
        })
    }
}

fn annotated(image: &RgbImage, objects: &Objects) -> RgbImage {
    let boxes = objects.boxes.corners.iter().zip(&objects.labels);
    let boxes: Vec<DrawnBox> = boxes
        .map(|(&corners, &label)| DrawnBox {
            corners,
            colour: class_colour(label),
            text: String::new(),
        })
        .collect();
    let mut image = image.clone();
    draw(&mut image, &boxes);
    image
}

impl task::Pictures<Trained> for Pictures {
    fn add(&mut self, label: &str, trained: &Trained) -> Result<()> {
        let model = trained.adaptation.student();
        let picture = |image: &RgbImage| -> Result<RgbImage> {
            let found = detect_image(model, &self.transform, image)?;
            let mut image = image.clone();
            draw(&mut image, &drawn(&found, &self.classes, LEAST));
            Ok(image)
        };
        let pictures = self.images.iter().map(picture).collect::<Result<_>>()?;
        self.columns.push((label.to_owned(), pictures));
        Ok(())
    }

    fn gallery(&self, seed: u64) -> Gallery {
        let row = |(index, name): (usize, &String)| GalleryRow {
            name: name.clone(),
            pictures: self
                .columns
                .iter()
                .map(|(_, pictures)| pictures[index].clone())
                .collect(),
        };
        Gallery {
            captions: self.columns.iter().map(|(c, _)| c.clone()).collect(),
            rows: self.names.iter().enumerate().map(row).collect(),
            note: format!(
                "Detections of the students of seed {seed} with a score of at least {LEAST}, with \
                 class and score in per cent; a colour is a class."
            ),
            coloured: false,
        }
    }
}
