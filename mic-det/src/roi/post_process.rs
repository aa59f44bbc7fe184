//! From the predictions for regions to detections.

use candle_core::{Device, Tensor};
use mic_nn::ops;

use super::RoiConfig;
use crate::Result;
use crate::box_coder::BoxCoder;
use crate::boxes::{Corners, Size, to_tensor};
use crate::conventions::Conventions;
use crate::tap::Tap;

/// What was found in one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detections {
    /// Boxes in pixels of the network's input.
    pub boxes: Vec<Corners>,
    /// Probability of the class.
    pub scores: Vec<f32>,
    /// Class of each box, from 1.
    pub labels: Vec<u32>,
}

impl Detections {
    /// Number of boxes.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// The detections that `keep` chooses by their score.
    pub fn filter(&self, keep: impl Fn(f32) -> bool) -> Self {
        let places = (0..self.len()).filter(|&i| keep(self.scores[i]));
        self.pick(&places.collect::<Vec<_>>())
    }

    /// Shows `{name}.boxes`, `.scores` and `.labels`.
    pub(crate) fn show(&self, name: &str, tap: &mut Tap) -> Result<()> {
        tap.show_boxes(&format!("{name}.boxes"), &self.boxes)?;
        tap.show_numbers(&format!("{name}.scores"), &self.scores)?;
        tap.show_labels(&format!("{name}.labels"), &self.labels)
    }

    fn pick(&self, places: &[usize]) -> Self {
        Self {
            boxes: places.iter().map(|&i| self.boxes[i]).collect(),
            scores: places.iter().map(|&i| self.scores[i]).collect(),
            labels: places.iter().map(|&i| self.labels[i]).collect(),
        }
    }

    fn extend(&mut self, other: Self) {
        self.boxes.extend(other.boxes);
        self.scores.extend(other.scores);
        self.labels.extend(other.labels);
    }
}

/// Detections of one image of `size` from logits (R, classes) and offsets (R, 4 classes) for the
/// regions `boxes`: per class those above the score, suppressed; of all classes the best.
///
/// # Errors
/// When shapes do not fit.
pub fn post_process(
    config: &RoiConfig,
    conventions: Conventions,
    boxes: &[Corners],
    logits: &Tensor,
    offsets: &Tensor,
    size: Size,
) -> Result<Detections> {
    if boxes.is_empty() {
        return Ok(Detections::default());
    }
    let coder = BoxCoder::detections(conventions);
    let (_, classes) = logits.dims2()?;
    let scores = ops::softmax(&logits.detach(), 1)?;
    let scores = scores.flatten_all()?.to_vec1::<f32>()?;
    let offsets = offsets.detach().flatten_all()?.to_vec1::<f32>()?;
    let offsets = offsets.as_chunks::<4>().0;
    let threshold = config.score as f32;
    let mut found = Detections::default();
    for class in 1..classes {
        let mut candidates = Detections::default();
        for (row, &from) in boxes.iter().enumerate() {
            let score = scores[row * classes + class];
            if score > threshold {
                let corners = coder.decode(offsets[row * classes + class], from);
                let corners = conventions.clip(corners, size);
                if conventions.at_least(corners, conventions.smallest_detection()) {
                    candidates.boxes.push(corners);
                    candidates.scores.push(score);
                    candidates.labels.push(class as u32);
                }
            }
        }
        found.extend(suppressed(&candidates, config.nms, conventions)?);
    }
    Ok(limited(found, config.detections, conventions))
}

fn suppressed(found: &Detections, threshold: f64, conventions: Conventions) -> Result<Detections> {
    if found.is_empty() {
        return Ok(Detections::default());
    }
    let boxes = to_tensor(&found.boxes)?;
    let scores = Tensor::from_slice(&found.scores, found.len(), &Device::Cpu)?;
    let kept = ops::nms(&boxes, &scores, threshold, conventions.nms_rule())?;
    let kept: Vec<usize> = kept
        .to_vec1::<u32>()?
        .into_iter()
        .map(|i| i as usize)
        .collect();
    Ok(found.pick(&kept))
}

/// `Legacy` keeps all that reach the limit-th score, `Modern` sorts and cuts.
fn limited(found: Detections, limit: usize, conventions: Conventions) -> Detections {
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by(|&a, &b| found.scores[b].total_cmp(&found.scores[a]));
    match conventions {
        Conventions::Modern => found.pick(&order[..limit.min(order.len())]),
        Conventions::Legacy if found.len() > limit && limit > 0 => {
            let last = found.scores[order[limit - 1]];
            found.filter(|score| score >= last)
        }
        Conventions::Legacy => found,
    }
}
