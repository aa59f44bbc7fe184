//! Test images, and what each method takes for what.

use std::sync::Arc;

use anyhow::{Context, Result};
use image::RgbImage;
use image::imageops::{FilterType, resize};
use mic_cls::pictures::confusion_matrix;
use mic_cls::train::Trained;
use mic_data::classification::ClassifiedSet;
use mic_data::contact_sheet::contact_sheet;

use crate::report::{Gallery, GalleryRow};
use crate::reproduce::task;

/// Test images on the sheet, in a square.
const SIDE: usize = 5;

/// Their size in pixels.
const TILE: u32 = 40;

/// A sheet of test images, and the confusion matrix of every method.
pub(super) struct Pictures {
    test: Arc<dyn ClassifiedSet>,
    sheet: RgbImage,
    matrices: Vec<(String, RgbImage)>,
}

impl Pictures {
    /// Chooses images at equal distances over `test`.
    ///
    /// # Errors
    ///
    /// Images that cannot be read.
    pub(super) fn new(test: Arc<dyn ClassifiedSet>) -> Result<Self> {
        let count = (SIDE * SIDE).min(test.len());
        let images = (0..count).map(|i| -> Result<RgbImage> {
            let image = test.pixels(i * test.len() / count)?;
            Ok(resize(&image, TILE, TILE, FilterType::Nearest))
        });
        let images = images.collect::<Result<Vec<_>>>()?;
        Ok(Self {
            sheet: contact_sheet(&images, SIDE, TILE)?,
            test,
            matrices: Vec::new(),
        })
    }
}

impl task::Pictures<Trained> for Pictures {
    fn add(&mut self, label: &str, trained: &Trained) -> Result<()> {
        let tally = trained.measure(self.test.clone())?;
        let matrix = confusion_matrix(&tally.confusion);
        let matrix = RgbImage::from_raw(matrix.width, matrix.height, matrix.rgb);
        let matrix = matrix.context("a confusion matrix without pixels")?;
        self.matrices.push((label.to_owned(), matrix));
        Ok(())
    }

    fn gallery(&self, seed: u64) -> Gallery {
        let named = self.matrices.iter();
        let (labels, matrices): (Vec<_>, Vec<_>) = named.cloned().unzip();
        let images = std::iter::once(self.sheet.clone());
        Gallery {
            captions: std::iter::once("test images".to_owned())
                .chain(labels)
                .collect(),
            rows: vec![GalleryRow {
                name: "Confusion".into(),
                pictures: images.chain(matrices).collect(),
            }],
            note: format!(
                "Confusion matrices of seed {seed}: true classes from top to bottom, predicted ones \
                 from left to right, dark blue for all images of a class and white for none."
            ),
            coloured: false,
        }
    }
}
