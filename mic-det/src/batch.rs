//! Batches for training a detector. Target images come without annotations by type.

use candle_core::Tensor;
use mic_data::detection::{DetectionBatch, Objects, join_padded};

use crate::boxes::{Corners, Size, is_proper, resize};
use crate::{Error, Result};

/// The objects of an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    /// Boxes in pixels of the network's input.
    pub boxes: Vec<Corners>,
    /// Class of each box, from 1; 0 is background.
    pub labels: Vec<u32>,
}

impl Truth {
    /// Checks that every box has a class below `classes`, which counts the background, and is
    /// finite with x2 > x1 and y2 > y1 (a box of one pixel row may have equal ones).
    ///
    /// # Errors
    /// Names the image by its number and the box.
    pub fn check(&self, image: usize, classes: usize) -> Result<()> {
        let refuse = |message: String| Err(Error::Run(format!("source image {image}: {message}")));
        if self.boxes.len() != self.labels.len() {
            let (boxes, labels) = (self.boxes.len(), self.labels.len());
            return refuse(format!(
                "{boxes} boxes and {labels} labels, expected as many"
            ));
        }
        for (corners, &label) in self.boxes.iter().zip(&self.labels) {
            let [x1, y1, x2, y2] = *corners;
            let finite = corners.iter().all(|v| v.is_finite());
            if !finite || x2 < x1 || y2 < y1 {
                return refuse(format!(
                    "the box {corners:?} has no positive size; remove such boxes from the \
                     annotations"
                ));
            }
            if label == 0 || label as usize >= classes {
                return refuse(format!(
                    "class {label} of the box {corners:?}, expected 1 to {}; 0 is background",
                    classes - 1
                ));
            }
        }
        Ok(())
    }
}

/// Annotated images of the source domain.
#[derive(Clone, Debug)]
pub struct SourceBatch {
    /// f32 (B, 3, H, W), normalised as the network expects, padded with 0 at the right and bottom.
    pub image: Tensor,
    /// Size of each image without padding.
    pub sizes: Vec<Size>,
    /// The objects of each image.
    pub truth: Vec<Truth>,
}

/// Images of the target domain. There is no field for annotations, so none can reach training.
#[derive(Clone, Debug)]
pub struct TargetBatch {
    /// f32 (B, 3, H, W), normalised and padded like the source's.
    pub image: Tensor,
    /// Size of each image without padding.
    pub sizes: Vec<Size>,
    /// Size of each image before it was scaled to the network's input; empty if not known. The only
    /// use is the frame that the reference puts around target images, see [`TargetBatch::frame`].
    pub original: Vec<Size>,
}

impl TargetBatch {
    /// The box around image `i` that the reference adds to its proposals, for the domain heads to
    /// see: made one pixel short of the original image's last pixel, then scaled.
    pub fn frame(&self, i: usize) -> Corners {
        let size = self.sizes[i];
        let (height, width) = self.original.get(i).copied().unwrap_or(size);
        let last = |side: usize| side.saturating_sub(2) as f32;
        let frame = [0.0, 0.0, last(width), last(height)];
        match (height, width) == size {
            true => frame,
            false => resize(frame, (height.max(1), width.max(1)), size),
        }
    }
}

/// What one training step sees.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Annotated images.
    pub source: SourceBatch,
    /// Images of the other domain; `None` when training on the source alone.
    pub target: Option<TargetBatch>,
}

impl From<DetectionBatch> for Batch {
    fn from(batch: DetectionBatch) -> Self {
        let size = |&(width, height): &(u32, u32)| (height as usize, width as usize);
        let truth = |objects: Objects| Truth {
            boxes: objects.boxes.corners,
            labels: objects.labels,
        };
        Self {
            source: SourceBatch {
                sizes: batch.source.sizes.iter().map(size).collect(),
                truth: batch.source.objects.into_iter().map(truth).collect(),
                image: batch.source.image,
            },
            target: batch.target.map(|target| TargetBatch {
                sizes: target.sizes.iter().map(size).collect(),
                original: target.original.iter().map(size).collect(),
                image: target.image,
            }),
        }
    }
}

/// What is known of a training image.
#[derive(Clone, Copy, Debug)]
pub enum Known<'a> {
    /// Its objects: annotations, or a teacher's boxes.
    Objects(&'a Truth),
    /// Nothing; the frame is added to its proposals.
    Domain(Corners),
}

