//! The losses of class and box.

use candle_core::{Device, Tensor};
use mic_nn::ops::{self, CrossEntropyOptions, Reduction};

use super::{Regions, RoiConfig};
use crate::Result;
use crate::rpn::Weighting;

/// The losses of regions of labelled images.
pub struct RoiLosses {
    /// Class, background included.
    pub classifier: Tensor,
    /// Offsets of the regions that have an object.
    pub box_reg: Tensor,
}

/// Mean cross-entropy of logits (n, classes) and labels U32 (n), or with [`Weighting::Prob`] the
/// mean of cross-entropies times the probability of the likeliest class, background included; this
/// weight has no gradient.
///
/// # Errors
/// When shapes differ.
pub fn classifier_loss(logits: &Tensor, labels: &Tensor, weighting: Weighting) -> Result<Tensor> {
    let weight = match weighting {
        Weighting::None => None,
        Weighting::Prob => Some(ops::softmax(&logits.detach(), 1)?.max(1)?),
    };
    let options = CrossEntropyOptions {
        ignore: None,
        weight,
        class_weight: None,
    };
    Ok(ops::cross_entropy(logits, labels, &options)?)
}

impl RoiLosses {
    /// The losses of the rows of labelled images; `logits` (R, classes) and `offsets`
    /// (R, 4 classes) have a row for every region, image after image. Both are divided by the
    /// number of those rows; without any both are 0.
    ///
    /// # Errors
    /// When shapes do not fit the regions.
    pub fn of(
        config: &RoiConfig,
        images: &[Regions],
        logits: &Tensor,
        offsets: &Tensor,
        weighting: Weighting,
    ) -> Result<Self> {
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        let (mut places, mut wanted) = (Vec::new(), Vec::<f32>::new());
        let width = 4 * config.classes;
        let mut row = 0;
        for regions in images {
            for (&label, offsets) in regions.labels.iter().zip(&regions.offsets) {
                if regions.labelled {
                    rows.push(row as u32);
                    labels.push(label);
                    if label > 0 {
                        let first = row * width + 4 * label as usize;
                        places.extend((first..first + 4).map(|place| place as u32));
                        wanted.extend(offsets);
                    }
                }
                row += 1;
            }
        }
        let cpu = &Device::Cpu;
        let count = rows.len();
        let all = row == count;
        let rows = Tensor::from_vec(rows, count, cpu)?;
        let labels = Tensor::from_vec(labels, count, cpu)?;
        let logits = match all {
            true => logits.clone(),
            false => ops::index_select(logits, 0, &rows)?,
        };
        let places = Tensor::from_slice(&places, places.len(), cpu)?;
        let found = ops::index_select(&offsets.flatten_all()?, 0, &places)?;
        let wanted = Tensor::from_vec(wanted, found.dims(), cpu)?;
        let distance = ops::smooth_l1(&found, &wanted, config.smooth_l1_beta, Reduction::Sum)?;
        Ok(Self {
            classifier: match count {
                0 => logits.sum_all()?,
                _ => classifier_loss(&logits, &labels, weighting)?,
            },
            box_reg: (distance / count.max(1) as f64)?,
        })
    }
}
