//! A teacher's certain detections as objects.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::batch::Truth;
use crate::boxes::Size;
use crate::roi::Detections;
use crate::tap::{Tap, labels_tensor};

/// Objects of those images in which the teacher is certain of any.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PseudoBoxes {
    /// Which images of the batch.
    pub images: Vec<usize>,
    /// Their objects. The scores are not used any more.
    pub truth: Vec<Truth>,
}

impl PseudoBoxes {
    /// The detections with a score of at least `threshold`, image by image.
    pub fn of(detections: &[Detections], threshold: f32) -> Self {
        let mut pseudo = Self::default();
        for (image, found) in detections.iter().enumerate() {
            let certain = found.filter(|score| score >= threshold);
            if !certain.is_empty() {
                pseudo.images.push(image);
                pseudo.truth.push(Truth {
                    boxes: certain.boxes,
                    labels: certain.labels,
                });
            }
        }
        pseudo
    }

    /// Shows the objects, `pseudo.img{i}.boxes` and `.labels`, and the numbers of their images.
    pub(super) fn show(&self, tap: &mut Tap) -> Result<()> {
        for (i, truth) in self.images.iter().zip(&self.truth) {
            tap.show_boxes(&format!("pseudo.img{i}.boxes"), &truth.boxes)?;
            tap.show_labels(&format!("pseudo.img{i}.labels"), &truth.labels)?;
        }
        tap.show("pseudo.kept_images", || {
            let images = self.images.iter().map(|&i| i as i64);
            labels_tensor(&images.collect::<Vec<_>>())
        })
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.truth.iter().map(|truth| truth.boxes.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Of a batch's images (B, ...) and sizes those that have objects.
    ///
    /// # Errors
    /// A batch with fewer images.
    pub fn select(&self, image: &Tensor, sizes: &[Size]) -> Result<(Tensor, Vec<Size>)> {
        let places: Vec<u32> = self.images.iter().map(|&i| i as u32).collect();
        let places = Tensor::from_vec(places, self.images.len(), &Device::Cpu)?;
        let sizes = self.images.iter().map(|&i| sizes[i]).collect();
        Ok((image.index_select(&places, 0)?, sizes))
    }
}
