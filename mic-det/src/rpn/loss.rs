//! What anchors learn.

use candle_core::{DType, Device, Tensor};
use mic_nn::ops::{self, Reduction};

use super::{Cell, Rpn, Weighting};
use crate::Result;
use crate::anchors::Grid;
use crate::batch::{Known, Pass, Truth};
use crate::box_coder::BoxCoder;
use crate::boxes::{Corners, Size};
use crate::matcher::Match;
use crate::sampler::{Picks, Sampled};
use crate::tap::{Tap, labels_tensor};

/// The losses of the proposals.
pub struct RpnLosses {
    /// Object or not.
    pub objectness: Tensor,
    /// Offsets of the anchors that have an object.
    pub box_reg: Tensor,
}

/// What the sampled anchors are to say.
pub(super) struct Targets {
    sampled: Vec<SampledAnchor>,
}

struct SampledAnchor {
    image: usize,
    /// Its number among all anchors of the image.
    index: usize,
    /// The offsets of its object; `None` for background.
    offsets: Option<[f32; 4]>,
}

/// `mean(binary cross-entropy)` of logits (n) and targets (n) of 0 and 1, or with
/// [`Weighting::Prob`] `mean(sigmoid(logit) * binary cross-entropy)`, whose weight has a gradient,
/// too, as in the reference.
///
/// # Errors
/// When shapes differ.
pub fn objectness_loss(logits: &Tensor, targets: &Tensor, weighting: Weighting) -> Result<Tensor> {
    let bce = |reduction| ops::binary_cross_entropy_with_logits(logits, targets, reduction);
    Ok(match weighting {
        Weighting::None => bce(Reduction::Mean)?,
        Weighting::Prob => (ops::sigmoid(logits)? * bce(Reduction::None)?)?.mean_all()?,
    })
}

impl Rpn {
    /// Samples anchors of the labelled images.
    pub(super) fn targets(
        &self,
        grid: &Grid,
        pass: &Pass,
        name: &str,
        picks: &dyn Picks,
        tap: &mut Tap,
    ) -> Result<Targets> {
        let anchors = grid.anchors();
        let coder = BoxCoder::proposals(self.conventions);
        let mut sampled = Vec::new();
        let mut labelled = 0;
        for (image, (known, &size)) in pass.known.iter().zip(&pass.sizes).enumerate() {
            let Known::Objects(truth) = known else {
                continue;
            };
            let site = format!("{name}.rpn_sampler.img{labelled}");
            labelled += 1;
            let (labels, matches) = self.labels(grid, &anchors, truth, size);
            tap.show(&format!("{site}.labels"), || labels_tensor(&labels))?;
            let chosen = self.config.sampler.sample(&labels, &site, picks);
            tap.show_sampled(&site, &chosen)?;
            let Sampled { positive, negative } = chosen;
            let object = |index: usize| match matches[index] {
                Match::Object(object) => Some(coder.encode(truth.boxes[object], anchors[index])),
                _ => None,
            };
            sampled.extend(positive.into_iter().map(|index| SampledAnchor {
                image,
                index,
                offsets: object(index),
            }));
            sampled.extend(negative.into_iter().map(|index| SampledAnchor {
                image,
                index,
                offsets: None,
            }));
        }
        Ok(Targets { sampled })
    }

    /// 1 for anchors with an object, 0 for background, -1 for those that do not count: over the
    /// border or between the thresholds.
    fn labels(
        &self,
        grid: &Grid,
        anchors: &[Corners],
        truth: &Truth,
        size: Size,
    ) -> (Vec<i64>, Vec<Match>) {
        let overlaps = self.conventions.iou_matrix(&truth.boxes, anchors);
        let matches = self.config.matcher.matches(&overlaps, anchors.len());
        let label = |(found, &anchor): (&Match, &Corners)| match found {
            _ if !grid.is_visible(anchor, size) => -1,
            Match::Object(_) => 1,
            Match::Background => 0,
            Match::Between => -1,
        };
        let labels = matches.iter().zip(anchors).map(label).collect();
        (labels, matches)
    }

    /// The losses of sampled anchors over the maps (B, C, H, W). Without any, both are 0.
    pub(super) fn loss(
        &self,
        features: &[Tensor],
        grid: &Grid,
        targets: &Targets,
        weighting: Weighting,
    ) -> Result<RpnLosses> {
        let sampled = &targets.sampled;
        let cpu = &Device::Cpu;
        let (mut logits, mut wanted) = (Vec::new(), Vec::new());
        let (mut offsets, mut wanted_offsets) = (Vec::new(), Vec::new());
        for (map, level) in features.iter().zip(&grid.levels) {
            let shapes = level.shapes();
            let (mut cells, mut places, mut offset_places) = (Vec::new(), Vec::new(), Vec::new());
            for anchor in sampled {
                let Some(index) = anchor.index.checked_sub(level.first) else {
                    continue;
                };
                if index >= level.count() {
                    continue;
                }
                let [row, column, shape] = level.place(index);
                let at = cells.len() * shapes + shape;
                cells.push(Cell {
                    image: anchor.image,
                    row,
                    column,
                });
                places.push(at as u32);
                wanted.push(f32::from(u8::from(anchor.offsets.is_some())));
                if let Some(offsets) = anchor.offsets {
                    offset_places.extend([0, 1, 2, 3].map(|c| (4 * at + c) as u32));
                    wanted_offsets.extend(offsets);
                }
            }
            if cells.is_empty() {
                continue;
            }
            let picked = |values: &Tensor, places: Vec<u32>| -> Result<Tensor> {
                let count = places.len();
                let places = Tensor::from_vec(places, count, cpu)?;
                Ok(ops::index_select(&values.flatten_all()?, 0, &places)?)
            };
            let (of_cells, offsets_of_cells) = self.head.cells(map, &cells)?;
            logits.push(picked(&of_cells, places)?);
            offsets.push(picked(&offsets_of_cells, offset_places)?);
        }
        if logits.is_empty() {
            let nothing = Tensor::zeros((), DType::F32, cpu)?;
            return Ok(RpnLosses {
                objectness: nothing.clone(),
                box_reg: nothing,
            });
        }
        let (logits, offsets) = (Tensor::cat(&logits, 0)?, Tensor::cat(&offsets, 0)?);
        let wanted = Tensor::from_vec(wanted, logits.dims(), cpu)?;
        let wanted_offsets = Tensor::from_vec(wanted_offsets, offsets.dims(), cpu)?;
        let beta = self.config.smooth_l1_beta;
        let distance = ops::smooth_l1(&offsets, &wanted_offsets, beta, Reduction::Sum)?;
        Ok(RpnLosses {
            objectness: objectness_loss(&logits, &wanted, weighting)?,
            box_reg: (distance / sampled.len() as f64)?,
        })
    }
}