impl Known<'_> {
    /// Whether the image trains the detector, not only the domain heads.
    pub fn is_labelled(&self) -> bool {
        matches!(self, Self::Objects(_))
    }

    /// The boxes that are added to the image's proposals.
    pub(crate) fn extra_proposals(&self) -> &[Corners] {
        match self {
            Self::Objects(truth) => &truth.boxes,
            Self::Domain(frame) => std::slice::from_ref(frame),
        }
    }
}

/// Images with their sizes and what is known of them: the input of one pass of the student.
pub struct Pass<'a> {
    /// f32 (B, 3, H, W).
    pub image: Tensor,
    /// Size of each image without padding.
    pub sizes: Vec<Size>,
    /// What is known of each image.
    pub known: Vec<Known<'a>>,
}

impl<'a> Pass<'a> {
    /// Annotated images.
    pub fn labelled(image: &Tensor, sizes: &[Size], truth: &'a [Truth]) -> Self {
        Self {
            image: image.clone(),
            sizes: sizes.to_vec(),
            known: truth.iter().map(Known::Objects).collect(),
        }
    }

    /// Source images, then target images, padded with 0 to a common size.
    ///
    /// # Errors
    /// Images of different numbers of channels.
    pub fn joint(batch: &'a Batch) -> Result<Self> {
        let source = &batch.source;
        let mut pass = Self::labelled(&source.image, &source.sizes, &source.truth);
        if let Some(target) = &batch.target {
            pass.image = join_padded(&source.image, &target.image)?;
            pass.sizes.extend(&target.sizes);
            let frames = (0..target.sizes.len()).map(|i| Known::Domain(target.frame(i)));
            pass.known.extend(frames);
        }
        Ok(pass)
    }

    /// Checks that there are as many sizes and annotations as images, and that sizes fit.
    pub(crate) fn check(&self) -> Result<Size> {
        let (images, _, height, width) = self.image.dims4()?;
        if self.sizes.len() != images || self.known.len() != images {
            return Err(Error::Run(format!(
                "a batch of {images} images has {} sizes and annotations of {}",
                self.sizes.len(),
                self.known.len()
            )));
        }
        let fits = |&(h, w): &Size| h >= 1 && w >= 1 && h <= height && w <= width;
        match self.sizes.iter().find(|size| !fits(size)) {
            Some(size) => Err(Error::Run(format!(
                "an image of size {size:?} in a batch of {height} x {width} pixels"
            ))),
            None => Ok((height, width)),
        }
    }
}

/// Boxes clipped to the image without those that are empty then, with their labels.
pub fn inside(truth: &Truth, size: Size, conventions: crate::Conventions) -> Truth {
    let pairs = truth.boxes.iter().zip(&truth.labels);
    let pairs = pairs.map(|(&corners, &label)| (conventions.clip(corners, size), label));
    let (boxes, labels) = pairs.filter(|&(corners, _)| is_proper(corners)).unzip();
    Truth { boxes, labels }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn the_frame_is_scaled_from_the_original_image() -> Result<()> {
        let target = TargetBatch {
            image: Tensor::zeros((1, 3, 800, 1600), DType::F32, &Device::Cpu)?,
            sizes: vec![(800, 1600)],
            original: vec![(1024, 2048)],
        };
        assert_eq!(target.frame(0), [0.0, 0.0, 1598.4375, 798.4375]);
        Ok(())
    }

    #[test]
    fn broken_annotations_are_named() {
        let message = |corners: Corners, label| {
            let truth = Truth {
                boxes: vec![corners],
                labels: vec![label],
            };
            truth.check(3, 5).err().map(|e| e.to_string())
        };
        assert_eq!(message([1.0, 1.0, 4.0, 4.0], 4), None);
        for (corners, label, part) in [
            ([5.0, 1.0, 4.0, 4.0], 1, "positive size"),
            ([f32::NAN, 1.0, 4.0, 4.0], 1, "positive size"),
            ([1.0, 1.0, 4.0, 4.0], 0, "1 to 4"),
            ([1.0, 1.0, 4.0, 4.0], 5, "class 5"),
        ] {
            let text = message(corners, label).unwrap_or_default();
            assert!(text.contains(part) && text.contains("image 3"), "{text}");
        }
        let truth = Truth {
            boxes: vec![[-5.0, 2.0, 30.0, 8.0], [40.0, 2.0, 50.0, 8.0]],
            labels: vec![1, 2],
        };
        let inside = inside(&truth, (10, 20), crate::Conventions::Legacy);
        assert_eq!(inside.boxes, [[0.0, 2.0, 19.0, 8.0]]);
        assert_eq!(inside.labels, [1]);
    }
}
