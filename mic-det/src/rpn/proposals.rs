//! From predictions to proposals: the best anchors of each level, decoded, clipped, suppressed.

use candle_core::Tensor;
use mic_nn::ops;
use rayon::prelude::*;

use super::{Limits, Predictions, Rpn};
use crate::Result;
use crate::anchors::{Grid, Level};
use crate::box_coder::BoxCoder;
use crate::boxes::{Corners, Size, to_tensor};
use crate::conventions::Conventions;

/// Regions of one image that may hold an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proposals {
    /// Boxes in pixels of the network's input.
    pub boxes: Vec<Corners>,
    /// Probability of an object.
    pub objectness: Vec<f32>,
}

/// Proposals that are still compared with each other. They are ranked by their logits: the
/// reference ranks probabilities, of which large ones are equal to many others.
#[derive(Clone, Default)]
struct Ranked {
    boxes: Vec<Corners>,
    logits: Vec<f32>,
}

impl Ranked {
    fn len(&self) -> usize {
        self.boxes.len()
    }

    fn extend(&mut self, other: Self) {
        self.boxes.extend(other.boxes);
        self.logits.extend(other.logits);
    }

    fn pick(&self, order: impl IntoIterator<Item = usize>) -> Self {
        let pairs = order.into_iter().map(|i| (self.boxes[i], self.logits[i]));
        let (boxes, logits) = pairs.unzip();
        Self { boxes, logits }
    }

    /// The best `count` by descending score; of equal ones the first come first.
    fn best(&self, count: usize) -> Self {
        self.pick(by_score(&self.logits).into_iter().take(count))
    }

    fn finish(self) -> Proposals {
        let probability = |logit: f32| 1.0 / (1.0 + (-logit).exp());
        Proposals {
            objectness: self.logits.into_iter().map(probability).collect(),
            boxes: self.boxes,
        }
    }
}

/// Places by descending score, equal ones in their order.
fn by_score(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// Logits and offsets of one level of a batch, as plain numbers.
struct Candidates {
    /// The best logits of each image, descending.
    logits: Vec<Vec<f32>>,
    /// Which anchors of the level they belong to.
    indices: Vec<Vec<u32>>,
    /// Offsets (B, 4 A, H, W).
    offsets: Vec<f32>,
}

impl Candidates {
    fn of(objectness: &Tensor, offsets: &Tensor, limit: usize) -> Result<Self> {
        let (batch, shapes, height, width) = objectness.dims4()?;
        let count = shapes * height * width;
        let logits = objectness.detach().permute((0, 2, 3, 1))?;
        let (logits, indices) = ops::top_k(&logits.reshape((batch, count))?, limit.min(count))?;
        Ok(Self {
            logits: logits.to_vec2()?,
            indices: indices.to_vec2()?,
            offsets: offsets.detach().flatten_all()?.to_vec1()?,
        })
    }

    /// The decoded boxes of an image by descending score, clipped; tiny ones and those that are no
    /// numbers are left out.
    fn boxes(&self, image: usize, level: &Level, size: Size, coder: &BoxCoder) -> Ranked {
        let (height, width) = level.size;
        let plane = height * width;
        let first = image * 4 * level.shapes() * plane;
        let conventions = coder.conventions;
        let mut proposals = Ranked::default();
        for (&index, &logit) in self.indices[image].iter().zip(&self.logits[image]) {
            let [row, column, shape] = level.place(index as usize);
            let at = first + 4 * shape * plane + row * width + column;
            let offsets = [0, 1, 2, 3].map(|c| self.offsets[at + c * plane]);
            let corners = coder.decode(offsets, level.anchor(index as usize));
            let corners = conventions.clip(corners, size);
            let least = conventions.smallest_proposal();
            if conventions.at_least(corners, least) && !logit.is_nan() {
                proposals.boxes.push(corners);
                proposals.logits.push(logit);
            }
        }
        proposals
    }
}

/// The proposals that remain after suppression, in their order.
fn suppressed(proposals: &Ranked, threshold: f64, conventions: Conventions) -> Result<Ranked> {
    let count = proposals.len();
    let boxes = to_tensor(&proposals.boxes)?;
    let scores = Tensor::from_slice(&proposals.logits, count, boxes.device())?;
    let kept = ops::nms(&boxes, &scores, threshold, conventions.nms_rule())?;
    let kept = kept.to_vec1::<u32>()?;
    Ok(proposals.pick(kept.into_iter().map(|i| i as usize)))
}

impl Rpn {
    pub(super) fn select(
        &self,
        predictions: &Predictions,
        grid: &Grid,
        sizes: &[Size],
        limits: &Limits,
        training: bool,
    ) -> Result<Vec<Proposals>> {
        let coder = BoxCoder::proposals(self.conventions);
        let maps = predictions.objectness.iter().zip(&predictions.offsets);
        let candidates = maps
            .map(|(objectness, offsets)| Candidates::of(objectness, offsets, limits.pre_nms))
            .collect::<Result<Vec<_>>>()?;
        let levels = grid.levels.len();
        let jobs = (0..sizes.len() * levels).into_par_iter();
        let found = jobs
            .map(|job| {
                let (image, level) = (job / levels, job % levels);
                let candidates = &candidates[level];
                let found = candidates.boxes(image, &grid.levels[level], sizes[image], &coder);
                let mut kept = suppressed(&found, self.config.nms, self.conventions)?;
                if self.conventions == Conventions::Legacy {
                    kept = kept.pick(0..kept.len().min(limits.post_nms));
                }
                Ok(kept)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut images = vec![Ranked::default(); sizes.len()];
        for (job, kept) in found.into_iter().enumerate() {
            images[job / levels].extend(kept);
        }
        let chosen = match (self.conventions, training) {
            (Conventions::Legacy, true) => best_of_batch(&images, limits.total),
            _ => images.iter().map(|all| all.best(limits.total)).collect(),
        };
        Ok(chosen.into_iter().map(Ranked::finish).collect())
    }
}

/// The best `total` of all images together, in their order: images compete for the places, as in
/// the reference.
fn best_of_batch(images: &[Ranked], total: usize) -> Vec<Ranked> {
    let logits: Vec<f32> = images.iter().flat_map(|p| p.logits.clone()).collect();
    let mut keep = vec![false; logits.len()];
    for i in by_score(&logits).into_iter().take(total) {
        keep[i] = true;
    }
    let mut first = 0;
    let mut chosen = Vec::with_capacity(images.len());
    for proposals in images {
        let kept = (0..proposals.len()).filter(|i| keep[first + i]);
        chosen.push(proposals.pick(kept));
        first += proposals.len();
    }
    chosen
}
